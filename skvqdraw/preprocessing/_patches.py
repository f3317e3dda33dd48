"""From images or volumes to principal components of their patches and back."""

from math import prod
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from .._rows import pieces
from .._sklearn import Interval, Numbers, validate_params

__all__ = ["PatchPCA"]

_FLOATS = (np.float32, np.float64)


class PatchPCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn rows with a layout into principal components of their patches.

    Images, volumes and sequences have many numbers that their neighbours tell nearly. Each row is
    cut into patches, and each patch becomes a few numbers: the same principal components for all
    patches. They are still a grid, of fewer cells and more channels, on which refiners of
    convolutions learn several times as fast.

    Parameters
    ----------
    shape : tuple of int
        What rows are, flattened: ``(height, width)`` or ``(height, width, channels)`` of images,
        ``(depth, height, width)`` of volumes, ``(length, channels)`` of sequences.
    patch_shape : tuple of int
        Sides of a patch, along the first axes of `shape`; each must divide that axis. Axes that are
        left out stay whole: channels, as a rule. 4 or 8 along each axis of images and volumes.
    n_components : int
        Number of components of a patch, up to its number of values. Those that keep 95 % of the
        variance are enough for codes of tens of bits: see `explained_variance_ratio_`.

    Attributes
    ----------
    pca_ : PCA
        Scikit-learn's, of all patches.
    explained_variance_ratio_ : ndarray of shape (n_components,)
        Share of the variance of patches that each component keeps.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X had any.

    See Also
    --------
    skvqdraw.refiners.VolumeRefiner, skvqdraw.refiners.ConvRefiner : Take the grid of components
        with ``downsampling=1``.

    Notes
    -----
    Components are orthogonal and not scaled: squared differences of rows of components are those of
    the rows themselves, but for what no component keeps. So what is best in components by squared
    error is best in voxels, and no other loss of voxels can be had there.

    Examples
    --------
    >>> from skvqdraw import VQDRAW
    >>> from skvqdraw.datasets import make_shapes
    >>> from skvqdraw.preprocessing import PatchPCA
    >>> from skvqdraw.refiners import VolumeRefiner
    >>> shapes = make_shapes(200, side=12, random_state=0)
    >>> patches = PatchPCA(shapes.volume_shape, (4, 4, 4), n_components=16)
    >>> Z = patches.fit_transform(shapes.data)
    >>> Z.shape, patches.grid_shape
    ((200, 432), (3, 3, 3, 16))
    >>> refiner = VolumeRefiner(patches.grid_shape, n_channels=16, downsampling=1)
    >>> vq = VQDRAW(n_stages=4, n_options=16, refiner=refiner, max_steps=20).fit(Z)
    >>> patches.inverse_transform(vq.reconstruct(Z)).shape
    (200, 1728)
    """

    _parameter_constraints: dict = {
        "shape": [Numbers()],
        "patch_shape": [Numbers()],
        "n_components": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, shape, patch_shape, n_components):
        self.shape = shape
        self.patch_shape = patch_shape
        self.n_components = n_components

    @property
    def grid_shape(self):
        """Cells along each axis, and components: what refiners take as the shape of a row."""
        cut = zip(self.shape, self.patch_shape, strict=False)
        return (*(side // patch for side, patch in cut), self.n_components)

    @property
    def explained_variance_ratio_(self):
        """Share of the variance of patches that each component keeps."""
        check_is_fitted(self)
        return self.pca_.explained_variance_ratio_

    def fit(self, X, y=None):
        """Find the components of all patches.

        Parameters
        ----------
        X : array-like of shape (n_samples, prod(shape))
            Rows to learn from. Their patches are written out, in float32 unless X is float64.
        y : None
            Ignored.

        Returns
        -------
        self : PatchPCA
            The fitted transformer.

        Raises
        ------
        ValueError
            If a parameter is out of its range or does not fit X, or X is not 2-D or not finite.
        """
        self._check_shapes()
        checked = check_array(X, dtype=_FLOATS, input_name="X")
        self._check_width(checked, prod(self.shape))
        patches = self._patches(checked)
        most = min(patches.shape)
        if self.n_components > most:
            raise ValueError(
                f"n_components={self.n_components} must be at most {most}, the smaller of the "
                f"values of a patch, {patches.shape[1]}, and the patches of all rows, "
                f"{len(patches)}. Set fewer, or larger patches."
            )
        pca = PCA(self.n_components, svd_solver="covariance_eigh")
        with np.errstate(invalid="ignore"):  # shares of no variance at all
            pca.fit(patches)
        validate_data(self, X, skip_check_array=True)  # takes names, now that nothing can fail
        self.pca_ = pca
        return self

    def transform(self, X):
        """Return components of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, prod(shape))
            Rows.

        Returns
        -------
        Z : ndarray of shape (n_samples, prod(grid_shape))
            Components, patch by patch, of dtype float32 unless X is float64. Those of a row are
            ``Z[i].reshape(grid_shape)``.

        Raises
        ------
        ValueError
            If X is not 2-D, not finite or of another width than in `fit`.
        NotFittedError
            If it is not fitted.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=_FLOATS, reset=False)
        Z = np.empty((len(X), self._n_features_out), X.dtype)
        for piece in pieces(*X.shape, whole_tiles=False):
            Z[piece] = self.pca_.transform(self._patches(X[piece])).reshape(Z[piece].shape)
        return Z

    def inverse_transform(self, X):
        """Return rows that have such components.

        Parameters
        ----------
        X : array-like of shape (n_samples, prod(grid_shape))
            Components, as `transform` returns them.

        Returns
        -------
        rows : ndarray of shape (n_samples, prod(shape))
            Of all rows with these components, those nearest to the mean; of dtype float32 unless X
            is float64.

        Raises
        ------
        ValueError
            If X is not 2-D, not finite or of another width.
        NotFittedError
            If it is not fitted.
        """
        check_is_fitted(self)
        X = check_array(X, dtype=_FLOATS, input_name="X")
        self._check_width(X, self._n_features_out)
        rows = np.empty((len(X), self.n_features_in_), X.dtype)
        cut, back = self._cut(), np.argsort(self._patches_first())
        for piece in pieces(*rows.shape, whole_tiles=False):
            patches = self.pca_.inverse_transform(X[piece].reshape(-1, self.n_components))
            in_patches = [cut[axis] for axis in self._patches_first()]
            whole = patches.reshape(-1, *in_patches).transpose(0, *(1 + back))
            rows[piece] = whole.reshape(rows[piece].shape)
        return rows

    @property
    def _n_features_out(self):
        return prod(self.grid_shape)

    def _cut(self):
        """Return each axis as cells and what is within a cell, axes that stay whole as they are."""
        n_cut = len(self.patch_shape)
        pairs = zip(self.grid_shape[:-1], self.patch_shape, strict=True)
        return [*(n for pair in pairs for n in pair), *self.shape[n_cut:]]

    def _patches_first(self):
        """Return the order of the axes of `_cut` in which all cells come before all else."""
        n_cut, n_all = len(self.patch_shape), len(self.patch_shape) + len(self.shape)
        return [*range(0, 2 * n_cut, 2), *range(1, 2 * n_cut, 2), *range(2 * n_cut, n_all)]

    def _patches(self, X):
        """Return a matrix of one patch in each row."""
        axes = [1 + axis for axis in self._patches_first()]
        in_cells = X.reshape(len(X), *self._cut()).transpose(0, *axes)
        return in_cells.reshape(len(X) * prod(self.grid_shape[:-1]), -1)

    def _check_shapes(self):
        validate_params(self)
        shape, patch_shape = self.shape, self.patch_shape
        if len(patch_shape) > len(shape):
            raise ValueError(
                f"patch_shape={patch_shape} must not have more axes than shape={shape}. Leave out "
                "the last ones."
            )
        if any(side % patch for side, patch in zip(shape, patch_shape, strict=False)):
            raise ValueError(
                f"patch_shape={patch_shape} must divide shape={shape} axis by axis. Choose other "
                "patches, or pad the rows."
            )

    def _check_width(self, X, width):
        if X.shape[1] != width:
            raise ValueError(
                f"X must have {width} columns, with shape={self.shape}, patch_shape="
                f"{self.patch_shape} and n_components={self.n_components}; got {X.shape[1]}. Pass "
                "rows of this layout."
            )

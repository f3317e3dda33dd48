"""From images or volumes to principal components of their patches and back."""

import math
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted, validate_data

from .._numbers import check_numbers, validate_numbers
from .._rows import pieces
from .._sklearn import Interval, Numbers, validate_params

__all__ = ["PatchPCA"]

_FLOATS = (np.float32, np.float64)


class PatchPCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn rows with a layout into principal components of their patches.

    Images, volumes and sequences have many numbers that their neighbours tell nearly. Each row is
    cut into patches, and each patch becomes a few numbers: the same principal components for all
    patches. They are still a grid, of fewer cells and more channels, on which refiners of
    convolutions take two to four times as many steps in the same time.

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
    feature_names_in_ : ndarray of shape (n_features,)
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
        self._check_shapes()
        return (*self._layout().cells, self.n_components)

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
            If a parameter is out of its range or does not fit X, or X is not 2-D, not finite or too
            large for sums of its squares.
        """
        self._check_shapes()
        checked, layout = _as_floats(check_numbers(X, "X", estimator=self)), self._layout()
        if checked.shape[1] != prod(self.shape):
            raise ValueError(
                f"X must have {prod(self.shape)} columns, with shape={self.shape}; got "
                f"{checked.shape[1]}. Pass rows of this shape, flattened."
            )
        patches = layout.patches(checked)
        most = min(patches.shape)
        if self.n_components > most:
            raise ValueError(
                f"n_components={self.n_components} must be at most {most}, the smaller of the "
                f"values of a patch, {patches.shape[1]}, and the patches of all rows, "
                f"{len(patches)}. Set fewer, or larger patches."
            )
        if len(patches) < 2:
            raise ValueError(
                "X must have at least 2 patches to learn from; got 1 sample of 1 patch. Pass more "
                "rows, or set smaller patches."
            )
        pca = _fitted_pca(int(self.n_components), patches)
        validate_data(self, X, skip_check_array=True)  # takes names, now that nothing can fail
        self.pca_, self._fitted_layout = pca, layout
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
            If X is not 2-D, not finite, of another width than in `fit` or too large for sums of its
            numbers.
        NotFittedError
            If it is not fitted.
        """
        check_is_fitted(self)
        X = _as_floats(validate_numbers(self, X, reset=False))
        Z = np.empty((len(X), self._n_features_out), X.dtype)
        for piece in pieces(*X.shape, whole_tiles=False):
            patches = self._fitted_layout.patches(X[piece])
            Z[piece] = _finite(self.pca_.transform, patches).reshape(Z[piece].shape)
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
            If X is not 2-D, not finite, of another width or too large for sums of its numbers.
        NotFittedError
            If it is not fitted.
        """
        check_is_fitted(self)
        X = _as_floats(check_numbers(X, "X", estimator=self))
        if X.shape[1] != self._n_features_out:
            raise ValueError(
                f"X must have {self._n_features_out} columns, the components of all patches; got "
                f"{X.shape[1]}. Pass what transform returns."
            )
        rows = np.empty((len(X), self.n_features_in_), X.dtype)
        for piece in pieces(*rows.shape, whole_tiles=False):
            components = X[piece].reshape(-1, self.pca_.n_components_)
            patches = _finite(self.pca_.inverse_transform, components)
            rows[piece] = self._fitted_layout.rows(patches)
        return rows

    @property
    def _n_features_out(self):
        return prod(self._fitted_layout.cells) * self.pca_.n_components_

    def _layout(self):
        return _Layout(tuple(self.shape), tuple(self.patch_shape))

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


def _as_floats(X):
    return X if X.dtype in _FLOATS else X.astype(_FLOATS[0])


def prod(sides):
    """Return a product as a Python int, since narrow integers of numpy overflow."""
    return math.prod(map(int, sides))


def _fitted_pca(n_components, patches):
    pca = PCA(n_components, svd_solver="covariance_eigh")
    try:
        # Shares of no variance at all are NaN, and what overflows is refused below.
        with np.errstate(invalid="ignore", over="ignore"):
            pca.fit(patches)
    except np.linalg.LinAlgError as error:
        raise _too_large(patches) from error
    if not np.isfinite(pca.explained_variance_).all():
        raise _too_large(patches)
    return pca


def _finite(function, X):
    """Return what a function of PCA returns, unless that overflows."""
    with np.errstate(invalid="ignore", over="ignore"):
        result = function(X)
    if not np.isfinite(result).all():
        raise _too_large(X)
    return result


def _too_large(X):
    return ValueError(
        f"X must hold numbers whose sums, and sums of squares in fit, are finite in {X.dtype}; got "
        f"numbers from {X.min():.3g} to {X.max():.3g}. Divide X by a constant first."
    )


@dataclass(frozen=True)
class _Layout:
    """Rows of a shape, cut into patches along the first axes."""

    shape: tuple
    patch_shape: tuple

    @property
    def cells(self):
        """Patches along each axis that is cut."""
        return tuple(s // p for s, p in zip(self.shape, self.patch_shape, strict=False))

    def patches(self, rows):
        """Return a matrix of one patch in each row."""
        axes, order = self._axes()
        in_cells = rows.reshape(-1, *axes).transpose(0, *order)
        return in_cells.reshape(len(rows) * prod(self.cells), -1)

    def rows(self, patches):
        """Return the rows that are made of patches."""
        axes, order = self._axes()
        in_cells = patches.reshape(-1, *(axes[i - 1] for i in order))
        return in_cells.transpose(np.argsort([0, *order])).reshape(-1, prod(self.shape))

    def _axes(self):
        """Return axes, each that is cut as cells and what is in one; the order with cells first."""
        n_cut = len(self.patch_shape)
        pairs = zip(self.cells, self.patch_shape, strict=True)
        axes = [*(n for pair in pairs for n in pair), *self.shape[n_cut:]]
        cells, within = range(1, 2 * n_cut, 2), range(2, 2 * n_cut + 1, 2)
        return axes, [*cells, *within, *range(2 * n_cut + 1, len(axes) + 1)]

"""Auto-encoder specifications: which network is between rows and the latents of a `VQVAE`.

A specification is a small object of plain parameters, as those of :mod:`skvqdraw.refiners` are:
`VQVAE` clones it, tunes it as ``autoencoder__hidden_size`` and calls ``build`` when it is fitted.
"""

import math
from numbers import Integral

from sklearn.base import BaseEstimator

from ._sklearn import ImageShape, Interval, Options, validate_params
from .files.json import known
from .nn.autoencoders import ConvParts, LevelNetwork, MLPParts
from .refiners import check_image_shape

__all__ = ["Autoencoder", "ConvAutoencoder", "MLPAutoencoder"]


# Numbers that are normalised together: of one, nothing would be left, and of two their signs.
_FEWEST_IN_A_NORM = 4


class Autoencoder(BaseEstimator):
    """Base class of auto-encoder specifications.

    A subclass stores its parameters in ``__init__``, unchanged, and implements ``build``.

    Examples
    --------
    Latents that are pieces of the row itself, which makes codes those of a product quantizer:

    >>> import torch
    >>> from skvqdraw import VQVAE
    >>> from skvqdraw.autoencoders import Autoencoder
    >>> class Pieces(torch.nn.Module):
    ...     def __init__(self, n_features, code_dim):
    ...         super().__init__()
    ...         self.n_positions = [n_features // code_dim]
    ...         self.shift = torch.nn.Parameter(torch.zeros(n_features))
    ...
    ...     def seen(self, x):
    ...         return [x]
    ...
    ...     def latents(self, level, seen, said):
    ...         return seen.view(len(seen), *self.n_positions, -1)
    ...
    ...     def said(self, level, vectors, said):
    ...         return vectors.flatten(1)
    ...
    ...     def rows(self, said):
    ...         return said + self.shift
    >>> class PiecesAutoencoder(Autoencoder):
    ...     def build(self, n_features, n_levels, code_dim):
    ...         return Pieces(n_features, code_dim)
    >>> X = torch.randn(100, 6).numpy()
    >>> vq = VQVAE(16, code_dim=2, autoencoder=PiecesAutoencoder(), max_steps=10)
    >>> vq.fit(X).encode(X).shape
    (100, 3)
    """

    _parameter_constraints: dict = {}

    def build(self, n_features, n_levels, code_dim):
        """Return a new network.

        Parameters
        ----------
        n_features : int
            Number of features of a row.
        n_levels : int
            Number of levels of latents.
        code_dim : int
            Number of dimensions of a latent.

        Returns
        -------
        network : torch.nn.Module
            With ``n_positions``, a list of the numbers of latents of each level, the top first, and
            four methods. ``seen(x)`` returns a list of what the encoder sees at each level of rows
            ``x`` of shape (n_samples, n_features), which are centred and scaled.
            ``latents(level, seen, said)`` returns a level's latents, of shape (n_samples,
            n_positions, code_dim), and ``said(level, vectors, said)`` what the decoder makes of the
            vectors in their place: the next level is given it, and ``said`` is None at the top.
            ``rows(said)`` returns the reconstructions from what the last level says.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement build(n_features, n_levels, code_dim) and "
            "return a torch.nn.Module."
        )


class _LayeredAutoencoder(Autoencoder):
    """A specification of a `LevelNetwork`: subclasses say what makes its layers."""

    def _parts(self, n_features, n_levels, code_dim):
        """Return what makes the layers."""
        raise NotImplementedError

    def _sizes(self, *names):
        """Return parameters as integers of Python, which PyTorch asks for."""
        return {name: int(getattr(self, name)) for name in names}

    def build(self, n_features, n_levels, code_dim):
        """Return a new network of an encoder and a decoder.

        Parameters
        ----------
        n_features : int
            Number of features of a row.
        n_levels : int
            Number of levels of latents.
        code_dim : int
            Number of dimensions of a latent.

        Returns
        -------
        network : torch.nn.Module
            Latents of a grid are in the order of its rows and columns.

        Raises
        ------
        ValueError
            If a parameter is wrong, or does not go with the others or with the rows.
        """
        validate_params(self)
        return LevelNetwork(self._parts(n_features, n_levels, code_dim), n_levels)


@known
class ConvAutoencoder(_LayeredAutoencoder):
    """Convolutions, with a latent for each place of a grid: for images.

    The encoder halves height and width with strided convolutions until a place of the grid stands
    for `downsampling` x `downsampling` pixels; the decoder goes the same way back. With several
    levels, each grid above has half the height and width of the one below it, rounded up.

    Parameters
    ----------
    image_shape : tuple of int
        ``(height, width)`` or ``(height, width, channels)``, channels last: rows of X are such
        images, flattened with ``X.reshape(len(X), -1)``.
    n_channels : int, default=64
        Width of the convolutions on the grid; each finer resolution has half as many. The cost
        grows with its square. 32 to 256.
    n_blocks : int, default=2
        Residual blocks on the grid, of the encoder and of the decoder each. Each widens what a
        latent sees, and what it draws, by a place each way. 1 to 4.
    downsampling : {2, 4, 8, 16}, default=4
        Pixels of a side of what a latent stands for; height and width must be multiples of it. 2
        for 8x8 images, 4 for 28x28 or 32x32, 8 for 64x64.

    See Also
    --------
    MLPAutoencoder : For rows without a layout.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvqdraw import VQVAE
    >>> from skvqdraw.autoencoders import ConvAutoencoder
    >>> X = load_digits().data
    >>> autoencoder = ConvAutoencoder(image_shape=(8, 8), n_channels=16, downsampling=2)
    >>> VQVAE(n_options=16, autoencoder=autoencoder, max_steps=20).fit(X).encode(X).shape
    (1797, 16)
    """

    _parameter_constraints: dict = {
        "image_shape": [ImageShape()],
        "n_channels": [Interval(Integral, 1, None, closed="left")],
        "n_blocks": [Interval(Integral, 0, None, closed="left")],
        "downsampling": [Options(Integral, {2, 4, 8, 16})],
    }

    def __init__(self, image_shape, *, n_channels=64, n_blocks=2, downsampling=4):
        self.image_shape = image_shape
        self.n_channels = n_channels
        self.n_blocks = n_blocks
        self.downsampling = downsampling

    def _parts(self, n_features, n_levels, code_dim):
        image_shape = check_image_shape(self.image_shape, n_features, self.downsampling)
        sizes = self._sizes("n_channels", "n_blocks", "downsampling")
        parts = ConvParts(tuple(map(int, image_shape)), n_levels, code_dim, **sizes)
        n_places, n_groups = parts.n_positions(0), math.gcd(self.n_channels, 8)
        if n_places * self.n_channels < _FEWEST_IN_A_NORM * n_groups:
            raise ValueError(
                f"n_channels must be at least {-(-8 * _FEWEST_IN_A_NORM // n_places)} where the "
                f"top level has few places, here {n_places}; got {self.n_channels}. Their norm "
                "would leave little: set more, or fewer levels."
            )
        return parts


@known
class MLPAutoencoder(_LayeredAutoencoder):
    """Fully connected layers, whose last units are cut into latents: for rows without a layout.

    With several levels, each level above has a quarter of the latents of the one below it, rounded
    up.

    Parameters
    ----------
    n_positions : int, default=8
        Number of latents of the finest level, and so of integers of a code. 4 to 64.
    hidden_size : int, default=256
        Units of each layer. 64 to 1024.
    n_blocks : int, default=2
        Residual blocks of two layers, of the encoder and of the decoder each. 1 to 4.

    See Also
    --------
    ConvAutoencoder : For images.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvqdraw import VQVAE
    >>> from skvqdraw.autoencoders import MLPAutoencoder
    >>> X = load_digits().data
    >>> autoencoder = MLPAutoencoder(n_positions=4, hidden_size=64)
    >>> VQVAE(n_options=16, autoencoder=autoencoder, max_steps=20).fit(X).encode(X).shape
    (1797, 4)
    """

    _parameter_constraints: dict = {
        "n_positions": [Interval(Integral, 1, None, closed="left")],
        "hidden_size": [Interval(Integral, _FEWEST_IN_A_NORM, None, closed="left")],
        "n_blocks": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(self, n_positions=8, *, hidden_size=256, n_blocks=2):
        self.n_positions = n_positions
        self.hidden_size = hidden_size
        self.n_blocks = n_blocks

    def _parts(self, n_features, n_levels, code_dim):
        sizes = self._sizes("n_positions", "hidden_size", "n_blocks")
        return MLPParts(n_features, n_levels, code_dim, **sizes)

"""Refiner specifications: which network proposes the options.

A specification is a small object of plain parameters, like a kernel of
`sklearn.gaussian_process.kernels`: `VQDRAW` clones it, tunes it as ``refiner__hidden_size`` and
calls ``build`` when it is fitted. For a network of your own, subclass `Refiner`.
"""

from functools import partial
from math import prod
from numbers import Integral

from sklearn.base import BaseEstimator

from ._sklearn import ImageShape, Interval, Numbers, StrOptions, VolumeShape, validate_params
from .files.json import known
from .nn.networks import ConvTrunk, FactoredNetwork, MLPTrunk
from .nn.paper import ARCHITECTURES, PaperNetwork
from .nn.sections import SectionNetwork

__all__ = [
    "ConvRefiner",
    "MLPRefiner",
    "PaperRefiner",
    "Refiner",
    "SectionRefiner",
    "SequenceRefiner",
    "VolumeRefiner",
]


class Refiner(BaseEstimator):
    """Base class of refiner specifications.

    A subclass stores its parameters in ``__init__``, unchanged, and implements ``build``.

    Examples
    --------
    A refiner that proposes the same moves wherever it is, which makes the codes those of a
    residual quantizer:

    >>> import torch
    >>> from skvqdraw import VQDRAW
    >>> from skvqdraw.nn import DenseRound
    >>> from skvqdraw.refiners import Refiner
    >>> class FixedMoves(torch.nn.Module):
    ...     def __init__(self, n_features, n_stages, n_options):
    ...         super().__init__()
    ...         self.moves = torch.nn.Parameter(torch.randn(n_stages, n_options, n_features))
    ...
    ...     def forward(self, x, stage):
    ...         return DenseRound(x[:, None] + self.moves[stage])
    >>> class FixedMovesRefiner(Refiner):
    ...     def build(self, n_features, n_stages, n_options):
    ...         return FixedMoves(n_features, n_stages, n_options)
    >>> X = torch.randn(100, 4).numpy()
    >>> vq = VQDRAW(n_stages=2, n_options=4, refiner=FixedMovesRefiner(), max_steps=10)
    >>> vq.fit(X).encode(X).shape
    (100, 2)
    """

    _parameter_constraints: dict = {}

    def build(self, n_features, n_stages, n_options, n_params=1):
        """Return a new refinement network.

        Parameters
        ----------
        n_features : int
            Number of features of a row.
        n_stages : int
            Number of stages that the network must serve.
        n_options : int
            Number of options to propose at each stage.
        n_params : int, default=1
            Number of parameters of a feature, which lie side by side. Only given where a loss has
            several: a refiner may do without.

        Returns
        -------
        network : torch.nn.Module
            Called as ``network(x, stage)`` with the parameters ``x`` of reconstructions, of shape
            (n_samples, n_features * n_params), counted from those of the mean, it returns a round:
            `skvqdraw.nn.DenseRound` or `skvqdraw.nn.FactoredRound`.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement build(n_features, n_stages, n_options) and "
            "return a torch.nn.Module."
        )


class _FactoredRefiner(Refiner):
    """A refiner of factored rounds: subclasses say what draws the basis."""

    _parameter_constraints: dict = {
        "basis_size": [Interval(Integral, 1, None, closed="left")],
        "stages_per_round": [Interval(Integral, 1, None, closed="left"), Numbers()],
        "rounds_per_trunk": [Interval(Integral, 1, None, closed="left")],
    }

    splits = 1  # of those that cut rows into regions, a parameter
    _n_axes = 0

    def _trunk_maker(self, n_features, n_params):
        """Return a function of the numbers of rounds and of regions that returns a trunk."""
        raise NotImplementedError

    def build(self, n_features, n_stages, n_options, n_params=1):
        """Return a new network of factored rounds.

        Parameters
        ----------
        n_features : int
            Number of features of a row.
        n_stages : int
            Number of stages that the network must serve.
        n_options : int
            Number of options to propose at each stage.
        n_params : int, default=1
            Number of parameters of a feature.

        Returns
        -------
        network : torch.nn.Module
            A table for the first stage, then rounds of `stages_per_round` stages.

        Raises
        ------
        ValueError
            If a parameter is out of its range or does not fit `n_features`.
        """
        validate_params(self)
        return FactoredNetwork(
            self._trunk_maker(n_features, n_params),
            n_features * n_params,
            n_stages,
            n_options,
            basis_size=self.basis_size,
            stages_per_round=_of_rounds(self.stages_per_round),
            n_regions=[split**self._n_axes for split in _of_rounds(self.splits)],
            rounds_per_trunk=self.rounds_per_trunk,
        )


def _of_rounds(number):
    """Return a number for each of the first rounds; the last is that of all others too."""
    return [number] if isinstance(number, Integral) else list(number)


class _ConvolutionalRefiner(_FactoredRefiner):
    """A refiner of convolutions on a grid of patches: subclasses say what the grid is."""

    _parameter_constraints: dict = {
        "n_channels": [Interval(Integral, 1, None, closed="left")],
        "n_blocks": [Interval(Integral, 0, None, closed="left")],
        "downsampling": [Interval(Integral, 1, None, closed="left")],
        "hidden_size": [Interval(Integral, 0, None, closed="left")],
        **_FactoredRefiner._parameter_constraints,
    }

    _dilation_growth = 1

    def _shape(self, n_features):
        """Return the sides of the grid and the channels of a place, or say what does not fit."""
        raise NotImplementedError

    def _trunk_maker(self, n_features, n_params):
        *sides, channels = self._shape(n_features)
        return partial(
            ConvTrunk,
            sides=sides,
            n_channels_in=channels,
            n_params=n_params,
            basis_size=self.basis_size,
            n_channels=self.n_channels,
            n_blocks=self.n_blocks,
            downsampling=self.downsampling,
            hidden_size=self.hidden_size,
            dilation_growth=self._dilation_growth,
            splits=_of_rounds(self.splits),
        )


@known
class MLPRefiner(_FactoredRefiner):
    """Multi-layer perceptron that mixes options from a few basis vectors: for tables.

    Each evaluation of the network serves `stages_per_round` stages: it draws `basis_size` vectors
    from the current reconstruction, and the options of these stages are learned mixtures of them.

    Parameters
    ----------
    hidden_size : int, default=128
        Width of the hidden layers. 64 to 1024; more is slower and over-fits small data.
    n_blocks : int, default=2
        Number of residual blocks of two layers each. 1 to 4.
    basis_size : int, default=24
        Number of basis vectors of a round. More make the options of a round more different from
        each other; the cost grows with its square. 8 to 64.
    stages_per_round : int or tuple of int, default=3
        Stages that one evaluation of the network serves. 1 adapts to every choice and is the most
        exact and the slowest; 5 is the fastest that is worth it. A tuple has a number for each
        evaluation; later ones are as its last.
    rounds_per_trunk : int, default=1
        Consecutive evaluations that share one network, told apart by learned masks. More make the
        model smaller, and its error larger.

    See Also
    --------
    ConvRefiner : For images.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvqdraw import VQDRAW
    >>> from skvqdraw.refiners import MLPRefiner
    >>> X = load_digits().data
    >>> vq = VQDRAW(n_stages=4, n_options=16, refiner=MLPRefiner(hidden_size=64), max_steps=20)
    >>> vq.fit(X).encode(X).shape
    (1797, 4)
    """

    _parameter_constraints: dict = {
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "n_blocks": [Interval(Integral, 0, None, closed="left")],
        **_FactoredRefiner._parameter_constraints,
    }

    def __init__(
        self,
        hidden_size=128,
        *,
        n_blocks=2,
        basis_size=24,
        stages_per_round=3,
        rounds_per_trunk=1,
    ):
        self.hidden_size = hidden_size
        self.n_blocks = n_blocks
        self.basis_size = basis_size
        self.stages_per_round = stages_per_round
        self.rounds_per_trunk = rounds_per_trunk

    def _trunk_maker(self, n_features, n_params):
        return partial(
            MLPTrunk,
            n_features=n_features * n_params,
            basis_size=self.basis_size,
            hidden_size=self.hidden_size,
            n_blocks=self.n_blocks,
        )


@known
class ConvRefiner(_ConvolutionalRefiner):
    """Convolutional network that mixes options from a few basis images: for images.

    The image is cut into patches of `downsampling` x `downsampling` pixels; residual blocks of
    3x3 convolutions work on the grid of patches, and each patch position emits its part of
    `basis_size` basis images. A fully connected layer that sees the whole image at once adds to
    them. The options of `stages_per_round` stages are learned mixtures of them.

    Parameters
    ----------
    image_shape : tuple of int
        ``(height, width)`` or ``(height, width, channels)``, channels last: rows of X are such
        images, flattened with ``X.reshape(len(X), -1)``.
    n_channels : int, default=64
        Width of the convolutions. The cost grows with its square. 32 to 256.
    n_blocks : int, default=1
        Number of residual blocks. Each widens what a patch can see by one patch each way. 1 for
        fits of a minute or two, 2 for longer ones.
    downsampling : int, default=4
        Side of a patch; height and width must be multiples of it. 2 for 8x8 images, 4 for 28x28
        or 32x32, 8 for 64x64.
    hidden_size : int, default=64
        Width of the fully connected layer beside the convolutions; 0 for none. It learns fast
        where things are at the same place in all images, and has most of the parameters:
        ``hidden_size * basis_size`` for each feature of a region and each network. 32 to 128; 16
        where thousands of features and many stages would make that too many.
    basis_size : int, default=24
        Number of basis images of a round. 8 to 64; the cost grows with its square.
    stages_per_round : int or tuple of int, default=5
        Stages that one evaluation of the network serves, for each region that it refines. Fewer
        adapt to more of the choices, and cost more: 5 for fits of a minute or two, 3 for longer
        ones. A tuple has a number for each evaluation; later ones are as its last.
    splits : int or tuple of int, default=1
        Parts that each side of the image is cut into: the stages of an evaluation refine the
        ``splits ** 2`` regions one after another, each for itself, and one network and one set of
        mixtures serve them all. 1 for the whole image, which is as good up to about 120 bits. A
        tuple has a number for each evaluation, as `stages_per_round`: with (1, 2, 4) the first
        refines the whole image, the second its quarters and all others its sixteenths. Longer codes
        are far better so, because distant parts of an image say little about each other's details.
        Each number must divide the next larger one and the sides of the grid of patches.
    rounds_per_trunk : int, default=1
        Consecutive evaluations that share one network, told apart by learned masks. More make the
        model smaller, and its error larger.

    See Also
    --------
    MLPRefiner : For rows without a layout.
    PaperRefiner : The networks of the VQ-DRAW paper.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvqdraw import VQDRAW
    >>> from skvqdraw.refiners import ConvRefiner
    >>> X = load_digits().data
    >>> refiner = ConvRefiner(image_shape=(8, 8), n_channels=32, downsampling=2)
    >>> VQDRAW(n_stages=4, n_options=16, refiner=refiner, max_steps=20).fit(X).encode(X).shape
    (1797, 4)

    A longer code, of 1 + 3 stages for the whole image and then 2 for each of its quarters:

    >>> refiner.set_params(stages_per_round=(3, 2), splits=(1, 2))
    ConvRefiner(downsampling=2, image_shape=(8, 8), n_channels=32, splits=(1, 2),
                stages_per_round=(3, 2))
    >>> VQDRAW(n_stages=12, n_options=16, refiner=refiner, max_steps=20).fit(X).encode(X).shape
    (1797, 12)
    """

    _parameter_constraints: dict = {
        "image_shape": [ImageShape()],
        **_ConvolutionalRefiner._parameter_constraints,
        "splits": [Interval(Integral, 1, None, closed="left"), Numbers()],
    }
    _later_params = {"hidden_size": 0, "splits": 1}
    _n_axes = 2

    def __init__(
        self,
        image_shape,
        *,
        n_channels=64,
        n_blocks=1,
        downsampling=4,
        hidden_size=64,
        basis_size=24,
        stages_per_round=5,
        splits=1,
        rounds_per_trunk=1,
    ):
        self.image_shape = image_shape
        self.n_channels = n_channels
        self.n_blocks = n_blocks
        self.downsampling = downsampling
        self.hidden_size = hidden_size
        self.basis_size = basis_size
        self.stages_per_round = stages_per_round
        self.splits = splits
        self.rounds_per_trunk = rounds_per_trunk

    def _shape(self, n_features):
        return check_image_shape(self.image_shape, n_features, self.downsampling)


@known
class SequenceRefiner(_ConvolutionalRefiner):
    """Convolutions along a row that mix options from a few basis rows: for series and text.

    Rows are sequences: series of one or more channels, tokens, spectra. Residual blocks of
    convolutions look along the row in both directions, each twice as far as the one before, and
    each position emits its part of `basis_size` basis rows. The options of `stages_per_round`
    stages are learned mixtures of them.

    Parameters
    ----------
    sequence_length : int
        Number of positions of a row.
    n_channels_in : int, default=1
        Number of features of each position, which lie side by side: rows of X are arrays of shape
        (sequence_length, n_channels_in), flattened with ``X.reshape(len(X), -1)``.
    n_channels : int, default=64
        Width of the convolutions. The cost grows with its square. 32 to 256.
    n_blocks : int, default=4
        Number of residual blocks; block i sees ``2**i`` positions further each way: 4 see 16
        patches of `downsampling` each way, 6 see 64.
    downsampling : int, default=1
        Number of positions that the network sees as one; `sequence_length` must be a multiple of
        it. More is faster and sees further, and changes less from one position to the next: 1 for
        text, 2 to 8 for smooth series.
    hidden_size : int, default=0
        Width of a fully connected layer beside the convolutions; 0 for none. It learns fast where
        things are at the same place in all rows, as in spectra, and has most of the parameters:
        ``hidden_size * basis_size * n_features`` for each network. 32 to 128.
    basis_size : int, default=24
        Number of basis rows of a round. 8 to 64; the cost grows with its square.
    stages_per_round : int or tuple of int, default=5
        Stages that one evaluation of the network serves. Fewer adapt to more of the choices, and
        cost more. A tuple has a number for each evaluation; later ones are as its last.
    rounds_per_trunk : int, default=1
        Consecutive evaluations that share one network, told apart by learned masks. More make the
        model smaller, and its error larger.

    See Also
    --------
    SectionRefiner : Writes rows section by section.
    MLPRefiner : For rows without a layout.
    ConvRefiner : For images.
    skvqdraw.losses.Categorical : The loss for tokens.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw import VQDRAW
    >>> from skvqdraw.refiners import SequenceRefiner
    >>> phase = np.random.default_rng(0).uniform(0, 7, (200, 1))
    >>> X = np.sin(np.arange(32) / 3 + phase)
    >>> vq = VQDRAW(n_stages=2, n_options=8, refiner=SequenceRefiner(32), max_steps=20)
    >>> vq.fit(X).encode(X).shape
    (200, 2)
    """

    _parameter_constraints: dict = {
        "sequence_length": [Interval(Integral, 1, None, closed="left")],
        "n_channels_in": [Interval(Integral, 1, None, closed="left")],
        **_ConvolutionalRefiner._parameter_constraints,
        "n_blocks": [Interval(Integral, 0, 30, closed="both")],
    }
    _dilation_growth = 2

    def __init__(
        self,
        sequence_length,
        n_channels_in=1,
        *,
        n_channels=64,
        n_blocks=4,
        downsampling=1,
        hidden_size=0,
        basis_size=24,
        stages_per_round=5,
        rounds_per_trunk=1,
    ):
        self.sequence_length = sequence_length
        self.n_channels_in = n_channels_in
        self.n_channels = n_channels
        self.n_blocks = n_blocks
        self.downsampling = downsampling
        self.hidden_size = hidden_size
        self.basis_size = basis_size
        self.stages_per_round = stages_per_round
        self.rounds_per_trunk = rounds_per_trunk

    def _shape(self, n_features):
        _check_sequence_length(self, n_features)
        length = self.sequence_length
        if length % self.downsampling:
            raise ValueError(
                f"sequence_length={length} must be a multiple of downsampling="
                f"{self.downsampling}; choose another downsampling or pad the sequences."
            )
        return length, self.n_channels_in


@known
class VolumeRefiner(_ConvolutionalRefiner):
    """Convolutions in three dimensions that mix options from a few basis volumes: for shapes.

    Rows are volumes of voxels: shapes, scans, simulations. They are cut into cubes of
    `downsampling` voxels a side; residual blocks of 3x3x3 convolutions work on the grid of cubes,
    and each of them emits its part of `basis_size` basis volumes. A fully connected layer that sees
    the whole volume at once adds to them. The options of `stages_per_round` stages are learned
    mixtures of them.

    Parameters
    ----------
    volume_shape : tuple of int
        ``(depth, height, width)`` or ``(depth, height, width, channels)``, channels last: rows of X
        are such volumes, flattened with ``X.reshape(len(X), -1)``.
    n_channels : int, default=64
        Width of the convolutions. The cost grows with its square. 32 to 128.
    n_blocks : int, default=1
        Number of residual blocks. Each widens what a cube can see by one cube each way.
    downsampling : int, default=4
        Side of a cube; depth, height and width must be multiples of it. The cost falls with its
        third power. 4 for 24 or 32 voxels a side, 2 for fewer than 16.
    hidden_size : int, default=16
        Width of the fully connected layer beside the convolutions; 0 for none. It learns fast where
        things are at the same place in all volumes, and has most of the parameters:
        ``hidden_size * basis_size`` for each voxel of a region and each network, which with tens of
        thousands of voxels are soon too many.
    basis_size : int, default=24
        Number of basis volumes of a round. 8 to 64; the cost grows with its square.
    stages_per_round : int or tuple of int, default=5
        Stages that one evaluation of the network serves, for each region that it refines. Fewer
        adapt to more of the choices, and cost more. A tuple has a number for each evaluation; later
        ones are as its last.
    splits : int or tuple of int, default=1
        Parts that each side of the volume is cut into: the stages of an evaluation refine the
        ``splits ** 3`` regions one after another, each for itself. 1 for the whole volume. A tuple
        has a number for each evaluation, as `stages_per_round`: with (1, 2) the first refines the
        whole, all others its eighths. Each number must divide the next larger one and the sides of
        the grid of cubes.
    rounds_per_trunk : int, default=1
        Consecutive evaluations that share one network, told apart by learned masks. More make the
        model smaller, and its error larger.

    See Also
    --------
    ConvRefiner : For images; it says more of `splits`.
    skvqdraw.losses.LogLoss : The loss for voxels that are full or empty.

    Examples
    --------
    >>> from skvqdraw import VQDRAW
    >>> from skvqdraw.datasets import make_shapes
    >>> from skvqdraw.losses import LogLoss
    >>> from skvqdraw.refiners import VolumeRefiner
    >>> shapes = make_shapes(200, side=8, random_state=0)
    >>> refiner = VolumeRefiner(shapes.volume_shape, n_channels=16, downsampling=2)
    >>> vq = VQDRAW(n_stages=4, n_options=16, loss=LogLoss(), refiner=refiner, max_steps=20)
    >>> vq.fit(shapes.data).encode(shapes.data).shape
    (200, 4)
    """

    _parameter_constraints: dict = {
        "volume_shape": [VolumeShape()],
        **_ConvolutionalRefiner._parameter_constraints,
        "splits": [Interval(Integral, 1, None, closed="left"), Numbers()],
    }
    _n_axes = 3

    def __init__(
        self,
        volume_shape,
        *,
        n_channels=64,
        n_blocks=1,
        downsampling=4,
        hidden_size=16,
        basis_size=24,
        stages_per_round=5,
        splits=1,
        rounds_per_trunk=1,
    ):
        self.volume_shape = volume_shape
        self.n_channels = n_channels
        self.n_blocks = n_blocks
        self.downsampling = downsampling
        self.hidden_size = hidden_size
        self.basis_size = basis_size
        self.stages_per_round = stages_per_round
        self.splits = splits
        self.rounds_per_trunk = rounds_per_trunk

    def _shape(self, n_features):
        axes, shape = ("depth", "height", "width"), self.volume_shape
        return _check_shape("volume", axes, shape, n_features, self.downsampling)


@known
class SectionRefiner(Refiner):
    """Perceptron that writes a sequence section by section, from its start to its end: for text.

    Each evaluation of the network refines the next section of a row, seeing what is written before
    it. So the first part of a code is the first part of a row, and the rest is as good as unknown:
    that is far more exact than a refinement of the whole where the parts of a row say little about
    each other, and says nothing about the row as a whole. One network serves all sections.

    Parameters
    ----------
    sequence_length : int
        Number of positions of a row.
    n_channels_in : int, default=1
        Number of features of each position, which lie side by side: rows of X are arrays of shape
        (sequence_length, n_channels_in), flattened with ``X.reshape(len(X), -1)``.
    context : int, default=12
        Number of positions before a section that the network sees. 4 to 32.
    lookahead : int, default=2
        Number of positions after a section that it refines along with it, to be refined again with
        the next one: where a section takes few bits, the others are not lost. 0 to 4.
    hidden_size : int, default=256
        Width of the hidden layers. 64 to 1024.
    n_blocks : int, default=1
        Number of residual blocks of two layers each. 0 to 4.
    basis_size : int, default=32
        Number of basis sections, of which options are mixtures. 16 to 64.
    embedding_size : int, default=16
        Numbers that stand for the log odds of all symbols of a feature: one matrix, the same at all
        positions, makes one of the other. It is for losses of more parameters than that. 8 to 32.
    stages_per_round : int, default=1
        Stages that one evaluation of the network serves: it writes a section in so many stages.
        2 is about twice as fast, and less exact.

    See Also
    --------
    SequenceRefiner : Refines whole rows at each stage.
    skvqdraw.losses.Categorical : The loss for tokens.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw import VQDRAW
    >>> from skvqdraw.losses import Categorical
    >>> from skvqdraw.refiners import SectionRefiner
    >>> X = np.random.default_rng(0).integers(0, 5, (200, 12))
    >>> refiner = SectionRefiner(12, context=4, hidden_size=32)
    >>> vq = VQDRAW(n_stages=6, n_options=16, loss=Categorical(), refiner=refiner, max_steps=20)
    >>> vq.fit(X).encode(X).shape
    (200, 6)
    """

    _parameter_constraints: dict = {
        "sequence_length": [Interval(Integral, 1, None, closed="left")],
        "n_channels_in": [Interval(Integral, 1, None, closed="left")],
        "context": [Interval(Integral, 0, None, closed="left")],
        "lookahead": [Interval(Integral, 0, None, closed="left")],
        "hidden_size": [Interval(Integral, 1, None, closed="left")],
        "n_blocks": [Interval(Integral, 0, None, closed="left")],
        "basis_size": [Interval(Integral, 1, None, closed="left")],
        "embedding_size": [Interval(Integral, 1, None, closed="left")],
        "stages_per_round": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        sequence_length,
        n_channels_in=1,
        *,
        context=12,
        lookahead=2,
        hidden_size=256,
        n_blocks=1,
        basis_size=32,
        embedding_size=16,
        stages_per_round=1,
    ):
        self.sequence_length = sequence_length
        self.n_channels_in = n_channels_in
        self.context = context
        self.lookahead = lookahead
        self.hidden_size = hidden_size
        self.n_blocks = n_blocks
        self.basis_size = basis_size
        self.embedding_size = embedding_size
        self.stages_per_round = stages_per_round

    def build(self, n_features, n_stages, n_options, n_params=1):
        """Return a new network.

        Parameters
        ----------
        n_features, n_stages, n_options : int
            What it must serve.
        n_params : int, default=1
            Number of parameters of a feature.

        Returns
        -------
        network : torch.nn.Module
            Its rounds change a section of a row.

        Raises
        ------
        ValueError
            If a parameter is out of its range or does not fit `n_features`.
        """
        validate_params(self)
        _check_sequence_length(self, n_features)
        return SectionNetwork(
            (self.sequence_length, self.n_channels_in),
            n_params,
            n_stages,
            n_options,
            context=self.context,
            lookahead=self.lookahead,
            hidden_size=self.hidden_size,
            n_blocks=self.n_blocks,
            basis_size=self.basis_size,
            embedding_size=self.embedding_size,
            stages_per_round=self.stages_per_round,
        )


@known
class PaperRefiner(Refiner):
    """The image networks of the VQ-DRAW paper, for like-for-like comparison.

    They write out every candidate at every stage, which costs memory and time: about 60 million
    multiply-adds per 28x28 image and stage for "mnist" with 64 options. With the stages, options
    and segments of the paper (see `skvqdraw.presets`) they have 0.54 ("mnist"), 7.2 ("svhn"), 89
    ("cifar10") and 38 million parameters ("celeba64").

    Parameters
    ----------
    image_shape : tuple of int or None, default=None
        ``(height, width)`` or ``(height, width, channels)``, channels last. Height and width must
        be multiples of 4, for "celeba64" of 8. None for the shape that the architecture was made
        for: (28, 28), (32, 32, 3), (32, 32, 3) or (64, 64, 3).
    architecture : {"mnist", "svhn", "cifar10", "celeba64"}, default="mnist"
        Which network, by the data set it was made for.
    segment_length : int or None, default=None
        New parameters every so many stages; None for one set. The paper has 5 for "svhn", 10 for
        "cifar10" and "celeba64".

    References
    ----------
    Alex Nichol, "VQ-DRAW: A Sequential Discrete VAE", arXiv:2003.01599, 2020.

    Examples
    --------
    >>> from skvqdraw.refiners import PaperRefiner
    >>> network = PaperRefiner().build(n_features=784, n_stages=10, n_options=64)
    >>> sum(p.numel() for p in network.parameters())
    537793
    """

    _parameter_constraints: dict = {
        "image_shape": [ImageShape(), None],
        "architecture": [StrOptions(set(ARCHITECTURES))],
        "segment_length": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(self, image_shape=None, *, architecture="mnist", segment_length=None):
        self.image_shape = image_shape
        self.architecture = architecture
        self.segment_length = segment_length

    def build(self, n_features, n_stages, n_options, n_params=1):
        """Return a new network.

        Parameters
        ----------
        n_features, n_stages, n_options : int
            What it must serve.
        n_params : int, default=1
            Number of parameters of a feature.

        Returns
        -------
        network : torch.nn.Module
            Its rounds are dense, one stage each.

        Raises
        ------
        ValueError
            If a parameter is out of its range or does not fit `n_features`.
        """
        validate_params(self)
        architecture = ARCHITECTURES[self.architecture]
        shape = architecture.image_shape if self.image_shape is None else self.image_shape
        height, width, channels = check_image_shape(shape, n_features, architecture.downsampling)
        # Parameters of a pixel are to a convolution as channels of it.
        shape = height, width, channels * n_params
        return PaperNetwork(self.architecture, shape, n_stages, n_options, self.segment_length)


def _check_sequence_length(refiner, n_features):
    """Say what does not fit."""
    length, n_channels_in = refiner.sequence_length, refiner.n_channels_in
    if length * n_channels_in != n_features:
        raise ValueError(
            f"sequence_length={length} with n_channels_in={n_channels_in} has "
            f"{length * n_channels_in} values; X has {n_features} features. Give the length "
            "of the sequences that the rows of X are."
        )


def check_image_shape(image_shape, n_features, downsampling):
    """Return (height, width, channels), or say what does not fit."""
    return _check_shape("image", ("height", "width"), image_shape, n_features, downsampling)


def _check_shape(kind, axes, shape, n_features, downsampling):
    """Return a shape with its channels, or say what does not fit."""
    *sides, channels = shape if len(shape) > len(axes) else (*shape, 1)
    n_values = prod(sides) * channels
    if n_values != n_features:
        raise ValueError(
            f"{kind}_shape={shape} has {n_values} values; X has {n_features} features. Give the "
            f"shape of the {kind}s that the rows of X are."
        )
    if any(side % downsampling for side in sides):
        raise ValueError(
            f"{', '.join(axes[:-1])} and {axes[-1]} of {kind}_shape={shape} must be multiples of "
            f"{downsampling}, the downsampling; choose another downsampling or pad the {kind}s."
        )
    return *sides, channels

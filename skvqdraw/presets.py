"""Settings for four image data sets: each function returns an unfitted `VQDRAW`.

Rows are images flattened with ``X.reshape(len(X), -1)``, channels last. Change what you like with
``set_params``; what is not named here is at its default.

With ``paper=True`` the settings are those of the VQ-DRAW paper, as its code and logs have them:
network, stages, options, segments, greedy choice, batch size, number of steps, learning rate and
weight of the options not chosen. Its image shapes, numbers of bits and networks are exact. The
training differs in four ways:

- The learning rate warms up over 5 % of the steps and then falls along a cosine. The original has
  no warm-up; its rate falls along a line to 0 (MNIST, SVHN) or is constant (CIFAR-10, CelebA).
- Gradients are clipped at norm 1; Adam has an epsilon of 1e-8, not 1e-5.
- Data are centred feature by feature and divided by one scalar, instead of by fixed constants.
- A step of 512 rows in parts takes the mean of the parts' gradients, the original their sum, which
  Adam evens out.

Without it, `ConvRefiner` spends the same number of bits in a fraction of the time. What that
reaches is in the documentation, but for SVHN, which has not been measured.
"""

from ._vqdraw import VQDRAW
from .refiners import ConvRefiner, PaperRefiner

__all__ = ["celeba64", "cifar10", "mnist", "svhn"]

_N_OPTIONS = 64
# What a layer that sees a whole region has most of is parameters: few are enough.
_COLOUR = {"n_channels": 96, "n_blocks": 2, "hidden_size": 16, "basis_size": 32}
# From the whole image to its 4, then its 16 parts, and at the end once more the whole of it.
_OF_600_BITS = {"stages_per_round": (5, 2, 3, 1, 2, 1), "splits": (1, 2, 2, 4, 4, 1)}


def mnist(paper=False):
    """Return settings for MNIST: 28x28 grey images in 60 bits.

    Parameters
    ----------
    paper : bool, default=False
        Whether to give the settings of the paper, 50,000 steps of 32 rows, instead of
        `ConvRefiner` with 10,000 steps of 64 rows.

    Returns
    -------
    vq : VQDRAW
        An unfitted estimator of 10 stages of 64 options.

    See Also
    --------
    skvqdraw.datasets.fetch_mnist : The data.

    Examples
    --------
    >>> from skvqdraw import presets
    >>> presets.mnist().refiner
    ConvRefiner(image_shape=(28, 28), n_blocks=2, stages_per_round=3)
    >>> vq = presets.mnist(paper=True).set_params(max_time=3600)
    >>> vq.n_stages, vq.batch_size, vq.max_steps
    (10, 32, 50000)
    """
    if paper:
        return _of_paper(PaperRefiner(architecture="mnist"), 10, batch_size=32, max_steps=50_000)
    refiner = ConvRefiner((28, 28), n_blocks=2, stages_per_round=3)
    return VQDRAW(10, _N_OPTIONS, refiner=refiner, max_steps=10_000)


def svhn(paper=False):
    """Return settings for SVHN: 32x32 colour images in 120 bits. Not measured on SVHN.

    Parameters
    ----------
    paper : bool, default=False
        Whether to give the settings of the paper, 4,375 steps of 512 rows in 16 parts, 20 stages
        of 64 options each, instead of `ConvRefiner` with 10,000 steps of 64 rows.

    Returns
    -------
    vq : VQDRAW
        An unfitted estimator of 15 stages of 256 options.

    Examples
    --------
    >>> from skvqdraw import presets
    >>> presets.svhn(paper=True).refiner
    PaperRefiner(architecture='svhn', segment_length=5)
    """
    if paper:
        return _of_paper(
            PaperRefiner(architecture="svhn", segment_length=5),
            20,
            batch_size=512,
            gradient_accumulation=16,
            max_steps=4_375,
        )
    refiner = ConvRefiner((32, 32, 3), **_COLOUR, stages_per_round=(6, 2), splits=(1, 2))
    return VQDRAW(15, 256, refiner=refiner, batch_size=64, max_steps=10_000)


def cifar10(paper=False):
    """Return settings for CIFAR-10: 32x32 colour images in 600 bits.

    After 45 minutes on two cores (5,055 steps), the squared error of test images is 0.0028; the
    paper's log ends at 0.0030.

    Parameters
    ----------
    paper : bool, default=False
        Whether to give the settings of the paper, 2,175 steps of 512 rows in 16 parts (four days
        on the GPU of its author), 100 stages of 64 options each, instead of `ConvRefiner` with
        6,000 steps of 32 rows.

    Returns
    -------
    vq : VQDRAW
        An unfitted estimator of 75 stages of 256 options.

    Examples
    --------
    >>> from skvqdraw import presets
    >>> vq = presets.cifar10()
    >>> vq.n_stages, vq.refiner.splits
    (75, (1, 2, 2, 4, 4, 1))
    """
    if paper:
        return _of_hundred_stages("cifar10", max_steps=2_175)
    refiner = ConvRefiner((32, 32, 3), **_COLOUR, **_OF_600_BITS)
    return VQDRAW(75, 256, refiner=refiner, batch_size=32, max_steps=6_000)


def celeba64(paper=False):
    """Return settings for CelebA: 64x64 colour images of faces in 600 bits.

    After 15 minutes on two cores (397 steps, on 8,000 faces), the squared error of others is
    0.0053.

    Parameters
    ----------
    paper : bool, default=False
        Whether to give the settings of the paper, 2,262 steps of 512 rows in 16 parts (five days
        on the GPU of its author), 100 stages of 64 options each, instead of `ConvRefiner` with
        6,000 steps of 32 rows.

    Returns
    -------
    vq : VQDRAW
        An unfitted estimator of 75 stages of 256 options.

    Examples
    --------
    >>> from skvqdraw import presets
    >>> vq = presets.celeba64()
    >>> vq.refiner.image_shape, vq.refiner.downsampling
    ((64, 64, 3), 8)
    """
    if paper:
        return _of_hundred_stages("celeba64", max_steps=2_262)
    refiner = ConvRefiner((64, 64, 3), downsampling=8, **_COLOUR, **_OF_600_BITS)
    return VQDRAW(75, 256, refiner=refiner, batch_size=32, max_steps=6_000)


def _of_hundred_stages(architecture, max_steps):
    """Return an estimator of the paper's 600 bits."""
    return _of_paper(
        PaperRefiner(architecture=architecture, segment_length=10),
        100,
        batch_size=512,
        gradient_accumulation=16,
        gradient_checkpointing=True,
        max_steps=max_steps,
    )


def _of_paper(refiner, n_stages, **params):
    """Return an estimator with what all experiments of the paper have in common."""
    return VQDRAW(
        n_stages,
        _N_OPTIONS,
        refiner=refiner,
        beam_size=1,
        round_beam_size=1,
        aux_weight=0.01,
        learning_rate=1e-3,
        weight_decay=0.0,
        precision="float32",
        **params,
    )

"""Saving and loading models."""

from collections.abc import Sequence

from . import _cluster_boosting, _vqdraw, _vqvae  # noqa: F401  what files may name
from .files import model
from .files.json import KNOWN
from .priors import AutoregressivePrior, MarginalPrior, MarkovPrior  # noqa: F401  these, too

__all__ = ["SKOPS_TRUSTED", "load"]

SKOPS_TRUSTED = sorted(f"{cls.__module__}.{cls.__name__}" for cls in KNOWN.values())


def load(path, *, allow=()):
    """Read a model that ``save`` wrote, on any machine.

    The file may come from somebody you do not trust: nothing in it is executed, and what it says
    is checked before it costs memory.

    Parameters
    ----------
    path : str or path-like
        The file.
    allow : sequence of type, default=()
        Classes of your own that the file may name: refiners, losses, estimators. They are given
        the parameters that it says; to bound what they make of these is up to them.

    Returns
    -------
    estimator : VQDRAW, VQVAE, ClusterBoosting, a prior or a class in `allow`
        The fitted estimator: same parameters, same codes. The memory of `VQDRAW.partial_fit` (its
        optimizer) is not saved; training can go on, with a fresh one.

    Raises
    ------
    FormatError
        If the file is not a model that this version reads, with what is wrong in it.
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If two classes in `allow` have one name, or one has that of a class of this library.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import skvqdraw
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> vq = skvqdraw.VQDRAW(n_stages=2, n_options=4, max_steps=5).fit(X)
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> vq.save(path)
    >>> bool((skvqdraw.load(path).encode(X) == vq.encode(X)).all())
    True
    """
    if not isinstance(allow, Sequence) or not all(isinstance(cls, type) for cls in allow):
        raise TypeError(f"allow must be a list of classes; got {allow!r}.")
    return model.load(path, allow)

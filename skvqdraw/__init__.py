"""Discrete, sequential representation learning with scikit-learn's API."""

from ._cluster_boosting import ClusterBoosting
from ._codes import pack_codes, unpack_codes
from ._version import __version__ as __version__
from ._vqdraw import VQDRAW
from ._vqvae import VQVAE
from .io import load
from .pretrained import load_pretrained

__all__ = [
    "VQDRAW",
    "VQVAE",
    "ClusterBoosting",
    "load",
    "load_pretrained",
    "pack_codes",
    "unpack_codes",
]

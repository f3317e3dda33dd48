"""Discrete, sequential representation learning with scikit-learn's API."""

from ._cluster_boosting import ClusterBoosting
from ._codes import pack_codes, unpack_codes
from ._vqdraw import VQDRAW
from .io import load
from .pretrained import load_pretrained

__all__ = ["VQDRAW", "ClusterBoosting", "load", "load_pretrained", "pack_codes", "unpack_codes"]

__version__ = "0.1.0"

"""Rows of X a piece at a time: X may be a memory map, larger than memory."""

import mmap
from contextlib import suppress

import numpy as np

# Rows that are coded at a time, always, the last tile filled up: a product of matrices of another
# shape may round another way, flip a near tie and with it the rest of the code. So codes do not
# depend on how rows were batched.
TILE_ROWS = 256
# Values of a piece, about: there may be several copies of it, in float64.
_PIECE_VALUES = 2**20


def tiles(n_rows):
    """Return slices of TILE_ROWS rows, the last one of what is left."""
    return [slice(start, start + TILE_ROWS) for start in range(0, n_rows, TILE_ROWS)]


def pieces(n_rows, n_features):
    """Return slices of some tiles' rows, for what wants no tiles and is faster with more."""
    size = max(_PIECE_VALUES // n_features // TILE_ROWS, 1) * TILE_ROWS
    return [slice(start, start + size) for start in range(0, n_rows, size)]


def take_rows(X, rows):
    """Return X[rows]. Of a memory map, all are asked for before the first is waited for."""
    owner = X
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and X.ndim == 2 and X.strides[1] == X.itemsize:
        start = X.ctypes.data - np.frombuffer(owner, np.uint8).ctypes.data
        with suppress(OSError, AttributeError):  # a hint, which not every system takes
            for first in start + np.sort(rows) * X.strides[0]:
                page = first - first % mmap.PAGESIZE
                length = first - page + X.shape[1] * X.itemsize
                owner.madvise(mmap.MADV_WILLNEED, int(page), int(length))
    return X[rows]

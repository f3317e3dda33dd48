"""Rows of X a piece at a time: X may be a memory map, larger than memory."""

import mmap
from contextlib import suppress

import numpy as np

# Rows that are coded at a time, and rows of every product of matrices in cluster boosting.
TILE_ROWS = 256
# Values of a piece, about: there may be several copies of it, in float64.
_PIECE_VALUES = 2**20


def tiles(n_rows):
    """Return slices of TILE_ROWS rows, the last one of what is left."""
    return [slice(start, start + TILE_ROWS) for start in range(0, n_rows, TILE_ROWS)]


def pieces(n_rows, n_features, *, whole_tiles=True):
    """Return slices of some tiles' rows, for what wants no tiles and is faster with more.

    Without `whole_tiles`, they have less than a tile's where rows are wide.
    """
    size = max(_PIECE_VALUES // n_features, 1)
    if whole_tiles or size > TILE_ROWS:
        size = max(size // TILE_ROWS, 1) * TILE_ROWS
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


def dtype_name(dtype):
    """Return the name of a dtype of numbers that every machine has: float64 for longer floats."""
    return "float64" if dtype.kind == "f" and dtype.itemsize > 8 else dtype.name


def range_of(X):
    """Return the least and the largest number of X as floats."""
    found = [(X[piece].min(), X[piece].max()) for piece in pieces(*X.shape, whole_tiles=False)]
    least, largest = zip(*found, strict=True)
    return float(min(least)), float(max(largest))


def float_dtype(dtype):
    """Return float32 or float64, the least that holds numbers of a dtype; float64 for long ones."""
    return np.dtype(np.float64 if np.result_type(dtype, np.float32).itemsize > 4 else np.float32)


def unit_weights(sample_weight):
    """Return weights in float64 that are 1 on average, where they are not 0."""
    weight = sample_weight.astype(np.float64) / sample_weight.max()  # whose sum is finite
    return weight / weight[weight > 0].mean()


def weighted_mean(X, sample_weight):
    """Return the mean of each feature in float64; of a constant one it is that number, exactly."""
    first_D = X[np.flatnonzero(sample_weight)[0]].astype(np.float64)
    total_D = np.zeros(X.shape[1])
    for piece in pieces(*X.shape, whole_tiles=False):
        # From the first row on: what is the same in all rows leaves nothing to be rounded.
        total_D += (sample_weight[piece] @ (X[piece] - first_D)).astype(np.float64)
    return first_D + total_D / sample_weight.sum()

"""Products of rows with a matrix, to the same bits whatever is computed beside them."""

import numpy as np
import torch

from ._rows import TILE_ROWS, tiles

# Matrices of a multiple of so many rows and columns round alike wherever a row lies.
_FULL = 16


def product(rows_ND, matrix_DK):
    """Return rows times a matrix, (N, K), in blocks of TILE_ROWS rows, the last one filled up.

    A product of matrices of another shape may round another way, flip a near tie and with it the
    rest of a code. This way what comes of a row does not depend on the rows beside it: all else
    that is done to rows is done to each of them alone. Nor does it depend on the row's place in a
    block: it would with numpy's products on CPUs without AVX-512, and with PyTorch's where a matrix
    has few rows or columns.
    """
    dtype = np.result_type(rows_ND, matrix_DK)
    matrix = torch.from_numpy(_filled(matrix_DK.T, _FULL, dtype)).T
    products_NK = np.empty((len(rows_ND) + -len(rows_ND) % TILE_ROWS, matrix.shape[1]), dtype)
    with torch.autocast("cpu", enabled=False):
        for tile in tiles(len(rows_ND)):
            rows = torch.from_numpy(_filled(rows_ND[tile], TILE_ROWS, dtype))
            torch.mm(rows, matrix, out=torch.from_numpy(products_NK[tile]))
    return products_NK[: len(rows_ND), : matrix_DK.shape[1]]


def _filled(matrix, n_rows, dtype):
    """Return a matrix with zeros to a multiple of n_rows, and to a multiple of _FULL columns."""
    missing = -matrix.shape[0] % n_rows, -matrix.shape[1] % _FULL
    if missing == (0, 0) and matrix.flags.writeable:
        return np.ascontiguousarray(matrix, dtype)
    filled = np.zeros((matrix.shape[0] + missing[0], matrix.shape[1] + missing[1]), dtype)
    filled[: matrix.shape[0], : matrix.shape[1]] = matrix
    return filled

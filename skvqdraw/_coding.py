"""Rows of X to codes and back, one tile of rows in memory at a time."""

from contextlib import nullcontext

import numpy as np
import torch

from .nn import sequential
from .nn.losses import SquaredError


def coded_tiles(network, preparation, X, n_stages, *, rows=None, bf16=False):
    """Yield (slice, target_ND, codes_NS, x_ND) of X, or of the rows of it that are named.

    The slice says which rows the tile is; tensors are on the network's device.
    """
    device = next(network.eval().parameters()).device
    for tile in _tiles(len(X) if rows is None else len(rows)):
        target_ND = preparation.forward(X[tile if rows is None else rows[tile]]).to(device)
        with torch.inference_mode(), _full_float32(device):
            codes_NS, x_ND = sequential.encode(
                network, SquaredError(), target_ND, n_stages, bf16=bf16
            )
        yield tile, target_ND, codes_NS, x_ND


def decoded_tiles(network, codes, n_features, *, bf16=False):
    """Yield (slice, x_ND) of codes or prefixes."""
    device = next(network.eval().parameters()).device
    for tile in _tiles(len(codes)):
        codes_NS = torch.from_numpy(codes[tile].astype(np.int64)).to(device)
        with torch.inference_mode(), _full_float32(device):
            x_ND = sequential.decode(network, codes_NS, n_features, bf16=bf16)
        yield tile, x_ND


def _full_float32(device):
    """On CUDA, convolutions are TF32 by default: ten bits of mantissa, and in no fixed order."""
    if device.type != "cuda":
        return nullcontext()
    return torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )


def _tiles(n_rows):
    size = sequential.TILE_ROWS
    return (slice(start, start + size) for start in range(0, n_rows, size))

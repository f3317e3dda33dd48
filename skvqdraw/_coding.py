"""Rows of X to codes and back, one tile of rows in memory at a time."""

from contextlib import contextmanager

import numpy as np
import torch

from .nn.losses import SquaredError
from .nn.sequential import TILE_ROWS, Coder


def coded_tiles(network, preparation, X, n_stages, *, rows=None, **coder_options):
    """Yield (slice, target_ND, codes_NS, x_ND) of X, or of the rows of it that are named.

    The slice says which rows the tile is; tensors are on the network's device.
    """
    device = next(network.eval().parameters()).device
    with _exact(device):
        coder = Coder(network, SquaredError(), X.shape[1], **coder_options)
    for tile in _tiles(len(X) if rows is None else len(rows)):
        target_ND = preparation.forward(X[tile if rows is None else rows[tile]]).to(device)
        with _exact(device):
            codes_NS, x_ND = coder.encode(target_ND, n_stages)
        yield tile, target_ND, codes_NS, x_ND


def decoded_tiles(network, codes, n_features, **coder_options):
    """Yield (slice, x_ND) of codes or prefixes."""
    device = next(network.eval().parameters()).device
    with _exact(device):
        coder = Coder(network, SquaredError(), n_features, **coder_options)
    for tile in _tiles(len(codes)):
        codes_NS = torch.from_numpy(codes[tile].astype(np.int64)).to(device)
        with _exact(device):
            x_ND = coder.decode(codes_NS)
        yield tile, x_ND


@contextmanager
def _exact(device):
    """No gradients; on CUDA no TF32, which convolutions use by default, in no fixed order."""
    with torch.inference_mode():
        if device.type != "cuda":
            yield
            return
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ):
            yield


def _tiles(n_rows):
    return (slice(start, start + TILE_ROWS) for start in range(0, n_rows, TILE_ROWS))

"""Rows of X to codes and back, one tile of rows in memory at a time."""

import threading
import warnings
from contextlib import contextmanager

import numpy as np
import torch

from ._device import is_out_of_memory
from .nn.losses import SquaredError
from .nn.sequential import TILE_ROWS, Coder
from .training.batches import take_rows


def coded_tiles(network, preparation, X, n_stages, *, rows=None, **coder_options):
    """Yield (slice, target_ND, codes_NS, x_ND) of X, or of the rows of it that are named.

    The slice says which rows the tile is; tensors are on the network's device. Where memory does
    not suffice, there is a warning, and the network sees fewer rows at a time.
    """
    coder = _FrugalCoder(network, SquaredError(), X.shape[1], **coder_options)
    for tile in _tiles(len(X) if rows is None else len(rows)):
        some = X[tile] if rows is None else take_rows(X, rows[tile])
        target_ND = preparation.forward(some).to(coder.device)
        yield tile, target_ND, *coder.call("encode", target_ND, n_stages)


def decoded_tiles(network, codes, n_features, *, bf16=False):
    """Yield (slice, x_ND) of codes or prefixes; with little memory as `coded_tiles`."""
    coder = _FrugalCoder(network, SquaredError(), n_features, bf16=bf16)
    for tile in _tiles(len(codes)):
        codes_NS = torch.from_numpy(codes[tile].astype(np.int64)).to(coder.device)
        yield tile, coder.call("decode", codes_NS)


class _FrugalCoder:
    """A `Coder`, and one of half as many rows whenever memory has run out."""

    def __init__(self, network, *arguments, **options):
        self.device = next(network.eval().parameters()).device
        self.arguments = (network, *arguments)
        self.options = options
        self.coder = None
        self.tile_rows = self.known_tile_rows = TILE_ROWS

    def call(self, method, *arguments):
        """Return what a method of `Coder` returns."""
        while (result := self._try(method, *arguments)) is None:
            # Here and not where the error is caught: that holds on to the tensors of its attempt.
            self.coder = None
            self.tile_rows //= 2
        if self.tile_rows < self.known_tile_rows:
            self.known_tile_rows = self.tile_rows
            warnings.warn(
                f"Out of memory on {self.device}: from here on, {self.tile_rows} rows are coded "
                f"at a time instead of {TILE_ROWS}. The last bit of a sum may differ from what it "
                "is with more memory, and with it a code where two options are as good as equal.",
                stacklevel=6,
            )
        return result

    def _try(self, method, *arguments):
        """Return the result, or None if memory does not suffice for so many rows."""
        try:
            with _exact(self.device):
                if self.coder is None:
                    self.coder = Coder(*self.arguments, **self.options, tile_rows=self.tile_rows)
                return getattr(self.coder, method)(*arguments)
        except (MemoryError, RuntimeError) as error:
            fewest = self.options.get("beam_size", 1)
            if not is_out_of_memory(error) or self.tile_rows // 2 < fewest:
                raise
        return None


@contextmanager
def _exact(device):
    """No gradients; on CUDA no TF32, which convolutions use by default, in no fixed order."""
    with torch.inference_mode():
        if device.type != "cuda":
            yield
            return
        with _exact_convolutions:
            yield


class _ExactConvolutions:
    """Sets cuDNN's flags, which are the process's: by the first thread to come, for all.

    If each thread set them and set them back, one that leaves would undo those of another.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.n_inside = 0

    def __enter__(self):
        with self.lock:
            if self.n_inside == 0:
                self.flags = torch.backends.cudnn.flags(
                    enabled=True, benchmark=False, deterministic=True, allow_tf32=False
                )
                self.flags.__enter__()
            self.n_inside += 1

    def __exit__(self, *exception):
        with self.lock:
            self.n_inside -= 1
            if self.n_inside == 0:
                self.flags.__exit__(None, None, None)


_exact_convolutions = _ExactConvolutions()


def _tiles(n_rows):
    return (slice(start, start + TILE_ROWS) for start in range(0, n_rows, TILE_ROWS))

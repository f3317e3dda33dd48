"""Rows of X to codes and back, one tile of rows in memory at a time."""

from contextlib import contextmanager

import numpy as np
import torch

from ._device import is_out_of_memory, undisturbed
from ._fork import Lock
from ._rows import TILE_ROWS, take_rows
from ._warn import warn
from .nn.sequential import Coder


def coded_tiles(network, preparation, X, n_stages, *, rows=None, **coder_options):
    """Yield (slice, target_ND, codes_NS, x_NP) of X, or of the rows of it that are named.

    The slice says which rows the tile is; tensors are on the network's device. Where memory does
    not suffice, there is a warning, and tiles have fewer rows from there on.
    """

    def code(coder, tile):
        some = X[tile] if rows is None else take_rows(X, rows[tile])
        target_ND = preparation.forward(some).to(coder.device)
        return target_ND, *coder.encode(target_ND, n_stages)

    coders = _Coders(network, preparation, **coder_options)
    for tile, coded in coders.in_tiles(code, len(X) if rows is None else len(rows)):
        yield tile, *coded


def decoded_tiles(network, preparation, codes, *, bf16=False):
    """Yield (slice, x_NP) of codes or prefixes; tiles as of `coded_tiles`."""

    def decode(coder, tile):
        codes_NS = torch.from_numpy(codes[tile].astype(np.int64)).to(coder.device)
        return coder.decode(codes_NS)

    coders = _Coders(network, preparation, bf16=bf16)
    yield from coders.in_tiles(decode, len(codes))


def propose_in_tiles(network, preparation, codes, X, *, bf16=False):
    """Write the proposals of prefixes, rows in the units of X, into an array (N, K, D)."""

    def propose(coder, tile):
        codes_NS = torch.from_numpy(codes[tile].astype(np.int64)).to(coder.device)
        for option, x_NP in enumerate(coder.proposals(codes_NS, X.shape[1])):
            X[tile, option] = preparation.inverse(x_NP)
        return tile

    coders = _Coders(network, preparation, bf16=bf16)
    for _ in coders.in_tiles(propose, len(codes)):
        pass


class _Coders:
    """A `Coder`, and one of half as many rows whenever memory has run out."""

    def __init__(self, network, preparation, **options):
        self.arguments = (network.eval(), preparation.objective, len(preparation.mean_D))
        self.options = options
        self.tile_rows, self.coder = TILE_ROWS, None

    def in_tiles(self, function, n_rows):
        """Yield (slice, what the function of a coder and a slice returns) of all rows."""
        start, known_tile_rows = 0, TILE_ROWS
        while start < n_rows:
            tile = slice(start, min(start + self.tile_rows, n_rows))
            result = self._try(function, tile)
            if result is None:
                # Here and not where the error is caught: that holds on to the attempt's tensors.
                self.coder = None
                self.tile_rows //= 2
                continue
            if self.tile_rows < known_tile_rows:
                known_tile_rows = self.tile_rows
                self._warn()
            yield tile, result
            start = tile.stop

    def _try(self, function, tile):
        """Return the result, or None if memory does not suffice for so many rows."""
        try:
            with _exact(next(self.arguments[0].parameters()).device):
                if self.coder is None:
                    self.coder = Coder(*self.arguments, **self.options, tile_rows=self.tile_rows)
                return function(self.coder, tile)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or self.tile_rows // 2 < self._n_hypotheses:
                raise
        return None

    @property
    def _n_hypotheses(self):
        return self.options.get("beam_size", 1)

    def _warn(self):
        n_rows = self.tile_rows // self._n_hypotheses
        warn(
            f"Out of memory on {self.coder.device}: from here on, {n_rows} rows are coded at a "
            f"time instead of {TILE_ROWS // self._n_hypotheses}. The last bit of a sum may differ "
            "from what it is with more memory, and with it a code where two options are as good "
            "as equal."
        )


@contextmanager
def _exact(device):
    """No gradients; on CUDA no TF32, which convolutions use by default, in no fixed order."""
    with undisturbed(device), torch.inference_mode():
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
        self.lock = Lock()
        self.n_inside = 0

    def __enter__(self):
        with self.lock:
            if self.n_inside == 0:
                self.flags = self._exchange(False, True, "ieee")
            self.n_inside += 1

    def __exit__(self, *exception):
        with self.lock:
            self.n_inside -= 1
            if self.n_inside == 0:
                self._exchange(*self.flags)

    @staticmethod
    def _exchange(benchmark, deterministic, precision):
        """Set flags and return what they were. cudnn.flags() fails where `conv` was set before."""
        cudnn = torch.backends.cudnn
        flags = cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision
        cudnn.benchmark, cudnn.deterministic = benchmark, deterministic
        cudnn.conv.fp32_precision = precision
        return flags


_exact_convolutions = _ExactConvolutions()

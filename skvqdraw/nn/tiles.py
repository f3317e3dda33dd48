"""Rows a tile at a time: in threads of their own, whatever memory there is, and the same bits.

Axes: N samples, D features, P parameters of all features.
"""

from functools import partial
from threading import Lock
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F

from .._device import exact, is_out_of_memory
from .._rows import TILE_ROWS, take_rows
from .._threads import count_threads, in_order
from .._warn import warn
from .rounds import losses_heard

# Rows of more parameters than this have tiles of half as many: each thread has one in memory, and
# what a network draws of it is soon more than a cache holds.
_WIDE = 512
# Rows of tiles on a CPU where there are fewer to each thread.
_FEWER_ROWS = (2, 4, 8, 16, 32, 64, 128)
# How many values must be the same to the bit before smaller tiles are taken for whole ones: of sums
# in another order every third or so differs in the last bit.
_ENOUGH_VALUES = 100


class Tiles:
    """Rows of X to codes and back.

    On a CPU tiles are coded in several threads, each of which computes alone. Where memory does not
    suffice, there is a warning, and tiles have fewer rows from there on. Tensors are on the
    network's device.

    A subclass implements `_new_coder`, and its methods hand functions of a coder and a slice to
    `_in_tiles`.

    Parameters
    ----------
    network : torch.nn.Module
        Set to evaluation.
    preparation : Preparation
        What leads to and from it.
    n_jobs : int or None, default=None
        Threads, as in joblib; None for as many as PyTorch may use.
    options
        Of the coder.
    """

    def __init__(self, network, preparation, *, n_jobs=None, **options):
        self.preparation = preparation
        self.network, self.options = network, options
        if network.training:
            network.eval()
        self.device = next(network.parameters()).device
        self.beam_size = options.get("beam_size", 1)
        on_cpu = self.device.type == "cpu"
        self.n_threads = count_threads(n_jobs) if on_cpu else 0
        wide = on_cpu and preparation.width > _WIDE
        self.tile_rows = self.most_rows = TILE_ROWS // 2 if wide else TILE_ROWS
        self.fewer_rows = [size for size in _FEWER_ROWS if on_cpu and size < self.tile_rows]
        self.coders, self.lock = {}, Lock()

    def decoded(self, codes):
        """Yield (slice, x_NP) of codes or prefixes."""

        def decode(coder, tile):
            return (coder.decode(self._codes(coder, codes, tile)),)

        for tile, (x_NP,) in self._in_tiles(decode, *codes.shape):
            yield tile, x_NP

    def _new_coder(self, tile_rows):
        """Return a `TileCoder` of tiles of so many rows."""
        raise NotImplementedError

    def _targets(self, coder, X, tile, rows=None):
        """Return a tile of X, or of the rows of it that are named, as the network wants them."""
        some = X[tile] if rows is None else take_rows(X, rows[tile])
        return coder.filled(self.preparation.forward(some).to(self.device))

    def _codes(self, coder, codes, tile):
        """Return a tile of codes on the device."""
        return coder.filled(torch.from_numpy(codes[tile].astype(np.int64)).to(self.device))

    def _in_tiles(self, function, n_rows, n_stages):
        """Yield (slice, tensors that the function of a coder and a slice returns) of all rows."""
        start, known_tile_rows = 0, self.tile_rows
        precision = torch.get_float32_matmul_precision()
        how = function.__name__, n_stages, precision, *self.options.items()
        trust = _Trust(self.network, how)
        attempt = partial(self._try, function, trust)
        while start < n_rows:
            tiles = self._tiles(start, n_rows, trust)
            in_threads = partial(in_order, n_threads=self.n_threads) if self.n_threads else map
            results = in_threads(attempt, tiles)
            for tile, result in zip(tiles, results, strict=True):
                if result is None:
                    break
                if self.tile_rows < known_tile_rows:
                    known_tile_rows = self.tile_rows
                    self._warn()
                yield tile, result
                start = tile.stop
            if start < n_rows:
                # Here and not where the error is caught: that holds on to the attempt's tensors.
                del results
                self._take_fewer_rows()

    def _tiles(self, start, n_rows, trust):
        """Return slices of as many rows as leave none of the threads without any."""
        per_thread = -(-(n_rows - start) // max(self.n_threads, 1))
        size = self._n_samples(self._size(per_thread, trust))
        return [slice(i, min(i + size, n_rows)) for i in range(start, n_rows, size)]

    def _size(self, n_samples, trust):
        """Return how many rows a tile of so many samples takes."""
        sizes = (size for size in self.fewer_rows if not trust.is_lost(size))
        fitting = (size for size in sizes if self._n_samples(size) >= n_samples)
        return next(fitting, self.tile_rows)

    def _n_samples(self, tile_rows):
        """Samples of a tile, each with its hypotheses."""
        return max(1, tile_rows // self.beam_size)

    def _try(self, function, trust, tile):
        """Return the result, or None if memory does not suffice for so many rows."""
        try:
            with exact(self.device):
                whole = self._of(function, trust, tile)
            return [tensor[: tile.stop - tile.start] for tensor in whole]
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or self.tile_rows // 2 < self.beam_size:
                raise
        return None

    def _of(self, function, trust, tile):
        """Return what a function returns of a tile, as a coder of whole tiles would have it."""
        size = self._size(tile.stop - tile.start, trust)
        if size == self.tile_rows or trust.is_full(size):
            return function(self._coder(size), tile)
        with losses_heard() as few_losses:
            of_few = function(self._coder(size), tile)
        with losses_heard() as losses:
            result = function(self._coder(self.tile_rows), tile)
        trust.compare(size, [*of_few, *few_losses], [*result, *losses])
        return result

    def _coder(self, tile_rows):
        with self.lock:
            if tile_rows not in self.coders:
                self.coders[tile_rows] = self._new_coder(tile_rows)
            return self.coders[tile_rows]

    def _take_fewer_rows(self):
        """From here on, have tiles of half as many rows, one at a time."""
        self.coders, self.fewer_rows = {}, []
        self.n_threads = min(self.n_threads, 1)
        self.tile_rows //= 2

    def _warn(self):
        warn(
            f"Out of memory on {self.device}: from here on, {self._n_samples(self.tile_rows)} rows "
            f"are coded at a time instead of {self._n_samples(self.most_rows)}. The last bit of a "
            "sum may differ from what it is with more memory, and with it a code where two options "
            "are as good as equal."
        )


class _Trust:
    """Which smaller tiles compute the same bits as whole ones, as far as rows have shown.

    In what order sums are made depends on how many rows there are, and on the machine.
    """

    _known = WeakKeyDictionary()

    def __init__(self, network, how):
        # Values that were the same, by rows of a tile; -1 where any was not.
        self._n_same = self._known.setdefault(network, {}).setdefault(how, {})

    def is_full(self, size):
        return self._n_same.get(size, 0) >= _ENOUGH_VALUES

    def is_lost(self, size):
        return self._n_same.get(size, 0) < 0

    def compare(self, size, of_few, of_whole):
        """Compare all rows of a tile, those that only fill it up too, with those of a whole one."""
        pairs = zip(of_few, of_whole, strict=True)
        if not all(torch.equal(few, whole[: len(few)]) for few, whole in pairs):
            self._n_same[size] = -1
        elif not self.is_lost(size):
            self._n_same[size] = self._n_same.get(size, 0) + sum(few.numel() for few in of_few)


class TileCoder:
    """Base class of what codes a whole tile of rows at a time, never more or fewer.

    Parameters
    ----------
    n_samples : int
        Rows that are coded at a time.
    device : torch.device
        Where.
    """

    def __init__(self, n_samples, device):
        self.n_samples, self.device = n_samples, device

    def filled(self, rows):
        """Return rows with zeros to a whole tile."""
        return F.pad(rows, (0, 0, 0, self.n_samples - len(rows)))

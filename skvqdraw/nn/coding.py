"""Coding: choose stage by stage, and find the rows of codes, a tile of them in memory at a time.

Axes: N samples, B hypotheses of each, M = N x B, S stages, T stages of a round, K options, D
features, P parameters of all features.
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
from .guiding import Measurement, RoundWalk
from .rounds import losses_heard

# Rows of more parameters than this have tiles of half as many: each thread has one in memory, and
# what a network draws of it is soon more than a cache holds.
_WIDE = 512
# Rows of tiles on a CPU where there are fewer to each thread.
_FEWER_ROWS = (2, 4, 8, 16, 32, 64, 128)
# How many values must be the same to the bit before smaller tiles are taken for whole ones: of sums
# in another order every third or so differs in the last bit.
_ENOUGH_VALUES = 100


class Coding:
    """Rows of X to codes and back.

    On a CPU tiles are coded in several threads, each of which computes alone. Where memory does not
    suffice, there is a warning, and tiles have fewer rows from there on. Tensors are on the
    network's device.

    Parameters
    ----------
    network : torch.nn.Module
        Set to evaluation.
    preparation : Preparation
        What leads to and from it.
    n_jobs : int or None, default=None
        Threads, as in joblib; None for as many as PyTorch may use.
    options
        Of `TileCoder`.
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

    def encoded(self, X, n_stages, rows=None):
        """Yield (slice, target_ND, codes_NS, x_NP) of X, or of the rows of it that are named."""

        def encode(coder, tile):
            some = X[tile] if rows is None else take_rows(X, rows[tile])
            target_ND = self._targets(coder, some)
            return target_ND, *coder.encode(target_ND, n_stages)

        n_rows = len(X) if rows is None else len(rows)
        for tile, coded in self._in_tiles(encode, n_rows, n_stages):
            yield tile, *coded

    def option_losses(self, X, n_stages):
        """Yield (slice, codes_NS, losses_NSK) of X: what each option would have left of rows."""

        def losses(coder, tile):
            target_ND = self._targets(coder, X[tile])
            codes_NS, _ = coder.encode(target_ND, n_stages)
            return codes_NS, coder.option_losses(target_ND, codes_NS)

        for tile, found in self._in_tiles(losses, len(X), n_stages):
            yield tile, *found

    def decoded(self, codes):
        """Yield (slice, x_NP) of codes or prefixes."""

        def decode(coder, tile):
            return (coder.decode(self._codes(coder, codes[tile])),)

        for tile, (x_NP,) in self._in_tiles(decode, *codes.shape):
            yield tile, x_NP

    def propose(self, codes, X):
        """Write the proposals of prefixes, rows in the units of X, into an array (N, K, D)."""

        def propose(coder, tile):
            options = coder.proposals(self._codes(coder, codes[tile]), X.shape[1])
            for option, x_NP in enumerate(options):
                X[tile, option] = self.preparation.inverse(x_NP[: tile.stop - tile.start])
            return (x_NP,)

        for _ in self._in_tiles(propose, *codes.shape):
            pass

    def drawn(self, drawing, n_samples, n_options):
        """Yield (slice, codes_NS) of samples that are drawn by a guide."""
        self.fewer_rows = []  # a guide is asked once, and sees no rows that fill tiles up
        guide, measurement = drawing.guide, None
        if guide.linear is not None and self.preparation.objective.quadratic:
            measurement = Measurement(guide, self.preparation, self.device)

        def draw(coder, tile):
            samples = np.arange(tile.start, tile.stop)
            walk = RoundWalk(coder, self.preparation, n_options, len(samples), measurement)
            return (torch.from_numpy(drawing.codes(walk, samples).astype(np.int64)),)

        for tile, (codes_NS,) in self._in_tiles(draw, n_samples, drawing.n_stages):
            yield tile, codes_NS

    def _targets(self, coder, X):
        """Return a tile of rows as the network wants them."""
        return coder.filled(self.preparation.forward(X).to(self.device))

    def _codes(self, coder, codes):
        """Return a tile of codes on the device."""
        return coder.filled(torch.from_numpy(codes.astype(np.int64)).to(self.device))

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
                objective, n_features = self.preparation.objective, self.preparation.n_features
                self.coders[tile_rows] = TileCoder(
                    self.network, objective, n_features, **self.options, tile_rows=tile_rows
                )
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
    """Codes rows with a network and finds the rows of codes, a whole tile of them at a time.

    Parameters
    ----------
    network : torch.nn.Module
        Called as ``network(x_NP, stage)``, it returns the round that starts at that stage. In
        evaluation mode.
    loss : Loss
        Scores candidates.
    n_features : int
        Features of a row.
    beam_size : int, default=1
        Hypotheses of a row that are kept from round to round.
    round_beam_size : int, default=1
        Hypotheses that are kept from stage to stage within a round, for each of `beam_size`. With
        1 and 1 the choice is greedy: the option of least loss, the lowest index among equals.
    bf16 : bool, default=False
        Whether the network computes in bfloat16; candidates are compared in float32 all the same.
    tile_rows : int, default=TILE_ROWS
        Rows that the network sees at a time, hypotheses included: never more or fewer.
    """

    def __init__(
        self,
        network,
        loss,
        n_features,
        *,
        beam_size=1,
        round_beam_size=1,
        bf16=False,
        tile_rows=TILE_ROWS,
    ):
        self.network = network
        self.loss = loss
        self.beam_size = beam_size
        self.round_beam_size = beam_size * round_beam_size
        self.bf16 = bf16
        self.n_samples = max(1, tile_rows // beam_size)  # that are coded at a time
        # The first round sees nothing of the rows yet: one evaluation serves all of them.
        width = n_features * loss.n_params
        self._start_NP = next(network.parameters()).new_zeros(self.n_samples, width)
        self.device = self._start_NP.device
        self._first = evaluate(network, self._start_NP, 0, bf16)

    def filled(self, rows):
        """Return rows with zeros to a whole tile."""
        return F.pad(rows, (0, 0, 0, self.n_samples - len(rows)))

    def encode(self, target_ND, n_stages):
        """Return codes (N, S) of the targets of a tile, and their reconstructions (N, P).

        Beam search through the rounds; x_MP holds the hypotheses of a row side by side.
        """
        a_round, codes_MS = self._first, None
        while True:
            stage = 0 if codes_MS is None else codes_MS.shape[1]
            n_next = min(a_round.n_together, n_stages - stage)
            n_best = self.beam_size if stage + n_next < n_stages else 1
            rows_NB, codes_NBT = a_round.search(
                target_ND, self.loss, n_next, self.round_beam_size, n_best
            )
            codes_MT = codes_NBT.flatten(0, 1)
            if stage > 0:
                codes_MT = torch.cat([codes_MS[rows_NB.flatten()], codes_MT], 1)
            codes_MS = codes_MT
            stage += n_next
            if n_next < a_round.n_stages and stage < n_stages:
                a_round = choose_all(a_round.take(rows_NB.flatten()), codes_NBT.flatten(0, 1))
                continue
            x_MP = self._followed(a_round, rows_NB, codes_NBT)
            if stage == n_stages:
                return codes_MS, x_MP
            a_round = self._round(x_MP, stage)

    def decode(self, codes_NS):
        """Return the reconstructions (N, P) of a tile of codes or of any prefix of codes.

        Rounds that are factored compute the option that the code names, not the K candidates.
        """
        x_NP, stage = self._start_NP, 0
        while stage < codes_NS.shape[1]:
            a_round = self._round(x_NP, stage)
            stop = min(stage + a_round.n_stages, codes_NS.shape[1])
            x_NP = follow(a_round, codes_NS[:, stage:stop])
            stage = stop
        return x_NP

    def option_losses(self, target_ND, codes_NS):
        """Return the losses (N, S, K) of all options along the codes of a tile of targets."""
        losses_SNK, x_NP = [], self._start_NP
        while len(losses_SNK) < codes_NS.shape[1]:
            stage = len(losses_SNK)
            a_round = self._round(x_NP, stage)
            for codes_N in codes_NS[:, stage : stage + a_round.n_stages].unbind(1):
                losses_SNK.append(a_round.losses(target_ND, self.loss))
                a_round = a_round.choose(codes_N)
            x_NP = a_round.reconstruction()
        return torch.stack(losses_SNK, 1)

    def proposals(self, codes_NS, n_options):
        """Yield for each option of the stage after codes what it would lead to, (N, P).

        One option after another, to take little room.
        """
        a_round = self._round_after(codes_NS)
        for option in range(n_options):
            codes_N = torch.full((self.n_samples,), option, device=self.device)
            yield a_round.choose(codes_N).reconstruction()

    def _round_after(self, codes_NS):
        """Return the round that serves the stage after codes, these chosen."""
        x_NP, stage = self._start_NP, 0
        a_round = self._round(x_NP, stage)
        while codes_NS.shape[1] - stage >= a_round.n_stages:
            stop = stage + a_round.n_stages
            x_NP = follow(a_round, codes_NS[:, stage:stop])
            stage = stop
            a_round = self._round(x_NP, stage)
        for codes_N in codes_NS[:, stage:].unbind(1):
            a_round = a_round.choose(codes_N)
        return a_round

    def _followed(self, a_round, rows_NB, codes_NBT):
        """Return the reconstructions of hypotheses."""
        if self.beam_size == 1:
            return follow(a_round, codes_NBT[:, 0])
        # One hypothesis of each row at a time: what they take of the round is copied.
        columns = zip(rows_NB.unbind(1), codes_NBT.unbind(1), strict=True)
        x_NBP = torch.stack([follow(a_round.take(r), c) for r, c in columns], 1)
        return x_NBP.flatten(0, 1)

    def _round(self, x_NP, stage):
        return self._first if stage == 0 else evaluate(self.network, x_NP, stage, self.bf16)


def choose_all(a_round, codes_MT):
    """Return what follows a round after choosing these codes, a column for each stage."""
    for codes_M in codes_MT.unbind(1):
        a_round = a_round.choose(codes_M)
    return a_round


def follow(a_round, codes_MT):
    """Return the reconstruction after choosing these codes."""
    return choose_all(a_round, codes_MT).reconstruction()


def evaluate(network, x_NP, stage, bf16):
    """Return the network's round at `stage`; low precision reaches the network, never a loss."""
    # No cache: weights cast in one step would still be there in the next, unless this were the
    # outermost of nested contexts, and within an evaluation each is needed once.
    with torch.autocast(x_NP.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
        return network(x_NP, stage)

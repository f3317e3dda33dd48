"""Coding: choose stage by stage, and find the rows of codes, a tile of them in memory at a time.

Axes: N samples, B hypotheses of each, M = N x B, S stages, T stages of a round, K options, D
features, P parameters of all features.
"""

import numpy as np
import torch

from .._device import low_precision
from .._rows import TILE_ROWS
from .guiding import Measurement, RoundWalk
from .rounds import choose_all
from .tiles import TileCoder, Tiles


class Coding(Tiles):
    """Rows of X to codes and back by a refinement network; options are those of `RoundCoder`."""

    def encoded(self, X, n_stages, rows=None):
        """Yield (slice, target_ND, codes_NS, x_NP) of X, or of the rows of it that are named."""

        def encode(coder, tile):
            target_ND = self._targets(coder, X, tile, rows)
            return target_ND, *coder.encode(target_ND, n_stages)

        n_rows = len(X) if rows is None else len(rows)
        for tile, coded in self._in_tiles(encode, n_rows, n_stages):
            yield tile, *coded

    def option_losses(self, X, n_stages):
        """Yield (slice, codes_NS, losses_NSK) of X: what each option would have left of rows."""

        def losses(coder, tile):
            target_ND = self._targets(coder, X, tile)
            codes_NS, _ = coder.encode(target_ND, n_stages)
            return codes_NS, coder.option_losses(target_ND, codes_NS)

        for tile, found in self._in_tiles(losses, len(X), n_stages):
            yield tile, *found

    def propose(self, codes, X):
        """Write the proposals of prefixes, rows in the units of X, into an array (N, K, D)."""

        def propose(coder, tile):
            options = coder.proposals(self._codes(coder, codes, tile), X.shape[1])
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

    def _new_coder(self, tile_rows):
        objective, n_features = self.preparation.objective, self.preparation.n_features
        return RoundCoder(self.network, objective, n_features, **self.options, tile_rows=tile_rows)


class RoundCoder(TileCoder):
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
        device = next(network.parameters()).device
        super().__init__(max(1, tile_rows // beam_size), device)
        # The first round sees nothing of the rows yet: one evaluation serves all of them.
        width = n_features * loss.n_params
        self._start_NP = next(network.parameters()).new_zeros(self.n_samples, width)
        self._first = evaluate(network, self._start_NP, 0, bf16)

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


def follow(a_round, codes_MT):
    """Return the reconstruction after choosing these codes."""
    return choose_all(a_round, codes_MT).reconstruction()


def evaluate(network, x_NP, stage, bf16):
    """Return the network's round at `stage`; low precision reaches the network, never a loss."""
    with low_precision(x_NP.device, bf16):
        return network(x_NP, stage)

"""Sequential coding: choose stage by stage, and learn to offer better choices.

Axes: N samples, B hypotheses of each, M = N x B, S stages, T stages of a round, K options, D
features.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from .._rows import TILE_ROWS

# Weight in training of the stages of a round before its last.
INNER_WEIGHT = 0.3


class Coder:
    """Codes rows with a network, and finds the rows of codes.

    Parameters
    ----------
    network : torch.nn.Module
        Called as ``network(x_ND, stage)``, it returns the round that starts at that stage. In
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
        Rows that the network sees at a time, hypotheses included: memory does not grow with them.
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
        self._start_ND = next(network.parameters()).new_zeros(self.n_samples, width)
        self.device = self._start_ND.device
        # However few rows are coded at a time: so codes do not depend on it either.
        self._first = evaluate(network, self._start_ND, 0, bf16, n_rows_in_all=TILE_ROWS)

    def encode(self, target_ND, n_stages):
        """Return codes (N, S) of the targets, and their reconstructions (N, D)."""
        return self._in_tiles(lambda tile_ND: self._search(tile_ND, n_stages), target_ND)

    def decode(self, codes_NS):
        """Return the reconstructions (N, D) of codes or of any prefix of codes.

        Rounds that are factored compute the option that the code names, not the K candidates.
        """
        (x_ND,) = self._in_tiles(lambda tile_NS: (self._walk(tile_NS),), codes_NS)
        return x_ND

    def proposals(self, codes_NS, n_options):
        """Yield for each option of the stage after codes what it would lead to, (N, P).

        Of no more rows than are coded at a time; one option after another, to take little room.
        """
        full = F.pad(codes_NS, (0, 0, 0, self.n_samples - len(codes_NS)))
        a_round = self._round_after(full)
        for option in range(n_options):
            codes_N = torch.full((self.n_samples,), option, device=self.device)
            yield a_round.choose(codes_N).reconstruction()[: len(codes_NS)]

    def _round_after(self, codes_NS):
        """Return the round that serves the stage after codes, these chosen."""
        x_ND, stage = self._start_ND, 0
        a_round = self._round(x_ND, stage)
        while codes_NS.shape[1] - stage >= a_round.n_stages:
            stop = stage + a_round.n_stages
            x_ND = follow(a_round, codes_NS[:, stage:stop])
            stage = stop
            a_round = self._round(x_ND, stage)
        for codes_N in codes_NS[:, stage:].unbind(1):
            a_round = a_round.choose(codes_N)
        return a_round

    def _search(self, target_ND, n_stages):
        """Beam search through the rounds; x_MD holds the hypotheses of a row side by side."""
        x_MD, codes_MS = self._start_ND, None
        while codes_MS is None or codes_MS.shape[1] < n_stages:
            stage = 0 if codes_MS is None else codes_MS.shape[1]
            a_round = self._round(x_MD, stage)
            n_next = min(a_round.n_stages, n_stages - stage)
            n_best = self.beam_size if stage + n_next < n_stages else 1
            rows_NB, codes_NBT = a_round.search(
                target_ND, self.loss, n_next, self.round_beam_size, n_best
            )
            if self.beam_size == 1:
                x_MD = follow(a_round, codes_NBT[:, 0])
            else:  # one hypothesis of each row at a time: what they take of the round is copied
                columns = zip(rows_NB.unbind(1), codes_NBT.unbind(1), strict=True)
                x_NBD = torch.stack([follow(a_round.take(r), c) for r, c in columns], 1)
                x_MD = x_NBD.flatten(0, 1)
            codes_MT = codes_NBT.flatten(0, 1)
            if stage > 0:
                codes_MT = torch.cat([codes_MS[rows_NB.flatten()], codes_MT], 1)
            codes_MS = codes_MT
        return codes_MS, x_MD

    def _walk(self, codes_NS):
        x_ND, stage = self._start_ND, 0
        while stage < codes_NS.shape[1]:
            a_round = self._round(x_ND, stage)
            n_next = min(a_round.n_stages, codes_NS.shape[1] - stage)
            x_ND = follow(a_round, codes_NS[:, stage : stage + n_next])
            stage += n_next
        return x_ND

    def _round(self, x_ND, stage):
        return self._first if stage == 0 else evaluate(self.network, x_ND, stage, self.bf16)

    def _in_tiles(self, function, rows):
        """Apply a function of rows, which returns a tuple of such, tile by tile.

        Each tile has `n_samples` rows, the last one filled up with zeros.
        """
        results = []
        for tile in rows.split(self.n_samples):
            full = F.pad(tile, (0, 0, 0, self.n_samples - len(tile)))
            results.append([result[: len(tile)] for result in function(full)])
        return tuple(torch.cat(parts) for parts in zip(*results, strict=True))


def follow(a_round, codes_MT):
    """Return the reconstruction after choosing these codes, a column for each stage."""
    for codes_M in codes_MT.unbind(1):
        a_round = a_round.choose(codes_M)
    return a_round.reconstruction()


def evaluate(network, x_ND, stage, bf16, *, n_rows_in_all=None):
    """Return the network's round at `stage`; low precision reaches the network, never a loss.

    Where the rows are only some of a batch, a network whose first round depends on how many there
    are in all has a method `first_round(n_rows, n_rows_in_all)`.
    """
    # No cache: weights cast in one step would still be there in the next, unless this were the
    # outermost of nested contexts, and within an evaluation each is needed once.
    with torch.autocast(x_ND.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
        if stage == 0 and len(x_ND) < (n_rows_in_all or 0) and hasattr(network, "first_round"):
            return network.first_round(len(x_ND), n_rows_in_all)
        return network(x_ND, stage)


def accumulate_gradients(
    network,
    loss,
    target_ND,
    weight_N,
    n_stages,
    *,
    aux_weight,
    gradient_decay,
    round_beam_size=1,
    checkpointing=False,
    bf16=False,
    n_rows_in_all=None,
):
    """Add the gradient of the training loss to the network's parameters.

    The training loss is the weighted sum over samples of

        mean_s w_s loss(chosen_s) + aux_weight * mean_{s,k} loss(option_{s,k}),

    with the codes that a search keeping `round_beam_size` hypotheses within each round finds, and
    with the weights w_s of `stage_weights`. `gradient_decay` is the share of the gradient that is
    cut between rounds. At 1 the graph of a round is freed before the next one starts: memory does
    not grow with `n_stages`. With `checkpointing` it grows as the square root of `n_stages`, and
    the network is evaluated twice. If other processes have the other rows of a batch, it has
    `n_rows_in_all`.

    Returns the training loss (a scalar), the chosen loss of each stage (S,) and the codes (N, S),
    all detached and on the device of the data: reading them on the host is left to the caller.
    """
    codes, chosen_losses = {}, {}

    def go_through(x_ND, stage, stop):
        """Return the reconstruction and the objective of the rounds from `stage` to `stop`."""
        objective = 0.0
        while stage < stop:
            a_round = evaluate(network, x_ND, stage, bf16, n_rows_in_all=n_rows_in_all)
            T = min(a_round.n_stages, n_stages - stage)
            if stage not in codes:  # gone through again for a checkpoint, it changes no choice
                codes[stage] = a_round.search(target_ND, loss, T, round_beam_size, 1)[1][:, 0]
            chosen = []
            for codes_N, stage_weight in zip(
                codes[stage].unbind(1), stage_weights(T, a_round.n_alone), strict=True
            ):
                loss_NK = a_round.losses(target_ND, loss)
                chosen.append(weight_N @ loss_NK.gather(1, codes_N[:, None])[:, 0])
                objective = objective + stage_weight * chosen[-1]
                objective = objective + aux_weight * (weight_N @ loss_NK.mean(1))
                a_round = a_round.choose(codes_N)
            chosen_losses[stage] = torch.stack(chosen).detach()
            x_ND = a_round.reconstruction()
            x_ND = torch.lerp(x_ND, x_ND.detach(), gradient_decay) if gradient_decay else x_ND
            stage += T
        return x_ND, objective / n_stages

    n_together = math.ceil(math.sqrt(n_stages)) if checkpointing else n_stages
    if gradient_decay == 1:
        n_together = 1
    if checkpointing:
        # What a network draws must come the same the second time; ours draw nothing.
        draws = getattr(network, "draws", True)
        go_through = partial(checkpoint, go_through, use_reentrant=False, preserve_rng_state=draws)
    width = target_ND.shape[1] * loss.n_params
    x_ND, stage, total = target_ND.new_zeros(len(target_ND), width), 0, 0.0
    while stage < n_stages:
        x_ND, objective = go_through(x_ND, stage, min(stage + n_together, n_stages))
        stage = max(codes) + codes[max(codes)].shape[1]
        if gradient_decay == 1:
            objective.backward()
            x_ND, objective = x_ND.detach(), objective.detach()
        total = total + objective
    if gradient_decay != 1:
        total.backward()
    return (
        total.detach(),
        torch.cat(list(chosen_losses.values())),
        torch.cat(list(codes.values()), 1),
    )


def stage_weights(n_stages, n_alone=0):
    """Return what the chosen losses of a round's stages weigh: 1 on average, most at its end.

    A search within the round chooses for its end, and gives up a little before it. The first
    stages that are as good as rounds of their own keep the weight 1.
    """
    n_alone = min(n_alone, n_stages - 1)
    n_inner = n_stages - 1 - n_alone
    return [*[1.0] * n_alone, *[INNER_WEIGHT] * n_inner, 1 + (1 - INNER_WEIGHT) * n_inner]

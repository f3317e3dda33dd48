"""The training loss of a refinement network, and its gradients.

Axes: N samples, S stages, T stages of a round, K options, D features, P parameters.
"""

import math
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from .coding import evaluate
from .refinement import hook

# Weight in training of the stages of a round before its last.
INNER_WEIGHT = 0.3


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
):
    """Add the gradient of the training loss to the network's parameters.

    The training loss is the weighted sum over samples of

        mean_s w_s loss(chosen_s) + aux_weight * mean_{s,k} loss(option_{s,k}),

    with the codes that a search keeping `round_beam_size` hypotheses within each round finds, and
    with the weights w_s of `stage_weights`. `gradient_decay` is the share of the gradient that is
    cut between rounds. At 1 the graph of a round is freed before the next one starts: memory does
    not grow with `n_stages`. With `checkpointing` it grows as the square root of `n_stages`, and
    the network is evaluated twice.

    Returns the training loss (a scalar), the chosen loss of each stage (S,) and the codes (N, S),
    all detached and on the device of the data: reading them on the host is left to the caller.
    """
    rounds = _Rounds(
        network,
        loss,
        target_ND,
        weight_N,
        n_stages,
        aux_weight,
        gradient_decay,
        round_beam_size,
        bf16,
    )
    go_through = rounds.go_through
    if checkpointing:
        # What a network draws must come the same the second time.
        draws = hook(network, "draws")
        go_through = partial(checkpoint, go_through, use_reentrant=False, preserve_rng_state=draws)
    n_at_once = math.ceil(math.sqrt(n_stages)) if checkpointing else n_stages
    if gradient_decay == 1:
        n_at_once = 1
    x_NP = target_ND.new_zeros(len(target_ND), target_ND.shape[1] * loss.n_params)
    total = 0.0
    while rounds.n_gone < n_stages:
        stop = min(rounds.n_gone + n_at_once, n_stages)
        x_NP, objective = go_through(x_NP, rounds.n_gone, stop)
        if gradient_decay == 1:
            objective.backward()
            x_NP, objective = x_NP.detach(), objective.detach()
        total = total + objective
    if gradient_decay != 1:
        total.backward()
    return (
        total.detach(),
        torch.cat(list(rounds.chosen_losses.values())),
        torch.cat(list(rounds.codes.values()), 1),
    )


@dataclass
class _Rounds:
    """The rounds that a batch goes through, and what was chosen in each, by its first stage."""

    network: nn.Module
    loss: object
    target_ND: torch.Tensor
    weight_N: torch.Tensor
    n_stages: int
    aux_weight: float
    gradient_decay: float
    round_beam_size: int
    bf16: bool
    codes: dict = field(default_factory=dict)
    chosen_losses: dict = field(default_factory=dict)

    @property
    def n_gone(self):
        """Number of stages gone through."""
        return sum(codes_NT.shape[1] for codes_NT in self.codes.values())

    def go_through(self, x_NP, stage, stop):
        """Return the reconstruction and the objective of the rounds from `stage` to `stop`."""
        objective = 0.0
        while stage < stop:
            a_round = evaluate(self.network, x_NP, stage, self.bf16)
            x_NP, objective = self._one_round(a_round, stage, objective)
            stage += self.codes[stage].shape[1]
        return x_NP, objective / self.n_stages

    def _one_round(self, a_round, stage, objective):
        """Return the reconstruction after a round, and the objective with what it adds."""
        T = min(a_round.n_stages, self.n_stages - stage)
        target_ND, loss, weight_N = self.target_ND, self.loss, self.weight_N
        if stage not in self.codes:  # gone through again for a checkpoint, it changes no choice
            found = a_round.search(target_ND, loss, T, self.round_beam_size, 1)
            self.codes[stage] = found[1][:, 0]
        weights = stage_weights(T, a_round.n_alone, a_round.n_regions)
        chosen_TN, mean_TN, a_round = a_round.walk(target_ND, loss, self.codes[stage])
        chosen = []
        for chosen_N, mean_N, stage_weight in zip(chosen_TN, mean_TN, weights, strict=True):
            chosen.append(weight_N @ chosen_N)
            if stage_weight:
                objective = objective + stage_weight * chosen[-1]
            objective = objective + self.aux_weight * (weight_N @ mean_N)
        self.chosen_losses[stage] = torch.stack(chosen).detach()
        x_NP = a_round.reconstruction()
        if self.gradient_decay:
            x_NP = torch.lerp(x_NP, x_NP.detach(), self.gradient_decay)
        return x_NP, objective


def stage_weights(n_stages, n_alone=0, n_regions=1):
    """Return what the chosen losses of a round's stages weigh: 1 on average, most at its end.

    A search within the round chooses for its end, and gives up a little before it. The first
    stages that are as good as rounds of their own keep the weight 1. Where stages refine regions,
    `n_regions` of them together weigh as much as one of others, at their end.
    """
    n_alone = min(n_alone, n_stages - 1)
    n_inner = math.ceil(n_stages / n_regions) - 1 - n_alone
    weights = [*[1.0] * n_alone, *[INNER_WEIGHT] * n_inner, 1 + (1 - INNER_WEIGHT) * n_inner]
    n_together = [min(n_regions, n_stages - t) for t in range(0, n_stages, n_regions)]
    ended = zip(weights, n_together, strict=True)
    return [w for weight, n in ended for w in (*[0.0] * (n - 1), weight)]

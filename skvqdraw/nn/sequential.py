"""Sequential coding: choose stage by stage, and learn to offer better choices.

Axes: N samples, S stages, K options, D features. All are functions of a refinement network, a
loss and data; nothing is kept between calls.
"""

import torch
import torch.nn.functional as F

# Rows that are coded at a time, always: a matrix product of another shape may round another way,
# flip a near tie and with it the rest of the code. So codes do not depend on how rows were batched.
TILE_ROWS = 128


def encode(network, loss, target_ND, n_stages, *, bf16=False):
    """Return the greedy codes (N, S) of the targets, and their reconstructions (N, D).

    At each stage the option of least loss is chosen; among equals the lowest index wins.
    """

    def encode_tile(target_ND):
        codes = []

        def pick(stage, a_round):
            codes.append(a_round.losses(target_ND, loss).argmin(1))
            return codes[-1]

        x_ND = _walk(network, torch.zeros_like(target_ND), n_stages, pick, bf16)
        return torch.stack(codes, 1), x_ND

    return _in_tiles(encode_tile, target_ND)


def decode(network, codes_NS, n_features, *, bf16=False):
    """Return the reconstructions (N, D) of codes or of any prefix of codes.

    Rounds that are factored compute the option that the code names, not the K candidates.
    """

    def decode_tile(codes_NS):
        x_ND = next(network.parameters()).new_zeros(len(codes_NS), n_features)
        n_stages = codes_NS.shape[1]
        return (_walk(network, x_ND, n_stages, lambda stage, a_round: codes_NS[:, stage], bf16),)

    (x_ND,) = _in_tiles(decode_tile, codes_NS)
    return x_ND


def _in_tiles(function, rows):
    """Apply a function of rows, which returns a tuple of such, tile by tile.

    Each tile has TILE_ROWS rows, the last one filled up with zeros.
    """
    results = []
    for tile in rows.split(TILE_ROWS):
        full = F.pad(tile, (0, 0, 0, TILE_ROWS - len(tile)))
        results.append([result[: len(tile)] for result in function(full)])
    return tuple(torch.cat(parts) for parts in zip(*results, strict=True))


def _walk(network, x_ND, n_stages, pick, bf16):
    """Go through the stages, `pick(stage, a_round)` naming the codes; return the end."""
    stage = 0
    while stage < n_stages:
        a_round = _evaluate(network, x_ND, stage, bf16)
        for _ in range(min(a_round.n_stages, n_stages - stage)):
            a_round = a_round.choose(pick(stage, a_round))
            stage += 1
        x_ND = a_round.reconstruction()
    return x_ND


def accumulate_gradients(
    network, loss, target_ND, weight_N, n_stages, *, aux_weight, gradient_decay, bf16=False
):
    """Add the gradient of the training loss to the network's parameters.

    The loss is the weighted mean over samples of

        mean_s loss(chosen_s) + aux_weight * mean_{s,k} loss(option_{s,k}).

    `gradient_decay` is the share of the gradient that is cut between rounds. At 1 each round's
    graph is freed before the next one starts: memory does not grow with `n_stages`.

    Returns the training loss (a scalar), the chosen loss of each stage (S,) and the codes (N, S),
    all detached and on the device of the data: reading them on the host is left to the caller.
    """
    x_ND = torch.zeros_like(target_ND)
    weight_N = weight_N / len(target_ND)
    total, stage_losses, codes = 0.0, [], []
    stage = 0
    while stage < n_stages:
        a_round = _evaluate(network, x_ND, stage, bf16)
        objective = 0.0
        for _ in range(min(a_round.n_stages, n_stages - stage)):
            loss_NK = a_round.losses(target_ND, loss)
            codes_N = loss_NK.detach().argmin(1)
            chosen = weight_N @ loss_NK.gather(1, codes_N[:, None])[:, 0]
            objective = objective + chosen + aux_weight * (weight_N @ loss_NK.mean(1))
            a_round = a_round.choose(codes_N)
            stage_losses.append(chosen.detach())
            codes.append(codes_N)
            stage += 1
        x_ND = a_round.reconstruction()
        if gradient_decay == 1:
            (objective / n_stages).backward()
            x_ND = x_ND.detach()
            total = total + objective.detach()
        else:
            x_ND = torch.lerp(x_ND, x_ND.detach(), gradient_decay)
            total = total + objective
    total = total / n_stages
    if gradient_decay != 1:
        total.backward()
    return total.detach(), torch.stack(stage_losses), torch.stack(codes, 1)


def _evaluate(network, x_ND, stage, bf16):
    """The network's round at `stage`; low precision reaches the network, never the grid."""
    with torch.autocast(x_ND.device.type, torch.bfloat16, enabled=bf16):
        return network(x_ND, stage)

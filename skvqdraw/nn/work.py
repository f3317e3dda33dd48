"""How much a network computes.

Axes: N rows, P parameters of all features.
"""

import torch
from torch import nn

# Layers whose outputs are each a sum of products with a row of the weight, and those whose inputs
# each go into as many sums.
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@torch.no_grad()  # not in inference mode, in which networks keep what coding will want again
def count_multiplications(network, n_rows, evaluate, n_shared=None):
    """Return about how many multiplications the layers of a network make for so many rows.

    `evaluate()` evaluates the network on one row. What does not depend on rows counts once: what is
    evaluated for `n_shared` rows, such as those of a table, or if that is None for any but one. 0
    for a network without layers that this knows.
    """
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        shared = len(output) != 1 if n_shared is None else len(output) == n_shared
        n_times = 1 if shared else n_rows
        numbers = inputs[0] if isinstance(layer, _TRANSPOSED) else output
        total += n_times * numbers.numel() * layer.weight[0].numel()

    known = (*_LAYERS, *_TRANSPOSED)
    layers = [layer for layer in network.eval().modules() if isinstance(layer, known)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        evaluate()
    finally:
        for hook in hooks:
            hook.remove()
    return total


def go_through_stages(network, width, n_stages):
    """Evaluate a refinement network on a row at each stage where a round starts."""
    x_NP, stage = next(network.parameters()).new_zeros(1, width), 0
    while stage < n_stages:
        stage += network(x_NP, stage).n_stages

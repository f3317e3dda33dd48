"""How much a network computes.

Axes: N rows, P parameters of all features.
"""

import torch
from torch import nn

# Layers whose outputs are each a sum of products with a row of the weight.
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@torch.no_grad()  # not in inference mode, in which networks keep what coding will want again
def count_multiplications(network, n_rows, width, n_stages):
    """Return about how many multiplications the layers of a network make to draw so many rows.

    What does not depend on rows, such as the evaluation of a table, counts once. 0 for a network
    without layers that this knows.
    """
    total, stage = 0, 0

    def count(layer, inputs, output):
        nonlocal total
        n_times = n_rows if len(output) == 1 else 1
        total += n_times * output.numel() * layer.weight[0].numel()

    x_NP = next(network.parameters()).new_zeros(1, width)
    layers = [layer for layer in network.eval().modules() if isinstance(layer, _LAYERS)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        while stage < n_stages:
            stage += network(x_NP, stage).n_stages
    finally:
        for hook in hooks:
            hook.remove()
    return total

"""The learning rate over the progress of a budget."""

import math

WARM_UP = 0.05
FLOOR = 0.005


def warm_up_and_cosine(progress):
    """Return the factor of the learning rate at `progress` in [0, 1] of the budget.

    Rises linearly over the first 5 %, then falls along a cosine to 0.5 % of its height.
    """
    if progress < WARM_UP:
        return max(progress / WARM_UP, FLOOR)
    angle = math.pi * min((progress - WARM_UP) / (1 - WARM_UP), 1.0)
    return FLOOR + (1 - FLOOR) * (1 + math.cos(angle)) / 2


def constant(progress):
    """Return 1: every step has the same learning rate."""
    return 1.0

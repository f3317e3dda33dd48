"""What cluster boosting lowers: squared error, or log loss.

A loss keeps the state of rows in one array with the rows first, so that it can be cut into tiles.
Axes: N rows, K options, D features.
"""

import numpy as np
from scipy.special import expit, logit

from ._residual_kmeans import nearest, padded
from ._rows import tiles

# No step of the line search changes log odds by more than this: where a cluster's rows agree, the
# best step is infinite.
_LONGEST_STEP = 10.0
_NEWTON_STEPS = 12


class SquaredError:
    """The mean over features of the squared error. The state of a row is what is left of it."""

    def start(self, mean_D):
        """Return the output before the first stage."""
        return mean_D

    def state(self, target_ND, start_D):
        """Return the state of rows before the first stage, a new array."""
        return np.subtract(target_ND, start_D, dtype=start_D.dtype)

    def descent(self, state):
        """Return minus the gradient of the loss by the output: what is clustered."""
        return state

    def steps(self, state, centres_KD, sample_weight):
        """Return the best multiple of each centre for the rows that are nearest to it.

        A centre is the mean of its rows: it is the best itself.
        """
        return centres_KD

    def choose(self, state, steps_KD):
        """Return for each of TILE_ROWS rows the option with the least loss."""
        return nearest(state, steps_KD)

    def move(self, state, steps_ND):
        """Add steps to the outputs, in place."""
        state -= steps_ND

    def losses(self, state):
        """Return the loss of each row."""
        return np.einsum("nd,nd->n", state, state) / state.shape[1]

    def data(self, output_ND):
        """Return outputs in the units of the data."""
        return output_ND


class LogLoss:
    """Minus the log likelihood of targets in [0, 1] as chances; outputs are log odds.

    The state is (N, 2, D): targets and outputs.
    """

    def start(self, mean_D):
        return logit(mean_D)

    def state(self, target_ND, start_D):
        state = np.empty((len(target_ND), 2, len(start_D)), dtype=start_D.dtype)
        state[:, 0], state[:, 1] = target_ND, start_D
        return state

    def descent(self, state):
        return state[:, 0] - expit(state[:, 1])

    def steps(self, state, centres_KD, sample_weight):
        """Newton's method, for all centres at once, kept between bounds that close in.

        The loss along a centre is convex and falls at 0: its minimum is where the slope
        changes its sign, or at the longest step.
        """
        largest_K = np.abs(centres_KD).max(axis=1)
        tiny = _LONGEST_STEP * np.finfo(centres_KD.dtype).tiny
        high_K = _LONGEST_STEP / np.maximum(largest_K, tiny)
        low_K, factor_K = np.zeros_like(high_K), np.minimum(4, high_K)
        labels = np.concatenate(
            [nearest(padded(self.descent(state[t])), centres_KD) for t in tiles(len(state))]
        )[: len(state)]
        for _ in range(_NEWTON_STEPS):
            slope_K, curvature_K = np.zeros((2, len(centres_KD)))
            for tile in tiles(len(state)):
                of_row = labels[tile]
                direction_ND = centres_KD[of_row]
                chance_ND = expit(state[tile, 1] + factor_K[of_row, None] * direction_ND)
                weight = sample_weight[tile, None]
                slope = weight * direction_ND * (chance_ND - state[tile, 0])
                curvature = weight * direction_ND**2 * chance_ND * (1 - chance_ND)
                slope_K += np.bincount(of_row, slope.sum(axis=1), len(slope_K))
                curvature_K += np.bincount(of_row, curvature.sum(axis=1), len(slope_K))
            low_K = np.where(slope_K < 0, factor_K, low_K)
            high_K = np.where(slope_K > 0, factor_K, high_K)
            with np.errstate(divide="ignore", invalid="ignore"):
                newton_K = factor_K - slope_K / curvature_K
            inside = (newton_K >= low_K) & (newton_K <= high_K)
            factor_K = np.where(inside, newton_K, (low_K + high_K) / 2)
        return (factor_K[:, None] * centres_KD).astype(centres_KD.dtype)

    def choose(self, state, steps_KD):
        target_ND, output_ND = state[:, 0], state[:, 1]
        losses_NK = -target_ND @ steps_KD.T
        for k, step_D in enumerate(steps_KD):
            losses_NK[:, k] += _softplus(output_ND + step_D).sum(axis=1)
        return losses_NK.argmin(axis=1)

    def move(self, state, steps_ND):
        state[:, 1] += steps_ND

    def losses(self, state):
        target_ND, output_ND = state[:, 0], state[:, 1]
        return (_softplus(output_ND) - target_ND * output_ND).mean(axis=1)

    def data(self, output_ND):
        return expit(output_ND)


LOSSES = {"squared_error": SquaredError(), "log_loss": LogLoss()}


def _softplus(x):
    """Return log(1 + exp(x)). numpy's logaddexp is several times slower."""
    return np.maximum(x, 0) + np.log(1 + np.exp(-np.abs(x)))

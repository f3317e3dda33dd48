"""A loss: the mean over features of the absolute error."""

import numpy as np

from skvqdraw.losses import Loss


class AbsoluteError(Loss):
    """Errors count as they are, so that few large ones matter less than with squared error."""

    def grid(self, params, target):
        return (params - target[:, None]).abs().mean(-1)

    def rows(self, params, X):
        return np.abs(params.astype(np.float64) - X).mean(axis=1)

    def unit(self, scale):
        return scale

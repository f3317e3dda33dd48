"""What training has in common where rows are centred, scaled and reconstructed."""

import numpy as np
import torch

from .._codes import option_counts
from ..nn.preparation import Preparation
from ..nn.refinement import hook
from .task import Task


class RowTask(Task):
    """Base class of tasks whose network codes rows as a loss prepares them.

    A subclass adds what it learns of rows besides their mean and scale.

    Axes: N rows, S integers of a code, K options.

    Parameters
    ----------
    criterion : Loss
        Says how data and parameters belong together.
    """

    preparation = None

    def __init__(self, criterion):
        self.criterion = criterion

    @property
    def unit(self):
        return float(self.criterion.unit(self.preparation.scale))

    def learn(self, X, y, rows, sample_weight, rng):
        mean_D, scale = self.criterion.mean_and_scale(X, sample_weight)
        self.load_arrays({"mean": mean_D, "scale": scale or self._scale_of_constant_data(mean_D)})

    def _scale_of_constant_data(self, mean_D):
        """Return a scale where data have none of their own.

        It is nothing beside them, so that they are reconstructed as they are; but not where other
        rows are to follow. Its square is a number.
        """
        if self.one_pass:
            return 1.0
        largest = float(np.abs(mean_D).max()) or 1.0
        return min(max(float(np.finfo(np.float32).eps) * largest, 1e-140), 1e140)

    def arrays(self):
        return {"mean": self.preparation.mean_D, "scale": np.array(self.preparation.scale)}

    def load_arrays(self, arrays):
        order = hook(self.network, "feature_order")
        self.preparation = Preparation(
            self.criterion, arrays["mean"], float(arrays["scale"]), order
        )

    def prepare(self, X, y):
        return (self.preparation.forward(X),)

    def learned(self):
        return {
            "mean_": self.preparation.mean_D,
            "scale_": self.preparation.scale,
            "code_usage_": self.code_usage,
        }

    @staticmethod
    def _count(codes_NS, counts_SK):
        """Add to the counts of options those of some codes."""
        S, K = counts_SK.shape
        cells = (codes_NS + K * torch.arange(S, device=codes_NS.device)).flatten()
        counts_SK.view(-1).scatter_add_(0, cells, torch.ones_like(cells))

    def _learn_usage(self, coded, shape, n_rows, processes):
        """Learn the usage of options; return what is wrong with the network, if anything.

        `coded` yields codes of this process's rows, and numbers that are to be finite.
        """
        counts_SK, n_infinite = np.zeros(shape), 0
        for codes_NS, numbers in coded:
            counts_SK += option_counts(codes_NS.cpu().numpy(), shape[1])
            n_infinite += not numbers.isfinite().all()
        *counts, n_infinite = processes.sum([*counts_SK.ravel(), n_infinite])
        self.code_usage = np.reshape(counts, shape) / n_rows
        return "a reconstruction became infinite or NaN" if n_infinite else ""

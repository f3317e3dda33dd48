"""From rows of X to what a network sees, and back.

Axes: N rows, K options, D features, P parameters of all features of a row, Q
parameters of a feature.
"""

from functools import cached_property

import numpy as np
import torch

# How far the start of the options is moved to the mean, where targets are not centred: the
# parameters of a 0 or a 1 may be infinite.
_TO_THE_MEAN = 0.05


class Preparation:
    """Targets of rows, and parameters counted from those of the mean, in the network's order.

    Parameters
    ----------
    loss : Loss
        Says how data and parameters belong together.
    mean_D : ndarray of shape (n_features * n_statistics,)
        Mean of the statistics of the training data; its dtype is that of the rows given back.
    scale : float
        One divisor for all features, so that losses keep their proportions.
    feature_order : ndarray of shape (n_features,), default=None
        The order in which the network wants its features.
    """

    def __init__(self, loss, mean_D, scale, feature_order=None):
        self.loss = loss
        self.mean_D = mean_D
        self.scale = scale
        self.feature_order = feature_order
        self.start_P = loss.link(mean_D.astype(np.float64))

    @property
    def n_features(self):
        """Number of features of a row."""
        return len(self.mean_D) // self.loss.n_statistics

    @property
    def width(self):
        """Number of parameters of a row."""
        return len(self.start_P)

    @cached_property
    def objective(self):
        """What scores candidates as the network draws them: like a loss, as far as they are."""
        if self.loss.centred:
            return self.loss
        return _FromStart(self.loss, torch.from_numpy(self._ordered(self.start_P[None])[0]).float())

    def forward(self, X):
        """Rows of X as targets, a float32 tensor on the CPU. Differences are taken in float64."""
        rows_ND = np.array(X, dtype=np.float64)
        if self.loss.centred:
            rows_ND -= self.mean_D
            rows_ND /= self.scale
        # One layout in memory, whatever that of X: sums in another order round another way.
        return torch.from_numpy(np.ascontiguousarray(self._ordered(rows_ND), dtype=np.float32))

    def parameters(self, x_NP):
        """A tensor of the network's as parameters in X's own units."""
        params_NP = x_NP.cpu().numpy().astype(np.float64)
        if self.feature_order is not None:
            ordered_NDQ = params_NP.reshape(len(params_NP), len(self.feature_order), -1)
            params_NDQ = np.empty_like(ordered_NDQ)
            params_NDQ[:, self.feature_order] = ordered_NDQ
            params_NP = params_NDQ.reshape(params_NP.shape)
        params_NP *= self.scale
        params_NP += self.start_P
        return params_NP.astype(self.mean_D.dtype)

    def inverse(self, x_NP):
        """A tensor of the network's as rows in X's own units."""
        return self.loss.inverse_link(self.parameters(x_NP))

    def statistics(self, X):
        """Rows of X as what is to be clustered for the options of a first stage, in float32."""
        if self.loss.centred:
            return self.forward(X).numpy()
        return self._ordered(self.loss.statistics(np.asarray(X))).astype(np.float32)

    def options(self, centres_KD):
        """Centres of such statistics as the options of a first stage, in float32."""
        if self.loss.centred:
            return centres_KD
        mean_D = self._ordered(self.mean_D[None].astype(np.float64))
        means_KD = centres_KD + _TO_THE_MEAN * (mean_D - centres_KD)
        return (self.loss.link(means_KD) - self._ordered(self.start_P[None])).astype(np.float32)

    def _ordered(self, rows_NP):
        """Return features, or their parameters, in the order in which the network wants them."""
        if self.feature_order is None:
            return rows_NP
        rows_NDQ = rows_NP.reshape(len(rows_NP), len(self.feature_order), -1)
        return rows_NDQ[:, self.feature_order].reshape(rows_NP.shape)


class _FromStart:
    """A loss of parameters that are counted from a start."""

    quadratic = False

    def __init__(self, loss, start_P, n_regions=1):
        self.loss = loss
        self.n_params = loss.n_params
        self.start_P = start_P
        self.n_regions = n_regions
        self.expands = loss.expands

    def grid(self, params_NKP, target_ND):
        return self.loss.grid(self._in_full(params_NKP), target_ND)

    def table(self, params_KP, target_ND):
        return self.loss.table(self._in_full(params_KP), target_ND)

    def gradient(self, params_NKP, target_ND):
        return self.loss.gradient(self._in_full(params_NKP), target_ND)

    def curvature(self, params_NP, vectors_NPR):
        return self.loss.curvature(self._in_full(params_NP), vectors_NPR)

    def of_features(self, features):
        n_params = self.n_params
        start_P = self.start_P[features.start * n_params : features.stop * n_params]
        return _FromStart(self.loss.of_features(features), start_P)

    def of_regions(self, n_regions):
        return _FromStart(self.loss.of_regions(n_regions), self.start_P, n_regions)

    def _in_full(self, params):
        # Of every row its regions, one after another.
        starts_GxW = self.start_P.view(self.n_regions, *[1] * (params.ndim - 2), -1)
        regions = params.unflatten(0, (-1, self.n_regions)) + starts_GxW.to(params.device)
        return regions.flatten(0, 1)

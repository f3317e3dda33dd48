"""A refiner for time series: convolutions along the row, and options that mix what they draw."""

import math

import torch
from torch import nn

from skvqdraw.nn import FactoredRound
from skvqdraw.refiners import Refiner


class SeriesRefiner(Refiner):
    """Dilated convolutions along the features of a row, which is a series in order of time.

    Parameters
    ----------
    n_channels : int, default=32
        Width of the network.
    basis_size : int, default=16
        Number of basis series of a round.
    stages_per_round : int, default=3
        Stages that one evaluation of the network serves.
    """

    def __init__(self, n_channels=32, *, basis_size=16, stages_per_round=3):
        self.n_channels = n_channels
        self.basis_size = basis_size
        self.stages_per_round = stages_per_round

    def build(self, n_features, n_stages, n_options):
        return SeriesNetwork(
            n_features,
            n_stages,
            n_options,
            n_channels=self.n_channels,
            basis_size=self.basis_size,
            stages_per_round=self.stages_per_round,
        )


class SeriesNetwork(nn.Module):
    def __init__(
        self, n_features, n_stages, n_options, *, n_channels, basis_size, stages_per_round
    ):
        super().__init__()
        self.stages_per_round = stages_per_round
        n_rounds = math.ceil(n_stages / stages_per_round)
        self.stem = nn.Conv1d(1, n_channels, 5, padding="same")
        # Where in the row, and in which round: the first round has nothing else to go by.
        self.place = nn.Parameter(0.5 * torch.randn(n_rounds, n_channels, n_features))
        self.body = nn.Sequential(
            nn.GELU(),
            nn.Conv1d(n_channels, n_channels, 5, padding="same", dilation=2),
            nn.GELU(),
            nn.Conv1d(n_channels, n_channels, 5, padding="same", dilation=4),
            nn.GELU(),
            nn.Conv1d(n_channels, basis_size, 1),
        )
        self.mixing = nn.Parameter(
            torch.randn(n_stages, n_options, basis_size) * 0.3 / math.sqrt(basis_size)
        )

    def forward(self, x, stage):
        place = self.place[stage // self.stages_per_round]
        basis = self.body(self.stem(x[:, None]) + place)  # (n_samples, basis_size, n_features)
        basis = basis.transpose(1, 2).to(x.dtype)  # it may come in bfloat16
        return FactoredRound(x, basis, self.mixing[stage : stage + self.stages_per_round])

"""A refiner for tables: columns attend to each other, and options mix what the network draws."""

import math

import torch
from torch import nn

from skvqdraw.nn import FactoredRound
from skvqdraw.refiners import Refiner


class AttentionRefiner(Refiner):
    """A small transformer whose tokens are the columns of a table.

    Parameters
    ----------
    width : int, default=32
        Size of a token, a multiple of 4.
    n_blocks : int, default=1
        Number of blocks; in each of them every column looks at all columns.
    basis_size : int, default=16
        Number of basis rows of a round.
    stages_per_round : int, default=3
        Stages that one evaluation of the network serves.
    """

    def __init__(self, width=32, *, n_blocks=1, basis_size=16, stages_per_round=3):
        self.width = width
        self.n_blocks = n_blocks
        self.basis_size = basis_size
        self.stages_per_round = stages_per_round

    def build(self, n_features, n_stages, n_options, n_params=1):
        return AttentionNetwork(
            (n_features, n_params),
            n_stages,
            n_options,
            width=self.width,
            n_blocks=self.n_blocks,
            basis_size=self.basis_size,
            stages_per_round=self.stages_per_round,
        )


class AttentionNetwork(nn.Module):
    def __init__(
        self, shape, n_stages, n_options, *, width, n_blocks, basis_size, stages_per_round
    ):
        super().__init__()
        self.shape = n_features, n_params = shape
        self.stages_per_round = stages_per_round
        n_rounds = math.ceil(n_stages / stages_per_round)
        self.value = nn.Linear(n_params, width)
        # Which column, and in which round: the first round has nothing else to go by.
        self.column = nn.Parameter(0.5 * torch.randn(n_rounds, n_features, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 4, 2 * width, dropout=0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(n_blocks)
        )
        self.head = nn.Linear(width, n_params * basis_size)
        self.mixing = nn.Parameter(
            torch.randn(n_stages, n_options, basis_size) * 0.3 / math.sqrt(basis_size)
        )

    def forward(self, x, stage):
        values = x.unflatten(1, self.shape)  # (n_samples, n_features, n_params)
        tokens = self.value(values) + self.column[stage // self.stages_per_round]
        for block in self.blocks:
            tokens = block(tokens)
        basis = self.head(tokens).to(x.dtype)  # it may come in bfloat16
        basis = basis.reshape(*x.shape, -1)  # (n_samples, n_features * n_params, basis_size)
        return FactoredRound(x, basis, self.mixing[stage : stage + self.stages_per_round])

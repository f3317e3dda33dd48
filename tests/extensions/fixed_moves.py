"""A refiner: the same moves wherever a row is, so that codes are those of a residual quantizer."""

import torch

from skvqdraw.nn import DenseRound, RefinementNetwork
from skvqdraw.refiners import Refiner


class FixedMoves(Refiner):
    """Moves that do not depend on the reconstruction.

    Parameters
    ----------
    size : float, default=0.1
        How far the moves of later stages reach at the start, in units of the data's scale.
    """

    def __init__(self, size=0.1):
        self.size = size

    def build(self, n_features, n_stages, n_options):
        return FixedMovesNetwork(n_features, n_stages, n_options, self.size)


class FixedMovesNetwork(RefinementNetwork):
    draws = False

    def __init__(self, n_features, n_stages, n_options, size):
        super().__init__()
        moves = size * torch.randn(n_stages, n_options, n_features)
        self.moves = torch.nn.Parameter(moves)

    def forward(self, x, stage):
        return DenseRound(x[:, None] + self.moves[stage])

    def start_from_table(self, table):
        self.moves.data[0] = torch.tensor(table)

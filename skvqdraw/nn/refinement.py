"""What a refinement network may tell the library about itself."""

from torch import nn


class RefinementNetwork(nn.Module):
    """Base class of refinement networks.

    A network is called as ``network(x, stage)`` and returns a `Round`. Any `torch.nn.Module` that
    does will do; what is here are the defaults of what else is asked of it.

    Examples
    --------
    >>> import torch
    >>> from skvqdraw.nn import DenseRound, RefinementNetwork
    >>> class FixedMoves(RefinementNetwork):
    ...     draws = False
    ...
    ...     def __init__(self, n_features, n_stages, n_options):
    ...         super().__init__()
    ...         self.moves = torch.nn.Parameter(torch.randn(n_stages, n_options, n_features))
    ...
    ...     def forward(self, x, stage):
    ...         return DenseRound(x[:, None] + self.moves[stage])
    ...
    ...     def start_from_table(self, table):
    ...         self.moves.data[0] = torch.tensor(table)
    """

    draws = True
    """Whether `forward` draws random numbers."""
    feature_order = None
    """Numbers of features, an array, in the order in which the network wants to see them; None for
    the order of X."""
    start_from_table = None
    """A method that `fit` calls with an ndarray of shape (n_options, n_features * n_params), from
    which the options of stage 0 may start: centres of k-means, as the network sees rows. None if
    there is no such method."""

    def __init__(self):
        super().__init__()


def hook(network, name):
    """Return what a network tells about itself, or the default."""
    return getattr(network, name, getattr(RefinementNetwork, name))

"""The network side: losses, rounds, refinement networks, sequential coding. No scikit-learn."""

from .rounds import DenseRound, FactoredRound, Round

__all__ = ["DenseRound", "FactoredRound", "Round"]

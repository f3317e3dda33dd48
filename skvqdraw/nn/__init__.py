"""Rounds and refinement networks: what a network of your own is made of."""

from .refinement import RefinementNetwork
from .rounds import DenseRound, FactoredRound, Round

__all__ = ["DenseRound", "FactoredRound", "RefinementNetwork", "Round"]

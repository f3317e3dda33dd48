"""Distributions over codes: which are likely, and what they are worth as samples.

A prior is fitted to codes, integers of shape (n_samples, n_stages) from anywhere: `encode` of an
estimator of this library, a quantizer of another one. Labels make it one of codes given a class.
No code has zero probability.
"""

from ._autoregressive import AutoregressivePrior
from ._counts import MarginalPrior, MarkovPrior

__all__ = ["AutoregressivePrior", "MarginalPrior", "MarkovPrior"]

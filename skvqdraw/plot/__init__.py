"""Pictures of codes and of what they keep, by scikit-learn's conventions for displays.

The class methods compute and draw, `plot` draws again. Both raise ImportError without matplotlib:
install the extra ``plot``. An estimator that does not make codes raises TypeError, and any other
argument that does not fit raises ValueError.
"""

from ._code_usage import CodeUsageDisplay
from ._loss_curve import LossCurveDisplay
from ._proposals import ProposalsDisplay
from ._rate_distortion import RateDistortionDisplay
from ._samples import SamplesDisplay
from ._stages import StagesDisplay

__all__ = [
    "CodeUsageDisplay",
    "LossCurveDisplay",
    "ProposalsDisplay",
    "RateDistortionDisplay",
    "SamplesDisplay",
    "StagesDisplay",
]

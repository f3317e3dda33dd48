"""The only file that touches names that scikit-learn keeps private.

They are what gives our errors scikit-learn's own wording. When one of them moves or becomes
public, this is the one place to change.
"""

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.base import _fit_context as fit_context
from sklearn.utils._missing import is_pandas_na
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils._set_output import _get_output_config
from sklearn.utils._sparse import _align_api_if_sparse as align_sparse_interface
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = [
    "HasMethods",
    "ImageShape",
    "Interval",
    "Numbers",
    "Options",
    "StrOptions",
    "VolumeShape",
    "align_sparse_interface",
    "check_sample_weight",
    "dense_output_wanted",
    "fit_context",
    "is_pandas_na",
    "same_specs",
    "validate_params",
]


def validate_params(estimator, *names):
    """Check parameters of an estimator, all or some, against its `_parameter_constraints`."""
    names = names or estimator.get_params(deep=False)
    validate_parameter_constraints(
        estimator._parameter_constraints,
        # Not of the parameters: a subclass may have fewer, and sets the others itself.
        {name: getattr(estimator, name) for name in names},
        caller_name=type(estimator).__name__,
    )


def same_specs(one, other):
    """Whether two specifications are of one class and have the same parameters; or two of these."""
    if isinstance(one, BaseEstimator):
        return type(one) is type(other) and same_specs(
            [*one.get_params(deep=False).values()], [*other.get_params(deep=False).values()]
        )
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(same_specs, one, other))
    return one is other or bool(np.array_equal(one, other))


def dense_output_wanted(estimator):
    """Return "pandas" or "polars" if `set_output` asked for it, else None."""
    wanted = _get_output_config("transform", estimator=estimator)["dense"]
    return None if wanted == "default" else wanted


class Numbers(Interval):
    """Constraint of some positive integers, `least` or more and `most` or fewer of them."""

    least, most = 1, float("inf")

    def __init__(self):
        super().__init__(Integral, 1, None, closed="left")

    def is_satisfied_by(self, val):
        return (
            isinstance(val, (tuple, list))
            and self.least <= len(val) <= self.most
            and all(super(Numbers, self).is_satisfied_by(n) for n in val)
        )

    def __str__(self):
        return "a tuple of positive integers"


class ImageShape(Numbers):
    """Constraint of two or three positive integers."""

    least, most = 2, 3
    axes = "height, width"

    def __str__(self):
        return f"({self.axes}) or ({self.axes}, channels), positive integers"


class VolumeShape(ImageShape):
    """Constraint of three or four positive integers."""

    least, most = 3, 4
    axes = "depth, height, width"

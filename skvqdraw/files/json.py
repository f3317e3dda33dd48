"""Parameters as JSON, and back.

A specification is an object of plain parameters that is a parameter itself: a refiner, a loss.
"""

import inspect

import numpy as np
from sklearn.base import BaseEstimator

from .._sklearn import HasMethods, validate_params
from ..exceptions import FormatError

# Specifications and lists in each other. What scikit-learn prints of nested ones may take time that
# grows exponentially with their depth.
_DEEPEST = 8
# Our estimators and specifications by their names, all that a file says of them.
KNOWN = {}


def known(cls):
    """Let files name this class, one of ours; a decorator."""
    KNOWN[cls.__name__] = cls
    return cls


def comes_with_package(cls):
    """Whether a class is ours."""
    return cls.__module__.partition(".")[0] == __package__.partition(".")[0]


def to_json(name, value):
    """Return a parameter as JSON can hold it; nested specifications as {class, params}."""
    if isinstance(value, BaseEstimator):
        params = value.get_params(deep=False)
        return {
            "class": type(value).__name__,
            "params": {key: to_json(f"{name}__{key}", p) for key, p in params.items()},
        }
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        return [to_json(name, item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        raise ValueError(
            f"{name} must be a finite number to be saved; got {value}. Change it with "
            f"set_params({name}=...) first."
        )
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"{name} must be None, a bool, a number, a string or a tuple of them to be saved; got "
        f"{type(value).__name__}. Change it with set_params({name}=...) first."
    )


def from_json(value, specs, depth=0):
    """Return the parameter that `to_json` wrote; `specs` are the classes that it may name."""
    if depth > _DEEPEST:
        raise FormatError(f"refiners and lists are nested more than {_DEEPEST} deep")
    if isinstance(value, dict):
        if not specs:
            raise FormatError("a refiner is where none may be")
        check_keys("a refiner", value, {"class", "params"})
        name, params = value["class"], value["params"]
        if not isinstance(name, str) or name not in specs:
            raise FormatError(
                f"unknown refiner {name!r}; known are {sorted(specs)}. Allow your own with "
                "load(path, allow=[TheClass])"
            )
        if not isinstance(params, dict):
            raise FormatError(f"the parameters of {name} must be an object; they are {params!r}")
        return make(specs[name], params, specs, depth + 1)
    if isinstance(value, list):
        return tuple(from_json(item, specs, depth + 1) for item in value)
    return value


def make(cls, params, specs, depth=0):
    """Return an estimator or a specification with parameters out of JSON, checked.

    One that is not among them is younger than the file. Its default is what older versions did, or
    the class says in `_later_params` what they did.
    """
    try:
        known = inspect.signature(cls).parameters
    except ValueError as error:  # of what is built into Python
        raise FormatError(f"{cls.__name__} cannot be made: {error}") from error
    if not params.keys() <= known.keys():
        raise FormatError(
            f"{cls.__name__} has no parameters {sorted(params.keys() - known.keys())}; install the "
            "newest skvqdraw"
        )
    params = {
        name: from_json(value, specs if _may_be_object(cls, name) else {}, depth)
        for name, value in params.items()
    }
    try:
        made = cls(**{**getattr(cls, "_later_params", {}), **params})
        validate_params(made)
    except Exception as error:  # cls may be the user's
        raise FormatError(f"{cls.__name__} cannot be made: {error}") from error
    return made


def _may_be_object(cls, name):
    """Whether a parameter may hold a specification; validation would print it elsewhere."""
    if not comes_with_package(cls):
        return True
    constraints = cls._parameter_constraints.get(name, [])
    return any(isinstance(constraint, HasMethods) for constraint in constraints)


def check_keys(what, found, wanted):
    """Refuse a dict that lacks something or has something else."""
    if found.keys() != wanted:
        raise FormatError(
            f"{what} must hold {sorted(wanted)}; it lacks {sorted(wanted - found.keys())} and has "
            f"besides {sorted(found.keys() - wanted)}"
        )

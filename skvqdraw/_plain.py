"""Parameters and lists as JSON and arrays, and back: what `io` puts files together from."""

import codecs
import inspect

import numpy as np
from sklearn.base import BaseEstimator

from ._sklearn import validate_params
from .exceptions import FormatError

# Refiners and lists in each other. What scikit-learn prints of nested ones may take time that grows
# exponentially with their depth.
_DEEPEST = 8
# Keys of a record of a loss curve. Every record has the first.
RECORD_KEYS = ("step", "seconds", "loss", "error", "entropy", "validation_error")


def comes_with_package(cls):
    """Whether a class is ours."""
    return cls.__module__.partition(".")[0] == __package__


def same_specs(one, other):
    """Whether two specifications are of one class and have the same parameters."""
    if type(one) is not type(other):
        return False
    params, others = one.get_params(), other.get_params()  # those of nested ones among them
    return params.keys() == others.keys() and all(
        type(params[name]) is type(others[name])
        if isinstance(params[name], BaseEstimator)
        else np.array_equal(params[name], others[name])
        for name in params
    )


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

    One that is not among them is younger than the file: its default is what older versions did.
    """
    known = inspect.signature(cls).parameters
    if not params.keys() <= known.keys():
        raise FormatError(
            f"{cls.__name__} has no parameters {sorted(params.keys() - known.keys())}; install the "
            "newest skvqdraw"
        )
    # Of ours, two parameters alone may hold objects; validation would print them elsewhere.
    ours = comes_with_package(cls)
    params = {
        name: from_json(value, {} if ours and name not in ("loss", "refiner") else specs, depth)
        for name, value in params.items()
    }
    try:
        made = cls(**params)
        validate_params(made)
    except Exception as error:  # cls may be the user's
        raise FormatError(f"{cls.__name__} cannot be made: {error}") from error
    return made


def check_keys(what, found, wanted):
    """Refuse a dict that lacks something or has something else."""
    if found.keys() != wanted:
        raise FormatError(
            f"{what} must hold {sorted(wanted)}; it lacks {sorted(wanted - found.keys())} and has "
            f"besides {sorted(found.keys() - wanted)}"
        )


def curve_to_arrays(loss_curve):
    """Return the keys of a list of records, their values (R, C) and whether they have them."""
    keys = list(dict.fromkeys(["step", *(key for record in loss_curve for key in record)]))
    shape = (len(loss_curve), len(keys))
    values = [[record.get(key, 0) for key in keys] for record in loss_curve]
    known = [[key in record for key in keys] for record in loss_curve]
    values_RC = np.array(values, dtype=np.float64).reshape(shape)
    return keys, values_RC, np.array(known, dtype=np.uint8).reshape(shape)


def check_curve_keys(keys):
    """Return the keys of records out of JSON, checked."""
    if not (
        isinstance(keys, list)
        and all(isinstance(key, str) and key in RECORD_KEYS for key in keys)
        and len(set(keys)) == len(keys)
        and "step" in keys
    ):
        raise FormatError(
            f"loss_curve_ must be different keys among {RECORD_KEYS}, step being one; it is "
            f"{keys!r}"
        )
    return keys


def check_curve(keys, values_RC, known_RC):
    """Check the arrays of `curve_to_arrays`."""
    step = keys.index("step")
    step_R = values_RC[:, step]
    if not (np.isfinite(step_R).all() and (step_R == np.floor(step_R)).all()):
        raise FormatError("the steps of loss_curve_ must be integers")
    if known_RC.max(initial=0) > 1 or not known_RC[:, step].all():
        raise FormatError("loss_curve_.known must be 0 or 1, and 1 for each step")


def curve_from_arrays(keys, values_RC, known_RC):
    """Return the records that `curve_to_arrays` took apart."""
    return [
        {
            key: int(value) if key == "step" else value
            for key, value, known in zip(keys, *row, strict=True)
            if known
        }
        for row in zip(values_RC.tolist(), known_RC.tolist(), strict=True)
    ]


def names_to_array(names):
    """Return names as bytes of UTF-8, with a zero between one and the next."""
    if any("\0" in name for name in names):
        raise ValueError("names of features must not hold the character '\\0' to be saved.")
    return np.frombuffer("\0".join(names).encode(), dtype=np.uint8)


def names_from_array(bytes_B, n_names):
    """Return the names that `names_to_array` joined."""
    # Counted and checked before they are made: names take much more memory than their bytes.
    n_found = np.count_nonzero(bytes_B == 0) + 1
    if n_found != n_names:
        raise FormatError(f"feature_names_in_ must be {n_names} names; they are {n_found}")
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(bytes_B), 2**20):
            decoder.decode(bytes_B[start : start + 2**20].tobytes())
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise FormatError(f"feature_names_in_ must be UTF-8: {error}") from error
    return np.array(bytes_B.tobytes().decode().split("\0"), dtype=object)

"""Saving and loading models: the one owner of the file format.

A model is one safetensors file. Its tensors are the arrays that the estimator learned and, where
it has a network, those of the network as ``network.<name>``. Its metadata holds one JSON string
with the format version, the class, the parameters and the small learned attributes. Nothing in the
file is ever executed.
"""

import json

import numpy as np
import safetensors
import safetensors.numpy
from sklearn.base import BaseEstimator

from . import refiners
from ._cluster_boosting import ClusterBoosting
from ._files import write_atomically
from ._fitting import build_network
from ._vqdraw import VQDRAW
from .exceptions import FormatError
from .training.state import load_network_arrays, network_arrays

__all__ = ["load"]

_FORMAT_VERSION = 1
_HEADER = "skvqdraw"
_ESTIMATORS = {"ClusterBoosting": ClusterBoosting, "VQDRAW": VQDRAW}
_REFINERS = {name: getattr(refiners, name) for name in refiners.__all__ if name != "Refiner"}
# What an estimator learns: arrays, and what JSON can hold.
_ARRAYS = {
    ClusterBoosting: ("mean_", "codebooks_", "stage_loss_", "code_usage_"),
    VQDRAW: ("mean_", "code_usage_"),
}
_SMALL = {
    ClusterBoosting: ("n_iter_", "n_features_in_"),
    VQDRAW: ("scale_", "n_steps_", "loss_curve_", "n_features_in_"),
}


def save(estimator, path):
    """Write a fitted estimator to `path`."""
    if type(estimator) not in _ESTIMATORS.values():
        raise TypeError(
            f"only {', '.join(_ESTIMATORS)} can be saved, not subclasses, which load would not "
            f"know; got {type(estimator).__name__}. Use pickle or joblib."
        )
    header = {
        "format_version": _FORMAT_VERSION,
        "class": type(estimator).__name__,
        "params": {
            name: _param_to_json(name, value)
            for name, value in estimator.get_params(deep=False).items()
        },
        "fitted": {name: getattr(estimator, name) for name in _SMALL[type(estimator)]},
    }
    if hasattr(estimator, "feature_names_in_"):
        header["fitted"]["feature_names_in_"] = estimator.feature_names_in_.tolist()
    tensors = {name: getattr(estimator, name) for name in _ARRAYS[type(estimator)]}
    if hasattr(estimator, "network_"):
        header["refiner_"] = _param_to_json("refiner_", estimator.refiner_)
        for name, array in network_arrays(estimator.network_).items():
            tensors[f"network.{name}"] = array
    write_atomically(path, safetensors.numpy.save(tensors, {_HEADER: json.dumps(header)}))


def load(path, *, allow=()):
    """Read a model that ``save`` wrote, on any machine.

    Parameters
    ----------
    path : str or path-like
        The file.
    allow : sequence of type, default=()
        Refiner classes of your own that the file may name. Nothing else is ever imported or
        executed because of what a file says.

    Returns
    -------
    estimator : VQDRAW or ClusterBoosting
        The fitted estimator: same parameters, same codes. The memory of `VQDRAW.partial_fit` (its
        optimizer) is not saved; training can go on, with a fresh one.

    Raises
    ------
    FormatError
        If the file is not a model that this version reads.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import skvqdraw
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> vq = skvqdraw.VQDRAW(n_stages=2, n_options=4, max_steps=5).fit(X)
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> vq.save(path)
    >>> bool((skvqdraw.load(path).encode(X) == vq.encode(X)).all())
    True
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise FormatError(
            f"{path} is not a model saved by skvqdraw: {type(error).__name__}: {error}."
        ) from error
    if not isinstance(header, dict) or header.get("format_version") != _FORMAT_VERSION:
        version = header.get("format_version") if isinstance(header, dict) else None
        raise FormatError(
            f"{path} has format version {version}; this version of skvqdraw reads "
            f"{_FORMAT_VERSION}. Install a newer skvqdraw, or save the model again."
        )
    specs = {**_REFINERS, **{cls.__name__: cls for cls in allow}}
    try:
        return _restore(header, tensors, specs)
    except FormatError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise FormatError(
            f"{path} does not hold a whole model: {type(error).__name__}: {error}"
        ) from error


def _restore(header, tensors, specs):
    if header["class"] not in _ESTIMATORS:
        raise FormatError(f"unknown class {header['class']!r}; known are {sorted(_ESTIMATORS)}.")
    params = {name: _param_from_json(value, specs) for name, value in header["params"].items()}
    cls = _ESTIMATORS[header["class"]]
    estimator = cls(**params)
    for name in _SMALL[cls]:
        setattr(estimator, name, header["fitted"][name])
    if "feature_names_in_" in header["fitted"]:
        names = header["fitted"]["feature_names_in_"]
        estimator.feature_names_in_ = np.asarray(names, dtype=object)
    for name in _ARRAYS[cls]:
        setattr(estimator, name, tensors.pop(name))
    if "refiner_" in header:
        _restore_network(estimator, header, tensors, specs)
    return estimator


def _restore_network(estimator, header, tensors, specs):
    estimator.refiner_ = _param_from_json(header["refiner_"], specs)
    estimator.network_ = build_network(
        estimator.refiner_, estimator.n_features_in_, *estimator.code_usage_.shape, seed=0
    )
    arrays = {name.removeprefix("network."): array for name, array in tensors.items()}
    load_network_arrays(estimator.network_, arrays)


def _param_to_json(name, value):
    """Return a parameter as JSON can hold it; nested specifications as {class, params}."""
    if isinstance(value, BaseEstimator):
        params = value.get_params(deep=False)
        return {
            "class": type(value).__name__,
            "params": {key: _param_to_json(f"{name}__{key}", p) for key, p in params.items()},
        }
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        return [_param_to_json(name, item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"{name} must be None, a bool, a number, a string or a tuple of them to be saved; got "
        f"{type(value).__name__}. Change it with set_params({name}=...) first."
    )


def _param_from_json(value, specs):
    if isinstance(value, dict):
        if value["class"] not in specs:
            raise FormatError(
                f"unknown refiner {value['class']!r}; known are {sorted(specs)}. Allow your own "
                "with load(path, allow=[TheClass])."
            )
        params = {name: _param_from_json(p, specs) for name, p in value["params"].items()}
        return specs[value["class"]](**params)
    if isinstance(value, list):
        return tuple(_param_from_json(item, specs) for item in value)
    return value

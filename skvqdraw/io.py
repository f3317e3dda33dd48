"""Saving and loading models: the one owner of the file format, which docs/saving.md describes.

A model is one safetensors file. Its arrays are those that the estimator learned and, where it has a
network, those of the network as ``network.<name>``. Its text is JSON with the rest. Nothing in a
file is executed or imported, and nothing is believed: `load` checks, in this order,

1. the length of the header, and that the arrays it names fill the file (`_safetensors`),
2. the format version, the class and what else the text must hold,
3. the parameters, by the rules that `fit` has for them, and the small learned attributes,
4. names, dtypes and shapes of all arrays, also against the network that would be built,
5. the hash of the file, and that its numbers are finite,

and only then builds the network. Up to there it takes no more memory than twice the size of the
file and what Python needs for a header of 1 MiB. `save` writes nothing that would not pass 2 to 5.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from io import BytesIO
from numbers import Integral, Real

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator
from torch.overrides import TorchFunctionMode

from . import losses, refiners
from ._cluster_boosting import ClusterBoosting
from ._files import open_regular, write_atomically
from ._fitting import build_network, built
from ._plain import (
    check_curve,
    check_curve_keys,
    check_keys,
    curve_from_arrays,
    curve_to_arrays,
    from_json,
    make,
    names_from_array,
    names_to_array,
    to_json,
)
from ._safetensors import parse_json, read_array, read_header, serialise
from ._sklearn import Interval
from ._version import __version__
from ._vqdraw import VQDRAW
from .exceptions import FormatError
from .nn.build import Building
from .training.state import load_network_arrays, network_arrays

__all__ = ["SKOPS_TRUSTED", "load"]

_FORMAT_VERSION = 2
_ESTIMATORS = {"ClusterBoosting": ClusterBoosting, "VQDRAW": VQDRAW}
_REFINERS = {name: getattr(refiners, name) for name in refiners.__all__ if name != "Refiner"}
_SPECS = _REFINERS | {cls.__name__: cls for cls in losses.NAMES.values()}
SKOPS_TRUSTED = sorted(
    f"{cls.__module__}.{cls.__name__}" for cls in (*_ESTIMATORS.values(), *_SPECS.values())
)

_TEXT = {
    "sha256": str,
    "format_version": int,
    "class": str,
    "params": dict,
    "fitted": dict,
    "versions": dict,
}
# In place of the hash, while the file is hashed.
_NO_HASH = "0" * 64
# Small learned attributes, which are in the text. VQDRAW has `refiner_` and the keys of its
# `loss_curve_` there besides.
_COUNT = Interval(Integral, 0, None, closed="left")
_SMALL = {
    ClusterBoosting: {"n_features_in_": _COUNT, "n_iter_": _COUNT},
    VQDRAW: {
        "n_features_in_": _COUNT,
        "n_steps_": Interval(Integral, 0, 2**53, closed="both"),  # exact as a float, too
        "scale_": Interval(Real, 0, None, closed="neither"),
    },
}
# Learned arrays with their axes and dtypes: S stages, K options, D features. None is as `mean_`.
_MEAN_AND_USAGE = {"mean_": ("D", ("float32", "float64")), "code_usage_": ("SK", ("float64",))}
_ARRAYS = {
    ClusterBoosting: {
        **_MEAN_AND_USAGE,
        "codebooks_": ("SKD", None),
        "stage_loss_": ("S", ("float64",)),
    },
    VQDRAW: _MEAN_AND_USAGE,
}
# Lists are arrays, since they may be long: R records of C keys, names of B bytes in all.
_CURVE = {"loss_curve_": ("RC", ("float64",)), "loss_curve_.known": ("RC", ("uint8",))}
_NAMES = {"feature_names_in_": ("B", ("uint8",))}
# Where a fit writes its checkpoints is of the machine that fitted: not for a file to say.
_NOT_SAVED = {"checkpoint"}
# More could cost memory out of proportion to the file before it is seen to be wrong.
_MOST_STAGES = 2**16
_MOST_RECORDS = 2**20


def save(estimator, path):
    """Write a fitted estimator to `path`."""
    cls = type(estimator)
    if cls not in _ESTIMATORS.values():
        raise TypeError(
            f"only {', '.join(_ESTIMATORS)} can be saved, not subclasses, which load would not "
            f"know; got {cls.__name__}. Use pickle or joblib."
        )
    learned = (getattr(estimator, name, None) for name in ("refiner_", "loss_"))
    found = [cls for value in (estimator, *learned) for cls in _classes_in(value)]
    specs = _by_name(found)
    params = estimator.get_params(deep=False)
    params = {name: value for name, value in params.items() if name not in _NOT_SAVED}
    fitted = {name: getattr(estimator, name) for name in _SMALL[cls]}
    if not losses.is_named_by(estimator.loss_, estimator.loss):  # it was changed after the fit
        fitted["loss_"] = to_json("loss_", estimator.loss_)
    arrays = {name: getattr(estimator, name) for name in _ARRAYS[cls]}
    if hasattr(estimator, "feature_names_in_"):
        arrays["feature_names_in_"] = names_to_array(estimator.feature_names_in_)
    if cls is VQDRAW:
        fitted["refiner_"] = to_json("refiner_", estimator.refiner_)
        fitted["loss_curve_"], *curve = curve_to_arrays(estimator.loss_curve_)
        arrays |= zip(_CURVE, curve, strict=True)
        network = network_arrays(estimator.network_)
        arrays |= {f"network.{name}": array for name, array in network.items()}
    text = {
        "sha256": _NO_HASH,
        "format_version": _FORMAT_VERSION,
        "class": cls.__name__,
        "params": {
            name: to_json(name, str(value) if isinstance(value, torch.device) else value)
            for name, value in params.items()
        },
        "fitted": fitted,
        "versions": {
            "skvqdraw": __version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "torch": str(torch.__version__),
        },
    }
    header, *pieces = serialise(arrays, json.dumps(text))
    try:
        n_bytes = len(header) + sum(piece.size for piece in pieces)
        _check_header(BytesIO(header), n_bytes, specs)
        _check_numbers(arrays, fitted)
    except FormatError as error:
        raise ValueError(f"this {cls.__name__} cannot be saved: {error}.") from error
    hashed = hashlib.sha256(header)
    for piece in pieces:
        hashed.update(piece)
    header = header.replace(_NO_HASH.encode(), hashed.hexdigest().encode(), 1)
    write_atomically(path, header, *pieces)


def load(path, *, allow=()):
    """Read a model that ``save`` wrote, on any machine.

    The file may come from somebody you do not trust: nothing in it is executed, and what it says
    is checked before it costs memory.

    Parameters
    ----------
    path : str or path-like
        The file.
    allow : sequence of type, default=()
        Classes of refiners and losses of your own that the file may name. They are given the
        parameters that it says; to bound what they make of these is up to them.

    Returns
    -------
    estimator : VQDRAW or ClusterBoosting
        The fitted estimator: same parameters, same codes. The memory of `VQDRAW.partial_fit` (its
        optimizer) is not saved; training can go on, with a fresh one.

    Raises
    ------
    FormatError
        If the file is not a model that this version reads, with what is wrong in it.
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If two classes in `allow` have one name, or one has that of a refiner of this library.

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
    if not isinstance(allow, Sequence) or not all(isinstance(cls, type) for cls in allow):
        raise TypeError(f"allow must be a list of classes of refiners and losses; got {allow!r}.")
    specs = _by_name(allow)
    path = os.fsdecode(path)
    try:
        with open_regular(path) as file:
            return _load(file, specs)
    except (FormatError, RecursionError) as error:
        reason = str(error)[:1000].rstrip(".")
        raise FormatError(
            f"{path} is not a model that skvqdraw {__version__} reads: {reason}."
        ) from error


def _load(file, specs):
    n_bytes = os.fstat(file.fileno()).st_size
    header, text, places, estimator = _check_header(file, n_bytes, specs)
    arrays = _read_arrays(file, header, text["sha256"], places)
    _check_numbers(arrays, text["fitted"])
    for name in _ARRAYS[type(estimator)]:
        setattr(estimator, name, arrays.pop(name))
    names = arrays.pop("feature_names_in_", None)
    if isinstance(estimator, VQDRAW):
        curve = [arrays.pop(name) for name in _CURVE]
        estimator.network_ = _network(estimator, arrays, places)
    # Last, when little can be refused any more: Python's objects take much more than their bytes.
    if names is not None:
        estimator.feature_names_in_ = names_from_array(names, estimator.n_features_in_)
    if isinstance(estimator, VQDRAW):
        estimator.loss_curve_ = curve_from_arrays(text["fitted"]["loss_curve_"], *curve)
    return estimator


def _check_header(file, n_bytes, specs):
    """Return what a file says before its arrays, checked, and an estimator without them."""
    header, text, places = read_header(file, n_bytes)
    text = _check_text(text)
    cls, fitted = _ESTIMATORS[text["class"]], text["fitted"]
    if not _NOT_SAVED.isdisjoint(text["params"]):
        raise FormatError(f"params must not hold {sorted(_NOT_SAVED)}")
    estimator = make(cls, text["params"], specs)
    others = {"refiner_", "loss_curve_"} if cls is VQDRAW else set()
    check_keys("fitted", fitted, _SMALL[cls].keys() | others | ({"loss_"} & fitted.keys()))
    loss = from_json(fitted["loss_"], specs) if "loss_" in fitted else estimator.loss
    # Cluster boosting needs methods that only ours have.
    needed = "_descent" if cls is ClusterBoosting else "grid"
    if not hasattr(loss, needed) and ("loss_" in fitted or not isinstance(loss, str)):
        raise FormatError(f"loss_ must be a loss that {cls.__name__} can have; it is {loss!r}")
    estimator.loss_ = losses.find(loss)
    if not estimator.loss_.centred and fitted.get("scale_", 1) != 1:
        raise FormatError(f"scale_ must be 1 with {loss!r}; it is {fitted['scale_']}")
    for name, allowed in _SMALL[cls].items():
        kind = float if allowed.type is Real else int  # no int that is too large for a float
        if type(fitted[name]) is not kind or not allowed.is_satisfied_by(fitted[name]):
            raise FormatError(f"{name} must be {allowed}; it is {fitted[name]!r}")
        setattr(estimator, name, fitted[name])
    wanted = _ARRAYS[cls] | (_NAMES if "feature_names_in_" in places else {})
    sizes = {"D": estimator.n_features_in_}
    if cls is VQDRAW:
        wanted = wanted | _CURVE
        sizes["C"] = len(check_curve_keys(fitted["loss_curve_"]))
    _check_arrays(wanted, sizes, places)
    rest = {name: place for name, place in places.items() if name not in wanted}
    if cls is VQDRAW:
        estimator.refiner_ = from_json(fitted["refiner_"], specs)
        _check_network(estimator.refiner_, estimator.loss_, sizes, rest)
    elif rest:
        raise FormatError(f"it has unknown arrays: {sorted(rest)}")
    return header, text, places, estimator


def _check_text(text):
    """Return the text of a file as the dict that it must be."""
    text = parse_json(text)
    if not isinstance(text, dict) or text.get("format_version") != _FORMAT_VERSION:
        found = text.get("format_version") if isinstance(text, dict) else None
        raise FormatError(
            f"it has format version {found!r}, and {_FORMAT_VERSION} is the one that is read; "
            "install the newest skvqdraw"
        )
    check_keys("its text", text, _TEXT.keys())
    for name, kind in _TEXT.items():
        if type(text[name]) is not kind:
            raise FormatError(f"{name} must be of type {kind.__name__}; it is {text[name]!r}")
    if text["class"] not in _ESTIMATORS:
        raise FormatError(f"unknown class {text['class']!r}; known are {sorted(_ESTIMATORS)}")
    if not all(isinstance(version, str) for version in text["versions"].values()):
        raise FormatError(f"versions must be strings; they are {text['versions']}")
    return text


def _check_arrays(wanted, sizes, places):
    """Check dtypes and shapes of arrays against each other; `sizes` learns those of the axes."""
    for name, (axes, dtypes) in wanted.items():
        if name not in places:
            raise FormatError(f"{name} is missing")
        dtype, shape = places[name][:2]
        dtypes = dtypes or (places["mean_"].dtype.name,)
        if dtype.name not in dtypes:
            raise FormatError(f"{name} must be of dtype {' or '.join(dtypes)}; it is {dtype.name}")
        if len(shape) != len(axes) or any(
            sizes.setdefault(axis, size) != size for axis, size in zip(axes, shape, strict=True)
        ):
            raise FormatError(f"{name} must be {tuple(axes)}, with {sizes}; it is {shape}")
    S, K, D = sizes["S"], sizes["K"], sizes["D"]
    if not (1 <= S <= _MOST_STAGES and K >= 2 and D >= 1):
        raise FormatError(
            f"it must have 1 to {_MOST_STAGES} stages, at least 2 options and 1 feature; it has "
            f"{S}, {K} and {D}"
        )
    if sizes.get("R", 0) > _MOST_RECORDS:
        raise FormatError(f"loss_curve_ may have {_MOST_RECORDS} records; it has {sizes['R']}")


class _Counted(TorchFunctionMode):
    """Refuse to make more than so many tensors."""

    def __init__(self, n_tensors):
        super().__init__()
        self.n_left = n_tensors

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.empty, torch.zeros, torch.tensor):
            self.n_left -= 1
            if self.n_left < 0:
                raise FormatError("it has fewer arrays than the network of refiner_")
        return func(*args, **(kwargs or {}))


def _check_network(refiner, loss, sizes, places):
    """Check the arrays of a network against one without memory, if the refiner is one of ours."""
    if not hasattr(refiner, "build"):
        raise FormatError(f"refiner_ must be a refiner; it is {refiner!r}")
    if type(refiner) in _REFINERS.values():
        try:
            with torch.device("meta"), Building(), _Counted(len(places)):
                network = built(refiner, loss, sizes["D"], sizes["S"], sizes["K"])
        except FormatError:
            raise
        except Exception as error:
            reason = str(error).partition("\n")[0]  # PyTorch adds its own stack
            raise FormatError(f"refiner_ cannot build a network: {reason}") from error
        _compare(network, places)


def _compare(network, places):
    """Refuse arrays that are not those of the network."""
    wanted = {
        f"network.{name}": (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in network.state_dict().items()
    }
    found = {name: (place.dtype.name, place.shape) for name, place in places.items()}
    for name in wanted | found:
        if wanted.get(name) != found.get(name):
            raise FormatError(
                f"{name!r} must be {wanted.get(name, 'absent')}, by refiner_; it is "
                f"{found.get(name, 'absent')}"
            )


def _read_arrays(file, header, digest, places):
    """Return the arrays of a file of which the header has been read, if its hash is right."""
    if not re.fullmatch("[0-9a-f]{64}", digest) or header.count(digest.encode()) != 1:
        raise FormatError(f"sha256 must be 64 hexadecimal digits found only here; got {digest!r}")
    hashed = hashlib.sha256(header.replace(digest.encode(), _NO_HASH.encode()))
    arrays = {}
    for name, place in places.items():
        arrays[name], raw = read_array(file, name, place)
        hashed.update(raw)
    if hashed.hexdigest() != digest:
        raise FormatError("it has changed since it was written: its SHA-256 is another")
    return arrays


def _check_numbers(arrays, fitted):
    for name, array in arrays.items():
        # A loss curve may tell of an error that was infinite, between others that were not.
        if array.dtype.kind == "f" and name != "loss_curve_" and not np.isfinite(array).all():
            raise FormatError(f"{name!r} has numbers that are infinite or NaN")
    usage_SK = arrays["code_usage_"]
    if usage_SK.min() < 0 or usage_SK.max() > 1:
        raise FormatError("code_usage_ must be shares, from 0 to 1")
    if "loss_curve_" in fitted:
        check_curve(fitted["loss_curve_"], *(arrays[name] for name in _CURVE))


def _network(estimator, arrays, places):
    """Return the network of an estimator that has all else."""
    try:
        network = build_network(
            estimator.refiner_,
            estimator.loss_,
            estimator.n_features_in_,
            *estimator.code_usage_.shape,
            seed=0,
            try_out=type(estimator.refiner_) not in _REFINERS.values(),
        )
    except MemoryError:
        raise
    except Exception as error:  # the refiner may be the user's
        raise FormatError(f"refiner_ cannot build a network: {error}") from error
    _compare(network, {name: places[name] for name in arrays})
    load_network_arrays(
        network, {name.removeprefix("network."): array for name, array in arrays.items()}
    )
    return network


def _by_name(classes):
    """Return our refiners, losses and others by their names, all that a file says of them."""
    specs = dict(_SPECS)
    for cls in classes:
        if specs.setdefault(cls.__name__, cls) is not cls:
            raise ValueError(
                f"two classes are called {cls.__name__}: {specs[cls.__name__]} and "
                f"{cls}. A file could not tell them apart; rename yours."
            )
    return specs


def _classes_in(value):
    """Yield the classes of an estimator and of all that its parameters are made of."""
    if isinstance(value, BaseEstimator):
        yield type(value)
        value = [*value.get_params(deep=False).values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _classes_in(item)

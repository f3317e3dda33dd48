"""A fitted estimator as a file and as a pickle: the one owner of the format in docs/saving.md.

Nothing in a file is executed or imported, and nothing is believed. In this order are checked

1. the length of the header, and that the arrays it names fill the file,
2. the format version, the class and what else the text must hold,
3. the parameters, by the rules that `fit` has for them, and learned attributes in the text,
4. names, dtypes and shapes of all arrays, also against the network that would be built,
5. the hash of the file, and its numbers,

and only then is a network built. Up to there it takes no more memory than twice the size of the
file and what Python needs for a header of 1 MiB. `save` writes nothing that would not pass 2 to 5.
"""

import os
from importlib.metadata import version
from io import BytesIO

from sklearn.base import BaseEstimator

from .._version import __version__
from ..exceptions import FormatError
from .atomic import file_name, open_regular, write_atomically
from .container import pack, parse_json, read_arrays, read_header
from .json import KNOWN, check_keys, comes_with_package, make, to_json
from .learned import Reading

_FORMAT_VERSION = 2
_PACKAGES = ("numpy", "scikit-learn", "torch")
_OWN_VERSION = {"skvqdraw": __version__}
_TEXT = {
    "sha256": str,
    "format_version": int,
    "class": str,
    "params": dict,
    "fitted": dict,
    "versions": dict,
}


def save(estimator, path):
    """Write a fitted estimator to `path`."""
    cls = type(estimator)
    learned = {name: value for name, value in vars(estimator).items() if name.endswith("_")}
    undeclared = learned.keys() - cls._learned.keys() - estimator.get_params(deep=False).keys()
    if undeclared and not comes_with_package(cls):
        raise TypeError(
            f"{cls.__name__} cannot be saved: its _learned does not declare "
            f"{', '.join(sorted(undeclared))}. Declare it there, or use pickle or joblib."
        )
    classes = _by_name(each for v in (estimator, *learned.values()) for each in _classes_in(v))
    fitted, arrays = {}, {}
    for name, kind in cls._learned.items():
        text, own = kind._take_apart(name, estimator)
        fitted |= {} if text is None else {name: text}
        arrays |= own
    text = {
        "format_version": _FORMAT_VERSION,
        "class": cls.__name__,
        "params": {name: to_json(name, p) for name, p in estimator._saved_params().items()},
        "fitted": fitted,
        "versions": {package: version(package) for package in _PACKAGES} | _OWN_VERSION,
    }
    pieces = pack(arrays, text)
    try:
        n_bytes = sum(len(piece) for piece in pieces)
        *_, reading = _check_header(BytesIO(pieces[0]), n_bytes, classes)
        _check_numbers(reading, arrays)
    except FormatError as error:
        raise ValueError(f"this {cls.__name__} cannot be saved: {error}.") from error
    write_atomically(path, pieces)


def load(path, allow):
    """Return the estimator that `save` wrote; `allow` are classes of others that it may name."""
    classes, path = _by_name(allow), file_name(path)
    try:
        with open_regular(path) as file:
            n_bytes = os.fstat(file.fileno()).st_size
            header, digest, reading = _check_header(file, n_bytes, classes)
            arrays = read_arrays(file, header, digest, reading.entries)
        _check_numbers(reading, arrays)
        for name, kind in _learned_of(reading):
            kind._put_together(name, reading, arrays)
    except (FormatError, RecursionError) as error:
        reason = str(error)[:1000].rstrip(".")
        raise FormatError(
            f"{path} is not a model that skvqdraw {__version__} reads: {reason}."
        ) from error
    return reading.estimator


def _check_header(file, n_bytes, classes):
    """Return the header, its hash, and what a file says before its arrays, checked."""
    header, text, entries = read_header(file, n_bytes)
    text = _check_text(parse_json(text), classes)
    specs = {name: cls for name, cls in classes.items() if not hasattr(cls, "_learned")}
    estimator = make(classes[text["class"]], text["params"], specs)
    if unsaved := text["params"].keys() - estimator._saved_params().keys():
        raise FormatError(f"params must not hold {sorted(unsaved)}")
    sizes = {"D": text["fitted"].get("n_features_in_")}
    reading = Reading(estimator, text["fitted"], entries, specs, sizes)
    found, wanted = text["fitted"].keys(), {n for n, kind in _learned_of(reading) if kind.in_text}
    may_be = {name for name, kind in _learned_of(reading) if kind.in_text is None}
    check_keys("fitted", text["fitted"], wanted | (may_be & found))
    known = {name for n, kind in _learned_of(reading) for name in kind._check(n, reading)}
    if unknown := entries.keys() - known:
        raise FormatError(f"it has unknown arrays: {sorted(unknown)}")
    estimator._check_learned()
    return header, text["sha256"], reading


def _learned_of(reading):
    return reading.estimator._learned.items()


def _check_text(text, classes):
    """Return the text of a file as the dict that it must be."""
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
    known = sorted(name for name, cls in classes.items() if hasattr(cls, "_learned"))
    if text["class"] not in known:
        raise FormatError(
            f"unknown class {text['class']!r}; known are {known}. Allow your own with "
            "load(path, allow=[TheClass])"
        )
    if not all(isinstance(version, str) for version in text["versions"].values()):
        raise FormatError(f"versions must be strings; they are {text['versions']}")
    return text


def _check_numbers(reading, arrays):
    for name, kind in _learned_of(reading):
        kind._check_numbers(name, reading, arrays)


def _by_name(classes):
    """Return our classes and others by their names, all that a file says of them."""
    known = dict(KNOWN)
    for cls in classes:
        if known.setdefault(cls.__name__, cls) is not cls:
            raise ValueError(
                f"two classes are called {cls.__name__}: {known[cls.__name__]} and "
                f"{cls}. A file could not tell them apart; rename yours."
            )
    return known


def _classes_in(value):
    """Yield the classes of an estimator and of all that its parameters are made of."""
    if isinstance(value, BaseEstimator):
        yield type(value)
        value = [*value.get_params(deep=False).values()]
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _classes_in(item)

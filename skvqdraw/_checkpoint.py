"""What a fit writes down so that it can go on after its process: the one owner of that file.

A checkpoint is a safetensors file. Its metadata holds one JSON string (a format version, what fits
are told apart by, the numbers of the state) and a SHA-256 of that string and of all tensors.
Nothing in it is ever executed. It is the estimators' and not the training's, because they know
which parameters make two fits the same, and how a fit stops early.
"""

import errno
import hashlib
import json
import math
import os
import re
import stat
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
import torch

from ._device import is_out_of_memory
from ._files import open_regular, remove_temporaries, write_atomically
from ._plain import RECORD_KEYS
from ._warn import warn
from .exceptions import FormatError
from .training.state import (
    Totals,
    load_network_arrays,
    load_optimizer_arrays,
    network_arrays,
    optimizer_arrays,
)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_FORMAT_VERSION = 1
# How a checkpoint begins, after the length of its header; it may end within its hash.
_BEGINNING = re.compile(
    rb'.{8}\{"__metadata__":\{("sha256":"[0-9a-f]{0,64}(\Z|",))?("skvqdraw_checkpoint":|\Z)',
    re.DOTALL,
)
_HEADER, _CHECKSUM = "skvqdraw_checkpoint", "sha256"
_VALUES = {
    "step": int,
    "first_step": int,
    "start_up_seconds": float,
    "seconds": float,
    "steps_since_record": int,
    "loss_curve": list,
    "order_seed": int,
    "scale": float,
    "best_error": float,
    "reference": float,
    "n_bad": int,
}
# More is no count of steps, and would take for ever to go through the order of rows.
_MOST_STEPS = 2**53
# What may change while a fit goes on: where and in how many parts it is computed, what it says, and
# what is done with its result. Of `warm_start`, the model that the fit goes on from is compared.
_FREE_PARAMETERS = {
    "beam_size",
    "checkpoint",
    "checkpoint_every",
    "device",
    "encoding",
    "gradient_accumulation",
    "gradient_checkpointing",
    "verbose",
    "warm_start",
}
_COMPARED_ROWS = 1000


@dataclass
class Snapshot:
    """The state of a fit between two steps: numbers and lists, and arrays, both by name."""

    values: dict
    arrays: dict

    def group(self, name):
        """Return the arrays of one object by their own names."""
        prefix = f"{name}."
        return {
            key.removeprefix(prefix): array
            for key, array in self.arrays.items()
            if key.startswith(prefix)
        }

    def split(self, sample_weight):
        """Return the rows to train on and those to validate on, or None."""
        rows, validation_rows = np.flatnonzero(sample_weight), self.arrays.get("validation_rows")
        if validation_rows is not None:
            rows = np.setdiff1d(rows, validation_rows)
        return rows, validation_rows


def take_snapshot(fit):
    """Return the state of a fit between two steps."""
    state, watch = fit.state, fit.watch
    values = {
        "step": state.step,
        "first_step": state.first_step,
        "start_up_seconds": state.start_up_seconds,
        "seconds": time.perf_counter() - fit.started,
        "steps_since_record": state.totals.n_steps,
        "loss_curve": fit.loss_curve,
        "order_seed": fit.order_seed,
        "scale": fit.preparation.scale,
        "best_error": watch.best_error,
        "reference": watch.reference,
        "n_bad": watch.n_bad,
    }
    arrays = {"mean": fit.preparation.mean_D}
    if fit.validation_rows is not None:
        arrays["validation_rows"] = fit.validation_rows
    groups = {
        "network": network_arrays(state.network),
        "optimizer": optimizer_arrays(state.optimizer),
        "totals": state.totals.arrays(),
        "best": watch.best_arrays or {},
    }
    for group, members in groups.items():
        arrays.update({f"{group}.{name}": array for name, array in members.items()})
    return Snapshot(values, arrays)


def restore(fit, snapshot):
    """Bring a fit that has made no step yet, but for centre and scale, to a snapshot's state."""
    values, state, watch = snapshot.values, fit.state, fit.watch
    try:
        _check_fit(fit, snapshot)
        if best := snapshot.group("best"):  # whether they fit shows now, not at the end
            load_network_arrays(state.network, best)
        load_network_arrays(state.network, snapshot.group("network"))
        load_optimizer_arrays(state.optimizer, snapshot.group("optimizer"))
        state.totals = Totals(fit.estimator.n_stages, fit.estimator.n_options, fit.device)
        state.totals.load_arrays(snapshot.group("totals"))
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise FormatError(
            f"what is in the checkpoint is not of a fit that {fit.refiner} makes now: {error} "
            "Delete the file to start again."
        ) from error
    state.totals.n_steps = values["steps_since_record"]
    state.step, state.first_step = values["step"], values["first_step"]
    state.start_up_seconds = values["start_up_seconds"]
    watch.best_error, watch.reference = values["best_error"], values["reference"]
    watch.n_bad, watch.best_arrays = values["n_bad"], best or None
    fit.loss_curve, fit.order_seed = values["loss_curve"], values["order_seed"]
    fit.started -= values["seconds"]


def _check_fit(fit, snapshot):
    """Refuse a snapshot that is not of these rows and this budget."""
    n_rows, n_features = fit.X.shape
    mean_shape, rows = snapshot.arrays["mean"].shape, fit.validation_rows
    if mean_shape != (n_features,):
        raise ValueError(f"mean must be of shape {(n_features,)}; it is {mean_shape}.")
    valid = rows is None
    if fit.estimator.early_stopping:
        valid = not valid and rows.ndim == 1 and rows.dtype.kind == "i"
        valid = valid and ((rows >= 0) & (rows < n_rows)).all()
    if not valid:
        raise ValueError("validation_rows are not those of this fit.")
    n_steps, most = snapshot.values["step"] - snapshot.values["first_step"], fit.estimator.max_steps
    if most is not None and n_steps >= most:  # none is written after the last
        raise ValueError(f"it has made {n_steps} steps of {most}.")


class DivergenceError(FloatingPointError):
    """A training went astray, and would again. A FloatingPointError may be numpy's, too."""


@contextmanager
def checkpoint_of(estimator, X, sample_weight, processes, *, going_on):
    """Yield the checkpoint of a fit, its path locked, and the snapshot in it: None where none is.

    Process 0 alone has the checkpoint, all have the snapshot. A fit that diverges takes its
    checkpoint along: going on would lead there again.
    """
    checkpoint = None

    def open_and_read():
        nonlocal checkpoint
        if estimator.checkpoint is None:
            return None
        path = Path(os.fsdecode(estimator.checkpoint))
        stack.enter_context(_locked(path))
        remove_temporaries(path)
        identity = identity_of(estimator, X, sample_weight, going_on)
        checkpoint = Checkpoint(path, estimator.checkpoint_every, identity)
        return checkpoint.read()

    with ExitStack() as stack:
        snapshot = processes.from_first(open_and_read, _packed, _unpacked)
        try:
            yield checkpoint, snapshot
        except DivergenceError:
            if checkpoint:
                checkpoint.remove()
            raise


def _packed(snapshot):
    """Return a snapshot as bytes, and none of None."""
    if snapshot is None:
        return b""
    values = np.frombuffer(json.dumps(snapshot.values).encode(), dtype=np.uint8)
    return safetensors.numpy.save({**snapshot.arrays, "values": values})


def _unpacked(data):
    """Return the snapshot that was packed, or None."""
    if not data:
        return None
    arrays = safetensors.numpy.load(data)
    return Snapshot(json.loads(arrays.pop("values").tobytes()), arrays)


class Checkpoint:
    """The file of a fit, and the one before it.

    Parameters
    ----------
    path : Path
        The file, or a link to it; the one before it is called ``.previous`` in addition.
    every : float
        Seconds from one writing to the next.
    identity : dict
        What the fit is told apart by: names and what to say of them.
    """

    def __init__(self, path, every, identity):
        self.named = os.fspath(path)
        self.path = _at_end_of_links(path)
        self.previous = self.path.with_name(f"{self.path.name}.previous")
        self.every = every
        self.identity = json.loads(json.dumps(identity))  # as it comes back from a file
        self.written = time.monotonic()

    def read(self):
        """Return the latest snapshot that is whole, or None if there is none at all."""
        try:
            self._refuse_other_files()
        except OSError as error:
            raise FormatError(
                f"checkpoint={self.named!r} cannot be used: {error.strerror}. Name another file, "
                "or move this one away."
            ) from error
        damage = None
        for path in (self.path, self.previous):
            try:
                header, arrays = _load(path)
            except FileNotFoundError:
                continue
            except FormatError as error:
                damage = damage or error
                continue
            self._refuse_another_fit(header["identity"])
            if path == self.previous:
                if damage:
                    warn(f"{damage} Going on from the one before it.")
                os.replace(path, self.path)  # never to be replaced by the damaged one
            return Snapshot(header["values"], arrays)
        if damage:
            raise FormatError(f"{damage} Delete it to start again.")
        return None

    def _refuse_other_files(self):
        """Raise FileExistsError where a file is no checkpoint, damaged or not.

        It may be a saved model, which is neither to be replaced nor to be removed.
        """
        for path in (self.path, self.previous):
            with suppress(FileNotFoundError), open_regular(path) as file:
                beginning = file.read(256)
                if beginning and not _BEGINNING.match(beginning):
                    what = f"{os.fspath(path)!r} is no checkpoint, and is left alone"
                    raise FileExistsError(errno.EEXIST, what)

    def _refuse_another_fit(self, identity):
        names = sorted(identity.keys() | self.identity.keys())
        differences = [
            f"{name} was {identity.get(name)!r}, is now {self.identity.get(name)!r}"
            for name in names
            if identity.get(name) != self.identity.get(name)
        ]
        if differences:
            raise ValueError(
                f"checkpoint={self.named!r} is of another fit: {'; '.join(differences)}. "
                "Set it back to go on with that fit, or delete the file to start this one."
            )

    def write_if_due(self, fit):
        """Write the state of the fit, if it is time to; if that fails, warn."""
        if time.monotonic() - self.written < self.every:
            return
        try:
            data = _dump(self.identity, take_snapshot(fit))
            self._refuse_other_files()
            if self.path.exists():
                os.replace(self.path, self.previous)
            write_atomically(self.path, data)
        except (OSError, MemoryError, RuntimeError) as error:
            if not (isinstance(error, OSError) or is_out_of_memory(error)):
                raise
            warn(
                f"checkpoint={self.named!r} could not be written "
                f"({getattr(error, 'strerror', None) or error}). Training goes on without it, and "
                "another attempt follows."
            )
        self.written = time.monotonic()

    def remove(self):
        """Remove the files; if that fails, warn: the fit is done all the same."""
        try:
            self._refuse_other_files()
            for path in (self.path, self.previous):
                path.unlink(missing_ok=True)
        except OSError as error:
            warn(
                f"checkpoint={self.named!r} could not be removed ({error.strerror}). "
                "Remove it before another fit."
            )


def _dump(identity, snapshot):
    header = {
        "format_version": _FORMAT_VERSION,
        "identity": identity,
        "values": snapshot.values,
    }
    text = json.dumps(header)
    metadata = {_HEADER: text, _CHECKSUM: _checksum(text, snapshot.arrays)}
    return safetensors.numpy.save(snapshot.arrays, metadata)


def _load(path):
    """Return the header and the arrays of a file, or raise FormatError if it is damaged."""
    try:
        with open_regular(path), safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
        text = metadata[_HEADER]
        if metadata[_CHECKSUM] != _checksum(text, arrays):
            raise ValueError("its checksum is another")
        header = json.loads(text)
        version = header["format_version"]
        if version == _FORMAT_VERSION:
            _check_contents(header, arrays)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FormatError(
            f"{os.fspath(path)!r} is damaged or not a checkpoint: {type(error).__name__}: {error}."
        ) from error
    if version != _FORMAT_VERSION:
        raise FormatError(
            f"{os.fspath(path)!r} has format version {version}; this version of skvqdraw goes on "
            f"from {_FORMAT_VERSION}."
        )
    return header, arrays


def _check_contents(header, arrays):
    """Refuse what is in no checkpoint, whatever its fit."""
    values, mean = header["values"], arrays["mean"]
    if not (isinstance(values, dict) and isinstance(header["identity"], dict)):
        raise ValueError("its values and identity must be objects")
    types = {name: type(value) for name, value in values.items()}
    if types != _VALUES:
        raise ValueError(f"it holds {types}")
    n_steps = values["step"] - values["first_step"]
    rules = {
        "step and first_step": 0 <= values["first_step"] <= values["step"] <= _MOST_STEPS,
        "steps_since_record": 0 <= values["steps_since_record"] <= n_steps,
        "n_bad": values["n_bad"] >= 0,
        "order_seed": 0 <= values["order_seed"] < 2**32,
        "scale": 0 < values["scale"] < math.inf,
        "seconds": 0 <= values["seconds"] < math.inf,
        "start_up_seconds": 0 <= values["start_up_seconds"] < math.inf,
        "loss_curve": all(_is_record(record) for record in values["loss_curve"]),
        "mean": mean.ndim == 1 and mean.dtype.kind == "f" and np.isfinite(mean).all(),
    }
    wrong = [name for name, fulfilled in rules.items() if not fulfilled]
    if wrong:
        raise ValueError(f"impossible are its {', '.join(wrong)}")


def _is_record(record):
    return (
        isinstance(record, dict)
        and "step" in record
        and all(
            key in RECORD_KEYS and type(value) is (int if key == "step" else float)
            for key, value in record.items()
        )
    )


def identity_of(estimator, X, sample_weight, going_on):
    """Return what tells one fit from another, as JSON can hold it: names, and what to say."""
    rows = np.linspace(0, len(X) - 1, min(_COMPARED_ROWS, len(X))).astype(np.intp)
    identity = {
        "the version of skvqdraw": sys.modules[__package__].__version__,
        "the version of torch": str(torch.__version__),
        "the version of numpy": np.__version__,
        "X": f"{X.dtype} of shape {X.shape} with checksum {_checksum('', {'X': X[rows]})[:16]}",
        "sample_weight": f"checksum {_checksum('', {'weight': sample_weight})[:16]}",
        "the model to go on from": None,
    }
    if going_on:
        model = {
            **network_arrays(estimator.network_),
            "mean_": estimator.mean_,
            "scale_": np.float64(estimator.scale_),
        }
        checksum = _checksum("", model)[:16]
        identity["the model to go on from"] = f"{estimator.n_steps_} steps, checksum {checksum}"
    for name, value in estimator.get_params(deep=True).items():
        if name not in _FREE_PARAMETERS:
            identity[name] = _comparable(value)
    return identity


def identity_of_partial_fit(state):
    """Return what tells apart from where calls of partial_fit go on, as JSON can hold it."""
    if state is None:
        return None
    order = json.dumps(state["order_rng"].bit_generator.state)
    return f"checksum {_checksum(order, state['optimizer'])[:16]}"


def _comparable(value):
    """Return a parameter as JSON can hold it; of other objects the class alone is compared."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        return [_comparable(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _checksum(text, arrays):
    """Return the SHA-256 of a text and of names, dtypes, shapes and bytes of arrays."""
    checksum = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        checksum.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        checksum.update(array.reshape(-1).view(np.uint8))
    return checksum.hexdigest()


def _at_end_of_links(path):
    """Return where the file is: there it is renamed, locked and removed, and links stay."""
    return Path(os.path.realpath(path))


@contextmanager
def _locked(path):
    """Hold a lock beside the file that the operating system drops with the process."""
    real_path = _at_end_of_links(path)
    lock_path = real_path.with_name(f"{real_path.name}.lock")
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "it is a directory")
        with suppress(FileNotFoundError):
            open_regular(path).close()
        descriptor = _lock(lock_path)
    except BlockingIOError:
        raise ValueError(
            f"checkpoint={os.fspath(path)!r} is in use by another fit. Give each fit a path of its "
            "own; clones share theirs, so that a search over parameters wants checkpoint=None."
        ) from None
    except OSError as error:
        raise ValueError(
            f"checkpoint={os.fspath(path)!r} cannot be written: {error.strerror}. Name another "
            "file, in a directory that exists and that you may write to."
        ) from error
    try:
        yield
    finally:
        if fcntl is None:
            os.close(descriptor)  # Windows removes no open file
        with suppress(OSError):
            found = os.stat(lock_path)
            ours = fcntl is None or os.path.samestat(os.fstat(descriptor), found)
            if ours and not found.st_size:
                os.unlink(lock_path)
        if fcntl is not None:
            os.close(descriptor)  # not before the file is gone: nobody else shall lock it meanwhile


def _lock(path):
    """Return the descriptor of a locked file; raise BlockingIOError if another one has the lock."""
    with suppress(FileNotFoundError):
        found = os.stat(path)
        if found.st_size or not stat.S_ISREG(found.st_mode):  # a lock is an empty file
            raise FileExistsError(errno.EEXIST, f"{path.name!r} beside it is no lock of a fit")
    if fcntl is None:
        try:
            path.unlink(missing_ok=True)
        except PermissionError as error:  # open in another process
            raise BlockingIOError from error
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:
            return descriptor  # a file system without locks
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # whoever had the lock has removed the file since we opened it

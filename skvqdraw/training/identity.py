"""What fits are told apart by: those of a checkpoint, and those of several processes."""

import json

import numpy as np
import torch

from .._version import __version__
from ..files.container import digest_of
from ..nn.arrays import network_arrays

_COMPARED_ROWS = 1000


def identity_of(estimator, X, y, sample_weight, task):
    """Return what tells one fit from another, as JSON can hold it: names, and what to say."""
    rows = np.linspace(0, len(X) - 1, min(_COMPARED_ROWS, len(X))).astype(np.intp)
    identity = {
        "the version of skvqdraw": __version__,
        "the version of torch": str(torch.__version__),
        "the version of numpy": np.__version__,
        "X": f"{X.dtype} of shape {X.shape} with {_checksum({'X': X[rows]})}",
        "sample_weight": _checksum({"weight": sample_weight}),
        "the model to go on from": None,
    }
    if y is not None:
        identity["y"] = _checksum({"y": np.asarray(y[rows], dtype=np.str_)})
    if task.network is not None:
        model = {**network_arrays(task.network), **task.arrays()}
        identity["the model to go on from"] = f"{estimator.n_steps_} steps, {_checksum(model)}"
    for name, value in estimator.get_params(deep=True).items():
        if name not in estimator._free_params:
            identity[name] = _comparable(value)
    return json.loads(json.dumps(identity))  # as it comes back from a file


def identity_of_memory(memory):
    """Return what tells apart from where calls of partial_fit go on, as JSON can hold it."""
    if memory is None:
        return None
    order = json.dumps(memory["order_rng"].bit_generator.state)
    return _checksum(memory["optimizer"], order)


def refuse_differences(processes, identity):
    """Raise in every process if one of them was given something else than process 0."""
    first = processes.from_first(lambda: identity, lambda i: json.dumps(i).encode(), json.loads)
    differences = [
        f"{name} is {own!r} in process {processes.rank}, {first.get(name)!r} in process 0"
        for name, own in identity.items()
        if own != first.get(name)
    ]
    problem = processes.first_problem("; ".join(differences))
    if problem:
        raise ValueError(
            f"the processes of a fit must be given the same: {problem}. Give each of them all "
            "rows and the same parameters; it takes its own part of every batch by itself."
        )


def _checksum(arrays, text=""):
    return f"checksum {digest_of(text, arrays)[:16]}"


def _comparable(value):
    """Return a parameter as JSON can hold it; of other objects the class alone is compared."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        return [_comparable(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return f"{type(value).__module__}.{type(value).__qualname__}"

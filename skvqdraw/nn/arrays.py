"""Networks as named numpy arrays: what pickles, files and copies hold."""

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from ..exceptions import FormatError
from ..files.json import comes_with_package
from ..files.learned import Learned, check_finite
from .build import Building, from_seed


def array_of(tensor):
    """Return a C-contiguous copy."""
    return tensor.detach().cpu().contiguous().numpy().copy()


def tensor_of(array):
    """Return a copy on the CPU, whatever the default device."""
    return torch.tensor(array, device="cpu")


def group(arrays, name):
    """Return the arrays of one object by their own names."""
    prefix = f"{name}."
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def network_arrays(network):
    """Return the parameters and buffers as C-contiguous numpy arrays."""
    arrays = {}
    for name, tensor in network.state_dict().items():
        try:
            arrays[name] = array_of(tensor)
        except TypeError as error:
            raise ValueError(
                f"{name!r} of the network is of dtype {tensor.dtype}, which numpy lacks; let the "
                "refiner store it as float32."
            ) from error
    return arrays


def load_network_arrays(network, arrays):
    """Copy arrays into a network of the same specification."""
    network.load_state_dict({name: tensor_of(array) for name, array in arrays.items()})


class Network(Learned):
    """A network, in a file as its arrays ``<name>.<array>``; the estimator's `_network` builds it.

    An estimator may have one. If all its numbers are of half precision, they take half the room.

    Parameters
    ----------
    built_by : str or None, default=None
        The learned specification that builds it, if it is not the estimator itself.
    """

    decodes, rank = True, 1

    def __init__(self, built_by=None):
        self.built_by = built_by

    def _take_apart(self, name, estimator):
        arrays = _as_halves(network_arrays(getattr(estimator, name)))
        return None, {f"{_prefix(name)}{key}": array for key, array in arrays.items()}

    def _check(self, name, reading):
        found = _of_network(name, reading.entries)
        network = self._without_memory(reading.estimator, len(found))
        if network is not None:
            self._compare(name, network, found)
        return list(found)

    def _check_numbers(self, name, reading, arrays):
        for key, array in _of_network(name, arrays).items():
            check_finite(key, array)

    def _put_together(self, name, reading, arrays):
        with from_seed(0, self._is_ours(reading.estimator)):
            network = self._built(reading.estimator)
        self._compare(name, network, _of_network(name, reading.entries))
        load_network_arrays(network, group(arrays, name.rstrip("_")))
        setattr(reading.estimator, name, network.eval())

    def _pickled(self, value):
        return network_arrays(value)

    def _unpickled(self, value, estimator):
        with from_seed(0, self._is_ours(estimator)):
            network = estimator._network()
        load_network_arrays(network, value)
        return network.eval()

    def _is_ours(self, estimator):
        """Whether nobody else has a hand in how the network is built."""
        builder = getattr(estimator, self.built_by) if self.built_by else estimator
        return comes_with_package(type(builder)) and comes_with_package(type(estimator)._network)

    def _without_memory(self, estimator, n_arrays):
        """Return a network on the device "meta", or None where one of others cannot be built."""
        ours = self._is_ours(estimator)
        try:
            with torch.device("meta"), Building(), _Counted(n_arrays if ours else np.inf):
                return self._built(estimator)
        except FormatError:
            if ours:
                raise
        return None

    def _built(self, estimator):
        try:
            return estimator._network()
        except (FormatError, MemoryError):
            raise
        except Exception as error:  # the builder may be the user's
            reason = str(error).partition("\n")[0]  # PyTorch adds its own stack
            builder = self.built_by or type(estimator).__name__
            raise FormatError(f"{builder} cannot build a network: {reason}") from error

    def _compare(self, name, network, entries):
        """Refuse arrays that are not those of the network."""
        wanted = {
            f"{_prefix(name)}{key}": (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
            for key, tensor in network.state_dict().items()
        }
        found = {key: (entry.dtype.name, entry.shape) for key, entry in entries.items()}
        for key in wanted | found:
            halved = key in wanted and found.get(key) == ("float16", wanted[key][1])
            if wanted.get(key) != found.get(key) and not (halved and wanted[key][0] == "float32"):
                raise FormatError(
                    f"{key!r} must be {wanted.get(key, 'absent')}, by "
                    f"{self.built_by or 'the estimator'}; it is {found.get(key, 'absent')}"
                )


class _Counted(TorchFunctionMode):
    """Refuse to make more than so many tensors."""

    def __init__(self, n_tensors):
        super().__init__()
        self.n_left = n_tensors

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.empty, torch.zeros, torch.tensor):
            self.n_left -= 1
            if self.n_left < 0:
                raise FormatError("it has fewer arrays than its network")
        return func(*args, **(kwargs or {}))


def _as_halves(arrays):
    """Return arrays of float32 as float16, if that loses nothing."""
    halves = {}
    for key, array in arrays.items():
        if array.dtype == np.float32:
            with np.errstate(over="ignore"):
                halves[key] = array.astype(np.float16)
            if not np.array_equal(halves[key], array):
                return arrays
    return arrays | halves


def _of_network(name, members):
    """Return what belongs to a network."""
    return {key: m for key, m in members.items() if key.startswith(_prefix(name))}


def _prefix(name):
    return f"{name.rstrip('_')}."

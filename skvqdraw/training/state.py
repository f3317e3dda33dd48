"""Networks and optimizers as named numpy arrays: what pickles, files and copies hold."""

import torch


def network_arrays(network):
    """Return the parameters and buffers as C-contiguous numpy arrays."""
    return {name: _array(tensor) for name, tensor in network.state_dict().items()}


def load_network_arrays(network, arrays):
    """Copy arrays into a network of the same specification."""
    network.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})


def optimizer_arrays(optimizer):
    """Return what the optimizer remembers of each parameter, as numpy arrays."""
    return {
        f"{index}.{name}": _array(tensor)
        for index, memory in optimizer.state_dict()["state"].items()
        for name, tensor in memory.items()
    }


def load_optimizer_arrays(optimizer, arrays):
    """Copy arrays into an optimizer of the same parameters."""
    state = {}
    for key, array in arrays.items():
        index, name = key.split(".")
        state.setdefault(int(index), {})[name] = torch.tensor(array)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _array(tensor):
    """Return a C-contiguous copy."""
    return tensor.detach().cpu().contiguous().numpy().copy()

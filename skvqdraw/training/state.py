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
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {}
    for key, array in arrays.items():
        index, name = key.split(".")
        tensor = torch.tensor(array)
        if name != "step":
            tensor = _laid_out_as(parameters[int(index)], tensor)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _laid_out_as(parameter, tensor):
    """Return a tensor with the strides of the parameter: a fused optimizer takes both as flat."""
    if tensor.shape != parameter.shape:
        raise ValueError(
            f"the optimizer's memory of a parameter of shape {tuple(parameter.shape)} has shape "
            f"{tuple(tensor.shape)}."
        )
    return torch.empty_like(parameter, dtype=tensor.dtype, device="cpu").copy_(tensor)


def _array(tensor):
    """Return a C-contiguous copy."""
    return tensor.detach().cpu().contiguous().numpy().copy()

"""What a training changes, and it as named numpy arrays: what pickles, files and copies hold.

Axes: S stages, K options.
"""

from dataclasses import dataclass

import torch

from .._codes import entropy_bits


class Totals:
    """Sums over the steps since the last record, kept on the device until they are read."""

    NAMES = ("objective", "stage_losses_S", "counts_SK")

    def __init__(self, n_stages, n_options, device):
        self.objective = torch.zeros((), dtype=torch.float32, device=device)
        self.stage_losses_S = torch.zeros(n_stages, dtype=torch.float32, device=device)
        self.counts_SK = torch.zeros(n_stages, n_options, dtype=torch.int64, device=device)
        self.n_steps = 0

    def add(self, objective, stage_losses_S, cells):
        """Add what a batch, or a part of it, gave; `cells` are indices of the flat counts."""
        self.objective += objective
        self.stage_losses_S += stage_losses_S
        self.counts_SK.view(-1).scatter_add_(0, cells, torch.ones_like(cells))

    def take(self, other):
        """Add the sums of another, which forgets them."""
        for total, added in zip(self.tensors(), other.tensors(), strict=True):
            total += added
            added.zero_()

    def read(self):
        """Return the means and forget them."""
        counts_SK = self.counts_SK.cpu().numpy()
        means = {
            "loss": float(self.objective) / self.n_steps,
            "error": float(self.stage_losses_S[-1]) / self.n_steps,
            "entropy": entropy_bits(counts_SK / counts_SK[0].sum()),
        }
        for total in self.tensors():
            total.zero_()
        self.n_steps = 0
        return means

    def arrays(self):
        """Return the sums as numpy arrays; `n_steps` is not among them."""
        return {
            name: _array(tensor) for name, tensor in zip(self.NAMES, self.tensors(), strict=True)
        }

    def load_arrays(self, arrays):
        """Take the sums from numpy arrays."""
        for name, tensor in zip(self.NAMES, self.tensors(), strict=True):
            tensor.copy_(_tensor(arrays[name]))

    def tensors(self):
        """Return the sums; `n_steps` is not among them."""
        return [getattr(self, name) for name in self.NAMES]


@dataclass
class TrainingState:
    """What a training changes: true between any two steps."""

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    step: int
    # Of this training alone, set when it begins: what went before its first step, and the rest.
    first_step: int | None = None
    start_up_seconds: float | None = None
    totals: Totals | None = None


def network_arrays(network):
    """Return the parameters and buffers as C-contiguous numpy arrays."""
    arrays = {}
    for name, tensor in network.state_dict().items():
        try:
            arrays[name] = _array(tensor)
        except TypeError as error:
            raise ValueError(
                f"{name!r} of the network is of dtype {tensor.dtype}, which numpy lacks; let the "
                "refiner store it as float32."
            ) from error
    return arrays


def load_network_arrays(network, arrays):
    """Copy arrays into a network of the same specification."""
    network.load_state_dict({name: _tensor(array) for name, array in arrays.items()})


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
        tensor = _tensor(array)
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


def _tensor(array):
    """Return a copy on the CPU, whatever the default device."""
    return torch.tensor(array, device="cpu")


def _array(tensor):
    """Return a C-contiguous copy."""
    return tensor.detach().cpu().contiguous().numpy().copy()

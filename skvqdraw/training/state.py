"""What a training changes, and it as named numpy arrays: what checkpoints hold."""

from dataclasses import dataclass

import torch

from ..nn.arrays import array_of, tensor_of


@dataclass
class TrainingState:
    """What a training changes: true between any two steps."""

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    step: int
    # Of this training alone, set when it begins: what went before its first step, and the rest.
    first_step: int | None = None
    start_up_seconds: float | None = None
    # Sums over the steps since the last record, kept on the device until they are read.
    totals: dict | None = None
    n_steps: int = 0

    @property
    def n_steps_made(self):
        """Steps of this training, those before an interruption included."""
        return 0 if self.first_step is None else self.step - self.first_step


def optimizer_arrays(optimizer):
    """Return what the optimizer remembers of each parameter, as numpy arrays."""
    return {
        f"{index}.{name}": array_of(tensor)
        for index, memory in optimizer.state_dict()["state"].items()
        for name, tensor in memory.items()
    }


def load_optimizer_arrays(optimizer, arrays):
    """Copy arrays into an optimizer of the same parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {}
    for key, array in arrays.items():
        index, name = key.split(".")
        tensor = tensor_of(array)
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

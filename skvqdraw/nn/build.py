"""How networks are built: in float32 and from a seed, whatever PyTorch is set to."""

import torch
from torch.overrides import TorchFunctionMode

# What takes the default dtype, and what draws from the process's random stream, if not told else.
_FLOATS = {torch.empty, torch.eye, torch.ones, torch.rand, torch.randn, torch.zeros}
_DRAWS = {
    torch.bernoulli,
    torch.multinomial,
    torch.normal,
    torch.rand,
    torch.randint,
    torch.randn,
    torch.randperm,
    torch.Tensor.bernoulli_,
    torch.Tensor.exponential_,
    torch.Tensor.normal_,
    torch.Tensor.random_,
    torch.Tensor.uniform_,
}


class Building(TorchFunctionMode):
    """A context that tells PyTorch's functions the dtype and the generator they are to use.

    PyTorch's layers take neither as an argument. Unlike the process's default dtype and its random
    stream, a mode is the thread's own.

    Parameters
    ----------
    generator : torch.Generator or None, default=None
        Where random numbers come from; None leaves them to the process's stream.
    """

    def __init__(self, generator=None):
        super().__init__()
        self.generator = generator

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        told = kwargs.get("dtype") is not None or "out" in kwargs
        if func in _FLOATS and not told:
            kwargs["dtype"], told = torch.float32, True
        inputs = [*args, *kwargs.values()]
        draws = func in _DRAWS or "generator" in kwargs
        if self.generator is not None and draws and kwargs.get("generator") is None:
            devices = {value.device.type for value in inputs if torch.is_tensor(value)}
            # A generator is of one device: what is drawn on another is left to PyTorch.
            if devices | {torch.device(kwargs.get("device") or "cpu").type} == {"cpu"}:
                kwargs["generator"] = self.generator
        result = func(*args, **kwargs)
        # What made a tensor of nothing but numbers: torch.full, torch.arange, torch.tensor.
        made = torch.is_tensor(result) and not any(hasattr(value, "dtype") for value in inputs)
        if made and not told and result.dtype == torch.get_default_dtype() != torch.float32:
            return result.detach().float().requires_grad_(result.requires_grad)
        return result

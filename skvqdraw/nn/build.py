"""How networks are built: in float32 and from a seed, whatever PyTorch is set to."""

import inspect
from contextlib import ExitStack, contextmanager

import torch
from torch.overrides import TorchFunctionMode

from .._device import undisturbed
from .._fork import Lock
from .rounds import Round

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
# The random stream from which networks of others start is the process's: one at a time.
_global_stream = Lock()


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


@contextmanager
def from_seed(seed, ours):
    """Let a network be built on the CPU, in float32 and from a seed.

    Ours draw from a generator of their own. Those of others may draw in any way, and then from the
    process's stream: one at a time, and it is put back.
    """
    with ExitStack() as stack:
        stack.enter_context(undisturbed(torch.device("cpu")))
        if not ours:
            stack.enter_context(_global_stream)
            stack.enter_context(torch.random.fork_rng(devices=[]))
            # Not torch.manual_seed: it would seed every GPU too, which fork_rng does not undo.
            torch.default_generator.manual_seed(seed)
        stack.enter_context(torch.device("cpu"))
        stack.enter_context(Building(torch.Generator("cpu").manual_seed(seed)))
        yield


def built(refiner, loss, n_features, n_stages, n_options):
    """Return the network that a refiner builds for the parameters of a loss."""
    if loss.n_params == 1:  # the refiner may not know of others
        return refiner.build(n_features, n_stages, n_options)
    if "n_params" not in inspect.signature(refiner.build).parameters:
        raise TypeError(
            f"{type(refiner).__name__}.build must take n_params, since {type(loss).__name__} has "
            f"{loss.n_params} parameters for each feature."
        )
    return refiner.build(n_features, n_stages, n_options, n_params=loss.n_params)


@torch.no_grad()  # not in inference mode, in which networks keep what coding will want again
def check_network(network, refiner, loss, n_features, n_options):
    """Try a network out on a row of zeros; refuse one that is not what a refiner must build."""
    maker = type(refiner).__name__
    if not isinstance(network, torch.nn.Module):
        raise TypeError(
            f"{maker}.build must return a torch.nn.Module; got {type(network).__name__}."
        )
    a_round = network.eval()(torch.zeros(1, n_features * loss.n_params), 0)
    if not isinstance(a_round, Round):
        raise TypeError(
            f"{type(network).__name__}, built by {maker}, must return a round, such as "
            f"skvqdraw.nn.DenseRound; got {type(a_round).__name__}."
        )
    shape = tuple(a_round.losses(torch.zeros(1, n_features), loss).shape)
    if shape != (1, n_options):
        raise ValueError(
            f"{type(network).__name__}, built by {maker}, must propose n_options={n_options} "
            f"options for each row; losses of shape {shape} came for one row."
        )

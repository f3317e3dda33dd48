"""Where and how precisely to compute, and whether there was the memory for it."""

import os
from contextlib import contextmanager

import torch

from ._fork import Lock


def resolve_device(device):
    """Return the torch device for "auto" (CUDA, then MPS, then CPU) or for a name."""
    if device == "auto":
        device = _best_device()
    try:
        # That of a tensor: "cuda" comes with its number. What is on "meta" would be lost.
        found = torch.empty(0, device=device).device
        problem = "it holds no data" if found.type == "meta" else None
    except (RuntimeError, AssertionError, ImportError) as error:
        problem = str(error).splitlines()[0]
    if problem:
        raise ValueError(
            f"device must be 'auto' or a device that PyTorch can use here, such as 'cpu', 'cuda' "
            f"or 'cuda:1'; got {device!r} ({problem})."
        )
    return found


def _best_device():
    backends = {"cuda": torch.cuda, "mps": torch.backends.mps}
    name = next((name for name in backends if backends[name].is_available()), "cpu")
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        # Processes that torchrun starts on one machine take a GPU each.
        return f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
    return name


@contextmanager
def undisturbed(device):
    """Compute on a device as if nothing had been set around the call: no autocast, no no_grad."""
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        yield


def low_precision(device, bf16):
    """Return a context in which networks compute in bfloat16, or as they are."""
    # No cache: weights cast in one step would still be there in the next, unless this were the
    # outermost of nested contexts, and within an evaluation each is needed once.
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16, cache_enabled=False)


def trains_in_bf16(device):
    """Whether matrix products in bfloat16 run natively, not emulated, on `device`."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return False
    # get_capabilities is missing from older PyTorch: float32 is always right there, only slower.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def is_out_of_memory(error):
    """Whether an exception says that memory did not suffice, on whatever device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # The CPU's allocator, C++, MPS and the libraries of CUDA have no exception of their own.
    texts = ("DefaultCPUAllocator", "out of memory", "bad_alloc", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


@contextmanager
def exact(device):
    """No gradients; on CUDA no TF32, which convolutions use by default, in no fixed order."""
    with undisturbed(device), torch.inference_mode():
        if device.type != "cuda":
            yield
            return
        with _exact_convolutions:
            yield


class _ExactConvolutions:
    """Sets cuDNN's flags, which are the process's: by the first thread to come, for all.

    If each thread set them and set them back, one that leaves would undo those of another.
    """

    def __init__(self):
        self.lock = Lock()
        self.n_inside = 0

    def __enter__(self):
        with self.lock:
            if self.n_inside == 0:
                self.flags = self._exchange(False, True, "ieee")
            self.n_inside += 1

    def __exit__(self, *exception):
        with self.lock:
            self.n_inside -= 1
            if self.n_inside == 0:
                self._exchange(*self.flags)

    @staticmethod
    def _exchange(benchmark, deterministic, precision):
        """Set flags and return what they were. cudnn.flags() fails where `conv` was set before."""
        cudnn = torch.backends.cudnn
        flags = cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision
        cudnn.benchmark, cudnn.deterministic = benchmark, deterministic
        cudnn.conv.fp32_precision = precision
        return flags


_exact_convolutions = _ExactConvolutions()

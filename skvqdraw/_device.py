"""Where and how precisely to compute, and whether there was the memory for it."""

import os
from contextlib import contextmanager

import torch


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

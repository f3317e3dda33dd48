"""Several processes that make one training together, each a part of every batch.

The only file that communicates. The processes are those of torch.distributed's default group, and
each calls the same methods in the same order, whatever rows it holds and whatever it finds: the
others would wait for one that does not. What a clock, a file or a random stream decides, process 0
decides for all.
"""

import signal
import threading
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from torch import distributed


def find_processes(device):
    """Return the processes that train together on devices such as this: a group, or one alone."""
    if (
        not distributed.is_available()
        or not distributed.is_initialized()
        or distributed.get_world_size() == 1
    ):
        return SingleProcess()
    backends = distributed.get_backend_config()
    if f"{device.type}:" not in backends:
        raise ValueError(
            f"the processes of this fit cannot exchange what is on device {str(device)!r}: "
            f"init_process_group was given {backends!r}. Give it a backend for "
            f"{device.type!r}, or set device='cpu'."
        )
    return Group(device)


class SingleProcess:
    """One process: it has nothing to share and nobody to ask."""

    size, rank = 1, 0

    def share(self, rows):
        """Return this process's part of an array; the parts of all processes make the whole."""
        return rows

    def from_first(self, make, pack, unpack):
        """Return what `make()` returns in process 0, where alone it is called.

        It travels as the bytes that `pack` makes of it. If it raises there, it does in every
        process.
        """
        return make()

    def copy_from_first(self, tensors):
        """Overwrite tensors with those of process 0."""

    def first_problem(self, problem):
        """Return the problem of the lowest process that has one, else an empty text."""
        return problem

    def sum(self, values):
        """Return the sums of numbers over all processes, as a float64 array."""
        return np.asarray(values, dtype=np.float64)

    def sum_with_gradients(self, parameters, tensors):
        """Overwrite the gradients of parameters, and tensors, with their sums over all processes.

        Where a parameter has no gradient in any process, it has none afterwards. A process's sums
        must be less than 2 ** 24 where they are integers.
        """

    def synchronize(self, seconds):
        """Return process 0's seconds; raise KeyboardInterrupt if a process was interrupted."""
        return seconds

    def listening(self):
        """Return a context in which Ctrl-C is told to all processes when they next synchronize."""
        return nullcontext()


class Group(SingleProcess):
    """The processes of torch.distributed's default group."""

    # Gloo's thread would otherwise be the last to let go of what it has done, a moment after the
    # call has returned. That takes Python's lock, which in a process that is about to end aborts
    # it. (PyTorch 2.13; compare https://github.com/pytorch/pytorch/pull/179291)
    _last_work = None

    def __init__(self, device):
        self.size, self.rank = distributed.get_world_size(), distributed.get_rank()
        self._device = device
        # Numbers that the host waits for do not wait for a GPU, if there is another way.
        on_cpu = "cpu:" in distributed.get_backend_config()
        self._numbers_device = torch.device("cpu") if on_cpu else device
        self._interrupted = False

    def share(self, rows):
        return np.array_split(rows, self.size)[self.rank]

    def from_first(self, make, pack, unpack):
        message, made, error = b"", None, None
        if self.rank == 0:
            try:
                made = make()
                message = b"+" + pack(made)
            except Exception as caught:
                message, error = f"-{type(caught).__name__}: {caught}".encode(), caught
        message = self._broadcast(message, 0)
        if error is not None:
            raise error
        if message.startswith(b"-"):
            raise RuntimeError(f"process 0 of this fit raised {message[1:].decode()}")
        return made if self.rank == 0 else unpack(message[1:])

    def copy_from_first(self, tensors):
        for tensor in tensors:
            dense = tensor.detach().to(self._device).contiguous()
            # As bytes: gloo knows few dtypes.
            self._send_from(0, dense.reshape(-1).view(torch.uint8))
            tensor.detach().copy_(dense)

    def first_problem(self, problem):
        lowest = self._numbers([self.rank if problem else self.size])
        self._reduce(lowest, "MIN")
        source = int(lowest)
        if source == self.size:
            return ""
        return self._broadcast(problem.encode(), source).decode()

    def sum(self, values):
        numbers = self._numbers(values)
        self._reduce(numbers)
        return numbers.cpu().numpy()

    def sum_with_gradients(self, parameters, tensors):
        parameters = [p for p in parameters if p.requires_grad and p.numel()]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        present = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32)
        # A tensor made on a GPU at once would have to wait for all that it is doing.
        present = present.to(self._device, non_blocking=True)
        summed = [*gradients, *tensors, present]
        flat = torch.cat([tensor.detach().flatten().float() for tensor in summed])
        self._reduce(flat)
        pieces = flat.split([tensor.numel() for tensor in summed])
        for tensor, piece in zip(summed, pieces, strict=True):
            # Copied: a fused optimizer wants gradients in the memory layout of their parameters.
            tensor.copy_(piece.view(tensor.shape))
        if any(p.grad is None for p in parameters):
            for parameter, gradient, n in zip(parameters, gradients, present.tolist(), strict=True):
                parameter.grad = gradient if n else None

    def synchronize(self, seconds):
        told = self._numbers([seconds if self.rank == 0 else -np.inf, self._interrupted])
        self._reduce(told, "MAX")
        seconds, interrupted = told.tolist()
        if interrupted:
            raise KeyboardInterrupt
        return seconds

    @contextmanager
    def listening(self):
        self._interrupted = False

        def note(number, frame):
            self._interrupted = True
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # another ends the process at once

        # Only the main thread can, and whoever has a handler of their own keeps it.
        listens = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if listens:
            signal.signal(signal.SIGINT, note)
        try:
            yield
            if self._interrupted:  # since the last time; what follows is the same in any case
                raise KeyboardInterrupt
        finally:
            if listens:
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def _numbers(self, values):
        return torch.tensor(values, dtype=torch.float64, device=self._numbers_device)

    def _wait_for(self, work):
        work.wait()
        Group._last_work = work

    def _reduce(self, tensor, operation="SUM"):
        operation = getattr(distributed.ReduceOp, operation)
        self._wait_for(distributed.all_reduce(tensor, operation, async_op=True))

    def _send_from(self, source, tensor):
        self._wait_for(distributed.broadcast(tensor, source, async_op=True))

    def _broadcast(self, data, source):
        """Return the bytes, at least one, that a process has."""
        length = self._numbers([len(data)])
        self._send_from(source, length)
        buffer = np.zeros(int(length), dtype=np.uint8)
        if self.rank == source:
            buffer[:] = np.frombuffer(data, dtype=np.uint8)
        tensor = torch.from_numpy(buffer).to(self._numbers_device)
        self._send_from(source, tensor)
        return tensor.cpu().numpy().tobytes()

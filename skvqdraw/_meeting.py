"""Whether threads that share an operator meet at its end without waiting, and work for one thread.

Beside a process that keeps a core busy, a thread may wait for a time slice of the system, some
milliseconds, and all that share an operator with it wait, too.
"""

import time
from contextlib import contextmanager, nullcontext

import torch
from threadpoolctl import threadpool_limits

from ._fork import Lock

# Seconds of a trial, more than a time slice; seconds within which threads meet on an idle machine;
# and the share of a trial that later meetings may take.
_TRIAL, _AT_ONCE, _LATE = 0.01, 5e-4, 0.5
# Values of a tensor for each thread that is to have a share of an operator.
_VALUES_PER_THREAD = 2**15
# With fewer multiplications, a trial would take longer than what it serves.
_MANY_MULTIPLICATIONS = 2**27
# The next trial is after so many times the seconds of the last one.
PATIENCE = 40
_limiting = Lock()


def threads_meet():
    """Return whether the threads that PyTorch has here meet at once, in two of three trials."""
    n_values = torch.get_num_threads() * _VALUES_PER_THREAD
    values = torch.zeros(n_values, dtype=torch.float32, device="cpu")
    first, second = _trial(values), _trial(values)
    return first if first == second else _trial(values)


def _trial(values):
    values.add_(0)  # threads that sleep take some milliseconds to wake up
    began = meeting = time.perf_counter()
    late = 0.0
    while meeting - began < _TRIAL and late <= _LATE * _TRIAL:
        values.add_(0)
        before, meeting = meeting, time.perf_counter()
        late += meeting - before if meeting - before > _AT_ONCE else 0.0
    return late <= _LATE * _TRIAL


@contextmanager
def one_thread():
    """Let one thread of every library compute in the block.

    One block at a time: of two that limit the process, the first to end would undo the limit.
    """
    with _limiting, threadpool_limits(1):
        yield


class BusyMachine:
    """Leaves computing to one thread while threads have to wait for each other."""

    def __init__(self):
        self._meet, self._next_trial = True, 0.0

    @contextmanager
    def avoided(self, n_multiplications):
        """Let one thread compute in the block, if there is much to compute and threads wait."""
        if n_multiplications < _MANY_MULTIPLICATIONS or torch.get_num_threads() == 1:
            yield
            return
        began = time.perf_counter()
        if began >= self._next_trial:
            self._meet = threads_meet()
            self._next_trial = began + PATIENCE * (time.perf_counter() - began)
        with nullcontext() if self._meet else one_thread():
            yield

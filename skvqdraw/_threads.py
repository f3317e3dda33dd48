"""Calls in several threads, each of which computes alone.

Threads that share every operator wait for each other after every operator, and where something else
keeps a core busy, they wait long. Threads that have rows of their own never meet.
"""

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

import torch
from joblib import cpu_count, effective_n_jobs

from ._fork import Lock, in_forked_process, is_forked

# With fewer multiplications to each, threads that share a step wait longer than they save.
_MULTIPLICATIONS_PER_THREAD = 2**26

# More would only take memory.
_MOST_THREADS = 256

_executors = {}
_lock = Lock()
_here = threading.local()
in_forked_process(_executors.clear)  # their threads did not come along


def count_threads(n_jobs):
    """Return how many threads `n_jobs` asks for, as in joblib; None for all of PyTorch's.

    One in a thread of ours, in a forked process, and for None in a worker of joblib.
    """
    if is_forked() or getattr(_here, "is_ours", False):
        return 1
    if n_jobs is None:
        return torch.get_num_threads() if effective_n_jobs(-1) > 1 else 1
    return min(effective_n_jobs(n_jobs), _MOST_THREADS)


def most_threads():
    """Return how many threads may share an operator: PyTorch's, but no more than there are cores.

    A container may have fewer cores than its machine, and PyTorch counts the machine's.
    """
    return min(torch.get_num_threads(), cpu_count())


def threads_worth(n_multiplications):
    """Return how many threads are worth starting to share so much work."""
    return max(1, min(most_threads(), n_multiplications // _MULTIPLICATIONS_PER_THREAD))


@contextmanager
def threads_here(n_threads):
    """Let this thread have so many of PyTorch's in the block; None for as many as it has."""
    before = torch.get_num_threads()
    set_threads_here(n_threads or before)
    try:
        yield
    finally:
        set_threads_here(before)


def set_threads_here(n_threads):
    """Set how many threads this one has.

    PyTorch takes what one thread sets for what later ones begin with: another sets that back.
    """
    if torch.get_num_threads() == n_threads:  # also this thread's beginning, which comes first
        return
    with _lock, ThreadPoolExecutor(1) as another:
        of_later_ones = another.submit(torch.get_num_threads).result()
        torch.set_num_threads(n_threads)
        another.submit(torch.set_num_threads, of_later_ones).result()


def in_order(function, items, n_threads):
    """Yield what a function returns of each item, in order; `n_threads` at most at a time.

    Each call computes in one thread of PyTorch's, also where there is but one call: what comes of
    it does not depend on `n_threads`. When the generator is closed, no call is going on any more.
    """
    if is_forked() or getattr(_here, "is_ours", False):
        yield from map(function, items)
        return
    executor, items, ahead = _executor(n_threads), iter(items), deque()
    try:
        for item in items:
            ahead.append(executor.submit(function, item))
            if len(ahead) > n_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        for future in ahead:
            future.cancel()
        wait(ahead)


def _executor(n_threads):
    """Return the threads that all callers share who want so many."""
    with _lock:
        if n_threads not in _executors:
            _executors[n_threads] = ThreadPoolExecutor(n_threads, "skvqdraw", _begin)
        return _executors[n_threads]


def _begin():
    """Let this thread compute alone."""
    _here.is_ours = True
    set_threads_here(1)

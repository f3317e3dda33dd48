"""Computing in processes that were forked.

None of the threads come along. Whoever asks OpenMP for its own there waits for ever
(https://gcc.gnu.org/bugzilla/show_bug.cgi?id=58378), and so does whoever wants a lock that another
thread of the parent held. So there we compute in one thread, and locks are free.
"""

import os
import sys
import threading

_forked = False


def is_forked():
    """Whether the process is a fork of one that had imported this package."""
    return _forked


class Lock:
    """A lock that is free in a forked process, whoever held it in the parent."""

    def __init__(self):
        self._renew()
        in_forked_process(self._renew)

    def _renew(self):
        self._lock = threading.Lock()

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *exception):
        self._lock.release()


def in_forked_process(call):
    """Call this in processes that are forked from now on."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


def _begin():
    global _forked
    _forked = True
    if "torch" in sys.modules:  # whatever computes there, also a copy of a tensor
        sys.modules["torch"].set_num_threads(1)


in_forked_process(_begin)

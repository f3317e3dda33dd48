"""Whether this process was forked.

None of OpenMP's threads come along into a forked process, and whoever asks for them there waits for
ever (https://gcc.gnu.org/bugzilla/show_bug.cgi?id=58378). So there we compute in one thread.
"""

import os

_forked = False


def is_forked():
    """Whether the process is a fork of one that had imported this package."""
    return _forked


def _note_fork():
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)

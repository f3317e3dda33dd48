"""A lock beside a file, which the operating system drops with the process that holds it."""

import errno
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextmanager
def locked(path):
    """Hold the lock ``.lock`` beside the file at the end of links.

    Raises BlockingIOError if somebody else holds it, FileExistsError if what is there is no lock.
    """
    path = Path(os.path.realpath(path))
    path = path.with_name(f"{path.name}.lock")
    descriptor = _lock(path)
    try:
        yield
    finally:
        if fcntl is None:
            os.close(descriptor)  # Windows removes no open file
        with suppress(OSError):
            found = os.stat(path)
            ours = fcntl is None or os.path.samestat(os.fstat(descriptor), found)
            if ours and not found.st_size:
                os.unlink(path)
        if fcntl is not None:
            os.close(descriptor)  # not before the file is gone: nobody else shall lock it meanwhile


def _lock(path):
    """Return the descriptor of a locked file."""
    with suppress(FileNotFoundError):
        found = os.stat(path)
        if found.st_size or not stat.S_ISREG(found.st_mode):  # a lock is an empty file
            raise FileExistsError(errno.EEXIST, f"{path.name!r} beside it is no lock of a fit")
    if fcntl is None:
        try:
            path.unlink(missing_ok=True)
        except PermissionError as error:  # open in another process
            raise BlockingIOError from error
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:
            return descriptor  # a file system without locks
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # whoever had the lock has removed the file since we opened it

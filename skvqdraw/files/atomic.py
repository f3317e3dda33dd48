"""Opening files, and writing them so that a crash leaves the old one or the new one."""

import errno
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path


def file_name(path, name="path"):
    """Return the name of a file as a str, or say that what came is none."""
    allowed = f"{name} must be the name of a file (expected str, bytes or os.PathLike)"
    got, todo = type(path).__name__, "Pass its name; skvqdraw.codec.decompress takes bytes of rows."
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"{allowed}; got {got}. {todo}")
    path = os.fsdecode(path)
    if "\0" in path:
        raise ValueError(f"{allowed}; got {got} with a null character. {todo}")
    return path


def open_regular(path):
    """Open a file to read bytes; refuse what is no file, where reading might never end."""

    def opener(path, flags):  # to open a pipe that nobody writes to may take for ever
        return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))

    file = open(path, "rb", opener=opener)  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    return file


def write_atomically(path, pieces):
    """Write pieces of bytes, one after the other, to `path`: temporary file, fsync, rename.

    A symbolic link stays as it is, and the file that it points to is replaced. Who may read that
    one may read the new one.
    """
    path = _target(file_name(path))
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(8)}.tmp")
    try:
        # Not tempfile: its files are private to their owner, and a saved model follows the umask.
        file = open(temporary, "xb")  # noqa: SIM115
    except OSError as error:
        what = f"cannot create a file in this folder ({error.strerror})"
        raise OSError(error.errno, what, folder) from error
    try:
        with file:
            with suppress(FileNotFoundError):
                os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync_folder(folder)


def _target(path):
    """Return where bytes for `path` must go: a file at the end of links, or nothing yet."""
    path = os.path.realpath(path)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return path
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "a folder, not the name of a file", path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file, and must not be replaced", path)
    return path


def _sync_folder(folder):
    """Make a rename last through a loss of power, where the system has a way to."""
    if hasattr(os, "O_DIRECTORY"):
        with suppress(OSError):  # the file is whole either way
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def remove_temporaries(path):
    """Remove what killed calls of `write_atomically` left beside `path`, at the end of links."""
    path = Path(os.path.realpath(path))
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.tmp")
    for file in path.parent.iterdir():
        if pattern.fullmatch(file.name) and file.is_file():
            file.unlink(missing_ok=True)

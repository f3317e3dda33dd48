"""What a fit writes down so that it can go on after its process: the one owner of that file.

A checkpoint is a container as a model is: arrays, and a text with a format version, what fits are
told apart by, and the numbers of the state. What it says is believed where its hash is right and
the fit is the same: it is one's own. Nothing in it is ever executed.
"""

import errno
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path

from .._device import is_out_of_memory
from .._warn import warn
from ..exceptions import FormatError
from ..files.atomic import file_name, open_regular, remove_temporaries, write_atomically
from ..files.container import pack, unpack
from ..files.lock import locked

_FORMAT_VERSION = 2
_KEY = "skvqdraw_checkpoint"
# How a checkpoint begins, after the eight bytes with the length of its header.
_BEGINNING = f'{{"__metadata__":{{"{_KEY}":'.encode()
_LONGEST_HEADER = 2**26  # networks may have many arrays, and there are several of each


class DivergenceError(FloatingPointError):
    """A training went astray, and would again. A FloatingPointError may be numpy's, too."""


@contextmanager
def checkpoint_of(plan, identity, processes):
    """Yield the checkpoint of a fit, its path locked, and the snapshot in it: None where none is.

    `identity()` returns what the fit is told apart by. Process 0 alone has the checkpoint, all have
    the snapshot: values and arrays, by name. A fit that diverges takes its checkpoint along: going
    on would lead there again.
    """
    checkpoint = None

    def open_and_read():
        nonlocal checkpoint
        if plan.checkpoint is None:
            return None
        path = Path(file_name(plan.checkpoint, "checkpoint"))
        stack.enter_context(_own(path))
        remove_temporaries(path)
        checkpoint = Checkpoint(path, plan.checkpoint_every, identity())
        return checkpoint.read()

    with ExitStack() as stack:
        snapshot = processes.from_first(open_and_read, _packed, _unpacked)
        try:
            yield checkpoint, snapshot
        except DivergenceError:
            if checkpoint:
                checkpoint.remove()
            raise


@contextmanager
def _own(path):
    """Hold the lock of a path, if it can be a checkpoint's; say what is wrong with it."""
    with ExitStack() as stack:
        try:
            if path.is_dir():
                raise IsADirectoryError(None, "it is a directory")
            with suppress(FileNotFoundError):
                open_regular(path).close()
            stack.enter_context(locked(path))
        except BlockingIOError:
            raise ValueError(
                f"checkpoint={os.fspath(path)!r} is in use by another fit. Give each fit a path of "
                "its own; clones share theirs, so that a search over parameters wants "
                "checkpoint=None."
            ) from None
        except OSError as error:
            raise ValueError(
                f"checkpoint={os.fspath(path)!r} cannot be written: {error.strerror}. Name another "
                "file, in a directory that exists and that you may write to."
            ) from error
        yield


def _packed(snapshot):
    """Return a snapshot as bytes, and none of None."""
    if snapshot is None:
        return b""
    values, arrays = snapshot
    return b"".join(bytes(p) for p in pack(arrays, values, max_header=_LONGEST_HEADER))


def _unpacked(data):
    """Return the snapshot that was packed, or None."""
    return unpack(BytesIO(data), len(data), max_header=_LONGEST_HEADER) if data else None


class Checkpoint:
    """The file of a fit, and the one before it.

    Parameters
    ----------
    path : Path
        The file, or a link to it; the one before it is called ``.previous`` in addition.
    every : float
        Seconds from one writing to the next.
    identity : dict
        What the fit is told apart by: names and what to say of them.
    """

    def __init__(self, path, every, identity):
        self.named = os.fspath(path)
        # At the end of links: there it is renamed and removed, and links stay.
        self.path = Path(os.path.realpath(path))
        self.previous = self.path.with_name(f"{self.path.name}.previous")
        self.every = every
        self.identity = identity
        self.written = time.monotonic()

    def read(self):
        """Return the latest snapshot that is whole, or None if there is none at all."""
        try:
            self._refuse_other_files()
        except OSError as error:
            raise FormatError(
                f"checkpoint={self.named!r} cannot be used: {error.strerror}. Name another file, "
                "or move this one away."
            ) from error
        damage = None
        for path in (self.path, self.previous):
            try:
                text, arrays = _load(path)
            except FileNotFoundError:
                continue
            except FormatError as error:
                damage = damage or error
                continue
            self._refuse_another_fit(text["identity"])
            if path == self.previous:
                if damage:
                    warn(f"{damage} Going on from the one before it.")
                os.replace(path, self.path)  # never to be replaced by the damaged one
            return text["values"], arrays
        if damage:
            raise FormatError(f"{damage} Delete it to start again.")
        return None

    def _refuse_other_files(self):
        """Raise FileExistsError where a file is no checkpoint, damaged or not.

        It may be a saved model, which is neither to be replaced nor to be removed.
        """
        for path in (self.path, self.previous):
            with suppress(FileNotFoundError), open_regular(path) as file:
                beginning = file.read(8 + len(_BEGINNING))
                if not _BEGINNING.startswith(beginning[8:]) or 0 < len(beginning) < 8:
                    what = f"{os.fspath(path)!r} is no checkpoint, and is left alone"
                    raise FileExistsError(errno.EEXIST, what)

    def _refuse_another_fit(self, identity):
        names = sorted(identity.keys() | self.identity.keys())
        differences = [
            f"{name} was {identity.get(name)!r}, is now {self.identity.get(name)!r}"
            for name in names
            if identity.get(name) != self.identity.get(name)
        ]
        if differences:
            raise ValueError(
                f"checkpoint={self.named!r} is of another fit: {'; '.join(differences)}. "
                "Set it back to go on with that fit, or delete the file to start this one."
            )

    def write_if_due(self, snapshot):
        """Write what `snapshot()` returns, if it is time to; if that fails, warn."""
        if time.monotonic() - self.written < self.every:
            return
        try:
            values, arrays = snapshot()
            text = {"format_version": _FORMAT_VERSION, "identity": self.identity, "values": values}
            pieces = pack(arrays, text, _KEY, _LONGEST_HEADER)
            self._refuse_other_files()
            if self.path.exists():
                os.replace(self.path, self.previous)
            write_atomically(self.path, pieces)
        except (OSError, MemoryError, RuntimeError) as error:
            if not (isinstance(error, OSError) or is_out_of_memory(error)):
                raise
            warn(
                f"checkpoint={self.named!r} could not be written "
                f"({getattr(error, 'strerror', None) or error}). Training goes on without it, and "
                "another attempt follows."
            )
        self.written = time.monotonic()

    def remove(self):
        """Remove the files; if that fails, warn: the fit is done all the same."""
        try:
            self._refuse_other_files()
            for path in (self.path, self.previous):
                path.unlink(missing_ok=True)
        except OSError as error:
            warn(
                f"checkpoint={self.named!r} could not be removed ({error.strerror}). "
                "Remove it before another fit."
            )


def _load(path):
    """Return the text and the arrays of a file, or raise FormatError if it is damaged."""
    with open_regular(path) as file:
        try:
            n_bytes = os.fstat(file.fileno()).st_size
            text, arrays = unpack(file, n_bytes, _KEY, _LONGEST_HEADER)
        except FormatError as error:
            raise FormatError(f"{os.fspath(path)!r} is damaged: {error}.") from error
    if text["format_version"] != _FORMAT_VERSION:
        raise FormatError(
            f"{os.fspath(path)!r} has format version {text['format_version']}; this version of "
            f"skvqdraw goes on from {_FORMAT_VERSION}."
        )
    return text, arrays

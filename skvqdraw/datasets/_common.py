"""What several data sets need: files that are not downloaded, and a check."""

import os
import zipfile
import zlib
from numbers import Integral
from pathlib import Path

import numpy as np


def data_path(name):
    """Return where a file is in the folder that SKVQDRAW_DATA names; None if that is not set."""
    folder = os.environ.get("SKVQDRAW_DATA")
    return Path(folder) / name if folder else None


def read_arrays(path, *names):
    """Return arrays of a file of that folder."""
    try:
        # numpy leaves a damaged file open, if it is the one to open it.
        with path.open("rb") as file, np.load(file) as arrays:
            return [arrays[name] for name in names]
    # Of a damaged file, and of one that holds a single array or other ones.
    except (EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise _refused(path, f"be a .npz file of the arrays {', '.join(names)}", error) from error


def check_arrays(path, right, allowed, arrays):
    """Refuse a file of that folder whose arrays, by name, do not go together."""
    if not right:
        got = ", ".join(f"{name} of {a.dtype} {a.shape}" for name, a in arrays.items())
        raise _refused(path, allowed, got)


def _refused(path, allowed, got):
    return ValueError(
        f"{path}, in the folder that SKVQDRAW_DATA names, must {allowed}; got "
        f"{str(got).rstrip('.')}. Replace the file, or remove it."
    )


def check_count(name, value, todo):
    """Say what is wrong with a number of things, and what to do."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1; got {value!r}. {todo}")

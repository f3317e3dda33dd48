"""What several data sets need: the folder of files that are not downloaded, and a check."""

import os
from numbers import Integral
from pathlib import Path


def data_path(name):
    """Return where a file is in the folder that SKVQDRAW_DATA names; None if that is not set."""
    folder = os.environ.get("SKVQDRAW_DATA")
    return Path(folder) / name if folder else None


def check_count(name, value, todo):
    """Say what is wrong with a number of things, and what to do."""
    if not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1; got {value!r}. {todo}")

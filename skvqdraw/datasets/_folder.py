"""Where data sets are that are not downloaded."""

import os
from pathlib import Path


def data_path(name):
    """Return where a file is in the folder that SKVQDRAW_DATA names; None if that is not set."""
    folder = os.environ.get("SKVQDRAW_DATA")
    return Path(folder) / name if folder else None

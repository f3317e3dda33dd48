"""Rows in files: .npy, .npz, and folders of images. What is written is whole or not there."""

import io
import os
import tempfile
from pathlib import Path

import numpy as np

from ..files.atomic import write_atomically
from . import images

_KINDS = "an .npy file, an .npz file or a folder of PNG images"
_SUFFIXES = (".npy", ".npz")


def read(path, key=None):
    """Return rows (n, n_features), the shape of each if it has axes of its own, else None, and
    lines that say what was read of a folder.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}.")
    if not path.is_dir() and path.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"{path} must be {_KINDS}, or of others that Pillow reads.")
    X, *lines = images.read(path) if path.is_dir() else (_array(path, key),)
    if not isinstance(X, np.ndarray) or X.ndim < 2 or not X.size:
        raise ValueError(f"{path} must have rows: two axes or more, none of which is empty.")
    return X.reshape(len(X), -1), X.shape[1:] if X.ndim > 2 else None, lines


def _array(path, key):
    """Return the array of a file, or say what numpy has to say of it."""
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            names = archive.files
            key = key or (names[0] if len(names) == 1 else "X")
            if key in names:
                return archive[key]
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    raise ValueError(f"{path} has the arrays {', '.join(names)}: name one with --key.")


def check_target(path, force, *, rows, inputs=()):
    """Refuse a place to write to, before anything is computed; return it at the end of links."""
    given, path = path, Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write to.")
    is_folder = rows and is_for_images(path)
    if is_folder and path.suffix and not path.is_dir():
        raise ValueError(
            f"{given} must be {_KINDS}, which must be there already if its name has a suffix."
        )
    if path.exists():
        _check_replaced(path, given, force, is_folder, inputs)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}."):
        pass  # there may be something new in this folder
    if is_folder:
        images.check_pillow()
    return path


def is_for_images(path):
    """Whether rows are written to a path as images, into a folder; its name may have a suffix."""
    return path.suffix.lower() not in _SUFFIXES


def _check_replaced(path, given, force, is_folder, inputs):
    """Refuse to replace what is there already, or what must never be."""
    if any(os.path.exists(other) and os.path.samefile(path, other) for other in inputs):
        raise FileExistsError(f"{given} is what is read; it is not replaced.")
    if is_folder != path.is_dir() or not (path.is_dir() or path.is_file()):
        wrong = "a folder" if path.is_dir() else "no folder" if is_folder else "no regular file"
        raise FileExistsError(f"{given} is {wrong}.")
    others = list(path.iterdir()) if is_folder else [path]
    if is_folder and any(o.is_symlink() or not _is_png(o) for o in others):
        raise FileExistsError(f"{given} holds other files than PNG images; name another folder.")
    if others and not force:
        raise FileExistsError(f"{given} is there already; --force replaces it.")


def _is_png(path):
    return path.is_file() and path.suffix.lower() == ".png"


def write(X, path, row_shape, black=0, white=255, quiet=True):
    """Write rows to an .npy or .npz file or to a folder of PNG images.

    `black` and `white` are the numbers that are black and white in images.
    """
    path, X = Path(path), X.reshape(len(X), *(row_shape or X.shape[1:]))
    if is_for_images(path):
        images.write(X, path, black, white, quiet)
        return
    file = io.BytesIO()
    if path.suffix.lower() == ".npy":
        np.save(file, X)
    else:
        np.savez_compressed(file, X=X)
    write_atomically(path, [file.getbuffer()])

"""Rows in files: .npy, .npz, and folders of PNG images. What is written is whole or not there."""

import io
import os
import tempfile
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..files.atomic import write_atomically

# Modes of images that are read as they are; others become one of them.
_MODES = {"1": "L", "L": "L", "LA": "RGBA", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA"}


def read(path, key=None):
    """Return rows (n, n_features), and the shape of each if they are images, else None."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}.")
    if not path.is_dir() and path.suffix.lower() not in (".npy", ".npz"):
        raise ValueError(f"{path} must be {_KINDS}.")
    X = _images(path) if path.is_dir() else _array(path, key)
    if not isinstance(X, np.ndarray) or X.ndim < 2 or not X.size:
        raise ValueError(f"{path} must have rows: two axes or more, none of which is empty.")
    return X.reshape(len(X), -1), X.shape[1:] if X.ndim > 2 else None


_KINDS = "an .npy file, an .npz file or a folder of PNG images"


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


def _images(folder):
    paths = sorted(filter(_is_image, folder.iterdir()))
    if not paths:
        raise ValueError(f"{folder} has no PNG images.")
    X = None
    for i, path in enumerate(paths):
        pixels = _pixels(path)
        if X is None:
            X = np.empty((len(paths), *pixels.shape), np.uint8)
        if pixels.shape != X.shape[1:]:
            raise ValueError(
                f"images must be of one size and kind: {path} has shape {pixels.shape}, and "
                f"{paths[0]} {X.shape[1:]}."
            )
        X[i] = pixels
    return X


def _pixels(path):
    try:
        with _pillow().open(path) as image:
            if image.mode in _MODES:
                return np.asarray(image.convert(_MODES[image.mode]))
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    raise ValueError(f"{path} must have 8 bits a channel; its mode is {image.mode}.")


def check_target(path, force, *, rows, inputs=()):
    """Refuse a place to write to, before anything is computed; return it at the end of links."""
    given, path = path, Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write to.")
    is_folder = rows and path.suffix == ""
    if rows and path.suffix.lower() not in ("", ".npy", ".npz"):
        raise ValueError(f"{given} must be {_KINDS}.")
    if path.exists():
        _check_replaced(path, given, force, is_folder, inputs)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}."):
        pass  # there may be something new in this folder
    if is_folder:
        _pillow()
    return path


def _check_replaced(path, given, force, is_folder, inputs):
    """Refuse to replace what is there already, or what must never be."""
    if any(os.path.exists(other) and os.path.samefile(path, other) for other in inputs):
        raise FileExistsError(f"{given} is what is read; it is not replaced.")
    if is_folder != path.is_dir() or not (path.is_dir() or path.is_file()):
        wrong = "a folder" if path.is_dir() else "no folder" if is_folder else "no regular file"
        raise FileExistsError(f"{given} is {wrong}.")
    others = list(path.iterdir()) if is_folder else [path]
    if is_folder and any(o.is_symlink() or not _is_image(o) for o in others):
        raise FileExistsError(f"{given} holds other files than PNG images; name another folder.")
    if others and not force:
        raise FileExistsError(f"{given} is there already; --force replaces it.")


def _is_image(path):
    return path.is_file() and path.suffix.lower() == ".png"


def write(X, path, image_shape, white=255, quiet=True):
    """Write rows to an .npy or .npz file or to a folder of PNG images.

    In images, `white` is the number that is white.
    """
    path, X = Path(path), X.reshape(len(X), *(image_shape or X.shape[1:]))
    if path.suffix == "":
        _write_images(X, path, white, quiet)
        return
    file = io.BytesIO()
    if path.suffix.lower() == ".npy":
        np.save(file, X)
    else:
        np.savez_compressed(file, X=X)
    write_atomically(path, [file.getbuffer()])


def _write_images(X, folder, white, quiet):
    """Write images into a new folder, and put it in its place when all of them are there."""
    if X.ndim < 3:
        raise ValueError("rows are written as images only if their shape is known: --image-shape.")
    if X.dtype != np.uint8:
        X = np.rint(X * (255 / white)).clip(0, 255).astype(np.uint8)
    X = X[..., 0] if X.ndim == 4 and X.shape[3] == 1 else X
    digits = len(str(len(X) - 1))
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as near:
        new, old = Path(near, "new"), Path(near, "old")
        new.mkdir()
        for i, pixels in enumerate(tqdm(X, unit="image", disable=quiet)):
            _pillow().fromarray(pixels).save(new / f"{i:0{digits}}.png")
        try:
            if folder.exists():
                os.replace(folder, old)
            os.replace(new, folder)
        except BaseException:
            if old.exists() and not folder.exists():
                os.replace(old, folder)
            raise


def _pillow():
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("images need pillow: pip install 'skvqdraw[plot]'") from error
    return Image

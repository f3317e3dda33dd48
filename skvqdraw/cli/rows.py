"""Rows in files: .npy, .npz, and folders of PNG images. What is written is whole or not there."""

import io
import os
import secrets
import shutil
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
    if path.is_dir():
        X = _images(path)
    elif path.suffix == ".npz":
        X = _of_archive(path, key)
    elif path.suffix == ".npy":
        X = np.load(path, mmap_mode="r", allow_pickle=False)
    else:
        raise ValueError(f"{path} must be {_KINDS}.")
    if X.ndim < 2:
        raise ValueError(f"{path} must have rows: two axes or more; it has shape {X.shape}.")
    return X.reshape(len(X), -1), X.shape[1:] if X.ndim > 2 else None


_KINDS = "an .npy file, an .npz file or a folder of PNG images"


def _of_archive(path, key):
    with np.load(path, allow_pickle=False) as archive:
        names = archive.files
        key = key or (names[0] if len(names) == 1 else "X")
        if key not in names:
            raise ValueError(f"{path} has the arrays {', '.join(names)}: name one with --key.")
        return archive[key]


def _images(folder):
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png")
    if not paths:
        raise ValueError(f"{folder} has no PNG images.")
    X = None
    for i, path in enumerate(paths):
        with _pillow().open(path) as image:
            if image.mode not in _MODES:
                raise ValueError(f"{path} must have 8 bits a channel; its mode is {image.mode}.")
            pixels = np.asarray(image.convert(_MODES[image.mode]))
        if X is None:
            X = np.empty((len(paths), *pixels.shape), np.uint8)
        if pixels.shape != X.shape[1:]:
            raise ValueError(
                f"images must be of one size and kind: {path} has shape {pixels.shape}, and "
                f"{paths[0]} {X.shape[1:]}."
            )
        X[i] = pixels
    return X


def check_target(path, force, *, rows):
    """Refuse a place to write to, before anything is computed."""
    path = Path(path)
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.absolute().parent} to write to.")
    is_folder = rows and path.suffix == ""
    if rows and path.suffix not in ("", ".npy", ".npz"):
        raise ValueError(f"{path} must be {_KINDS}.")
    if path.is_dir() and not is_folder:
        raise IsADirectoryError(f"{path} is a folder.")
    if path.is_dir() and any(other.suffix.lower() != ".png" for other in path.iterdir()):
        raise FileExistsError(f"{path} holds other files than PNG images; name another folder.")
    if not force and (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
        raise FileExistsError(f"{path} is there already; --force replaces it.")
    if is_folder:
        _pillow()


def write(X, path, image_shape, quiet=True):
    """Write rows to an .npy or .npz file or to a folder of PNG images."""
    path, X = Path(path), X.reshape(len(X), *(image_shape or X.shape[1:]))
    if path.suffix == "":
        _write_images(X, path, quiet)
        return
    file = io.BytesIO()
    if path.suffix == ".npy":
        np.save(file, X)
    else:
        np.savez_compressed(file, X=X)
    write_atomically(path, [file.getbuffer()])


def _write_images(X, folder, quiet):
    """Write images into a new folder, and put it in its place when all of them are there."""
    if X.ndim < 3:
        raise ValueError("rows are written as images only if their shape is known: --image-shape.")
    if X.dtype != np.uint8:
        whole = X.max() > 1.5  # else white is 1
        X = np.rint(X * (1 if whole else 255)).clip(0, 255).astype(np.uint8)
    X = X[..., 0] if X.ndim == 4 and X.shape[3] == 1 else X
    name = folder.absolute().with_name(f".{folder.name}.{secrets.token_hex(8)}")
    new, old = name.with_suffix(".tmp"), name.with_suffix(".old")
    digits = len(str(len(X) - 1))
    try:
        new.mkdir()
        for i, pixels in enumerate(tqdm(X, unit="image", disable=quiet)):
            _pillow().fromarray(pixels).save(new / f"{i:0{digits}}.png")
        if folder.exists():
            os.replace(folder, old)
        os.replace(new, folder)
    finally:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)


def _pillow():
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("images need pillow: pip install 'skvqdraw[plot]'") from error
    return Image

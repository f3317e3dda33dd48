"""Folders of images: what Pillow reads becomes rows, and rows become PNG images."""

import os
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .._warn import warn

# Modes of images that are read, and what they become. Others would lose something.
_MODES = {
    "1": "L",
    "L": "L",
    "LA": "RGBA",
    "P": "RGB",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBA": "RGBA",
    "RGBX": "RGB",
}
# Modes that may have a transparent color, which becomes a channel.
_OPAQUE = {"1", "L", "P", "RGB"}
_SIXTEEN_BITS = {"I;16", "I;16B", "I;16L", "I;16N"}
# Formats that Pillow identifies and does not read, or reads with the help of another program.
_NOT_READ = {"EPS", "MPEG"}
_KINDS = {"L": "8 bits, gray", "RGB": "8 bits, RGB", "RGBA": "8 bits, RGB with alpha"}


def read(folder):
    """Return the images of a folder (n, ...), in the order of their names, and a line about them.

    They are of one size and kind: uint8, or uint16 if they are gray and have more than 8 bits.
    """
    paths, left_out = _sorted_out(folder)
    if not paths:
        raise ValueError(f"{folder} has no PNG images, nor others that Pillow reads.")
    X, first, n_animated = None, None, 0
    for i, path in enumerate(paths):
        pixels, kind, animated = _pixels(path)
        if X is None:
            X, first = np.empty((len(paths), *pixels.shape), pixels.dtype), kind
        if (pixels.shape, kind) != (X.shape[1:], first):
            raise ValueError(
                f"images must be of one size and kind: {path} has shape {pixels.shape} ({kind}), "
                f"and {paths[0]} {X.shape[1:]} ({first}). Convert them to one."
            )
        X[i] = pixels
        n_animated += animated
    return X, _line(folder, X, first, n_animated, left_out)


def _line(folder, X, kind, n_animated, left_out):
    """Return a line that says what was read, and what was not and why."""
    frames = f", of {n_animated:,} of them the first frame alone" if n_animated else ""
    reasons = ", ".join(f"{reason} ({n:,})" for reason, n in left_out.items())
    return (
        f"{folder}: {len(X):,} images of shape {X.shape[1:]} ({kind}) were read{frames}; "
        f"{left_out.total():,} other entries were left out{': ' * bool(reasons)}{reasons}"
    )


def _sorted_out(folder):
    """Return the images of a folder in order, and the number of other entries by reason."""
    suffixes, images, left_out = _suffixes(), [], Counter()
    for path in sorted(folder.iterdir()):
        if path.name.startswith("._"):
            left_out["files of macOS"] += 1
        elif path.is_dir():
            left_out["subfolders"] += 1
        elif not path.exists():
            left_out["dangling links"] += 1
        elif path.suffix.lower() not in suffixes or not path.is_file():
            left_out["no images"] += 1
        else:
            images.append(path)
    return images, left_out


def _suffixes():
    """Return the suffixes of what Pillow reads."""
    Image = _pillow()
    known = Image.registered_extensions()
    from PIL.ImageFile import StubImageFile

    def is_read(name):
        opener = Image.OPEN[name][0] if name in Image.OPEN else StubImageFile
        is_stub = isinstance(opener, type) and issubclass(opener, StubImageFile)
        return not is_stub and name not in _NOT_READ

    return {suffix for suffix, name in known.items() if is_read(name)}


def _pixels(path):
    """Return the pixels of a file, their kind, and whether there are other frames."""
    from PIL import ImageOps

    try:
        with _pillow().open(path) as image:
            n_bits = _bits(image, path)
            problem = _problem(image, n_bits)
            if not problem:
                animated = getattr(image, "is_animated", False)
                return *_array(ImageOps.exif_transpose(image), n_bits), animated
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    raise ValueError(f"{path} {problem} Convert it, or give rows as an .npy file.")


def _bits(image, path):
    """Return the most bits of a channel that a file says it has: Pillow's mode may have fewer."""
    if image.format == "PNG":
        with open(path, "rb") as file:
            return file.read(26)[24]  # the header is the first chunk
    if image.format == "TIFF":
        return int(np.max(image.tag_v2.get(258, 8)))
    for decoder, _, _, how in image.tile:
        if decoder == "ppm":
            return int(how[-1]).bit_length()  # the largest number of a file
        if decoder == "SGI16" or ";16" in str(how):
            return 16
    return 16 if image.mode in _SIXTEEN_BITS else 32 if image.mode in ("I", "F") else 8


def _problem(image, n_bits):
    """Return why an image cannot be read without losing something, or nothing."""
    if _is_deep(image, n_bits):
        transparent = "transparency" in image.info
        return "has more than 8 bits and a transparent color." if transparent else ""
    if image.mode not in _MODES:
        return f"must be gray, RGB or of a palette; its mode is {image.mode}."
    if n_bits > 8:
        return f"must have 8 bits a channel, as it is not gray alone; it has {n_bits}."
    return ""


def _is_deep(image, n_bits):
    """Whether an image is gray and has 9 to 16 bits; of some formats Pillow's mode is then I."""
    return image.mode in _SIXTEEN_BITS or (image.mode == "I" and n_bits <= 16)


def _array(image, n_bits):
    """Return the pixels of an image as they are meant to be seen, and their kind."""
    if image.mode not in _MODES:
        return np.asarray(image).astype(np.uint16), f"{n_bits} bits, gray"
    mode = _MODES[image.mode]
    if image.mode in _OPAQUE and "transparency" in image.info:
        mode = "RGBA"
    return np.asarray(image.convert(mode)), _KINDS[mode]


def check_shape(shape):
    """Refuse a shape of rows that no PNG image has."""
    if shape is None:
        raise ValueError("rows are written as images only if their shape is known: --image-shape.")
    if len(shape) not in (2, 3) or (len(shape) == 3 and not 1 <= shape[2] <= 4):
        raise ValueError(
            f"rows are written as images only if their shape is that of an image of 1, 3 or 4 "
            f"channels, the last axis; it is {tuple(shape)}. Write an .npy file."
        )


def write(X, folder, black, white, quiet):
    """Write images into a new folder, and put it in its place when all of them are there."""
    check_shape(X.shape[1:] if X.ndim > 2 else None)
    X = X[..., 0] if X.ndim == 4 and X.shape[3] == 1 else X
    digits, n_clipped = len(str(len(X) - 1)), 0
    dtype = _dtype(X, black, white)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as near:
        new, old = Path(near, "new"), Path(near, "old")
        new.mkdir()
        for i, values in enumerate(tqdm(X, unit="image", disable=quiet)):
            pixels, n_outside = _as_pixels(values, black, white, dtype)
            _pillow().fromarray(pixels).save(new / f"{i:0{digits}}.png")
            n_clipped += n_outside
        try:
            if folder.exists():
                os.replace(folder, old)
            os.replace(new, folder)
        except BaseException:
            if old.exists() and not folder.exists():
                os.replace(old, folder)
            raise
    if n_clipped:
        warn(
            f"{n_clipped:,} of {X.size:,} numbers were outside {black:g} to {white:g}, which are "
            "black and white, and were clipped."
        )


def _dtype(X, black, white):
    """Return the dtype of pixels: 16 bits where the rows had them and PNG images can."""
    if X.dtype == np.uint8 or (black, white) != (0, np.iinfo(np.uint16).max):
        return np.uint8
    if X.ndim == 3:
        return np.uint16
    warn("images of several channels are written with 8 bits a channel; an .npy file keeps 16.")
    return np.uint8


def _as_pixels(values, black, white, dtype):
    """Return an image as integers, and how many of its numbers are beyond black or white."""
    if values.dtype == np.uint8:
        return values, 0
    most = np.iinfo(dtype).max
    levels = np.rint((values - black) * (most / (white - black)))
    n_outside = np.count_nonzero((levels < 0) | (levels > most))
    return levels.clip(0, most).astype(dtype), n_outside


def check_pillow():
    """Refuse images where there is no Pillow."""
    _pillow()


def _pillow():
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("images need pillow: pip install 'skvqdraw[plot]'") from error
    return Image

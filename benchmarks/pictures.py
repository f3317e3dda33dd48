"""Bytes and errors of images in the usual formats: a file each, or all of them in one picture."""

import io
import zlib

import numpy as np
from PIL import Image

# Settings of Pillow, by format; what loses nothing has none.
QUALITIES = {
    "JPEG": [{"quality": q} for q in (1, 5, 10, 20, 30)],
    "WebP": [{"quality": q, "method": 6} for q in (0, 1, 5, 10)],
    "AVIF": [{"quality": q} for q in (0, 5, 10, 20)],
    "JPEG2000": [{"quality_mode": "rates", "quality_layers": [q]} for q in (100, 60, 30)],
    "PNG": [{"optimize": True}],
}
# The smallest files that AVIF makes of grey images, in about forty times the time.
SLOWEST_AVIF = [{"quality": q, "speed": 0, "subsampling": "4:0:0"} for q in (0, 5)]


def stored(image, form, setting):
    """Return the bytes of one image, and the image that they give."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **setting)
    n_bytes = file.tell()
    return n_bytes, np.asarray(Image.open(file).convert("L" if image.ndim == 2 else "RGB"))


def mosaic(images):
    """Return one picture of so many images that they fill a square."""
    side = int(len(images) ** 0.5)
    H, W, *colours = images.shape[1:]
    rows = images[: side**2].reshape(side, side, H, W, *colours)
    return rows.swapaxes(1, 2).reshape(side * H, side * W, *colours)


def of_files(images, form, setting):
    """Return bytes an image and the error, a file for each image."""
    n_bytes, error = 0, 0.0
    for image in images:
        size, decoded = stored(image, form, setting)
        n_bytes, error = n_bytes + size, error + squared_error(image, decoded)
    return n_bytes / len(images), error / len(images)


def of_mosaic(images, form, setting):
    """Return bytes an image and the error, all images in one picture."""
    picture = mosaic(images)
    n_bytes, decoded = stored(picture, form, setting)
    n_images = picture.size / images[0].size
    return n_bytes / n_images, squared_error(picture, decoded)


def of_zlib(images):
    """Return bytes an image of all pixels as zlib compresses them."""
    return len(zlib.compress(images.tobytes(), 9)) / len(images)


def squared_error(image, decoded):
    """Return the mean squared error of pixels in [0, 1]."""
    return float(np.square((image.astype(np.float64) - decoded) / 255).mean())

"""Data sets for examples, tests and benchmarks."""

from ._images import fetch_cifar10, fetch_mnist, load_digits_images, load_photo_patches
from ._shapes import load_shapes, make_shapes
from ._sound import load_recordings, make_tones
from ._text import load_characters, load_docstrings, text_windows

__all__ = [
    "fetch_cifar10",
    "fetch_mnist",
    "load_characters",
    "load_digits_images",
    "load_docstrings",
    "load_photo_patches",
    "load_recordings",
    "load_shapes",
    "make_shapes",
    "make_tones",
    "text_windows",
]

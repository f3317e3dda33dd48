"""Data sets for examples, tests and benchmarks."""

from ._images import fetch_cifar10, fetch_mnist, load_digits_images, load_photo_patches
from ._text import load_characters, load_docstrings, text_windows

__all__ = [
    "fetch_cifar10",
    "fetch_mnist",
    "load_characters",
    "load_digits_images",
    "load_docstrings",
    "load_photo_patches",
    "text_windows",
]

"""Data sets for examples, tests and benchmarks."""

from ._images import fetch_mnist, load_digits_images, load_photo_patches

__all__ = ["fetch_mnist", "load_digits_images", "load_photo_patches"]

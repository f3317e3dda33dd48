"""Data sets for examples, tests and benchmarks."""

from ._images import fetch_mnist, load_digits_images

__all__ = ["fetch_mnist", "load_digits_images"]

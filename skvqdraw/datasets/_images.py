"""Image data sets: rows are flattened images."""

from numbers import Integral
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_openml, get_data_home, load_digits, load_sample_images
from sklearn.utils import Bunch, check_random_state

from ._common import check_arrays, check_count, data_path, read_arrays

# Images for training: the first ones.
_N_MNIST, _N_CIFAR10 = 60_000, 50_000


def load_digits_images():
    """Load scikit-learn's bundled digits, scaled to [0, 1]. Nothing is downloaded.

    Returns
    -------
    digits : Bunch
        `data` of shape (1797, 64), float32 in [0, 1]; `target` of shape (1797,); `image_shape`,
        (8, 8).

    See Also
    --------
    fetch_mnist : 70,000 larger digits.

    Examples
    --------
    >>> from skvqdraw.datasets import load_digits_images
    >>> digits = load_digits_images()
    >>> digits.data.shape, digits.image_shape
    ((1797, 64), (8, 8))
    """
    digits = load_digits()
    data = (digits.data / 16).astype(np.float32)
    return Bunch(data=data, target=digits.target, image_shape=(8, 8))


def load_photo_patches(n_patches=1000, size=32, random_state=0):
    """Cut square patches out of scikit-learn's two bundled photographs. Nothing is downloaded.

    Two photographs (a temple and a flower) are little to learn from: this is for trying out
    settings for colour images, not for judging them.

    Parameters
    ----------
    n_patches : int, default=1000
        Number of patches. They are drawn with replacement and may overlap.
    size : int, default=32
        Side of a patch in pixels, up to 427.
    random_state : int, RandomState instance or None, default=0
        Seed of the places.

    Returns
    -------
    patches : Bunch
        `data` of shape (n_patches, size * size * 3), uint8 in [0, 255]: rows of pixels with their
        red, green and blue side by side; `image_shape`, (size, size, 3).

    Raises
    ------
    ValueError
        If n_patches is not a positive integer, or patches of this size do not fit.
    ImportError
        If pillow, which reads the photographs, is not installed: ``pip install pillow``.

    See Also
    --------
    load_digits_images : Small grey images, with labels.

    Examples
    --------
    >>> from skvqdraw.datasets import load_photo_patches
    >>> patches = load_photo_patches(n_patches=100, size=16)
    >>> patches.data.shape, patches.image_shape
    ((100, 768), (16, 16, 3))
    """
    check_count("n_patches", n_patches, "1000 is the default.")
    rng = check_random_state(random_state)
    photos = load_sample_images().images
    largest = min(min(photo.shape[:2]) for photo in photos)
    # An integer of Python, since sums of numpy's narrow ones overflow.
    side = int(size) if isinstance(size, Integral) else 0
    if not 1 <= side <= largest:
        raise ValueError(
            f"size must be in the range [1, {largest}], so that patches fit into the photographs; "
            f"got {size!r}. Set an integer: 32 is the default."
        )
    data = np.empty((n_patches, side * side * 3), dtype=np.uint8)
    for row in data:
        photo = photos[rng.randint(len(photos))]
        top, left = (rng.randint(n - side + 1) for n in photo.shape[:2])
        row[:] = photo[top : top + side, left : left + side].ravel()
    return Bunch(data=data, image_shape=(side, side, 3))


def fetch_mnist(download_if_missing=True):
    """Load MNIST: 60,000 training and 10,000 test images of digits.

    The file ``mnist.npz`` (arrays `x_train`, `y_train`, `x_test`, `y_test`) in the folder that the
    environment variable ``SKVQDRAW_DATA`` names comes first, then scikit-learn's cache of OpenML,
    then a download into that cache.

    Parameters
    ----------
    download_if_missing : bool, default=True
        Whether to download what is not there.

    Returns
    -------
    mnist : Bunch
        `data` of shape (60000, 784) and `data_test` of shape (10000, 784), uint8 in [0, 255];
        `target` and `target_test`, integers; `image_shape`, (28, 28). In the original order.

    Raises
    ------
    ValueError
        If that file does not hold such arrays.
    OSError
        If MNIST is in neither place and may not, or cannot, be downloaded.

    Examples
    --------
    >>> from skvqdraw.datasets import fetch_mnist
    >>> mnist = fetch_mnist()  # doctest: +SKIP
    >>> mnist.data.shape  # doctest: +SKIP
    (60000, 784)
    """
    return _fetched("MNIST", "mnist", "x", "mnist_784", _N_MNIST, (28, 28), download_if_missing)


def fetch_cifar10(download_if_missing=True):
    """Load CIFAR-10: 50,000 training and 10,000 test images of ten kinds of things, in colour.

    The file ``cifar10.npz`` (arrays `X_train` and `X_test` of images, colours last, `y_train` and
    `y_test`) in the folder that the environment variable ``SKVQDRAW_DATA`` names comes first, then
    scikit-learn's cache of OpenML, then a download into that cache.

    Parameters
    ----------
    download_if_missing : bool, default=True
        Whether to download what is not there.

    Returns
    -------
    cifar10 : Bunch
        `data` of shape (50000, 3072) and `data_test` of shape (10000, 3072), uint8 in [0, 255]:
        rows of pixels with their red, green and blue side by side; `target` and `target_test`,
        integers; `image_shape`, (32, 32, 3). In the order of where they come from.

    Raises
    ------
    ValueError
        If that file does not hold such arrays.
    OSError
        If CIFAR-10 is in neither place and may not, or cannot, be downloaded.

    See Also
    --------
    load_photo_patches : Colour images without a download.

    References
    ----------
    Alex Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.

    Examples
    --------
    >>> from skvqdraw.datasets import fetch_cifar10
    >>> cifar10 = fetch_cifar10()  # doctest: +SKIP
    >>> cifar10.data.shape  # doctest: +SKIP
    (50000, 3072)
    """
    shape = (32, 32, 3)
    return _fetched("CIFAR-10", "cifar10", "X", "CIFAR_10", _N_CIFAR10, shape, download_if_missing)


def _fetched(title, name, letter, openml_name, n_train, image_shape, download_if_missing):
    """Return a data set from the file ``<name>.npz``, or as OpenML has it, or say what is missing.

    `letter` is what images are called in the file, and the first `n_train` rows are for training.
    """
    path = data_path(f"{name}.npz")
    # fetch_openml cannot be told to stay offline: look whether it has the file.
    cache = Path(get_data_home())
    if path is not None and path.is_file():
        images, labels, n_train = _read_images(path, letter)
    elif download_if_missing or _is_cached(openml_name, cache):
        images, labels = fetch_openml(
            openml_name, version=1, as_frame=False, return_X_y=True, parser="liac-arff"
        )
        # OpenML has the colours of an image one after another; here those of a pixel are.
        height, width, *colours = image_shape
        if colours:
            images = np.moveaxis(images.reshape(-1, *colours, height, width), 1, -1)
    else:
        raise OSError(
            f"{title} was found neither at {path or 'SKVQDRAW_DATA, which is not set'} nor in "
            f"scikit-learn's cache at {cache}. Put {name}.npz into a folder and set SKVQDRAW_DATA "
            f"to it, or call fetch_{name}(download_if_missing=True)."
        )
    data = images.reshape(len(images), -1).astype(np.uint8)
    target = labels.astype(np.int64)
    return Bunch(
        data=data[:n_train],
        target=target[:n_train],
        data_test=data[n_train:],
        target_test=target[n_train:],
        image_shape=image_shape,
    )


def _read_images(path, letter):
    """Return the images and labels of a file, and how many of the first ones are for training."""
    names = f"{letter}_train", f"{letter}_test", "y_train", "y_test"
    arrays = read_arrays(path, *names)
    right = all(
        X.ndim > 1 and X.shape[:1] == y.shape and _are_bytes(X)
        for X, y in zip(arrays[:2], arrays[2:], strict=True)
    )
    allowed = "have images of integers in [0, 255], each with a label"
    check_arrays(path, right, allowed, dict(zip(names, arrays, strict=True)))
    train, test, y_train, y_test = arrays
    return np.concatenate([train, test]), np.concatenate([y_train, y_test]), len(train)


def _are_bytes(X):
    with np.errstate(invalid="ignore"):
        return X.dtype.kind in "iuf" and np.array_equal(X, X.clip(0, 255).astype(np.uint8))


def _is_cached(openml_name, cache):
    files = (p for p in cache.glob("openml/**/*.gz") if p.is_file())
    return any(p.name.split(".")[0].lower() == openml_name.lower() for p in files)

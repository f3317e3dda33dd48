"""Models that come with the package."""

from importlib.resources import as_file, files

from .io import load

__all__ = ["load_pretrained"]

MODELS = ("cifar10-600bit", "mnist-60bit")


def load_pretrained(name):
    """Load a fitted model that comes with the package. Nothing is downloaded.

    Parameters
    ----------
    name : {"cifar10-600bit", "mnist-60bit"}
        "cifar10-600bit": 75 stages of 256 options for colour images of 32 x 32 pixels in [0, 1],
        trained on the 50,000 training images of CIFAR-10 and their mirror images.
        "mnist-60bit": ten stages of 64 options for handwritten digits of 28 x 28 pixels in
        [0, 1], trained on MNIST's 60,000 training images and copies of them, slightly turned and
        stretched. ``benchmarks/train_pretrained.py`` wrote both.

    Returns
    -------
    estimator : VQDRAW
        The fitted estimator.

    Raises
    ------
    ValueError
        If there is no such model.

    See Also
    --------
    load : Loads a file that you saved.

    Examples
    --------
    >>> from skvqdraw import load_pretrained
    >>> vq = load_pretrained("mnist-60bit")
    >>> vq.sample(3, random_state=0).shape
    (3, 784)
    """
    if name not in MODELS:
        raise ValueError(f"name must be one of {list(MODELS)}; got {name!r}.")
    with as_file(files(__package__) / "weights" / f"{name}.safetensors") as path:
        return load(path)

"""What all displays ask of their input, and of the machine."""

from inspect import isclass
from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted


def check_matplotlib(caller):
    """Raise ImportError, with what to install, if matplotlib is not there."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'{caller} needs matplotlib. Install it: pip install "skvqdraw[plot]"'
        ) from error


def check_code_estimator(estimator, *methods):
    """Raise unless `estimator` is fitted and has `methods` and `code_usage_`."""
    missing = [name for name in methods if not callable(getattr(estimator, name, None))]
    if isclass(estimator) or missing:
        lacks = f", which lacks {' and '.join(missing)}" if missing else ", a class"
        name = estimator.__name__ if isclass(estimator) else type(estimator).__name__
        raise TypeError(
            "estimator must be a fitted estimator of codes, such as skvqdraw.VQDRAW(...).fit(X); "
            f"got {name}{lacks}. Of a pipeline, pass the step that makes the codes."
        )
    check_is_fitted(estimator)
    if not hasattr(estimator, "code_usage_"):
        raise TypeError(
            "estimator must have code_usage_ of shape (n_stages, n_options), which tells how many "
            f"stages and options its codes have; got {type(estimator).__name__}, which lacks it. "
            "Set it in fit."
        )


def check_image_shape(image_shape, n_features):
    """Return `image_shape` as (H, W) or (H, W, 3) or None, or say what is wrong with it."""
    if image_shape is None:
        return None
    shape = tuple(image_shape) if np.iterable(image_shape) else (image_shape,)
    if (
        len(shape) not in (2, 3)
        or not all(isinstance(n, Integral) and n >= 1 for n in shape)
        or shape[2:] not in ((), (1,), (3,))
        or np.prod(shape) != n_features
    ):
        raise ValueError(
            "image_shape must be (H, W), (H, W, 1) or (H, W, 3), channels last, with as many "
            f"pixels times channels as a row has features, {n_features}; got {image_shape!r}. "
            "Give the shape of one image, or None to draw rows as signals."
        )
    return shape[:2] if shape[2:] == (1,) else shape

"""The data of the MNIST benchmarks, and the ways in which an estimator chooses codes."""

import numpy as np
from sklearn.utils import Bunch

from skvqdraw import VQDRAW
from skvqdraw.datasets import fetch_mnist, load_digits_images

IMAGE_SHAPE = (28, 28)

# Constructor parameters that say how codes are chosen; they can change after a fit.
CODINGS = {
    "default": {},
    "greedy": {"beam_size": 1, "round_beam_size": 1},
    "beam_4": {"beam_size": 4},
    "beam_16": {"beam_size": 16},
}


def coded_as(vq, coding):
    """Set a fitted estimator to one of CODINGS, what that does not name to its default."""
    defaults = VQDRAW().get_params()
    names = ("beam_size", "round_beam_size")
    return vq.set_params(**{name: defaults[name] for name in names} | CODINGS[coding])


def errors_by_stage(vq, X, codes):
    """Return the mean squared error of each prefix of the codes."""
    prefixes = (codes[:, : s + 1] for s in range(codes.shape[1]))
    return [round(float(np.square(vq.decode(c) - X).mean(dtype=float)), 6) for c in prefixes]


def load_images(quick):
    """Return X, y, X_test, y_test of MNIST, pixels in [0, 1].

    With `quick`, the digits that come with scikit-learn instead, enlarged to the same shape: only
    to see that a benchmark runs, without a download.
    """
    if not quick:
        mnist = fetch_mnist()
        X, X_test = (images / np.float32(255) for images in (mnist.data, mnist.data_test))
        return Bunch(X=X, y=mnist.target, X_test=X_test, y_test=mnist.target_test)
    digits = load_digits_images()
    images = np.kron(digits.data.reshape(-1, 8, 8), np.ones((1, 3, 3), dtype=np.float32))
    X = np.pad(images, ((0, 0), (2, 2), (2, 2))).reshape(len(images), -1)
    y = digits.target
    return Bunch(X=X[:512], y=y[:512], X_test=X[512:640], y_test=y[512:640])

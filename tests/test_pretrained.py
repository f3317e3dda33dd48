"""The models that come with the package."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import skvqdraw
from skvqdraw.datasets import fetch_cifar10, fetch_mnist

DATA = Path(__file__).parent / "data"
# Mean squared error over pixels in [0, 1] of the 10,000 test images, as docs/benchmarks.md says.
PUBLISHED_ERROR, PUBLISHED_GREEDY_ERROR = 0.005832, 0.007451
PUBLISHED_COLOUR_ERROR = 0.00275
MOST_BYTES = {"mnist-60bit": 5_000_000, "cifar10-600bit": 16_000_000}


@pytest.fixture(scope="module", params=MOST_BYTES)
def vq(request):
    return skvqdraw.load_pretrained(request.param)


def name_of(vq):
    return "mnist-60bit" if vq.n_features_in_ == 784 else "cifar10-600bit"


def test_codes_decode_to_the_same_pixels_as_ever(vq):
    expected = np.load(DATA / f"{name_of(vq)}-decoded.npz")
    np.testing.assert_allclose(vq.decode(expected["codes"]), expected["images"], atol=1e-4)
    np.testing.assert_allclose(
        vq.decode(expected["codes"][:, :4]), expected["after_4_stages"], atol=1e-4
    )


def test_it_codes_what_it_draws(vq):
    """Drawn images, coded again, are much nearer to themselves than the mean image is."""
    drawn = vq.sample(50, random_state=1)
    assert -vq.score(drawn) < 0.1 * drawn.var(axis=0).mean()


@pytest.mark.parametrize("name", MOST_BYTES)
def test_size(name):
    path = files(skvqdraw) / "weights" / f"{name}.safetensors"
    assert path.stat().st_size <= MOST_BYTES[name]


def test_unknown_names_are_refused():
    with pytest.raises(
        ValueError, match=r"name must be one of \['cifar10-600bit', 'mnist-60bit'\]; got 'cifar'"
    ):
        skvqdraw.load_pretrained("cifar")


@pytest.mark.parametrize(
    ("round_beam_size", "published"), [(16, PUBLISHED_ERROR), (1, PUBLISHED_GREEDY_ERROR)]
)
def test_published_error(real_data, round_beam_size, published):
    vq = skvqdraw.load_pretrained("mnist-60bit")
    X = fetch_mnist(download_if_missing=False).data_test / np.float32(255)
    assert -vq.set_params(round_beam_size=round_beam_size).score(X) == pytest.approx(
        published, rel=1e-3
    )


def test_published_error_of_colour(real_data):
    try:
        images = fetch_cifar10(download_if_missing=False).data_test
    except OSError as error:
        pytest.skip(str(error))
    vq = skvqdraw.load_pretrained("cifar10-600bit")
    error = -vq.score(images[:1000] / np.float32(255))
    assert error == pytest.approx(PUBLISHED_COLOUR_ERROR, rel=0.03)  # of all 10,000

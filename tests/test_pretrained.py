"""The models that come with the package."""

from copy import deepcopy
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import skvqdraw
from skvqdraw.datasets import fetch_mnist

DECODED = Path(__file__).parent / "data" / "mnist-60bit-decoded.npz"
# Mean squared error over pixels in [0, 1] of the 10,000 test images, as docs/benchmarks.md says.
PUBLISHED_ERROR, PUBLISHED_GREEDY_ERROR = 0.005832, 0.007451


@pytest.fixture(scope="module")
def vq():
    return skvqdraw.load_pretrained("mnist-60bit")


def test_codes_decode_to_the_same_pixels_as_ever(vq):
    expected = np.load(DECODED)
    np.testing.assert_allclose(vq.decode(expected["codes"]), expected["images"], atol=1e-4)
    np.testing.assert_allclose(
        vq.decode(expected["codes"][:, :4]), expected["after_4_stages"], atol=1e-4
    )


def test_it_codes_what_it_draws(vq):
    """Drawn images, coded again, are much nearer to themselves than the mean image is."""
    drawn = vq.sample(50, random_state=1)
    assert -vq.score(drawn) < 0.1 * drawn.var(axis=0).mean()


def test_size():
    path = files(skvqdraw) / "weights" / "mnist-60bit.safetensors"
    assert path.stat().st_size <= 5_000_000


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"name must be one of \['mnist-60bit'\]; got 'cifar'"):
        skvqdraw.load_pretrained("cifar")


@pytest.mark.parametrize(
    ("round_beam_size", "published"), [(16, PUBLISHED_ERROR), (1, PUBLISHED_GREEDY_ERROR)]
)
def test_published_error(vq, real_data, round_beam_size, published):
    X = fetch_mnist(download_if_missing=False).data_test / np.float32(255)
    scored = deepcopy(vq).set_params(round_beam_size=round_beam_size)
    assert -scored.score(X) == pytest.approx(published, rel=1e-3)

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers that each want every core wait for each other: five times slower on two cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

from skvqdraw import VQDRAW
from skvqdraw.datasets import load_digits_images
from skvqdraw.refiners import MLPRefiner


@pytest.fixture(autouse=True)
def no_data_of_the_machine(monkeypatch):
    """Tests see no data but their own; the one that wants MNIST asks for `real_data`."""
    monkeypatch.delenv("SKVQDRAW_DATA", raising=False)


@pytest.fixture
def real_data(monkeypatch, request):
    folder = request.config.stash[DATA]
    if not folder:
        pytest.skip("SKVQDRAW_DATA is not set")
    monkeypatch.setenv("SKVQDRAW_DATA", folder)


DATA = pytest.StashKey()


def pytest_configure(config):
    config.stash[DATA] = os.environ.get("SKVQDRAW_DATA")


@pytest.fixture(scope="session")
def X():
    """200 rows of the digits, float32 in [0, 1]."""
    return load_digits_images().data[:200]


@pytest.fixture(scope="session")
def fitted(X):
    """A fitted estimator that tests must not change."""
    return make_estimator().fit(X)


def make_estimator(**params):
    """An unfitted estimator that fits in a moment."""
    defaults = {
        "n_stages": 4,
        "n_options": 8,
        "refiner": MLPRefiner(hidden_size=16, basis_size=4),
        "max_steps": 30,
        "random_state": 0,
    }
    return VQDRAW(**{**defaults, **params})


def assert_same_model(one, other, X):
    """Same parameters and attributes, same codes, same reconstructions: to the bit."""
    codes = one.encode(X)
    np.testing.assert_array_equal(other.encode(X), codes)
    np.testing.assert_array_equal(other.decode(codes), one.decode(codes))
    assert repr(other) == repr(one)
    for name in ("scale_", "n_steps_", "loss_curve_", "n_features_in_"):
        assert getattr(other, name) == getattr(one, name)
    for name in ("mean_", "code_usage_"):
        np.testing.assert_array_equal(getattr(other, name), getattr(one, name))
        assert getattr(other, name).dtype == getattr(one, name).dtype

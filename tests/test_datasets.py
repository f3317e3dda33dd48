import sys

import numpy as np
import pytest
from conftest import make_estimator
from sklearn.datasets import load_sample_images

from skvqdraw import datasets
from skvqdraw.datasets import fetch_mnist, load_digits_images, load_photo_patches
from skvqdraw.refiners import ConvRefiner


def test_digits():
    digits = load_digits_images()
    assert digits.data.shape == (1797, 64)
    assert digits.data.dtype == np.float32
    assert digits.data.min() == 0
    assert digits.data.max() == 1
    assert digits.image_shape == (8, 8)
    assert set(digits.target) == set(range(10))


def test_photo_patches_are_pieces_of_the_photographs():
    patches = load_photo_patches(n_patches=6, size=12)
    assert patches.data.shape == (6, 432)
    assert patches.data.dtype == np.uint8
    assert patches.image_shape == (12, 12, 3)
    windows = [
        np.lib.stride_tricks.sliding_window_view(photo, (12, 12, 3))
        for photo in load_sample_images().images
    ]
    found_in = set()
    for patch in patches.data.reshape(6, 12, 12, 3):
        # Few places agree in the first pixel: look only there.
        places = [window[(window[..., 0, 0, :] == patch[0, 0]).all(-1)] for window in windows]
        found = [(place == patch).all((1, 2, 3)).any() for place in places]
        assert any(found)
        found_in.add(found.index(True))
    assert found_in == {0, 1}


def test_photo_patches_depend_on_the_seed_alone():
    data = load_photo_patches(5, 8).data
    np.testing.assert_array_equal(load_photo_patches(5, 8).data, data)
    assert (load_photo_patches(5, 8, random_state=1).data != data).any()
    whole = load_photo_patches(1, 427)
    assert whole.data.shape == (1, 427 * 427 * 3)


@pytest.mark.parametrize("size", [0, 428])
def test_photo_patches_that_do_not_fit(size):
    with pytest.raises(ValueError, match=rf"size must be in the range \[1, 427\].*got {size}"):
        load_photo_patches(1, size)


def test_photo_patches_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="Python Imaging Library"):
        load_photo_patches(1)


def tiny_mnist(folder):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(70_000, 2, 2), dtype=np.uint8)
    labels = rng.integers(0, 10, size=70_000)
    np.savez(
        folder / "mnist.npz",
        x_train=images[:60_000],
        y_train=labels[:60_000],
        x_test=images[60_000:],
        y_test=labels[60_000:],
    )
    return images, labels


def test_mnist_from_a_folder_comes_in_its_own_order(tmp_path, monkeypatch):
    images, labels = tiny_mnist(tmp_path)
    monkeypatch.setenv("SKVQDRAW_DATA", str(tmp_path))
    monkeypatch.setattr(datasets._images, "fetch_openml", None)
    mnist = fetch_mnist()
    np.testing.assert_array_equal(mnist.data, images[:60_000].reshape(60_000, 4))
    np.testing.assert_array_equal(mnist.data_test, images[60_000:].reshape(10_000, 4))
    np.testing.assert_array_equal(mnist.target, labels[:60_000])
    np.testing.assert_array_equal(mnist.target_test, labels[60_000:])


def test_mnist_from_openml_is_the_same(tmp_path, monkeypatch):
    images, labels = tiny_mnist(tmp_path)
    asked = {}

    def fetch_openml(name, **options):
        asked.update(name=name, **options)
        return images.reshape(-1, 4).astype(float), labels.astype(str)

    monkeypatch.setattr(datasets._images, "fetch_openml", fetch_openml)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "cache"))
    with pytest.raises(OSError, match="nor in scikit-learn's cache"):
        fetch_mnist(download_if_missing=False)
    # What a failed request leaves behind is not the file.
    cached = tmp_path / "cache" / "openml" / "openml.org" / "mnist_784" / "mnist_784.arff.gz"
    cached.parent.mkdir(parents=True)
    with pytest.raises(OSError, match="nor in scikit-learn's cache"):
        fetch_mnist(download_if_missing=False)
    cached.touch()
    mnist = fetch_mnist(download_if_missing=False)
    assert asked["name"] == "mnist_784"
    assert mnist.data.dtype == np.uint8
    np.testing.assert_array_equal(mnist.data_test, images[60_000:].reshape(10_000, 4))
    np.testing.assert_array_equal(mnist.target, labels[:60_000])


@pytest.mark.parametrize("folder", [None, "empty"])
def test_mnist_that_is_nowhere(tmp_path, monkeypatch, folder):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "cache"))
    if folder:
        monkeypatch.setenv("SKVQDRAW_DATA", str(tmp_path / folder))
    with pytest.raises(OSError, match="MNIST was found neither at .*set SKVQDRAW_DATA to it"):
        fetch_mnist(download_if_missing=False)


@pytest.mark.usefixtures("real_data")
def test_a_short_fit_on_mnist():
    mnist = fetch_mnist()
    X, X_test = mnist.data[:5000] / 255, mnist.data_test[:500] / 255
    refiner = ConvRefiner((28, 28), n_channels=32)
    vq = make_estimator(n_stages=4, n_options=16, refiner=refiner, max_steps=60).fit(X)
    assert -vq.score(X_test) < 0.045  # of a variance of 0.0675

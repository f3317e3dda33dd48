"""The training knows no VQDRAW: labels, integer rows, sums that are no gradients, buffers."""

import os

import numpy as np
import pytest
import torch
from moving_means import Means, MovingMeans
from sklearn.datasets import load_digits

X, Y = load_digits(return_X_y=True)
X, Y = X[:300].astype(np.uint8), Y[:300]


def learned(estimator):
    return {name: tensor.numpy() for name, tensor in estimator.network_.state_dict().items()}


def assert_same(one, other):
    assert learned(one).keys() == learned(other).keys()
    for name, array in learned(other).items():
        np.testing.assert_array_equal(learned(one)[name], array)
    assert [r["loss"] for r in one.loss_curve_] == [r["loss"] for r in other.loss_curve_]


def test_what_is_no_gradient_is_summed_over_a_batch():
    """A naive moving average of the class means of the same batches."""
    means = MovingMeans(max_steps=12, batch_size=300).fit(X, Y)
    expected = np.zeros((10, 64))
    class_means = np.array([X[k == Y].mean(axis=0) for k in range(10)]) - X.mean(axis=0)
    for _ in range(12):  # each batch has all rows
        expected += 0.3 * (class_means - expected)
    np.testing.assert_allclose(learned(means)["means"], expected, atol=1e-5)
    assert means.loss_curve_[-1]["weight"] == pytest.approx(1)


def test_in_parts_it_is_the_same():
    whole, parts = MovingMeans().fit(X, Y), MovingMeans(gradient_accumulation=4).fit(X, Y)
    for name, array in learned(whole).items():
        np.testing.assert_allclose(learned(parts)[name], array, atol=1e-5)


def test_a_checkpoint_has_buffers_and_what_was_learned_before(tmp_path, monkeypatch):
    whole = MovingMeans().fit(X, Y)
    vq = MovingMeans(checkpoint=tmp_path / "fit.ckpt")
    monkeypatch.setattr(Means, "crash_at", 8)
    with pytest.raises(KeyError, match="crash"):
        vq.fit(X, Y)
    with pytest.raises(ValueError, match="of another fit: y was 'checksum"):
        vq.fit(X, 9 - Y)
    monkeypatch.setattr(Means, "crash_at", None)
    assert_same(vq.fit(X, Y), whole)
    assert not os.listdir(tmp_path)


def test_early_stopping_watches_its_errors():
    stopped = MovingMeans(early_stopping=True, max_steps=2000, batch_size=200).fit(X, Y)
    errors = [record["validation_error"] for record in stopped.loss_curve_]
    assert stopped.n_steps_ < 2000
    assert min(errors) < 0.7 * np.square(X - X.mean(axis=0)).mean()


def test_partial_fit_goes_on():
    means = MovingMeans().partial_fit(X, Y)
    before = learned(means)["means"]
    means.partial_fit(X, Y)
    assert means.n_steps_ == 12
    assert not np.array_equal(learned(means)["means"], before)
    assert torch.equal(torch.as_tensor(means.mean_), torch.as_tensor(X.mean(axis=0)))

"""Soft assignments: features of how well each option would have served."""

import numpy as np
import pytest

from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw._codes import soft_assignments
from skvqdraw.base import CodeTransformer
from skvqdraw.refiners import MLPRefiner

X = np.random.default_rng(0).random((40, 6))


def small(**params):
    refiner = MLPRefiner(hidden_size=16, basis_size=4)
    return VQDRAW(3, 4, refiner=refiner, max_steps=10, random_state=0, **params)


def boosting(**params):
    return ClusterBoosting(3, 4, random_state=0, **params)


def fitted(make, **params):
    return make(encoding="soft", **params).fit(X)


def naive_option_losses(estimator, X, codes):
    """Decode each option after each prefix, and take its loss."""
    n_stages, n_options = estimator._code_shape
    losses = np.empty((len(X), n_stages, n_options))
    for s in range(n_stages):
        for k in range(n_options):
            prefix = np.insert(codes[:, :s], s, k, axis=1)
            losses[:, s, k] = estimator.loss_.rows(estimator._parameters(prefix), X)
    return losses


def naive_soft(losses, softness):
    above = losses - losses.min()
    Z = np.exp(-above / (softness * above[np.isfinite(above)].mean()))
    Z -= Z.mean()
    return Z / np.sqrt(np.square(Z).sum())


MAKERS = [
    (small, {}),
    (small, {"round_beam_size": 1}),
    (small, {"beam_size": 3}),
    (small, {"loss": "log_loss"}),
    (boosting, {}),
    (boosting, {"beam_size": 4}),
    (boosting, {"loss": "log_loss"}),
]


@pytest.mark.parametrize(("make", "params"), MAKERS)
def test_option_losses_are_those_of_decoded_options(make, params):
    estimator = fitted(make, **params)
    codes = estimator.encode(X)
    expected = naive_option_losses(estimator, X, codes)
    for piece, of_piece, losses in estimator._option_losses(X):
        np.testing.assert_array_equal(of_piece, codes[piece])
        np.testing.assert_allclose(losses, expected[piece], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", [small, boosting])
def test_option_losses_of_any_estimator_of_codes(make):
    estimator = fitted(make)
    codes = estimator.encode(X)
    for piece, of_piece, losses in CodeTransformer._option_losses(estimator, X):
        np.testing.assert_array_equal(of_piece, codes[piece])
        expected = naive_option_losses(estimator, X[piece], codes[piece])
        np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("make", "params"), MAKERS)
def test_the_largest_is_the_code(make, params):
    estimator = fitted(make, **params)
    n_stages, n_options = estimator._code_shape
    Z = estimator.transform(X)
    assert Z.dtype == np.float32
    assert Z.shape == (len(X), n_stages * n_options) == (len(X), estimator._n_features_out)
    blocks = Z.reshape(-1, n_stages, n_options)
    np.testing.assert_allclose(np.square(blocks).sum(axis=2), 1, rtol=1e-6)
    np.testing.assert_array_equal(blocks.argmax(axis=2), estimator.encode(X))
    np.testing.assert_array_equal(estimator.inverse_transform(Z), estimator.reconstruct(X))
    np.testing.assert_array_equal(estimator.transform(X[7:9]), Z[7:9])


def test_soft_assignments_fall_with_losses():
    losses = np.random.default_rng(1).random((5, 3, 4))
    codes = losses.argmin(axis=2)
    Z = soft_assignments(losses, codes, 0.7).reshape(losses.shape)
    for row, stage in np.ndindex(5, 3):
        np.testing.assert_allclose(Z[row, stage], naive_soft(losses[row, stage], 0.7), atol=1e-6)
    # Neither the unit of losses nor what they all have in common matters.
    other = soft_assignments(5 * losses + 2, codes, 0.7)
    np.testing.assert_allclose(other.reshape(Z.shape), Z, atol=1e-6)
    # Where it is very smooth, nothing but the losses and their mean is left.
    straight = losses.mean(axis=2, keepdims=True) - losses
    straight /= np.sqrt(np.square(straight).sum(axis=2, keepdims=True))
    Z = soft_assignments(losses, codes, 1e6).reshape(losses.shape)
    np.testing.assert_allclose(Z, straight, atol=1e-5)


@pytest.mark.parametrize(("make", "softness"), [(small, 2), (boosting, 0.4)])
def test_smoothness_goes_by_class(make, softness):
    estimator = fitted(make, **({"round_beam_size": 1} if make is small else {}))
    losses = naive_option_losses(estimator, X, estimator.encode(X))
    Z = estimator.transform(X).reshape(losses.shape)
    for row, stage in np.ndindex(losses.shape[:2]):
        expected = naive_soft(losses[row, stage], softness)
        np.testing.assert_allclose(Z[row, stage], expected, atol=1e-3)


def test_the_option_chosen_and_the_best_change_places():
    losses = np.array([[[3.0, 1.0, 2.0]]])
    best, second = (soft_assignments(losses, np.array([[code]]), 1)[0] for code in (1, 2))
    np.testing.assert_allclose(second, best[[0, 2, 1]], rtol=1e-6)


@pytest.mark.parametrize("code", [0, 1, 2])
def test_options_that_are_equally_good(code):
    Z = soft_assignments(np.ones((1, 1, 3)), np.array([[code]]), 1)
    np.testing.assert_allclose(Z, 0, atol=1e-6)
    assert Z.argmax() == code
    two = soft_assignments(np.array([[[1.0, 1.0, 2.0]]]), np.array([[code]]), 1)
    assert two.argmax() == code


@pytest.mark.parametrize("beyond", [np.inf, np.nan])
def test_losses_beyond_all_numbers(beyond):
    losses = np.array([[[3.0, beyond, 1.0, 2.0], [beyond, beyond, 5.0, beyond], [beyond] * 4]])
    Z = soft_assignments(losses, np.array([[2, 2, 1]]), 1).reshape(3, 4)
    expected = naive_soft(np.array([3.0, np.inf, 1.0, 2.0]), 1)
    np.testing.assert_allclose(Z[0], expected, rtol=1e-5)
    assert Z[0].argmin() == 1
    np.testing.assert_allclose(Z[1], np.array([-1, -1, 3, -1]) / np.sqrt(12), rtol=1e-6)
    np.testing.assert_allclose(Z[2], 0, atol=1e-6)
    assert Z[2].argmax() == 1


def test_scaled_rows_have_the_same_soft_assignments():
    Z = fitted(boosting).transform(X)
    scaled = boosting(encoding="soft").fit(1024 * X).transform(1024 * X)
    np.testing.assert_allclose(scaled, Z, atol=1e-5)


def test_data_frames_and_bad_input():
    estimator = fitted(boosting)
    frame = estimator.set_output(transform="pandas").transform(X)
    names = list(frame.columns)
    assert names[:2] == ["clusterboosting_s0_o0", "clusterboosting_s0_o1"]
    with pytest.raises(ValueError, match=r"must have n_stages \* n_options = .* columns; got 3"):
        estimator.inverse_transform(np.ones((2, 3)))
    onehot = estimator.set_output(transform="default").set_params(encoding="onehot").transform(X)
    with pytest.raises(TypeError, match="[Ss]parse"):
        estimator.set_params(encoding="soft").inverse_transform(onehot)

import re
from collections import Counter

import numpy as np
import pytest
from conftest import make_estimator
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import KFold, cross_val_score
from sklearn.naive_bayes import BernoulliNB
from sklearn.pipeline import make_pipeline

from skvqdraw import metrics
from skvqdraw._codes import one_hot, option_frequencies
from skvqdraw.datasets import load_digits_images
from skvqdraw.losses import Categorical
from skvqdraw.metrics import (
    code_entropy,
    code_usage,
    collision_rate,
    perplexity,
    probe_score,
    rate_distortion_curve,
)


def random_codes(n_samples=2000, n_stages=4, n_options=5, seed=0):
    """Some options are likelier than others, and each stage depends on the one before."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(n_options, size=(n_samples, n_stages))
    codes[:, 1:] = (codes[:, 1:] * codes[:, :-1]) % n_options
    return codes


CODES = [
    random_codes(),
    random_codes(300, 6, 3),
    random_codes(50, 3, 2).astype(np.uint8),
    random_codes(500, 2, 300).astype(np.uint16),
    np.zeros((7, 3), dtype=np.int8),
    np.array([[2**64 - 1, 0], [2**63, 0]], dtype=np.uint64),
    [[0, 1], [0, 1], [1, 0]],
]


def naive_entropy(values):
    """Plug-in entropy of hashable values, in bits."""
    shares = [count / len(values) for count in Counter(values).values()]
    return -sum(share * np.log2(share) for share in shares)


def prefixes(codes, length):
    return [tuple(row[:length]) for row in np.asarray(codes).tolist()]


@pytest.mark.parametrize("codes", CODES)
def test_entropies_against_counters(codes):
    entropy = code_entropy(codes)
    n_samples, n_stages = np.shape(codes)
    assert list(entropy) == ["marginal", "conditional", "joint"]
    before = 0
    for stage in range(n_stages):
        column = prefixes(np.asarray(codes)[:, [stage]], 1)
        assert entropy.marginal[stage] == pytest.approx(naive_entropy(column), abs=1e-12)
        assert perplexity(codes)[stage] == pytest.approx(2 ** naive_entropy(column))
        paths = prefixes(codes, stage + 1)
        joint = naive_entropy(paths) if n_samples >= 10 * len(set(paths)) else np.nan
        assert entropy.joint[stage] == pytest.approx(joint, abs=1e-12, nan_ok=True)
        conditional = joint - before
        assert entropy.conditional[stage] == pytest.approx(conditional, abs=1e-12, nan_ok=True)
        before = joint


def test_conditional_entropy_is_the_mean_over_paths():
    codes = random_codes(5000, 3, 4)
    entropy = code_entropy(codes)
    for stage in (1, 2):
        paths = prefixes(codes, stage)
        expected = 0
        for path, count in Counter(paths).items():
            after = [c for p, c in zip(paths, codes[:, stage].tolist(), strict=True) if p == path]
            expected += count / len(codes) * naive_entropy(after)
        assert entropy.conditional[stage] == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(entropy.joint, np.cumsum(entropy.conditional))
    assert (entropy.conditional <= entropy.marginal + 1e-12).all()


def test_entropies_of_codes_with_all_prefixes_equally_often():
    codes = np.tile(np.stack(np.meshgrid(*[range(4)] * 3), -1).reshape(-1, 3), (10, 1))
    entropy = code_entropy(codes)
    np.testing.assert_allclose(entropy.marginal, 2)
    np.testing.assert_allclose(entropy.conditional, 2)
    np.testing.assert_allclose(entropy.joint, [2, 4, 6])
    np.testing.assert_allclose(perplexity(codes), 4)


def test_what_repeats_or_never_changes_holds_no_bits():
    column = np.random.default_rng(0).integers(8, size=(1000, 1))
    entropy = code_entropy(np.hstack([column, 7 - column, column * 0]))
    np.testing.assert_array_equal(entropy.conditional[1:], 0)
    np.testing.assert_array_equal(entropy.joint, entropy.marginal[0])
    assert entropy.marginal[2] == 0
    assert not np.signbit(entropy.marginal).any()


@pytest.mark.parametrize(("n_copies", "n_known"), [(9, 1), (10, 2)])
def test_entropies_end_where_ten_rows_no_longer_stand_behind_a_prefix(n_copies, n_known):
    """The prefixes that end with a stage count (4, 16, all), not those before it (1, 4, 16)."""
    first_two = np.tile(np.stack(np.divmod(np.arange(16), 4), axis=1), (n_copies, 1))
    codes = np.column_stack([first_two, np.arange(len(first_two))])
    entropy = code_entropy(codes)
    np.testing.assert_array_equal(np.isfinite(entropy.joint), np.arange(3) < n_known)
    np.testing.assert_array_equal(np.isfinite(entropy.conditional), np.arange(3) < n_known)
    np.testing.assert_allclose(entropy.joint[:n_known], [2, 4][:n_known])
    np.testing.assert_allclose(entropy.marginal, [2, 2, np.log2(len(codes))])


def test_bias_is_the_one_documented():
    rng = np.random.default_rng(0)
    n_samples, n_options = 2560, 16  # 256 prefixes: ten rows each
    joint = [code_entropy(rng.integers(16, size=(n_samples, 2))).joint[1] for _ in range(50)]
    bias = (n_options**2 - 1) / (2 * n_samples * np.log(2))
    assert np.mean(joint) == pytest.approx(8 - bias, abs=0.1 * bias)
    assert bias < 0.08


@pytest.mark.parametrize("codes", CODES)
def test_collisions_against_counters(codes):
    rate = collision_rate(codes)
    for length in range(1, np.shape(codes)[1] + 1):
        paths = prefixes(codes, length)
        counts = Counter(paths)
        assert rate[length - 1] == sum(counts[path] > 1 for path in paths) / len(paths)
    assert (np.diff(rate) <= 0).all()


def test_collisions_in_the_extreme():
    alone = np.arange(100).reshape(-1, 1)
    np.testing.assert_array_equal(
        collision_rate(np.hstack([alone // 100, alone // 2, alone])), [1, 1, 0]
    )
    np.testing.assert_array_equal(collision_rate(np.ones((4, 2), int)), [1, 1])
    np.testing.assert_array_equal(collision_rate([[3, 1]]), [0, 0])


def test_order_of_rows_and_names_of_options_do_not_matter():
    codes = random_codes()
    shuffled = np.random.default_rng(1).permutation(codes)
    renamed = np.random.default_rng(2).permutation(1000)[shuffled]
    for other in (shuffled, renamed):
        np.testing.assert_array_equal(collision_rate(other), collision_rate(codes))
        for one, two in zip(
            code_entropy(other).values(), code_entropy(codes).values(), strict=True
        ):
            np.testing.assert_allclose(one, two, rtol=1e-12)


def test_usage_against_a_loop():
    codes = random_codes()
    usage = code_usage(codes, n_options=7)
    for stage in range(codes.shape[1]):
        counts = Counter(codes[:, stage].tolist())
        np.testing.assert_array_equal(usage[stage], [counts[k] / len(codes) for k in range(7)])
    np.testing.assert_array_equal(code_usage(codes), usage[:, :5])


def test_codes_are_left_alone():
    codes = random_codes()
    codes.flags.writeable = False
    for function in (code_usage, code_entropy, perplexity, collision_rate):
        function(codes)


@pytest.mark.parametrize("function", [code_usage, code_entropy, perplexity, collision_rate])
@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([1, 2], r"codes must be a 2-D array .* got an array of shape \(2,\).*reshape\(1, -1\)"),
        ([[0.0, 1.0]], r"codes must be integers of at least 0; got dtype float64.*astype\(int\)"),
        ([[0, 1], [0, -2]], "integers of at least 0; got -2 at row 1, stage 1"),
        (np.zeros((0, 4), int), r"at least one row and one stage; got shape \(0, 4\). Give the"),
        (np.zeros((4, 0), int), r"at least one row and one stage; got shape \(4, 0\)"),
    ],
)
def test_bad_codes(function, codes, message):
    with pytest.raises(ValueError, match=message):
        function(codes)


@pytest.mark.parametrize(
    ("n_options", "error", "message"),
    [
        (2, ValueError, r"codes must be integers in \[0, 2\); got 2 at row 0, stage 1"),
        (0, ValueError, "n_options == 0, must be >= 1"),
        (3.0, TypeError, "n_options must be an instance of int, not float"),
        (
            10**15,
            ValueError,
            "n_options must be at most 134217728, for 2 stages; got 1000000000000",
        ),
    ],
)
def test_bad_number_of_options(n_options, error, message):
    with pytest.raises(error, match=message):
        code_usage([[0, 2]], n_options)


class TwoDigits:
    """Writes the digits of numbers below 100; decodes to the middle of what is possible."""

    n_options = 10

    def encode(self, X):
        X = np.asarray(X)
        return np.hstack([X // 10, X % 10]).astype(np.int64)

    def decode(self, codes):
        assert codes.dtype == np.int64
        tens = codes[:, :1] * 10.0
        return tens + (codes[:, 1:] if codes.shape[1] == 2 else 4.5)


def test_curve_of_a_coder_from_elsewhere():
    X = np.random.default_rng(0).integers(100, size=(3000, 1))  # more than are decoded at once
    curve = rate_distortion_curve(TwoDigits(), X, X_validation=[[5], [7]])
    assert list(curve) == ["bits", "train", "validation"]
    np.testing.assert_allclose(curve.bits, np.log2([10, 100]))
    np.testing.assert_allclose(curve.train, [np.square(X % 10 - 4.5).mean(), 0])
    np.testing.assert_allclose(curve.validation, [(0.5**2 + 2.5**2) / 2, 0])


@pytest.mark.parametrize("cast", [np.asarray, lambda X: (X * 255).astype(np.uint8)])
def test_curve_against_decoding_at_once(X, cast):
    X = cast(X)
    vq = make_estimator().fit(X)
    codes = vq.encode(X)
    curve = rate_distortion_curve(vq, X)
    assert list(curve) == ["bits", "train"]
    np.testing.assert_array_equal(curve.bits, [3, 6, 9, 12])
    naive = [np.square(vq.decode(codes[:, :s]).astype(float) - X).mean() for s in (1, 2, 3, 4)]
    np.testing.assert_allclose(curve.train, naive, rtol=1e-12)
    np.testing.assert_allclose(curve.train[-1], -vq.score(X), rtol=1e-6)


def test_accuracy_against_counting():
    X = np.random.default_rng(0).integers(100, size=(3000, 1))
    curve = rate_distortion_curve(TwoDigits(), X + 0.5, X_validation=X, metric="accuracy")
    np.testing.assert_array_equal(curve.train, [np.mean(X % 10 == 4), 0])
    np.testing.assert_array_equal(curve.validation, [0, 1])


def test_accuracy_of_symbols():
    X = np.random.default_rng(0).integers(3, size=(100, 5)).astype(np.uint8)
    vq = make_estimator(loss=Categorical(), max_steps=20).fit(X)
    codes = vq.encode(X)
    right = [
        sum(
            a == b
            for pair in zip(vq.decode(codes[:, :s]), X, strict=True)
            for a, b in zip(*pair, strict=True)
        )
        for s in (1, 2, 3, 4)
    ]
    curve = rate_distortion_curve(vq, X, metric="accuracy")
    np.testing.assert_allclose(curve.train, np.array(right) / X.size)


@pytest.mark.parametrize("metric", ["log_loss", None, ["accuracy"], {}])
def test_bad_metric(X, fitted, metric):
    message = f"metric must be 'squared_error' or 'accuracy'; got {metric!r}. Set"
    with pytest.raises(ValueError, match=re.escape(message)):
        rate_distortion_curve(fitted, X, metric=metric)


def test_bits_are_those_of_the_fit(X, fitted):
    vq = make_estimator().fit(X).set_params(n_options=64)
    np.testing.assert_array_equal(rate_distortion_curve(vq, X).bits, [3, 6, 9, 12])


def test_data_frames(X):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X[:100]).add_prefix("pixel")
    vq = make_estimator(max_steps=5).fit(frame)
    curve = rate_distortion_curve(vq, frame, X_validation=frame[:50])
    table = pandas.DataFrame(curve)
    assert list(table.columns) == ["bits", "train", "validation"]
    np.testing.assert_array_equal(table["train"], curve.train)
    table = pandas.DataFrame(code_entropy(vq.encode(frame)))
    assert list(table.columns) == ["marginal", "conditional", "joint"]
    assert len(table) == 4
    labels = pandas.Series(np.arange(100) % 2)
    assert probe_score(vq, frame, labels, cv=2).shape == (2,)


def test_probe_against_cross_validation_on_one_hot_codes(X, fitted):
    y = load_digits_images().target[:200]
    Z = one_hot(fitted.encode(X), 8)
    for params in ({"cv": 3}, {"cv": KFold(4), "scoring": "balanced_accuracy"}):
        scores = probe_score(fitted, X, y, classifier=BernoulliNB(), **params)
        np.testing.assert_array_equal(scores, cross_val_score(BernoulliNB(), Z, y, **params))


def test_probe_reads_what_codes_hold():
    X = np.random.default_rng(0).permutation(100).reshape(-1, 1)
    np.testing.assert_array_equal(probe_score(TwoDigits(), X, X.ravel() // 50), np.ones(5))
    guesses = probe_score(TwoDigits(), X, np.random.default_rng(0).integers(2, size=100))
    assert 0.2 < guesses.mean() < 0.8
    names = np.where(X.ravel() % 10 < 5, "low", "high")
    np.testing.assert_array_equal(probe_score(TwoDigits(), X, names, cv=2), [1, 1])


def test_as_many_folds_as_rows_of_a_label_are_allowed():
    assert probe_score(TwoDigits(), [[11], [12], [71], [72]], [0, 0, 1, 1], cv=2).shape == (2,)


class FailsOnce(BernoulliNB):
    def fit(self, X, y):
        if y[0] == 1:
            raise ValueError("the first label is 1")
        return super().fit(X, y)


def test_a_fold_that_fails_is_not_passed_over():
    X, y = np.arange(6).reshape(-1, 1), np.array([0, 0, 1, 1, 0, 0])
    with pytest.raises(ValueError, match="the first label is 1"):
        probe_score(TwoDigits(), X, y, classifier=FailsOnce(), cv=KFold(3))


def test_the_estimator_is_left_alone(X):
    vq = make_estimator().fit(X)
    codes, network = vq.encode(X), vq.network_
    rate_distortion_curve(vq, X)
    probe_score(vq, X, np.arange(200) % 2)
    assert vq.network_ is network
    np.testing.assert_array_equal(vq.encode(X), codes)


FUNCTIONS_OF_ESTIMATORS = [
    lambda estimator, X: rate_distortion_curve(estimator, X),
    lambda estimator, X: probe_score(estimator, X, np.arange(len(X)) % 2),
]


@pytest.mark.parametrize("function", FUNCTIONS_OF_ESTIMATORS)
def test_not_fitted(X, function):
    with pytest.raises(NotFittedError, match="This VQDRAW instance is not fitted yet"):
        function(make_estimator(), X)


@pytest.mark.parametrize("function", FUNCTIONS_OF_ESTIMATORS)
def test_a_pipeline_has_no_encode(X, fitted, function):
    message = (
        "estimator must be .* with encode.*; got Pipeline, which lacks encode.*the step that has"
    )
    with pytest.raises(TypeError, match=message):
        function(make_pipeline(fitted), X)


@pytest.mark.parametrize("function", FUNCTIONS_OF_ESTIMATORS)
def test_a_name_of_a_file_is_no_estimator(X, function):
    message = "got 'digits.safetensors', a str; of a file's name, pass what skvqdraw.load returns"
    with pytest.raises(TypeError, match=message):
        function("digits.safetensors", X)


def test_integers_too_large_for_a_table_are_numbered():
    for dtype, largest in ((np.int64, 2**62), (np.uint64, 2**64 - 1)):
        codes = np.array([[0, 5], [0, largest]], dtype)
        with pytest.raises(ValueError, match=f"n_options must be at most .*got {largest + 1}"):
            code_usage(codes)
        numbered = np.unique(codes, return_inverse=True)[1]
        np.testing.assert_array_equal(code_usage(numbered), [[1, 0, 0], [0, 0.5, 0.5]])


class OnlyEncode:
    def encode(self, X):
        return np.zeros((len(X), 2), int)


class FlatCodes(OnlyEncode):
    n_options = 2

    def encode(self, X):
        return np.zeros(len(X), int)

    def decode(self, codes):
        raise AssertionError


class Untold(TwoDigits):
    n_options = property()


def test_estimators_that_lack_something(X):
    with pytest.raises(
        TypeError, match="with encode and decode.*got OnlyEncode, which lacks decode"
    ):
        rate_distortion_curve(OnlyEncode(), X)
    message = "must have code_usage_.* or n_options.*; Untold has neither. Set estimator.n_options"
    with pytest.raises(TypeError, match=message):
        rate_distortion_curve(Untold(), [[1], [2]])
    for function in FUNCTIONS_OF_ESTIMATORS:
        with pytest.raises(ValueError, match="codes must be a 2-D array"):
            function(FlatCodes(), X)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            np.arange(199) % 2,
            r"y must have one label for each row of X; got X of shape \(200, 64\) and y of shape \(199,\). Give",
        ),
        (None, r"and y of shape \(\)"),
        (np.zeros((200, 2)), r"y should be a 1d array, got an array of shape \(200, 2\)"),
        (np.linspace(0, 1, 200), "Unknown label type: continuous"),
        (
            np.arange(200) // 4,
            "cv must be at most 4, the number of rows of the most frequent label in y; got 5. Give more rows, or lower cv",
        ),
        (np.zeros(200, int), "needs samples of at least 2 classes"),
    ],
)
def test_bad_labels(X, fitted, y, message):
    with pytest.raises(ValueError, match=message):
        probe_score(fitted, X, y)


@pytest.mark.parametrize("X_validation", [np.zeros((2, 3)), np.full((2, 64), np.nan)])
def test_bad_rows(X, fitted, X_validation):
    with pytest.raises(ValueError, match="X has 3 features|X contains NaN"):
        rate_distortion_curve(fitted, X, X_validation=X_validation)


def test_same_usage_as_the_estimator(X, fitted):
    np.testing.assert_array_equal(code_usage(fitted.encode(X), 8), fitted.code_usage_)
    np.testing.assert_array_equal(fitted.code_usage_, option_frequencies(fitted.encode(X), 8))


def test_curve_holds_a_bounded_number_of_reconstructions(monkeypatch):
    sizes = []

    class Watched(TwoDigits):
        def decode(self, codes):
            sizes.append(len(codes))
            return super().decode(codes)

    X = np.arange(25).reshape(-1, 1)
    monkeypatch.setattr(metrics, "_DECODED_ROWS", 10)
    by_parts = rate_distortion_curve(Watched(), X)
    assert sizes == [10, 10, 10, 10, 5, 5]
    monkeypatch.setattr(metrics, "_DECODED_ROWS", 100)
    np.testing.assert_allclose(by_parts.train, rate_distortion_curve(Watched(), X).train)

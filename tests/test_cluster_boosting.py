"""Cluster boosting against k-means, exhaustive search and plain loops."""

import itertools
import pickle
import time
import tracemalloc

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_info, threadpool_limits

from skvqdraw import ClusterBoosting, _meeting, load
from skvqdraw.boosting.beam import BeamSearch
from skvqdraw.boosting.kmeans import nearest, refit
from skvqdraw.losses import LogLoss


@pytest.fixture(scope="module")
def digits():
    return load_digits().data


@pytest.fixture(scope="module")
def binary(digits):
    return (digits > 8).astype(np.float32)


def sequential_kmeans(X, n_stages, n_options, seed=0, max_iter=20, tol=1e-4):
    """scikit-learn's k-means on what is left, stage after stage."""
    rng, left = np.random.RandomState(seed), X - X.mean(axis=0)
    codes, codebooks = [], []
    for _ in range(n_stages):
        kmeans = KMeans(n_options, n_init=1, max_iter=max_iter, tol=tol, random_state=rng)
        codes.append(kmeans.fit_predict(left))
        codebooks.append(kmeans.cluster_centers_)
        left = left - codebooks[-1][codes[-1]]
    return np.stack(codes, axis=1), np.stack(codebooks), left


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_is_sequential_kmeans_on_residuals(digits, dtype):
    X = digits.astype(dtype)
    boosting = ClusterBoosting(6, 10, random_state=0).fit(X)
    assert boosting.codebooks_.dtype == np.result_type(dtype, np.float32)
    codes, codebooks, left = sequential_kmeans(X.astype(boosting.codebooks_.dtype), 6, 10)
    assert_array_equal(boosting.encode(X), codes)
    tolerance = 1e-12 if dtype == np.float64 else 1e-4
    assert_allclose(boosting.codebooks_, codebooks, atol=tolerance)
    assert_allclose(boosting.decode(codes), X - left, atol=tolerance)
    assert boosting.stage_loss_[-1] == pytest.approx(np.square(left).mean(), rel=1e-5)


def test_one_stage_is_kmeans(digits):
    boosting = ClusterBoosting(n_stages=1, n_options=12, random_state=3).fit(digits)
    kmeans = KMeans(12, n_init=1, max_iter=20, random_state=3).fit(digits)
    assert_allclose(boosting.mean_ + boosting.codebooks_[0], kmeans.cluster_centers_, atol=1e-12)
    assert_array_equal(boosting.encode(digits)[:, 0], kmeans.predict(digits))
    assert boosting.score(digits) * digits.size == pytest.approx(kmeans.score(digits))


def test_seeding_by_a_sketch_of_some_rows_is_as_good():
    """2,000 rows are more than 3 * 512, and 200 features more than 64."""
    X = make_blobs(2000, 200, centers=20, random_state=0)[0]
    plain = [np.square(sequential_kmeans(X, 4, 3, seed)[2]).mean() for seed in range(5)]
    ours = [ClusterBoosting(4, 3, random_state=seed).fit(X).stage_loss_[-1] for seed in range(5)]
    assert np.mean(ours) < 1.03 * np.mean(plain)


def test_stage_loss_and_usage_are_those_of_the_codes(digits):
    for params in ({}, {"beam_size": 3}, {"beam_size": 3, "n_refits": 2}, {"shrinkage": 0.5}):
        boosting = ClusterBoosting(4, 8, random_state=0, **params).fit(digits)
        codes = boosting.encode(digits)
        losses = [np.square(boosting.decode(codes[:, :s]) - digits).mean() for s in range(1, 5)]
        assert_allclose(boosting.stage_loss_, losses)
        counts = [np.bincount(codes_N, minlength=8) for codes_N in codes.T]
        assert_allclose(boosting.code_usage_, np.array(counts) / len(digits))


def test_no_column_decodes_to_the_mean(digits, binary):
    for X, loss in ((digits, "squared_error"), (binary, "log_loss")):
        boosting = ClusterBoosting(2, 4, loss=loss, random_state=0).fit(X)
        assert_allclose(boosting.decode(np.zeros((1, 0), int))[0], boosting.mean_, rtol=1e-5)
    assert_allclose(boosting.mean_, (binary.sum(0) + 0.5) / (len(binary) + 1), rtol=1e-5)


@pytest.mark.parametrize("params", [{}, {"beam_size": 4}, {"loss": "log_loss"}], ids=repr)
def test_codes_do_not_depend_on_the_rows_beside(binary, params):
    boosting = ClusterBoosting(4, 8, random_state=0, **params).fit(binary)
    codes = boosting.encode(binary)
    order = np.random.default_rng(0).permutation(len(binary))
    assert_array_equal(boosting.encode(binary[order]), codes[order])
    assert_array_equal(boosting.encode(binary[300:301]), codes[300:301])
    assert_array_equal(boosting.encode(np.asfortranarray(binary[:400])), codes[:400])


# Beam search


@pytest.fixture
def codebooks():
    return np.random.default_rng(0).normal(size=(4, 3, 5))


def test_a_wide_beam_is_an_exhaustive_search(codebooks):
    x = np.random.default_rng(1).normal(size=(50, 5))
    every_code = np.array(list(itertools.product(range(3), repeat=4)))
    sums = codebooks[np.arange(4), every_code].sum(axis=1)
    best = every_code[np.square(x[:, None] - sums).sum(axis=2).argmin(axis=1)]
    assert_array_equal(BeamSearch(codebooks, 27).codes(x), best)


def test_a_beam_of_one_is_greedy(codebooks):
    x = left = np.random.default_rng(1).normal(size=(50, 5))
    greedy = []
    for codebook in codebooks:
        greedy.append(nearest(left, codebook))
        left = left - codebook[greedy[-1]]
    assert_array_equal(BeamSearch(codebooks, 1).codes(x), np.stack(greedy, axis=1))


def test_a_beam_keeps_the_best_hypotheses(codebooks):
    """Against lists of tuples, sorted."""
    x = np.random.default_rng(2).normal(size=(30, 5))
    expected = []
    for row in x:
        beam = [((), np.zeros(5))]
        for codebook in codebooks:
            grown = [((*code, k), y + c) for code, y in beam for k, c in enumerate(codebook)]
            beam = sorted(grown, key=lambda item: np.square(row - item[1]).sum())[:4]
        expected.append(beam[0][0])
    assert_array_equal(BeamSearch(codebooks, 4).codes(x), expected)


@pytest.mark.parametrize("beam_size", [1, 2, 5])
@pytest.mark.parametrize("n_best", [1, 3])
def test_both_ways_to_search_find_the_same(beam_size, n_best, monkeypatch):
    rng = np.random.default_rng(0)
    codebooks, x = rng.normal(size=(5, 7, 6)), rng.normal(size=(256, 6))
    by_tables = BeamSearch(codebooks, beam_size)
    monkeypatch.setattr("skvqdraw.boosting.beam._TABLE_BYTES", 0)
    without = BeamSearch(codebooks, beam_size)
    assert (by_tables.products is None, without.products is None) == (False, True)
    monkeypatch.setattr("skvqdraw.boosting.beam._LEFT_VALUES", 1000)  # of some rows at a time
    found = [np.sort(search.best(x, n_best), axis=1) for search in (by_tables, without)]
    assert_array_equal(*found)


@pytest.mark.parametrize("n_features", [2, 200])
@pytest.mark.parametrize("scale", [1, 1e-9, 1e9])
def test_beams_are_exact_at_extreme_rates(n_features, scale):
    """24 bits for each of two dimensions: float32's squares of the rows know nothing of the rest."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2)) @ np.linalg.qr(rng.normal(size=(n_features, 2)))[0].T
    X = (scale * X).astype(np.float32)
    greedy, beam = (
        ClusterBoosting(12, 16, beam_size=beam_size, random_state=0).fit(X) for beam_size in (1, 16)
    )
    assert beam.score(X) > greedy.score(X) > -1e-11 * scale**2
    assert greedy.set_params(beam_size=16).score(X) > -1e-11 * scale**2


def test_memory_of_a_beam_grows_with_the_options_not_with_their_square():
    peaks = []
    for n_options in (512, 1024):
        codebooks = np.random.default_rng(0).normal(size=(8, n_options, 16)).astype(np.float32)
        tracemalloc.start()
        try:
            BeamSearch(codebooks, 2).codes(np.zeros((256, 16), np.float32))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 2.1 * peaks[0]
    assert peaks[0] < 20e6


def test_beams_and_refits_lower_the_error(digits):
    X, X_test = digits[:1200], digits[1200:]
    greedy, beam, refitted = (
        ClusterBoosting(5, 8, random_state=0, **params).fit(X)
        for params in ({}, {"beam_size": 8}, {"beam_size": 8, "n_refits": 3})
    )
    assert greedy.score(X_test) < beam.score(X_test)
    assert beam.stage_loss_[-1] > refitted.stage_loss_[-1]
    without = greedy.score(X_test)
    assert greedy.set_params(beam_size=8).score(X_test) > without


# Refits


def test_refit_solves_the_normal_equations(codebooks):
    rng = np.random.default_rng(0)
    x, codes, weight = rng.normal(size=(60, 5)), rng.integers(3, size=(60, 4)), rng.random(60)
    refitted = refit(x, codes, codebooks, weight)
    left = x - refitted[np.arange(4), codes].sum(axis=1)
    ridge = 0.1 * weight.sum() / 3
    for s, k in itertools.product(range(4), range(3)):
        of_option = codes[:, s] == k
        pull = (weight[of_option, None] * left[of_option]).sum(axis=0)
        assert_allclose(pull, ridge * (refitted[s, k] - codebooks[s, k]), atol=1e-10)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_a_refit_that_does_not_help_is_undone(beam_size):
    """On noise with many options, greedy codes of refitted codebooks are soon worse."""
    X = np.random.default_rng(0).normal(size=(300, 3))
    losses = [
        ClusterBoosting(6, 16, beam_size=beam_size, n_refits=n, random_state=0).fit(X).stage_loss_
        for n in range(4)
    ]
    assert all(np.diff([loss_S[-1] for loss_S in losses]) <= 0)


# Log loss


def log_loss(x, output):
    return np.mean(np.logaddexp(0, output) - x * output, axis=-1)


def test_log_loss_chooses_by_the_loss_itself(binary):
    boosting = ClusterBoosting(3, 6, loss="log_loss", random_state=0).fit(binary)
    codes, rows = boosting.encode(binary), binary[:40].astype(np.float64)
    output = np.repeat(logit(boosting.mean_.astype(np.float64))[None], 40, axis=0)
    for s, codebook in enumerate(boosting.codebooks_):
        losses = [log_loss(rows, output + step) for step in codebook]
        assert_array_equal(codes[:40, s], np.argmin(losses, axis=0))
        output = output + codebook[codes[:40, s]]
    assert_allclose(boosting.decode(codes[:40]), expit(output), atol=1e-5)
    assert_allclose(boosting.score_samples(rows), -log_loss(rows, output), rtol=1e-4)
    assert boosting.stage_loss_[-1] == pytest.approx(-boosting.score(binary), rel=1e-4)
    assert all(np.diff(boosting.stage_loss_) < 0)


def test_line_search_finds_the_minimum_of_each_cluster():
    rng = np.random.default_rng(0)
    x, output = (rng.random((80, 7)) < 0.3).astype(float), rng.normal(size=(80, 7))
    x[-3:] = x[-3]  # a cluster that agrees: its best step is infinite
    output[-3:] = output[-3]
    loss = LogLoss()
    state = np.stack([x, output], axis=1)
    gradient = x - expit(output)
    centres = np.stack([gradient[:40].mean(0), gradient[40:77].mean(0), gradient[-1]])
    weight = rng.random(80)
    labels = nearest(gradient, centres)
    steps = loss._steps(state, centres, weight)
    for k, centre in enumerate(centres):
        of_cluster = labels == k

        def mean_loss(factor, of_cluster=of_cluster, centre=centre):
            losses = log_loss(x[of_cluster], output[of_cluster] + factor * centre)
            return np.average(losses, weights=weight[of_cluster])

        longest = 10 / np.abs(centre).max()
        best = minimize_scalar(mean_loss, bounds=(0, longest), method="bounded").x
        factor = (steps[k] / centre)[0]
        assert_allclose(steps[k], factor * centre)
        assert mean_loss(factor) <= mean_loss(best) + 1e-7
        assert factor <= longest * (1 + 1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, bool, np.float64])
@pytest.mark.parametrize("factor", [1, 1e7, 2.0**-40, 1e-300, 1e305])
def test_a_column_of_ones_and_a_factor_of_all_weights(binary, dtype, factor):
    """17 million rows would do the same as weights of that sum."""
    X = binary[:200].astype(dtype)
    X[:, 3], X[:, 4] = 1, 0
    params = {"n_stages": 2, "n_options": 4, "random_state": 0}
    for loss in ("log_loss", "squared_error"):
        plain = ClusterBoosting(**params, loss=loss).fit(X)
        weighted = ClusterBoosting(**params, loss=loss).fit(X, sample_weight=np.full(200, factor))
        assert_allclose(weighted.mean_, plain.mean_, rtol=1e-6)
        assert_allclose(weighted.codebooks_, plain.codebooks_, rtol=1e-4, atol=1e-5)
        assert_allclose(weighted.stage_loss_, plain.stage_loss_, rtol=1e-5)
        assert np.isfinite(weighted.reconstruct(X)).all()


def test_so_many_rows_that_a_chance_rounds_to_one():
    boosting = ClusterBoosting(1, 2, loss="log_loss", subsample=100, max_iter=1, random_state=0)
    X = np.ones((20_000_000, 1), bool)
    X[:10] = False
    boosting.fit(X)
    assert 1 - 1e-6 < boosting.mean_[0] < 1
    everywhere = ClusterBoosting(1, 2, loss="log_loss", subsample=100, max_iter=1, random_state=0)
    everywhere.fit(X[10:])
    assert everywhere.mean_[0] < 1
    assert np.isfinite(everywhere.stage_loss_).all()
    assert np.isfinite(everywhere.decode([[0], [1]])).all()


def test_line_search_lowers_the_log_loss(binary):
    with_search, without = (
        ClusterBoosting(3, 8, loss="log_loss", line_search=on, random_state=0).fit(binary)
        for on in (True, False)
    )
    assert with_search.stage_loss_[-1] < without.stage_loss_[-1]


def test_shrinkage_scales_the_steps(digits):
    _, (centres, *_), _ = sequential_kmeans(digits, 1, 8)
    halved = ClusterBoosting(2, 8, shrinkage=0.5, random_state=0).fit(digits)
    assert_allclose(halved.codebooks_[0], centres / 2, atol=1e-12)
    auto = ClusterBoosting(2, 8, shrinkage="auto", random_state=0).fit(digits)
    _, (first, second), _ = sequential_kmeans(digits, 2, 8)
    assert_allclose(auto.codebooks_, [first, 0.2 * second], atol=1e-12)


# Rows and weights


def test_rows_without_weight_do_not_count(digits):
    weight = (np.arange(len(digits)) % 3 > 0).astype(float)
    weighted = ClusterBoosting(3, 8, n_refits=1, random_state=0).fit(digits, sample_weight=weight)
    without = ClusterBoosting(3, 8, n_refits=1, random_state=0).fit(digits[weight > 0])
    assert_allclose(weighted.codebooks_, without.codebooks_, atol=1e-9)
    assert_allclose(weighted.code_usage_, without.code_usage_)


def test_weights_pull_the_centres(digits):
    """One option of two rows would be their weighted mean; two options over three rows show it."""
    X = np.array([[0.0], [1.0], [100.0]])
    boosting = ClusterBoosting(1, 2, random_state=0).fit(X, sample_weight=[3, 1, 1])
    centres = np.sort(boosting.mean_ + boosting.codebooks_[0], axis=0)
    assert_allclose(centres, [[0.25], [100]])
    assert_allclose(boosting.mean_, [101 / 5])
    assert boosting.stage_loss_[0] == pytest.approx((3 * 0.25**2 + 0.75**2) / 5)


def test_subsample_trains_on_rows_drawn_anew(digits, tmp_path):
    X = np.memmap(tmp_path / "X", dtype=np.float64, mode="w+", shape=digits.shape)
    X[:] = digits
    params = {"n_stages": 4, "n_options": 8, "random_state": 0}
    drawn = ClusterBoosting(**params, subsample=500).fit(X)
    assert_allclose(drawn.mean_, digits.mean(axis=0))
    assert_array_equal(drawn.code_usage_ * 500, np.round(drawn.code_usage_ * 500))
    assert_array_equal(ClusterBoosting(**params, subsample=500).fit(X).codebooks_, drawn.codebooks_)
    # The first 500 rows alone would serve the others less well.
    first = ClusterBoosting(**params).fit(digits[:500])
    assert drawn.score(digits[500:]) > first.score(digits[500:])


@pytest.mark.parametrize(("beam_size", "n_options"), [(1, 8), (3, 8), (3, 15)])
def test_a_stage_trains_on_what_encode_leaves(digits, beam_size, n_options):
    """The last codebook is k-means on the rows less what the stages before it decode to.

    Of the best two hypotheses where 15 options have less than 128 rows each, of the best one
    where 8 have more.
    """
    params = {"beam_size": beam_size, "max_iter": 500, "tol": 0, "random_state": 0}
    boosting = ClusterBoosting(3, n_options, **params).fit(digits)
    shorter = ClusterBoosting(2, n_options, **params).fit(digits)
    assert_array_equal(boosting.codebooks_[:2], shorter.codebooks_)
    if beam_size == 1:
        left = digits - shorter.reconstruct(digits)
    else:
        hypotheses = BeamSearch(shorter.codebooks_, beam_size).best(digits - shorter.mean_, 2)
        n_best = 2 if n_options == 15 else 1
        left = []
        for row, codes in zip(digits, hypotheses, strict=True):
            errors = row - shorter.decode(codes)
            order = np.square(errors).sum(axis=1).argsort()
            left.extend(errors[order[:n_best]])
        left = np.array(left)
    labels = nearest(left, boosting.codebooks_[2])
    means = [left[labels == k].mean(axis=0) for k in range(n_options)]
    assert_allclose(means, boosting.codebooks_[2], atol=1e-9)


# Data that are hard on clustering


@pytest.mark.parametrize(
    "X",
    [
        np.ones((50, 3)),
        np.repeat(np.eye(3), 20, axis=0),
        np.arange(5.0)[:, None],
        np.array([[1.0, 2.0]]),
        np.c_[np.zeros(100), np.random.default_rng(0).normal(size=100)].astype(np.float32),
    ],
    ids=["all equal", "3 distinct rows", "1 feature", "1 row", "a constant feature"],
)
@pytest.mark.parametrize("params", [{}, {"beam_size": 3, "n_refits": 1}], ids=["greedy", "beam"])
def test_less_to_cluster_than_options(X, params):
    boosting = ClusterBoosting(3, 16, random_state=0, **params).fit(X)
    n_distinct = len(np.unique(X, axis=0))
    assert np.isfinite(boosting.codebooks_).all()
    if n_distinct <= 16:
        assert_allclose(boosting.reconstruct(X), X, atol=1e-6)
    if boosting.beam_size == 1:
        assert boosting.code_usage_[0].astype(bool).sum() == min(n_distinct, 16)
    assert_allclose(boosting.code_usage_.sum(axis=1), 1)


def test_a_huge_outlier_gets_an_option_of_its_own(digits):
    X = digits.astype(np.float32)
    X[7] += 1e7
    boosting = ClusterBoosting(4, 16, random_state=0).fit(X)
    assert np.count_nonzero(boosting.encode(X)[:, 0] == boosting.encode(X)[7, 0]) == 1
    others = np.delete(X, 7, axis=0)
    assert -boosting.score(others) < 0.5 * others.var(axis=0).mean()


@pytest.mark.parametrize("exponent", [-24, -17, -12])
def test_numbers_whose_squares_vanish(digits, exponent):
    X = (digits * 10.0**exponent).astype(np.float32)
    if exponent == -12:
        assert len(np.unique(ClusterBoosting(2, 4, random_state=0).fit(X).encode(X), axis=0)) == 16
        return
    with pytest.raises(
        ValueError, match="as close to each other as .*, whose squares are too small"
    ):
        ClusterBoosting().fit(X)
    boosting = ClusterBoosting(2, 4, random_state=0).fit(X.astype(np.float64))
    assert len(np.unique(boosting.encode(X.astype(np.float64)), axis=0)) == 16


def test_long_doubles_are_taken_as_doubles(digits):
    boosting = ClusterBoosting(2, 4, random_state=0).fit(digits)
    other = ClusterBoosting(2, 4, random_state=0).fit(digits.astype(np.longdouble))
    assert_array_equal(other.encode(digits.astype(np.longdouble)), boosting.encode(digits))
    assert other.decode([[0, 0]]).dtype == np.float64


def test_numbers_whose_squares_overflow(digits):
    X = digits.astype(np.float32)
    X[0, 0] = 1e25
    with pytest.raises(ValueError, match="as large as 1e\\+25, whose squares are too large for fl"):
        ClusterBoosting().fit(X)
    assert np.isfinite(ClusterBoosting(2, 4, random_state=0).fit(X.astype(float)).stage_loss_).all()


# Bad input


BAD_PARAMS = {
    "n_stages": [(0, r"an int in the range \[1, inf\). Got 0 instead")],
    "n_options": [(1, r"an int in the range \[2, inf\). Got 1 instead")],
    "loss": [("hinge", "a str among .*'log_loss'.*Got 'hinge' instead")],
    "shrinkage": [(0, r"range \(0.*, 1.*\] or a str among \{'auto'\}"), ("half", "Got 'half'")],
    "line_search": [("no", "an instance of 'bool'")],
    "subsample": [(0, r"an int in the range \[1, inf\) or None"), (0.5, "Got 0.5 instead")],
    "beam_size": [(0, r"an int in the range \[1, inf\). Got 0 instead")],
    "n_refits": [(-1, r"an int in the range \[0, inf\). Got -1 instead")],
    "max_iter": [(0, r"an int in the range \[1, inf\). Got 0 instead")],
    "tol": [(-1.0, r"range \[0.*, inf\). Got -1.0 instead")],
    "encoding": [("dense", "a str among .*Got 'dense' instead")],
    "random_state": [("zero", "Got 'zero' instead")],
    "verbose": [(-1, "Got -1 instead")],
}


def test_no_parameter_is_forgotten():
    assert set(BAD_PARAMS) == set(ClusterBoosting().get_params())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [(name, *case) for name, cases in BAD_PARAMS.items() for case in cases],
)
def test_parameters(digits, name, value, message):
    wanted = f"The '{name}' parameter of ClusterBoosting must be .*{message}"
    with pytest.raises(ValueError, match=wanted):
        ClusterBoosting(**{name: value}).fit(digits)


@pytest.mark.parametrize(("name", "value", "back"), [("beam_size", 2, 1), ("n_refits", 1, 0)])
def test_what_needs_squared_error(binary, name, value, back):
    message = rf"{name}={value} needs loss='squared_error'; got LogLoss\(\). Set {name}={back}"
    with pytest.raises(ValueError, match=message):
        ClusterBoosting(loss="log_loss", **{name: value}).fit(binary)
    boosting = ClusterBoosting(2, 4, loss="log_loss", random_state=0).fit(binary)
    if name == "beam_size":
        with pytest.raises(ValueError, match=message):
            boosting.set_params(beam_size=2).encode(binary)


def test_log_loss_needs_chances(digits, binary):
    message = r"loss='log_loss' needs values in \[0, 1\]; X has values from 0 to 16.*MinMaxScaler"
    with pytest.raises(ValueError, match=message):
        ClusterBoosting(loss="log_loss").fit(digits)
    boosting = ClusterBoosting(2, 4, loss="log_loss", random_state=0).fit(binary)
    with pytest.raises(ValueError, match=message):
        boosting.encode(digits)


@pytest.mark.parametrize("spoil", ["nan", "overflow"])
def test_a_fit_that_fails_leaves_the_model_as_it_was(digits, spoil):
    boosting = ClusterBoosting(2, 4, random_state=0).fit(digits)
    before = vars(boosting).copy()
    bad = digits[:, :5].astype(np.float32)
    bad[0] = np.nan if spoil == "nan" else 1e30
    with pytest.raises(ValueError, match="NaN|too large"):
        boosting.fit(bad)
    assert vars(boosting) == before


@pytest.mark.parametrize("value", ["log_loss", "absolute_error", None])
def test_a_model_keeps_the_loss_that_it_was_fitted_with(digits, binary, tmp_path, value):
    boosting = ClusterBoosting(2, 4, beam_size=2, random_state=0).fit(digits)
    codes, Xr = boosting.encode(digits), boosting.reconstruct(digits)
    boosting.set_params(loss=value)
    assert repr(boosting.loss_) == "SquaredError()"
    assert_array_equal(boosting.encode(digits), codes)
    assert_array_equal(boosting.decode(codes), Xr)
    assert boosting.score(digits) == pytest.approx(-np.square(Xr - digits).mean())
    assert_array_equal(pickle.loads(pickle.dumps(boosting)).decode(codes), Xr)
    if value == "log_loss":
        boosting.save(tmp_path / "model")
        loaded = load(tmp_path / "model")
        assert (loaded.loss, repr(loaded.loss_)) == (value, "SquaredError()")
        assert_array_equal(loaded.decode(codes), Xr)
        assert loaded.set_params(beam_size=1).fit(binary).loss_.__class__ is LogLoss


@pytest.mark.parametrize("value", [0, "4", 2.5, -1, None])
def test_a_beam_set_after_the_fit_is_checked(digits, value):
    boosting = ClusterBoosting(2, 4, random_state=0).fit(digits).set_params(beam_size=value)
    message = "The 'beam_size' parameter of ClusterBoosting must be an int in the range"
    for method in (boosting.encode, boosting.score, boosting.transform, boosting.reconstruct):
        with pytest.raises(ValueError, match=message):
            method(digits)
    boosting.decode([[0, 1]])


def test_a_beam_and_refits_set_after_a_fit_with_log_loss(binary):
    boosting = ClusterBoosting(2, 4, loss="log_loss", random_state=0).fit(binary)
    boosting.set_params(n_refits=2).encode(binary)
    with pytest.raises(ValueError, match="beam_size=2 needs loss='squared_error'; got LogLoss"):
        boosting.set_params(beam_size=2).encode(binary)


@pytest.mark.parametrize("value", ["ordinals", None, 3])
def test_an_encoding_set_after_the_fit_is_checked(digits, value):
    boosting = ClusterBoosting(2, 4, random_state=0).fit(digits)
    Z = boosting.transform(digits)
    boosting.set_params(encoding=value)
    for call in (
        lambda: boosting.transform(digits),
        lambda: boosting.inverse_transform(Z),
        boosting.get_feature_names_out,
    ):
        with pytest.raises(
            ValueError, match="'encoding' parameter of ClusterBoosting must be a str"
        ):
            call()


def test_not_fitted(digits):
    with pytest.raises(NotFittedError, match="This ClusterBoosting instance is not fitted yet"):
        ClusterBoosting().encode(digits)


def test_feature_names(digits):
    boosting = ClusterBoosting(2, 2, random_state=0).fit(digits)
    names = ["clusterboosting_s0_o0", "clusterboosting_s0_o1"]
    assert list(boosting.get_feature_names_out()[:2]) == names


def test_the_global_random_stream_is_left_alone(digits):
    before = np.random.get_state()[1].copy()
    ClusterBoosting(2, 4, subsample=200, random_state=0).fit(digits).sample(3, random_state=0)
    ClusterBoosting(2, 4, random_state=0).fit(digits)
    assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_progress(digits, capsys, verbose):
    ClusterBoosting(3, 4, verbose=verbose, random_state=0).fit(digits)
    out, err = capsys.readouterr()
    assert ("3/3" in err) == (verbose == 1)
    assert ("ClusterBoosting, stage 2: loss before it" in out) == (verbose == 2)


class Verdicts:
    """Answers in turn whether threads meet, each after a hundredth of a second; notes the calls."""

    def __init__(self, *verdicts):
        self.left, self.n_calls = [*verdicts], 0

    def __call__(self):
        self.n_calls += 1
        time.sleep(0.01)
        return self.left.pop(0)


def test_while_threads_wait_one_of_them_computes(monkeypatch):
    def n_threads(busy, n_multiplications=2**27):
        with busy.avoided(n_multiplications):
            return {pool["num_threads"] for pool in threadpool_info()}

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        verdicts = Verdicts(False, True)
        monkeypatch.setattr(_meeting, "threads_meet", verdicts)
        busy = _meeting.BusyMachine()
        assert n_threads(busy) == n_threads(busy) == {1}  # the verdict holds for a while
        assert n_threads(busy, 2**27 - 1) != {1}
        assert verdicts.n_calls == 1
        busy._next_trial = 0.0
        assert n_threads(busy) == n_threads(busy) != {1}
        assert verdicts.n_calls == 2
    finally:
        torch.set_num_threads(before)


def test_a_fit_whose_threads_wait_is_that_of_one_thread(monkeypatch):
    X = np.random.default_rng(0).normal(size=(3000, 700)).astype(np.float32)
    with threadpool_limits(1):
        expected = ClusterBoosting(2, 64, random_state=0).fit(X)
    verdicts = Verdicts(False)
    monkeypatch.setattr(_meeting, "threads_meet", verdicts)
    monkeypatch.setattr(_meeting, "PATIENCE", 10**6)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        alone = ClusterBoosting(2, 64, random_state=0).fit(X)
    finally:
        torch.set_num_threads(before)
    assert verdicts.n_calls == 1
    assert_array_equal(alone.codebooks_, expected.codebooks_)

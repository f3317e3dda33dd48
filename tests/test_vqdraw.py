import pickle
import tracemalloc
import warnings
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import make_estimator
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skvqdraw import VQDRAW, VQVAE, ClusterBoosting
from skvqdraw._device import trains_in_bf16
from skvqdraw.datasets import load_digits_images
from skvqdraw.nn import DenseRound
from skvqdraw.refiners import ConvRefiner, MLPRefiner, Refiner
from skvqdraw.training import fit as module
from skvqdraw.training.fit import split
from skvqdraw.training.plan import Plan


def test_shapes_and_dtypes(fitted, X):
    codes = fitted.encode(X)
    assert codes.shape == (200, 4)
    assert codes.dtype == np.uint8
    Z = fitted.transform(X)
    assert isinstance(Z, sparse.csr_matrix)
    assert Z.shape == (200, 32)
    assert Z.dtype == np.float32
    assert fitted.decode(codes).shape == X.shape
    assert fitted.decode(codes).dtype == np.float32
    assert fitted.sample(3, random_state=0).shape == (3, 64)
    assert fitted.code_usage_.shape == (4, 8)
    assert fitted.n_steps_ == 30
    assert fitted.loss_curve_[-1]["step"] == 30


def test_one_hot_is_the_code(fitted, X):
    codes, Z = fitted.encode(X), fitted.transform(X)
    np.testing.assert_array_equal(Z.toarray().reshape(200, 4, 8).argmax(2), codes)
    dense = clone(fitted).set_params(encoding="onehot-dense").fit(X)
    np.testing.assert_array_equal(dense.transform(X), Z.toarray())
    ordinal = clone(fitted).set_params(encoding="ordinal").fit(X)
    np.testing.assert_array_equal(ordinal.transform(X), codes)
    for estimator in (fitted, dense, ordinal):
        Xr = estimator.inverse_transform(estimator.transform(X))
        np.testing.assert_array_equal(Xr, fitted.decode(codes))


@pytest.mark.parametrize("beam_size", [1, 4])
def test_reconstruction_and_scores(fitted, X, beam_size):
    fitted = deepcopy(fitted).set_params(beam_size=beam_size)
    Xr = fitted.reconstruct(X)
    np.testing.assert_array_equal(Xr, fitted.decode(fitted.encode(X)))
    errors = np.square(Xr.astype(float) - X).mean(axis=1)
    np.testing.assert_allclose(fitted.score_samples(X), -errors, rtol=1e-6)
    assert fitted.score(X) == pytest.approx(-errors.mean(), rel=1e-6)


def test_wider_beams_code_better(X):
    vq = make_estimator(max_steps=200).fit(X)
    beams = ({"round_beam_size": 1}, {"round_beam_size": 16}, {"beam_size": 8}, {"beam_size": 32})
    scores = [vq.set_params(**beam).score(X) for beam in beams]
    assert scores == sorted(scores)
    assert scores[-1] > 0.98 * scores[0]


def test_a_greedy_code_has_the_shorter_code_as_its_prefix(fitted, X):
    greedy = deepcopy(fitted).set_params(round_beam_size=1)
    codes = greedy.encode(X)
    for length in (1, 2, 3):
        options = [
            greedy.decode(np.column_stack([codes[:, :length], np.full(len(X), k)]))
            for k in range(8)
        ]
        errors = [np.square(option.astype(np.float64) - X).mean(axis=1) for option in options]
        np.testing.assert_array_equal(codes[:, length], np.argmin(errors, axis=0))


@pytest.mark.parametrize(
    "change", [{"gradient_accumulation": 3}, {"gradient_checkpointing": True}], ids=repr
)
def test_memory_for_time_changes_nothing_else(X, change):
    whole = make_estimator(precision="float32", max_steps=5, batch_size=50, n_stages=6).fit(X)
    changed = clone(whole).set_params(**change).fit(X)
    losses = (vq.loss_curve_[-1]["loss"] for vq in (changed, whole))
    assert next(losses) == pytest.approx(next(losses), rel=1e-4)


def test_more_parts_than_rows(X):
    vq = make_estimator(max_steps=2, batch_size=5, gradient_accumulation=100).fit(X)
    assert vq.n_steps_ == 2


def test_prefixes_refine(fitted, X):
    codes = fitted.encode(X)
    errors = [np.square(fitted.decode(codes[:, :s]) - X).mean() for s in range(5)]
    assert errors == sorted(errors, reverse=True)
    np.testing.assert_allclose(fitted.decode(codes[:, :0]), np.tile(X.mean(0), (200, 1)), atol=1e-6)


def test_refining_beats_kmeans_by_far(X):
    X = load_digits_images().data
    vq = make_estimator(max_steps=300).fit(X)
    nearest = vq.set_params(round_beam_size=1).encode(X)[:, :1]
    first = np.square(vq.decode(nearest) - X).mean()
    kmeans = KMeans(8, n_init=1, random_state=0).fit(X)
    assert first < 1.05 * kmeans.inertia_ / X.size
    assert -vq.score(X) < 0.6 * kmeans.inertia_ / X.size


def test_a_seed_decides_everything_and_the_global_stream_is_left_alone(X):
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    np.random.seed(123)
    state = np.random.get_state()[1].copy()
    one = make_estimator().fit(X)
    assert torch.equal(torch.rand(3), expected)
    assert (np.random.get_state()[1] == state).all()
    torch.manual_seed(7)
    same = make_estimator().fit(X)
    for name, value in one.network_.state_dict().items():
        assert torch.equal(same.network_.state_dict()[name], value)
    other = make_estimator(random_state=1).fit(X)
    assert (other.encode(X) != one.encode(X)).any()


def test_sampling(fitted):
    codes = fitted.sample_codes(5000, random_state=0)
    np.testing.assert_array_equal(codes, fitted.sample_codes(5000, random_state=0))
    assert codes.dtype == np.uint8
    usage = np.stack([np.bincount(column, minlength=8) for column in codes.T])
    assert np.abs(usage - 625).max() < 5 * np.sqrt(625)
    X_new = fitted.sample(10, random_state=0)
    np.testing.assert_array_equal(X_new, fitted.decode(fitted.sample_codes(10, random_state=0)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float64])
def test_any_number_type(X, dtype):
    digits = (X * 16).astype(dtype)
    vq = make_estimator().fit(digits)
    assert vq.reconstruct(digits).dtype == (np.float64 if digits.itemsize == 8 else np.float32)
    same = make_estimator().fit(digits.astype(np.float64))
    np.testing.assert_array_equal(vq.encode(digits), same.encode(digits.astype(np.float64)))


def test_memory_maps_are_read_piece_by_piece(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    vq = make_estimator().fit(mapped)
    np.testing.assert_array_equal(vq.encode(mapped), make_estimator().fit(X).encode(X))


def test_memory_is_bounded_by_batches_not_by_rows(tmp_path):
    """Fitting on and encoding a memory map never holds a copy of it, let alone in float64."""
    path = tmp_path / "X.npy"
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(300_000, 200))
    mapped[:] = np.random.default_rng(0).integers(0, 256, size=200, dtype=np.uint8)
    mapped[::7] = 3
    vq = make_estimator(n_stages=2, max_steps=2)
    tracemalloc.start()
    try:
        vq.fit(np.load(path, mmap_mode="r"))
        fit_peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        vq.encode(np.load(path, mmap_mode="r")[:30_000])
        encode_peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert fit_peak < mapped.nbytes
    assert encode_peak < 5e6


def test_offsets_and_units_do_not_matter(X):
    """Rows far from 0 and in other units get the same codes; errors are in their units."""
    shifted = 1e5 + 10 * X.astype(np.float64)
    vq, moved = make_estimator().fit(X.astype(np.float64)), make_estimator().fit(shifted)
    assert (moved.encode(shifted) != vq.encode(X.astype(np.float64))).mean() < 0.01
    assert moved.score(shifted) == pytest.approx(100 * vq.score(X), rel=0.02)
    assert moved.loss_curve_[-1]["error"] == pytest.approx(
        100 * vq.loss_curve_[-1]["error"], rel=0.02
    )
    np.testing.assert_allclose(moved.decode(np.zeros((1, 0), int))[0], shifted.mean(0), rtol=1e-12)


@pytest.mark.parametrize("shape", [(1, 3), (5, 1), (3, 2), (300, 2)])
def test_few_rows_and_few_features(shape):
    data = np.random.default_rng(0).normal(size=shape)
    vq = make_estimator(max_steps=100, n_options=16).fit(data)
    assert vq.encode(data).max() < 16
    assert np.isfinite(vq.reconstruct(data)).all()


def test_constant_columns_and_constant_data(X):
    data = X.copy()
    data[:, 5] = 3.0
    vq = make_estimator(max_steps=200).fit(data)
    np.testing.assert_allclose(vq.reconstruct(data)[:, 5], 3.0, atol=0.1)
    for value in (7.0, 1e-6, 1.7e9, 0.0):
        constant = np.full((20, 3), value)
        Xr = make_estimator().fit(constant).reconstruct(constant)
        np.testing.assert_allclose(Xr, constant, rtol=1e-6, atol=1e-6 if value == 0 else 0)


@pytest.mark.parametrize("value", [1e-318, 1e-200, 1e155, -1e162, 1.7e308])
def test_constant_data_at_the_ends_of_the_range(value):
    constant = np.full((20, 3), value)
    vq = make_estimator(early_stopping=True).fit(constant)
    np.testing.assert_allclose(vq.reconstruct(constant), constant, rtol=1e-12, atol=1e-140)
    assert np.isfinite([record["loss"] for record in vq.loss_curve_]).all()


@pytest.mark.parametrize("n_rows", [1, 50])
def test_a_constant_first_batch_decides_nothing_for_those_that_follow(X, n_rows):
    vq = make_estimator().partial_fit(np.zeros_like(X[:n_rows]))
    assert vq.scale_ == 1
    before = vq.score(X)
    for _ in range(20):
        vq.partial_fit(X)
    assert vq.score(X) > 0.5 * before


def test_a_subclass_may_have_fewer_parameters(X):
    class Mine(VQDRAW):
        def __init__(self, n_stages=3, random_state=0):
            super().__init__(n_stages, 8, max_steps=5, random_state=random_state)

    class MyBoosting(ClusterBoosting):
        def __init__(self, n_stages=3, random_state=0):
            super().__init__(n_stages, 8, random_state=random_state)

    for estimator in (Mine(), MyBoosting()):
        Z = clone(estimator).fit(X).transform(X)
        assert Z.shape == (200, 24)
        assert estimator.fit(X).inverse_transform(Z).shape == X.shape


@pytest.mark.parametrize("change", [{}, {"gradient_checkpointing": True}], ids=repr)
def test_training_in_bf16_learns_as_well(change):
    """Weights that were cast for one step are not those of the next."""
    X = load_digits_images().data[:400]
    exact, low = (
        make_estimator(precision=precision, max_steps=100, **change).fit(X)
        for precision in ("float32", "bf16")
    )
    assert low.loss_curve_[-1]["loss"] == pytest.approx(exact.loss_curve_[-1]["loss"], rel=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        around = make_estimator(precision="bf16", max_steps=100, **change).fit(X)
    np.testing.assert_array_equal(around.encode(X), low.encode(X))


def test_a_large_constant_column_costs_the_others_nothing():
    X = np.random.default_rng(0).normal(size=(300, 8)) * 1e-5
    X[:, 0] = 1.7e9
    without = make_estimator().fit(X[:, 1:])
    assert make_estimator().fit(X).score(X) > 1.5 * without.score(X[:, 1:])


def test_weights(X):
    """Rows of weight 0 are not there; a weight counts in the mean; a common factor does not."""
    weight = np.zeros(200)
    weight[:50] = 1
    vq = make_estimator().fit(X, sample_weight=weight)
    np.testing.assert_allclose(vq.mean_, X[:50].mean(0), atol=1e-6)
    np.testing.assert_array_equal(vq.encode(X), make_estimator().fit(X[:50]).encode(X))
    weight = np.linspace(0.5, 1.5, 200)
    weighted = make_estimator().fit(X, sample_weight=weight)
    np.testing.assert_allclose(weighted.mean_, np.average(X, axis=0, weights=weight), atol=1e-6)
    scaled = make_estimator().fit(X, sample_weight=4 * weight)
    np.testing.assert_array_equal(weighted.encode(X), scaled.encode(X))
    # Heavy rows are served better than they are without weights.
    weight = np.where(np.arange(200) < 20, 100.0, 0.1)
    heavy = make_estimator(max_steps=200).fit(X, sample_weight=weight)
    assert heavy.score(X[:20]) > make_estimator(max_steps=200).fit(X).score(X[:20])


def test_loss_curve(X):
    vq = make_estimator(max_steps=100).fit(X)
    assert len(vq.loss_curve_) == 50
    assert [record["step"] for record in vq.loss_curve_] == list(range(2, 101, 2))
    last = vq.loss_curve_[-1]
    assert all(type(value) in (int, float) for value in last.values())
    assert last["error"] == pytest.approx(-vq.score(X), rel=0.5)
    assert 0 < last["entropy"] <= 4 * 3


def test_usage_counts_training_codes(X):
    vq = make_estimator().fit(X)
    codes = vq.encode(X)
    for stage in range(4):
        counts = np.bincount(codes[:, stage], minlength=8)
        np.testing.assert_allclose(vq.code_usage_[stage], counts / 200)


@pytest.mark.filterwarnings("ignore:max_time=")  # a busy machine makes fewer than 50 steps
def test_time_budget(X):
    vq = make_estimator(max_steps=None, max_time=0.5).fit(X)
    assert 0 < vq.n_steps_ < 100_000
    assert 0.5 <= vq.loss_curve_[-1]["seconds"] < 20


@pytest.mark.parametrize(
    "estimator", [make_estimator(), VQVAE(8, max_steps=1)], ids=["VQDRAW", "VQVAE"]
)
def test_a_fit_that_time_ends_after_few_steps_warns(X, estimator):
    hasty = clone(estimator).set_params(max_steps=None, max_time=1e-6, batch_size=7)
    expected = r"max_time=1e-06 ended the fit after 1 steps, fewer than 50.*batch_size \(now 7\)"
    with pytest.warns(UserWarning, match=expected):
        hasty.fit(X)
    assert hasty.n_steps_ == 1
    hasty.set_params(max_steps=1).fit(X)  # the steps that were asked for: no warning
    hasty.partial_fit(X)


def test_early_stopping_keeps_the_best_network(X):
    vq = make_estimator(max_steps=2000, learning_rate=0.02, early_stopping=True, tol=1e-3)
    vq.fit(X)
    errors = [record["validation_error"] for record in vq.loss_curve_]
    assert vq.n_steps_ < 2000
    assert len(errors) - np.argmin(errors) <= 2 * vq.n_iter_no_change + 1
    rows = split(np.ones(200), Plan.of(vq), np.random.RandomState(0))[1]
    assert len(rows) == 20
    assert -vq.score(X[rows]) == pytest.approx(min(errors), rel=1e-5)


def test_the_validation_error_is_weighted(X):
    weight = np.random.default_rng(0).uniform(0, 10, size=200) ** 3
    vq = make_estimator(early_stopping=True, max_steps=1).fit(X, sample_weight=weight)
    rows = split(weight, Plan.of(vq), np.random.RandomState(0))[1]
    expected = np.average(-vq.score_samples(X[rows]), weights=weight[rows])
    assert vq.loss_curve_[-1]["validation_error"] == pytest.approx(expected, rel=1e-5)


def test_warm_start_goes_on(X):
    vq = make_estimator(warm_start=True).fit(X)
    before = vq.score(X)
    network = vq.network_
    mean = vq.mean_.copy()
    vq.fit(X[:100])
    np.testing.assert_array_equal(vq.mean_, mean)
    assert vq.n_steps_ == 60
    assert vq.loss_curve_[-1]["step"] == 60
    assert vq.network_ is not network
    assert vq.fit(X).score(X) > before
    cold = make_estimator().fit(X)
    cold.fit(X)
    assert cold.n_steps_ == 30


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_stages": 5}, "n_stages cannot change while training goes on; fitted with 4, got 5"),
        ({"n_options": 9}, "n_options cannot change .* fitted with 8, got 9"),
        ({"refiner__hidden_size": 8}, "refiner cannot change .*hidden_size=16.*hidden_size=8"),
        ({"refiner": "auto"}, "refiner cannot change"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_going_on_with_another_model_is_refused(X, change, message, method):
    vq = make_estimator(warm_start=True).fit(X)
    codes = vq.encode(X)
    vq.set_params(**change)
    with pytest.raises(ValueError, match=message):
        getattr(vq, method)(X)
    np.testing.assert_array_equal(vq.encode(X), codes)


def test_partial_fit_goes_on_and_keeps_its_optimizer(X):
    vq = make_estimator()
    for _ in range(10):
        vq.partial_fit(X)
    assert vq.n_steps_ == 40  # four batches each time
    assert len(vq.loss_curve_) == 10
    assert vq.loss_curve_[-1]["error"] < vq.loss_curve_[0]["error"]
    again = make_estimator()
    for _ in range(10):
        again.partial_fit(X)
    assert_same_network(vq, again)
    forgetful = make_estimator()
    for _ in range(10):
        forgetful.partial_fit(X)
        forgetful._partial_fit_state["optimizer"] = {}
    assert (forgetful.encode(X) != vq.encode(X)).any()


def assert_same_network(one, other):
    for name, value in one.network_.state_dict().items():
        assert torch.equal(other.network_.state_dict()[name], value), name


def test_partial_fit_keeps_the_first_centre_and_schema(X):
    vq = make_estimator().partial_fit(X[:100])
    mean, scale = vq.mean_.copy(), vq.scale_
    vq.partial_fit(X[100:] + 1)
    np.testing.assert_array_equal(vq.mean_, mean)
    assert vq.scale_ == scale
    with pytest.raises(ValueError, match="X has 63 features, but VQDRAW is expecting 64"):
        vq.partial_fit(X[:, 1:])


def test_partial_fit_after_fit_and_fit_after_partial_fit(X):
    vq = make_estimator().fit(X)
    steps = vq.n_steps_
    vq.partial_fit(X)
    assert vq.n_steps_ == steps + 4
    assert_same_network(vq.fit(X), make_estimator().fit(X))


def test_nan_loss_stops_with_advice_and_leaves_the_model(X):
    vq = make_estimator().fit(X)
    codes, steps = vq.encode(X), vq.n_steps_
    vq.set_params(learning_rate=1e30, max_steps=200)
    with pytest.raises(FloatingPointError, match=r"loss became .*Lower learning_rate \(now 1e\+30"):
        vq.fit(X[:, :40])
    assert vq.n_features_in_ == 64
    assert vq.n_steps_ == steps
    np.testing.assert_array_equal(vq.encode(X), codes)
    unfitted = make_estimator(learning_rate=1e30)
    with pytest.raises(FloatingPointError):
        unfitted.fit(X)
    assert not [name for name in vars(unfitted) if name.endswith("_")]


def test_interrupt_keeps_what_is_trained(X, monkeypatch):
    def interrupted(*arguments, **options):
        for number, record in enumerate(train(*arguments, **options)):
            if number == 3:
                raise KeyboardInterrupt
            yield record

    train = module.train
    monkeypatch.setattr(module, "train", interrupted)
    message = "interrupted by user: the model trained so far is kept"
    with pytest.warns(UserWarning, match=message) as warned:
        vq = make_estimator(max_steps=100).fit(X)
    assert vq.n_steps_ == 8  # the steps since the last record count too
    assert vq.loss_curve_[-1]["step"] == 6
    assert vq.encode(X).shape == (200, 4)
    assert str(Path(__file__)) == str(Path(warned[0].filename))


def test_a_last_step_that_diverges_is_noticed(X):
    vq = make_estimator().fit(X)
    codes = vq.encode(X)
    vq.set_params(learning_rate=1e38, max_steps=1, warm_start=True)
    with pytest.raises(
        FloatingPointError,
        match=r"a reconstruction became infinite or NaN by step 31.*Lower learning_rate \(now 1e\+38\)",
    ):
        vq.fit(X)
    np.testing.assert_array_equal(vq.encode(X), codes)


def test_pipelines_grids_and_column_transformers(X):
    y = load_digits_images().target[:200]
    pipeline = make_pipeline(make_estimator(), LogisticRegression())
    assert pipeline.fit(X, y).score(X, y) > 0.5
    search = GridSearchCV(
        pipeline, {"vqdraw__n_stages": [2, 3], "vqdraw__refiner__hidden_size": [8]}, cv=2
    ).fit(X, y)
    assert search.best_params_["vqdraw__refiner__hidden_size"] == 8
    table = pd.DataFrame(X[:, :6]).rename(columns="pixel{}".format)
    mixed = make_column_transformer(
        (make_estimator(encoding="ordinal"), ["pixel2", "pixel3", "pixel4"]),
        remainder="passthrough",
    ).set_output(transform="pandas")
    frame = mixed.fit_transform(table)
    assert list(frame.columns[:4]) == [f"vqdraw__vqdraw_s{s}" for s in range(4)]


def test_data_frames_need_a_dense_encoding(X):
    vq = make_estimator().set_output(transform="pandas").fit(X)
    with pytest.raises(ValueError, match="pandas output does not support sparse.*'onehot-dense'"):
        vq.transform(X)
    vq.set_params(encoding="ordinal")
    assert list(vq.transform(X).columns) == ["vqdraw_s0", "vqdraw_s1", "vqdraw_s2", "vqdraw_s3"]


@pytest.mark.parametrize(("verbose", "lines"), [(0, 0), (2, 51)])
def test_lines_of_progress(X, capsys, verbose, lines):
    make_estimator(max_steps=100, verbose=verbose, device="cpu").fit(X)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == lines
    assert err == ""
    if verbose:
        assert "cpu" in out
        assert "step 100" in out


def test_progress_bar(X, capsys):
    vq = make_estimator(max_steps=100, verbose=1, device="cpu", warm_start=True).fit(X)
    out, err = capsys.readouterr()
    assert out == ""
    assert "VQDRAW on cpu" in err
    assert "100/100" in err
    assert "bits=" in err
    vq.fit(X)
    assert "200/200" in capsys.readouterr().err


def test_defaults_serve_a_first_time_user():
    """Held-out digits are coded better than by residual k-means; blobs to 1 % of the variance.

    After a tenth of the steps already, which take less time.
    """
    digits = np.random.default_rng(0).permutation(load_digits_images().data)
    vq = VQDRAW(max_steps=100, random_state=0).fit(digits[500:])
    boosting = ClusterBoosting(random_state=0).fit(digits[500:])
    assert vq.score(digits[:500]) > boosting.score(digits[:500])
    blobs = make_blobs(4_000, 20, centers=30, random_state=0)[0]
    held_out = blobs[:500]
    vq = VQDRAW(max_steps=100, random_state=0).fit(blobs[500:])
    assert -vq.score(held_out) < 0.01 * held_out.var(axis=0).mean()


@pytest.mark.parametrize(
    "change",
    [
        {"aux_weight": 0.1},
        {"gradient_decay": 1.0},
        {"weight_decay": 0.5},
        {"batch_size": 16},
        {"learning_rate": 1e-3},
        {"round_beam_size": 1},
        {"precision": "float32"},
    ],
    ids=repr,
)
def test_each_parameter_reaches_the_training(X, change):
    if "precision" in change and not trains_in_bf16(torch.device("cpu")):
        pytest.skip("this CPU has no native bfloat16: 'auto' is float32")
    usual, changed = (make_estimator(n_stages=6, **c).fit(X) for c in ({}, change))
    assert not torch.equal(usual.network_.mixing, changed.network_.mixing)


def test_nothing_is_warned_of(X):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_estimator(early_stopping=True).fit(X).sample(2)
        make_estimator().partial_fit(X[:3])


class PrecisionSpy(torch.nn.Module):
    """A network that notes in which precision it computes, and in which mode it is."""

    def __init__(self, n_features, n_stages, n_options):
        super().__init__()
        self.linear = torch.nn.Linear(n_features, n_options * n_features)
        self.dropout = torch.nn.Dropout(0.5)
        self.n_options = n_options
        self.seen = set()

    def forward(self, x, stage):
        deltas = self.linear(x)
        self.seen.add((self.training, deltas.dtype))
        return DenseRound(x[:, None] + self.dropout(deltas).view(len(x), self.n_options, -1))


class PrecisionSpyRefiner(Refiner):
    def build(self, n_features, n_stages, n_options):
        return PrecisionSpy(n_features, n_stages, n_options)


@pytest.mark.parametrize("precision", ["auto", "float32", "bf16"])
def test_precision_and_mode_in_training_and_in_coding(X, precision):
    native = trains_in_bf16(torch.device("cpu"))
    trains = precision == "bf16" or (precision == "auto" and native)
    vq = make_estimator(
        refiner=PrecisionSpyRefiner(), precision=precision, early_stopping=True, device="cpu"
    ).fit(X)
    codes = torch.bfloat16 if precision == "bf16" else torch.float32
    expected = {(True, torch.bfloat16 if trains else torch.float32), (False, codes)}
    # The first look at a new network is in float32.
    assert vq.network_.seen == expected | {(False, torch.float32)}
    vq.network_.seen.clear()
    np.testing.assert_array_equal(vq.encode(X), vq.encode(X))  # dropout sleeps
    assert vq.network_.seen == {(False, codes)}


CONV = ConvRefiner((8, 8), n_channels=64, downsampling=2)


def test_codes_do_not_depend_on_the_call_or_on_the_layout_of_X():
    X = load_digits_images().data[:300]
    vq = make_estimator(refiner=CONV, n_stages=8, n_options=64).fit(X)
    codes, Xr = vq.encode(X), vq.reconstruct(X)
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(vq.encode(X[order]), codes[order])
    np.testing.assert_array_equal(vq.encode(np.asfortranarray(X)), codes)
    np.testing.assert_array_equal(vq.reconstruct(np.asfortranarray(X)), Xr)
    np.testing.assert_array_equal(vq.encode(X[::3]), codes[::3])
    one_by_one = np.concatenate([vq.encode(row[None]) for row in X[:60]])
    np.testing.assert_array_equal(one_by_one, codes[:60])
    np.testing.assert_array_equal(vq.decode(codes[order]), Xr[order])


def test_codes_agree_between_thread_counts():
    X = load_digits_images().data
    vq = make_estimator(refiner=CONV, n_stages=8, n_options=64).fit(X)
    threads, codes, errors = torch.get_num_threads(), [], []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            codes.append(vq.encode(X))
            errors.append(vq.score(X))
    finally:
        torch.set_num_threads(threads)
    assert (codes[0] != codes[1]).mean() <= 1e-4
    assert errors[0] == pytest.approx(errors[1], rel=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
class TestCuda:
    @pytest.mark.parametrize("refiner", [CONV, MLPRefiner()], ids=repr)
    def test_codes_agree_with_the_cpu(self, refiner):
        X = load_digits_images().data
        vq = make_estimator(refiner=refiner, n_stages=8, n_options=64, device="cuda").fit(X)
        codes, error = vq.encode(X), -vq.score(X)
        back = pickle.loads(pickle.dumps(vq)).set_params(device="cpu")
        assert (back.encode(X) != codes).mean() <= 1e-4
        assert -back.score(X) == pytest.approx(error, rel=1e-5)

    @pytest.mark.parametrize("beam_size", [1, 4])
    def test_early_stopping_and_going_on(self, X, beam_size):
        vq = make_estimator(device="cuda", early_stopping=True, beam_size=beam_size).fit(X)
        assert vq.partial_fit(X).partial_fit(X).encode(X).shape == (200, 4)
        vq.set_params(warm_start=True, device="cpu").fit(X)
        assert next(vq.network_.parameters()).device.type == "cpu"

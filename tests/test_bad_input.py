"""What is wrong, what was expected, what to do: for every parameter and every kind of X."""

import datetime
import pickle
from copy import copy
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from conftest import make_estimator
from PIL import Image
from scipy import sparse
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

import skvqdraw
from skvqdraw import VQDRAW, VQVAE, ClusterBoosting
from skvqdraw.codec import compress, compress_file, decompress, decompress_file
from skvqdraw.guides import LinearGuide, MaskGuide
from skvqdraw.metrics import (
    classification_accuracy_score,
    collision_rate,
    perplexity,
    probe_score,
    two_sample_score,
)
from skvqdraw.nn import DenseRound
from skvqdraw.preprocessing import CharacterTokenizer, PatchPCA
from skvqdraw.priors import AutoregressivePrior, MarkovPrior
from skvqdraw.refiners import ConvRefiner, MLPRefiner, Refiner

BAD_PARAMS = {
    "n_stages": [
        (0, r"an int in the range \[1, inf\). Got 0 instead"),
        (2.0, "an int"),
        ("4", "int"),
    ],
    "n_options": [(1, r"an int in the range \[2, inf\). Got 1 instead"), (None, "an int")],
    "loss": [("absolute", "a str among .*log_loss"), (None, "str among")],
    "refiner": [("conv", r"a str among \{'auto'\} or an object implementing"), (None, "'auto'")],
    "beam_size": [(0, r"an int in the range \[1, inf\). Got 0 instead")],
    "round_beam_size": [(0, r"an int in the range \[1, inf\). Got 0 instead"), (None, "an int")],
    "gradient_accumulation": [(0, r"an int in the range \[1, inf\). Got 0 instead")],
    "gradient_checkpointing": [("sqrt", "an instance of 'bool'")],
    "aux_weight": [(-0.1, r"a float in the range \[0.*, inf\). Got -0.1 instead")],
    "gradient_decay": [(1.5, r"range \[0.*, 1.*\]. Got 1.5 instead"), (-1, "Got -1 instead")],
    "encoding": [
        ("dense", "a str among .*'onehot-dense'.*Got 'dense' instead"),
        (None, "str among"),
    ],
    "max_steps": [(-1, r"an int in the range \[0, inf\) or None. Got -1 instead"), (1.5, "an int")],
    "max_time": [(0, r"a float in the range \(0.*, inf\) or None. Got 0 instead"), ("5m", "float")],
    "batch_size": [(0, r"an int in the range \[1, inf\). Got 0 instead")],
    "learning_rate": [(0, r"a float in the range \(0.*, inf\). Got 0 instead")],
    "weight_decay": [(-1, r"range \[0.*, inf\). Got -1 instead")],
    "early_stopping": [("yes", "an instance of 'bool'"), (None, "'bool'")],
    "validation_fraction": [(0, r"range \(0.*, 1.*\). Got 0 instead"), (1, "Got 1 instead")],
    "n_iter_no_change": [(0, r"an int in the range \[1, inf\). Got 0 instead")],
    "tol": [(-1e-3, r"range \[0.*, inf\). Got -0.001 instead")],
    "warm_start": [(None, "an instance of 'bool'")],
    "checkpoint": [(3, "an instance of 'str', an instance of .*PathLike' or None. Got 3 instead")],
    "checkpoint_every": [
        (-1, r"a float in the range \[0.*, inf\). Got -1 instead"),
        (None, "float"),
    ],
    "device": [(3, "an instance of 'str' or an instance of 'torch.device'. Got 3 instead")],
    "n_jobs": [
        (0, r"an int in the range \[1, inf\), an int in the range .*-1\].* or None. Got 0 instead"),
        (1.5, "an int"),
    ],
    "precision": [("fp16", "a str among .*'bf16'.*Got 'fp16' instead")],
    "random_state": [("zero", "Got 'zero' instead")],
    "verbose": [(-1, "Got -1 instead")],
}


def test_no_parameter_is_forgotten():
    assert set(BAD_PARAMS) == set(VQDRAW().get_params())


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [(name, *case) for name, cases in BAD_PARAMS.items() for case in cases],
)
def test_parameters(X, name, value, message, method):
    with pytest.raises(ValueError, match=f"The '{name}' parameter of VQDRAW must be .*{message}"):
        getattr(VQDRAW(**{name: value}), method)(X)


USED_BY = {
    "beam_size": ("encode", "reconstruct", "score"),
    "round_beam_size": ("encode", "reconstruct", "score"),
    "n_jobs": ("encode", "decode", "sample", "score"),
    "precision": ("encode", "decode", "sample", "score"),
    "device": ("encode", "decode", "sample", "score"),
    "encoding": ("transform", "inverse_transform", "get_feature_names_out"),
}


@pytest.mark.parametrize(
    ("name", "method"), [(name, method) for name in USED_BY for method in USED_BY[name]]
)
def test_what_is_set_after_a_fit_is_checked_when_it_is_used(X, fitted, name, method):
    rows = {"decode": fitted.encode(X), "inverse_transform": fitted.transform(X)}.get(method, X)
    arguments = () if method in ("sample", "get_feature_names_out") else (rows,)
    more = [(np.inf, "inf"), ([2], r"\[2\]"), (None, "None")]
    for value, message in [*BAD_PARAMS[name], *(more[:2] if name == "n_jobs" else more)]:
        vq = copy(fitted).set_params(**{name: value})
        with pytest.raises(ValueError, match=f"'{name}' parameter of VQDRAW must be .*{message}"):
            getattr(vq, method)(*arguments)


def test_what_a_model_was_fitted_with_it_keeps(X, fitted):
    """All that only a fit reads may say anything, until there is one."""
    vq = copy(fitted)
    for name in set(BAD_PARAMS) - set(USED_BY) - {"random_state", "verbose"}:
        vq.set_params(**{name: BAD_PARAMS[name][0][0]})
    np.testing.assert_array_equal(vq.encode(X), fitted.encode(X))
    np.testing.assert_array_equal(vq.reconstruct(X), fitted.reconstruct(X))
    with pytest.raises(ValueError, match="parameter of VQDRAW must be"):
        vq.fit(X)


def test_a_refiner_that_is_a_name_has_no_parameters(X):
    message = r"refiner__hidden_size cannot be set: refiner='auto' has no .* Set refiner=MLPRefiner"
    with pytest.raises(ValueError, match=message):
        VQDRAW().set_params(refiner__hidden_size=64)
    search = GridSearchCV(VQDRAW(), {"refiner__hidden_size": [8]}, error_score="raise")
    with pytest.raises(ValueError, match=message):
        search.fit(X)
    vq = VQDRAW().set_params(refiner=MLPRefiner(), refiner__hidden_size=64)
    assert vq.refiner.hidden_size == 64
    with pytest.raises(ValueError, match="Invalid parameter 'width' for estimator MLPRefiner"):
        vq.set_params(refiner__width=3)
    with pytest.raises(ValueError, match="Invalid parameter 'width' for estimator VQDRAW"):
        vq.set_params(width=3)


@pytest.mark.parametrize("method", ["encode", "transform", "score", "reconstruct", "partial_fit"])
@pytest.mark.parametrize("make", [make_estimator, lambda: ClusterBoosting(2, 4, random_state=0)])
def test_rows_in_other_units_are_warned_of(X, make, method):
    """Once in a call, at the caller's line; not of the training rows, nor of a single odd one."""
    estimator = make().fit(X)
    if not hasattr(estimator, method):
        pytest.skip("it has no such method")
    for rows in (X, X[:1], np.concatenate([X, 5 * X[:1]]), -X):
        estimator.score(rows)
    with pytest.warns(UserWarning, match="X lies far outside what this .* was fitted on") as caught:
        getattr(estimator, method)((255 * X).astype(np.uint8))
    assert len(caught) == 1
    assert caught[0].filename == __file__


@pytest.mark.parametrize("make", [make_estimator, lambda: ClusterBoosting(2, 4, random_state=0)])
def test_of_training_rows_nobody_is_warned(make):
    """Whatever their order: few rows may hold most of the variance."""
    rows = np.zeros((6000, 4), np.float32)
    rows[:256] = np.random.default_rng(0).normal(size=(256, 4))
    make().fit(rows).encode(rows)
    for dtype in (np.longdouble, np.float64, np.float32):
        thirds = np.full((20, 3), 1, dtype) / 3
        make().fit(thirds).encode(thirds)
        make().fit(thirds.astype(np.float32)).encode(thirds)


def test_warnings_pass_over_what_calls_us_for_others(X):
    """Of cross_val_score, the line that called it."""
    rows = np.concatenate([X[:100], 255 * X[100:]])
    with pytest.warns(UserWarning, match="lies far outside") as caught:
        cross_val_score(make_estimator(max_steps=2), rows, cv=2)
    assert {warning.filename for warning in caught} == {__file__}


def test_rows_of_chances_are_in_the_same_units(X):
    rare = np.zeros((400, 4), bool)
    rare[0] = True
    ClusterBoosting(2, 4, loss="log_loss", random_state=0).fit(rare).encode(~rare)


def test_a_budget_is_needed(X):
    with pytest.raises(ValueError, match="max_steps and max_time must not both be None"):
        VQDRAW(max_steps=None).fit(X)


def test_a_device_may_be_pytorchs_own(X, tmp_path):
    vq = make_estimator(device=torch.device("cpu")).fit(X)
    vq.save(tmp_path / "model")
    assert skvqdraw.load(tmp_path / "model").device == "cpu"
    np.testing.assert_array_equal(clone(vq).fit(X).encode(X), vq.encode(X))
    with pytest.raises(ValueError, match="device must be 'auto' or .*got device.type='meta'"):
        vq.set_params(device=torch.device("meta")).encode(X)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta2", "meta", "hpu"])
def test_devices_that_are_not_there(X, device):
    with pytest.raises(ValueError, match=f"device must be 'auto' or .*got '{device}'"):
        make_estimator(device=device).fit(X)


BAD_X = {
    "nan": (lambda X: np.where(X > 0.5, np.nan, X), "Input X contains NaN"),
    "inf": (lambda X: np.where(X > 0.5, np.inf, X), "Input X contains infinity"),
    "1-D": (lambda X: X[0], "Expected 2D array, got 1D array instead"),
    "3-D": (
        lambda X: X.reshape(-1, 8, 8),
        r"2-D array; got an array of shape \(200, 8, 8\).*X.reshape\(len\(X\), -1\)",
    ),
    "4-D": (lambda X: X.reshape(-1, 8, 8, 1), r"X.reshape\(len\(X\), -1\)"),
    "list of arrays": (lambda X: list(X.reshape(-1, 8, 8)), "got a list of images.*numpy.stack"),
    "pillow": (
        lambda X: tuple(Image.fromarray(x.reshape(8, 8)) for x in X),
        "got a tuple of images.*reshape",
    ),
    "no rows": (lambda X: X[:0], r"Found array with 0 sample\(s\)"),
    "no columns": (lambda X: X[:, :0], r"Found array with 0 feature\(s\)"),
    "strings": (lambda X: X.astype(str), "could not convert string to float|dtype='numeric'"),
    "complex": (lambda X: X.astype(complex), "Complex data not supported"),
    "ragged": (lambda X: [[1, 2], [3]], "inhomogeneous"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD_X.values(), ids=BAD_X)
@pytest.mark.parametrize("method", ["fit", "partial_fit", "encode", "transform", "score"])
def test_rows(X, fitted, spoil, message, method):
    estimator = make_estimator() if "fit" in method else fitted
    with pytest.raises(ValueError, match=message):
        getattr(estimator, method)(spoil(X))


ROWS = [[0.5, -1.0, 2.0], [0.25, 1.0, -2.0], [1.5, 3.0, 0.0], [1.0, 2.0, -1.0]]
EPOCH = r"X must hold booleans, integers or floats; got .*Subtract an epoch and divide: \(X"
MOMENT = datetime.datetime(2024, 5, 17, 12)
NO_NUMBERS = {
    "None": (lambda rows: [[None, 0.5, -1.0], *rows], "Input X contains NaN"),
    "NA": (lambda rows: [*rows, [0.5, pd.NA, -1.0]], "Input X contains NaN"),
    "None in a frame": (lambda rows: pd.DataFrame([*rows, [0, None, 1]]), "Input X contains NaN"),
    "Decimal NaN": (lambda rows: [[Decimal("NaN"), Decimal(1), 2]], "Input X contains NaN"),
    "masked": (lambda rows: np.ma.masked_less(rows, 0), "X must have no masked values; got 3"),
    "NaT": (lambda rows: np.array([["NaT"] * 3], "M8[s]"), EPOCH),
    "dates": (lambda rows: np.zeros((9, 3), "M8[ns]"), EPOCH),
    "list of dates": (lambda rows: [*rows, [MOMENT, 1, 2]], EPOCH),
    "objects of dates": (lambda rows: np.zeros((9, 3), "M8[D]").astype(object), EPOCH),
    "numpy's dates": (lambda rows: np.array([[np.datetime64(MOMENT), 1, 2]], object), EPOCH),
    "pandas' dates": (lambda rows: pd.DataFrame(rows).assign(when=MOMENT).iloc[:, 1:], "'when'"),
    "polars' dates": (
        lambda rows: pl.DataFrame(rows, orient="row").with_columns(column_0=pl.lit(MOMENT)),
        r"in column 'column_0'. Subtract an epoch",
    ),
    "durations": (lambda rows: np.zeros((9, 3), "m8[s]"), "Divide by a unit of time: X / numpy.t"),
    "list of complex": (lambda rows: [[1j, 2.0, 3.0]], "Complex data not supported"),
    "too large": (lambda rows: [[10**400, 1, 2]], r"type int at row 0, column 0.*too large"),
    "strings": (lambda rows: np.array(rows).astype(np.dtypes.StringDType()), "dtype='numeric'"),
    "void": (lambda rows: np.zeros((9, 3), "V8"), "X must hold booleans, integers or floats; got"),
    "nested": (lambda rows: [[[1], 2, 3]], "X must be an array, .*got a list .*inhomogeneous"),
    "ragged": (lambda rows: [[1, 2, 3], [4]], "X must be an array, .*got a list .*inhomogeneous"),
}
TAKERS = [
    VQDRAW(2, 4, max_steps=2),
    VQVAE(4, max_steps=2),
    ClusterBoosting(2, 4),
    PatchPCA((3,), (3,), 1),
]


@pytest.mark.parametrize("taker", TAKERS, ids=lambda taker: type(taker).__name__)
@pytest.mark.parametrize(("make", "message"), NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_what_is_no_number_is_refused_alike_by_all_methods(taker, make, message):
    fitted = clone(taker).fit(ROWS)
    pipeline = make_pipeline(clone(taker), DummyClassifier()).fit(ROWS, [0, 1, 0, 1])
    calls = [clone(taker).fit, fitted.transform, pipeline.predict]
    names = ("partial_fit", "encode", "reconstruct", "score")
    calls += [getattr(fitted, name) for name in names if hasattr(fitted, name)]
    if hasattr(fitted, "encode"):
        calls += [lambda X: compress(fitted, X)]
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call(make(ROWS))


@pytest.mark.parametrize("taker", TAKERS[:3], ids=lambda taker: type(taker).__name__)
@pytest.mark.parametrize("number", [Decimal, Fraction, lambda value: int(value * 2**70)])
def test_objects_that_are_numbers_are_their_floats(taker, number):
    """In lists, arrays and frames: to the bit."""
    rows = [[number(value) for value in row] for row in ROWS]
    objects = np.array(rows, dtype=object)
    floats = objects.astype(np.float64)
    fitted = clone(taker).set_params(random_state=0).fit(floats)
    for X in (rows, objects, pd.DataFrame(rows, dtype=object)):
        again = clone(fitted).fit(X)
        np.testing.assert_array_equal(again.mean_, fitted.mean_)
        assert again.mean_.dtype == np.float64
        np.testing.assert_array_equal(fitted.encode(X), fitted.encode(floats))
        assert fitted.score(X) == fitted.score(floats)
        assert compress(fitted, X) == compress(fitted, floats)


def test_what_is_no_number_is_told_with_its_place():
    with pytest.raises(TypeError, match=r"got \{'a': 1\} of type dict at row 1, column 2"):
        VQDRAW().fit([[1, 2, 3], [1, 2, {"a": 1}]])
    rows = torch.ones(4, 3).requires_grad_()
    with pytest.raises(TypeError, match=r"X must be an array, .*Tensor .*detach\(\).numpy\(\)"):
        VQDRAW().fit(rows)


@pytest.mark.parametrize("weight", [np.ones(4, "M8[s]"), [1, 1, 1, MOMENT]])
def test_weights_are_numbers(weight):
    for estimator in (VQDRAW(2, 4, max_steps=1), ClusterBoosting(2, 4)):
        with pytest.raises(ValueError, match="sample_weight must hold booleans, integers or fl"):
            estimator.fit(ROWS, sample_weight=weight)


def test_objects_as_targets_and_symbols():
    boosting = ClusterBoosting(2, 4, random_state=0).fit(ROWS)
    guide = LinearGuide([pd.NA], [[1, 0, 0]])
    with pytest.raises(ValueError, match="target must be finite"):
        boosting.sample(guide=guide)
    with pytest.raises(ValueError, match="target must hold booleans, integers or floats"):
        boosting.sample(guide=guide.set_params(target=np.zeros(1, "M8[s]")))
    with pytest.raises(ValueError, match="Input matrix contains NaN"):
        boosting.sample(guide=guide.set_params(target=[1.0], matrix=[[1, 0, None]]))
    mask = [True, False, True]
    with pytest.raises(TypeError, match=r"target must be an array, .*Tensor .*detach\(\).numpy"):
        boosting.sample(guide=MaskGuide(torch.ones(3).requires_grad_(), mask))
    tokenizer = CharacterTokenizer(sequence_length=2).fit(["ab"])
    with pytest.raises(ValueError, match=r"got nan at row 0, column 1"):
        tokenizer.inverse_transform([[2, None]])
    assert tokenizer.inverse_transform([[Decimal(2), Fraction(3)]]) == ["ab"]
    with pytest.raises(ValueError, match="B must hold .*Subtract an epoch and divide"):
        two_sample_score(ROWS, np.zeros((4, 3), "M8[s]"))


def test_sparse_rows(X):
    with pytest.raises(TypeError, match="Sparse data was passed"):
        make_estimator().fit(sparse.csr_array(X))


def test_another_width(X, fitted):
    with pytest.raises(ValueError, match="X has 63 features, but VQDRAW is expecting 64 features"):
        fitted.encode(X[:, 1:])


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(3), r"sample_weight.shape == \(3,\), expected \(200,\)"),
        (-np.ones(200), "Negative values in data passed to `sample_weight`"),
        (np.zeros(200), "Sample weights must contain at least one non-zero number"),
        (np.full(200, np.nan), "Input sample_weight contains NaN"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_weights(X, weight, message, method):
    with pytest.raises(ValueError, match=message):
        getattr(make_estimator(), method)(X, sample_weight=weight)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([[0, 8, 0, 0]], r"integers in \[0, 8\); got 8 at row 0, stage 1"),
        ([[0, -1, 0, 0]], r"got -1 at row 0, stage 1"),
        ([[0.5, 1, 2, 3]], "must be integers .* got dtype float64"),
        ([0, 1, 2, 3], r"2-D array .* got an array of shape \(4,\)"),
        (np.zeros((2, 5), int), "at most 4 columns, one for each stage; got 5"),
    ],
)
def test_codes(fitted, codes, message):
    with pytest.raises(ValueError, match=message):
        fitted.decode(codes)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda Z: Z[:, :-1], "n_stages \\* n_options = 32 columns; got 31"),
        (lambda Z: Z * 2, "each row of X must be one-hot.*row 0 is not"),
        (lambda Z: np.full((1, 32), np.nan), "Input X contains NaN"),
        (lambda Z: Z.toarray()[0], "Expected 2D array"),
    ],
)
def test_rows_that_are_not_one_hot(X, fitted, spoil, message):
    with pytest.raises(ValueError, match=message):
        fitted.inverse_transform(spoil(fitted.transform(X)))


@pytest.mark.parametrize("dtype", ["f2", ">f4", "i1", "O", np.longdouble])
def test_one_hot_rows_of_any_dtype(X, fitted, dtype):
    Z = fitted.transform(X).toarray().astype(dtype)
    np.testing.assert_array_equal(fitted.inverse_transform(Z), fitted.reconstruct(X))


def test_ordinal_rows_must_be_whole_codes(X):
    vq = make_estimator(encoding="ordinal").fit(X)
    with pytest.raises(ValueError, match="codes must have 4 columns; got 3"):
        vq.inverse_transform(vq.transform(X)[:, :3])


SPARSE = "must be an array of integers, as encode returns them; got a sparse matrix of shape .4, 8"


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (sparse.csr_array(np.eye(4, 8)), SPARSE),
        (sparse.coo_matrix(np.eye(4, 8)), SPARSE),
        ({1, 2}, "must be an array of integers, as encode returns them; got a single set"),
        ([[1, 2], [3]], "must be an array, .*got a list that numpy cannot read.*inhomogeneous"),
    ],
)
def test_what_is_no_array_of_codes(codes, message):
    boosting = ClusterBoosting(2, 4, encoding="ordinal", random_state=0).fit(ROWS)
    for call in (boosting.decode, boosting.proposals, boosting.inverse_transform):
        with pytest.raises(ValueError, match=f"codes {message}"):
            call(codes)
    prior = MarkovPrior().fit(boosting.encode(ROWS))
    for call in (MarkovPrior().fit, prior.score, prior.bits, perplexity, collision_rate):
        with pytest.raises(ValueError, match=f"codes {message}"):
            call(codes)
    with pytest.raises(ValueError, match=f"codes {message}"):
        skvqdraw.pack_codes(codes, 4)
    with pytest.raises(ValueError, match=f"packed {message}".replace("encode", "pack_codes")):
        skvqdraw.unpack_codes(codes, 2, 4)
    for drawn in (boosting, prior):
        with pytest.raises(ValueError, match=f"prefix {message}"):
            drawn.sample(4, prefix=codes)


def test_sparse_features_are_decoded_by_inverse_transform():
    boosting = ClusterBoosting(2, 4, random_state=0).fit(ROWS)
    with pytest.raises(ValueError, match="as transform returns them, go to inverse_transform un"):
        boosting.decode(boosting.transform(ROWS))
    decoded = boosting.inverse_transform(boosting.transform(ROWS))
    np.testing.assert_array_equal(decoded, boosting.reconstruct(ROWS))


LABELS = {
    "None": (["a", None, "b", "a"], "y must have no missing labels; got None at row 1"),
    "NaN": (["a", "b", np.nan, "a"], "y must have no missing labels; got nan at row 2"),
    "NA": (pd.Series(["a", "b", pd.NA, "a"], dtype=object), "labels; got <NA> at row 2"),
    "a series": (pd.Series(["a", "b", "a", None]), "y must have no missing labels; got nan at r"),
    "objects": (np.array([None, 1, 2, 1], object), "y must have no missing labels; got None at"),
    "NaT": (np.array(["2024", "2025", "NaT", "2024"], "M8[D]"), "no missing labels; got .*NaT"),
    "mixed": (np.array(["a", 1, "a", 1], object), "y must hold labels of one kind.*int and str"),
}


@pytest.mark.parametrize(("y", "message"), LABELS.values(), ids=LABELS)
def test_labels_that_are_missing_or_of_several_kinds(y, message):
    boosting = ClusterBoosting(2, 4, random_state=0).fit(ROWS)
    codes, prior = boosting.encode(ROWS), MarkovPrior().fit(boosting.encode(ROWS))
    before = vars(prior).copy()
    with pytest.raises(ValueError, match=message):
        prior.fit(codes, y)
    assert vars(prior) == before
    with pytest.raises(ValueError, match=message):
        AutoregressivePrior(hidden_size=4, n_blocks=1, max_steps=1).fit(codes, y)
    with pytest.raises(ValueError, match=message):
        probe_score(boosting, ROWS, y, cv=2)
    with pytest.raises(ValueError, match=message.replace("y must", "y_test must")):
        classification_accuracy_score(ROWS, [0, 1, 0, 1], ROWS, y)


@pytest.mark.parametrize("n_samples", [2.5, "3", None, [2]])
@pytest.mark.parametrize("method", ["sample", "sample_codes"])
def test_number_of_samples_is_an_integer(fitted, method, n_samples):
    with pytest.raises(TypeError, match="n_samples must be an integer of at least 1; got .* of t"):
        getattr(fitted, method)(n_samples)
    assert len(getattr(fitted, method)(np.int64(2))) == 2


def test_names_of_files(tmp_path):
    boosting = ClusterBoosting(2, 4, random_state=0).fit(ROWS)
    data, file = compress(boosting, ROWS), tmp_path / "rows"
    compress_file(boosting, ROWS, file)
    for path, error in ((data, ValueError), ("a\0b", ValueError), (3, TypeError)):
        message = "must be the name of a file .expected str, .*; got .*Pass its name"
        for call in (boosting.save, skvqdraw.load):
            with pytest.raises(error, match=f"path {message}"):
                call(path)
        with pytest.raises(error, match=f"path {message}.*skvqdraw.codec.decompress"):
            decompress_file(boosting, path, tmp_path / "rows.npy")
        with pytest.raises(error, match=f"target {message}"):
            decompress_file(boosting, file, path)
        with pytest.raises(error, match=f"path {message}"):
            compress_file(boosting, ROWS, path)
    with pytest.raises(ValueError, match=f"checkpoint {message}"):
        VQDRAW(1, 2, checkpoint="a\0b").fit(ROWS)
    with pytest.raises(TypeError, match="data must be bytes, .*or the name of a file .*; got int"):
        decompress(boosting, 3)
    assert [file.name for file in tmp_path.iterdir()] == ["rows"]


def test_names_of_features_that_no_file_can_hold(tmp_path):
    frame = pd.DataFrame(ROWS, columns=["a", "b\ud800", "c"])
    boosting = ClusterBoosting(2, 4, random_state=0).fit(frame)
    with pytest.raises(ValueError, match=r"names of features must be Unicode .*'b\\ud800'.*Rename"):
        boosting.save(tmp_path / "model")
    assert not [*tmp_path.iterdir()]
    again = pickle.loads(pickle.dumps(boosting))
    np.testing.assert_array_equal(again.encode(frame), boosting.encode(frame))


@pytest.mark.parametrize("n_samples", [0, -1])
def test_number_of_samples(fitted, n_samples):
    with pytest.raises(ValueError, match=f"n_samples must be at least 1; got {n_samples}"):
        fitted.sample(n_samples)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("encode", ([[1.0]],)),
        ("decode", ([[1]],)),
        ("transform", ([[1.0]],)),
        ("inverse_transform", ([[1.0]],)),
        ("reconstruct", ([[1.0]],)),
        ("score", ([[1.0]],)),
        ("sample", ()),
        ("sample_codes", ()),
        ("save", ("model.safetensors",)),
        ("get_feature_names_out", ()),
    ],
)
def test_not_fitted(method, arguments):
    with pytest.raises(NotFittedError, match="This VQDRAW instance is not fitted yet"):
        getattr(VQDRAW(), method)(*arguments)


def test_an_image_shape_that_does_not_match(X):
    vq = make_estimator().fit(X)
    vq.set_params(refiner=ConvRefiner((28, 28)))
    with pytest.raises(
        ValueError, match=r"image_shape=\(28, 28\) has 784 values; X has 64 features"
    ):
        vq.fit(X)
    assert vq.encode(X).shape == (200, 4)


def test_a_validation_set_needs_rows():
    with pytest.raises(ValueError, match="validation_fraction=0.1 of n_samples=1 leaves no row"):
        make_estimator(early_stopping=True).fit([[1.0, 2.0]])


class Build(Refiner):
    def __init__(self, result=None):
        self.result = result

    def build(self, n_features, n_stages, n_options):
        return self.result


class NotARound(torch.nn.Module):
    def forward(self, x, stage):
        return x


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("text", "Build.build must return a torch.nn.Module; got str"),
        (NotARound(), "NotARound, built by Build, must return a round, such as .*got Tensor"),
    ],
)
def test_refiners_of_users(X, result, message):
    with pytest.raises(TypeError, match=message):
        make_estimator(refiner=Build(result)).fit(X)


class TooMany(torch.nn.Module):
    def forward(self, x, stage):
        return DenseRound(x[:, None].expand(-1, 9, -1))


def test_refiners_of_users_must_propose_as_many_options_as_asked(X):
    message = r"TooMany, built by Build, must propose n_options=8 .*shape \(1, 9\) came"
    with pytest.raises(ValueError, match=message):
        make_estimator(refiner=Build(TooMany())).fit(X)

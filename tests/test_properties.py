"""Whatever the parameters and the data: what holds for every model, and how the others fail.

python -m pytest tests/test_properties.py --hypothesis-profile=long
"""

import os
import pickle
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import skvqdraw
from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw.refiners import ConvRefiner, MLPRefiner

# The suite tries the same few each time; a longer run by hand tries others.
EXAMPLES = int(os.environ.get("SKVQDRAW_EXAMPLES", "0"))
bounded = settings(max_examples=EXAMPLES or 25, derandomize=not EXAMPLES, deadline=None)

# (features, image shapes of so many values with a patch size that divides them)
SHAPES = [(1, None), (3, None), (16, ((4, 4), 2)), (12, ((2, 2, 3), 1)), (6, ((2, 3), 1))]


@st.composite
def data(draw, least=1):
    """A small X of any dtype, centre and scale; some of its columns or all rows are constant."""
    n_features, image = draw(st.sampled_from(SHAPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    X = rng.normal(size=(draw(st.integers(least, 24)), n_features))
    X = X * 10.0 ** draw(st.integers(-6, 6)) + draw(st.sampled_from([0, 0, 1, -1e3]))
    X[:, rng.random(n_features) < draw(st.sampled_from([0, 0, 0.5, 1]))] = 3
    dtype = draw(st.sampled_from([np.float64, np.float32, np.uint8, np.int64]))
    X = X.astype(dtype) if np.dtype(dtype).kind == "f" else X.astype(np.int64).astype(dtype)
    return np.asarray(X, order=draw(st.sampled_from("CF"))), image


def refiners(image):
    factored = {
        "basis_size": st.integers(1, 4),
        "n_blocks": st.integers(0, 2),
        "stages_per_round": st.integers(1, 4),
        "rounds_per_trunk": st.integers(1, 3),
    }
    mlp = st.builds(MLPRefiner, st.integers(1, 8), **factored)
    if image is None:
        return mlp
    shape, patch = image
    conv = st.builds(
        ConvRefiner,
        st.just(shape),
        n_channels=st.integers(1, 8),
        downsampling=st.just(patch),
        **factored,
    )
    return mlp | conv


SHARED = {
    "n_stages": st.integers(1, 5),
    "n_options": st.integers(2, 9),
    "encoding": st.sampled_from(["onehot", "onehot-dense", "ordinal", "soft"]),
    "random_state": st.integers(0, 2**32 - 1),
}


@st.composite
def vqdraws(draw):
    """A VQDRAW and an X that it can be fitted on."""
    X, image = draw(data(least=2))
    params = {
        **SHARED,
        "refiner": refiners(image),
        "beam_size": st.integers(1, 3),
        "round_beam_size": st.integers(1, 4),
        "aux_weight": st.floats(0, 1),
        "gradient_decay": st.floats(0, 1),
        "max_steps": st.integers(0, 3),
        "batch_size": st.integers(1, 30),
        "gradient_accumulation": st.integers(1, 3),
        "gradient_checkpointing": st.booleans(),
        "learning_rate": st.floats(1e-5, 1e-2),
        "weight_decay": st.floats(0, 0.1),
        "early_stopping": st.booleans(),
        "validation_fraction": st.floats(0.01, 0.5),
        "n_iter_no_change": st.integers(1, 3),
        "tol": st.floats(0, 1),
        "precision": st.sampled_from(["auto", "float32"]),
    }
    return VQDRAW(**{name: draw(values) for name, values in params.items()}), X


@st.composite
def boostings(draw):
    """A ClusterBoosting and an X that it can be fitted on."""
    X, _ = draw(data())
    params = {
        **SHARED,
        "loss": st.sampled_from(["squared_error", "squared_error", "log_loss"]),
        "shrinkage": st.floats(0.01, 1) | st.just("auto"),
        "line_search": st.booleans(),
        "subsample": st.none() | st.integers(1, 30),
        "beam_size": st.integers(1, 4),
        "n_refits": st.integers(0, 2),
        "max_iter": st.integers(1, 5),
        "tol": st.floats(0, 1),
    }
    params = {name: draw(values) for name, values in params.items()}
    if params["loss"] == "log_loss":
        X = (np.median(X) < X).astype(X.dtype)
        params.update(beam_size=1, n_refits=0)
    return ClusterBoosting(**params), X


def assert_codes(model, X):
    """What is true of every fitted model."""
    n_stages, n_options = model.n_stages, model.n_options
    codes = model.encode(X)
    assert codes.shape == (len(X), n_stages)
    assert codes.dtype == np.uint8
    assert codes.max() < n_options
    np.testing.assert_array_equal(model.encode(X[-1:]), codes[-1:])
    for length in range(n_stages + 1):
        Xr = model.decode(codes[:, :length])
        assert Xr.shape == X.shape
        assert Xr.dtype == np.result_type(X.dtype, np.float32)
        assert np.isfinite(Xr).all()
    np.testing.assert_array_equal(model.reconstruct(X), Xr)
    np.testing.assert_allclose(model.decode(codes[:, :0]), [model.mean_] * len(X), rtol=1e-6)
    np.testing.assert_array_equal(model.inverse_transform(model.transform(X)), Xr)
    assert model.code_usage_.shape == (n_stages, n_options)
    assert (model.code_usage_ >= 0).all()
    np.testing.assert_allclose(model.code_usage_.sum(axis=1), 1)
    assert np.isfinite(model.score(X))


def assert_comes_back(model, X):
    """From a file and from a pickle, to the bit."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder, "model"))
        loaded = skvqdraw.load(Path(folder, "model"))
    codes = model.encode(X)
    for back in (loaded, pickle.loads(pickle.dumps(model))):
        assert back.get_params().keys() == model.get_params().keys()
        assert repr(back) == repr(model)
        np.testing.assert_array_equal(back.encode(X), codes)
        np.testing.assert_array_equal(back.decode(codes), model.decode(codes))


@bounded
@given(vqdraws())
def test_vqdraw(vq_and_X):
    vq, X = vq_and_X
    vq.fit(X)
    assert_codes(vq, X)
    assert_comes_back(vq, X)


@bounded
@given(boostings())
def test_cluster_boosting(boosting_and_X):
    boosting, X = boosting_and_X
    boosting.fit(X)
    assert_codes(boosting, X)
    assert_comes_back(boosting, X)


WRONG = [
    *(-3, -0.5, 0, 1.5, 7, float("nan"), float("inf"), -float("inf"), "nonsense", "", "auto", b"x"),
    *(None, True, (), (1, 2), [], {}, 1j, object(), np.array([1, 2]), np.nan, VQDRAW, MLPRefiner),
]


def fits_or_says_why(model, X):
    """A fit ends well, or with the kinds of errors that are documented."""
    try:
        model.fit(X)
    except (ValueError, TypeError, FloatingPointError):
        assert not hasattr(model, "code_usage_")
    else:
        assert_codes(model, X)


@bounded
@given(st.data())
def test_parameters_that_may_be_wrong(pick):
    X = np.random.default_rng(0).normal(size=(12, 4))
    vq = VQDRAW(2, 3, max_steps=1, random_state=0, refiner=MLPRefiner(2, basis_size=2))
    boosting = ClusterBoosting(2, 3, max_iter=2, random_state=0)
    model = pick.draw(st.sampled_from([vq, boosting]))
    names = [name for name in model.get_params() if name not in ("verbose", "refiner")]
    for _ in range(pick.draw(st.integers(1, 2))):
        model.set_params(**{pick.draw(st.sampled_from(names)): pick.draw(st.sampled_from(WRONG))})
    fits_or_says_why(model, X)


@bounded
@given(st.data())
def test_refiners_that_may_be_wrong(pick):
    X = np.random.default_rng(0).normal(size=(12, 4))
    small = {"n_blocks": 1, "basis_size": 2}
    specs = [MLPRefiner(2, **small), ConvRefiner((2, 2), n_channels=2, downsampling=1, **small)]
    spec = pick.draw(st.sampled_from(specs))
    spec.set_params(
        **{pick.draw(st.sampled_from(list(spec.get_params()))): pick.draw(st.sampled_from(WRONG))}
    )
    fits_or_says_why(VQDRAW(3, 3, max_steps=1, random_state=0, refiner=spec), X)

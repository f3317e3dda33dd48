"""VQDRAW of symbols and of normal numbers, end to end, and from strings to strings."""

import pickle

import numpy as np
import pytest
import torch
from conftest import make_estimator
from fuzz_load import put_together, take_apart
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

import skvqdraw
from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw.exceptions import FormatError
from skvqdraw.losses import Categorical, Gaussian
from skvqdraw.preprocessing import CharacterTokenizer
from skvqdraw.refiners import ConvRefiner, MLPRefiner, SequenceRefiner

LENGTH, SYMBOLS = 12, 4


@pytest.fixture(scope="module")
def tokens():
    """Rows that repeat a pattern of symbols from any place on, with some noise."""
    rng = np.random.default_rng(0)
    pattern = np.array([0, 1, 1, 2, 3, 0])
    rows = pattern[(np.arange(LENGTH) + rng.integers(0, 6, (300, 1))) % 6]
    noise = rng.random(rows.shape) < 0.05
    return np.where(noise, rng.integers(0, SYMBOLS, rows.shape), rows).astype(np.uint8)


@pytest.fixture(scope="module")
def vq(tokens):
    return make_estimator(loss=Categorical(), max_steps=150).fit(tokens)


def test_end_to_end(vq, tokens, tmp_path):
    codes = vq.encode(tokens)
    decoded = vq.decode(codes)
    assert decoded.shape == tokens.shape
    assert decoded.dtype == np.float32
    assert (decoded == tokens).mean() > 0.9
    np.testing.assert_array_equal(vq.reconstruct(tokens), decoded)
    np.testing.assert_array_equal(vq.inverse_transform(vq.transform(tokens)), decoded)
    order = np.random.default_rng(0).permutation(len(tokens))[:70]
    np.testing.assert_array_equal(vq.encode(tokens[order]), codes[order])
    # Of whole rounds: within one, a search gives up a little of a prefix for the round's end.
    losses = [
        -vq.loss_.rows(vq._parameters(codes[:, :s]), tokens.astype(float)).mean() for s in (0, 1, 4)
    ]
    assert losses == sorted(losses)
    assert vq.score(tokens) == pytest.approx(losses[-1], rel=1e-5)
    assert set(np.unique(vq.sample(20, random_state=0))) <= set(range(SYMBOLS))
    assert vq.proposals(codes[:3, :1]).shape == (3, 8, LENGTH)
    vq.save(tmp_path / "model")
    for same in (skvqdraw.load(tmp_path / "model"), pickle.loads(pickle.dumps(vq))):
        assert repr(same) == repr(vq)
        assert same.loss_.n_symbols == SYMBOLS
        np.testing.assert_array_equal(same.encode(tokens), codes)
        assert same.score(tokens) == vq.score(tokens)
        assert same.fingerprint() == vq.fingerprint()


def test_the_number_of_symbols_is_read_off_the_data(vq, tokens):
    assert vq.loss.n_symbols is None
    assert vq.loss_.n_symbols == SYMBOLS
    assert vq.mean_.shape == (LENGTH * SYMBOLS,)
    np.testing.assert_allclose(vq.mean_.reshape(LENGTH, -1).sum(axis=1), 1, rtol=1e-5)
    shares = (tokens[:, :, None] == np.arange(SYMBOLS)).mean(axis=0).ravel()
    np.testing.assert_allclose(vq.mean_, (300 * shares + 1 / SYMBOLS) / 301, rtol=1e-5)
    likeliest = shares.reshape(LENGTH, -1).argmax(axis=1)
    np.testing.assert_array_equal(vq.decode(np.zeros((1, 0), int))[0], likeliest)
    named = make_estimator(loss=Categorical(9), max_steps=0).fit(tokens)
    assert named.mean_.shape == (LENGTH * 9,)


def test_numbers_of_any_kind_are_symbols(tokens):
    few = {"max_steps": 3, "loss": Categorical()}
    codes = make_estimator(**few).fit(tokens).encode(tokens)
    for dtype in (np.int64, np.float32, np.float64, np.uint16):
        other = make_estimator(**few).fit(tokens.astype(dtype))
        np.testing.assert_array_equal(other.encode(tokens.astype(dtype)), codes)
    assert other.decode(codes).dtype == np.float32
    assert make_estimator(**few).fit(tokens.astype(float)).decode(codes).dtype == np.float64
    constant = make_estimator(**few).fit(np.zeros_like(tokens))
    assert constant.loss_.n_symbols == 2
    assert (constant.reconstruct(np.zeros_like(tokens)) == 0).all()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda X: X.astype(int) - 1, "values from -1 to 2"),
        (lambda X: X + 0.5, "numbers between integers"),
        (lambda X: X + 1, f"values from 1 to {SYMBOLS}"),
    ],
)
def test_what_is_no_symbol(vq, tokens, change, found):
    wrong = change(tokens)
    with pytest.raises(ValueError, match=f"integers of 0 to 3; X has {found}"):
        vq.encode(wrong)
    named = make_estimator(loss=Categorical(SYMBOLS))
    with pytest.raises(ValueError, match=f"n_symbols=4.* needs symbols.*; X has {found}"):
        named.fit(wrong)
    assert not hasattr(named, "loss_")
    assert not hasattr(named, "n_features_in_")
    if wrong.min() < 1 or not float(wrong.flat[0]).is_integer():
        with pytest.raises(ValueError, match=f"integers of 0 or more; X has {found}"):
            make_estimator(loss=Categorical()).fit(wrong)
    before = pickle.dumps(vq)
    refitted = clone(vq).fit(tokens)
    with pytest.raises(ValueError, match="needs symbols"):
        refitted.set_params(loss=Categorical(3)).fit(tokens)
    assert refitted.loss_.n_symbols == SYMBOLS
    assert pickle.dumps(vq) == before


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (Categorical(1), "'n_symbols' parameter of Categorical must be an int in the range"),
        (Categorical(2.5), "'n_symbols' parameter of Categorical must be"),
        (Gaussian(0), "'min_scale' parameter of Gaussian must be a float in the range"),
        (Gaussian("x"), "'min_scale' parameter of Gaussian must be"),
    ],
)
def test_parameters_of_losses(tokens, loss, message):
    with pytest.raises(ValueError, match=message):
        make_estimator(loss=loss).fit(tokens)


def test_training_goes_on_with_the_symbols_it_began_with(tokens):
    vq = make_estimator(loss=Categorical(), warm_start=True).fit(tokens)
    before = vq.score(tokens)
    some = tokens[(tokens < 3).all(axis=1) | (np.arange(300) < 100)] % 3
    vq.fit(some).partial_fit(tokens)  # three symbols are fewer than were seen
    assert vq.loss_.n_symbols == SYMBOLS
    assert vq.fit(tokens).score(tokens) > before
    with pytest.raises(ValueError, match="integers of 0 to 3; X has values from 0 to 4"):
        vq.partial_fit(np.minimum(tokens + 1, 4) * (tokens > 0))
    with pytest.raises(ValueError, match="loss cannot change while training goes on"):
        vq.set_params(loss=Categorical(5)).fit(tokens)
    vq.set_params(loss=Categorical(SYMBOLS)).fit(tokens)


def test_identifiers_are_no_symbols(tokens):
    with pytest.raises(ValueError, match="takes up to 4096 symbols.*; X has values up to 600000."):
        make_estimator(loss=Categorical()).fit(tokens.astype(int) * 200_000)


def test_cluster_boosting_has_no_such_loss(tokens):
    with pytest.raises(ValueError, match="'loss' parameter of ClusterBoosting must be"):
        ClusterBoosting(2, 4, loss=Categorical()).fit(tokens)


@pytest.mark.parametrize(
    "params",
    [
        {"refiner": SequenceRefiner(LENGTH, n_channels=8, n_blocks=2, basis_size=4)},
        {"refiner": ConvRefiner((4, 3), n_channels=8, downsampling=1, basis_size=4)},
        {"beam_size": 3},
        {"beam_size": 2, "round_beam_size": 1},
        {"gradient_checkpointing": True, "gradient_accumulation": 2, "n_stages": 6},
        {"gradient_decay": 1.0, "early_stopping": True},
        {"n_options": 80, "max_steps": 3},
        {"encoding": "soft"},
    ],
    ids=repr,
)
def test_other_parameters(tokens, params):
    vq = make_estimator(**{"loss": Categorical(), **params}).fit(tokens)
    codes = vq.encode(tokens)
    np.testing.assert_array_equal(vq.reconstruct(tokens), vq.decode(codes))
    order = np.random.default_rng(0).permutation(len(tokens))
    np.testing.assert_array_equal(vq.encode(tokens[order]), codes[order])
    start = np.tile(np.log(vq.mean_), (len(tokens), 1))
    assert -vq.score(tokens) < vq.loss_.rows(start, tokens).mean()
    Z = vq.transform(tokens)
    np.testing.assert_array_equal(vq.inverse_transform(Z), vq.decode(codes))


def test_a_sequence_refiner_learns_what_is_at_another_place_in_each_row():
    rng = np.random.default_rng(0)
    X = np.zeros((500, 24), np.uint8)
    starts = rng.integers(0, 20, 500)
    for i in range(4):
        X[np.arange(500), starts + i] = i % 2 + 1
    refiner = SequenceRefiner(24, n_channels=16, n_blocks=3, basis_size=16)
    params = {"n_options": 16, "n_stages": 3, "max_steps": 200, "loss": Categorical()}
    vq = make_estimator(refiner=refiner, **params).fit(X)
    assert (vq.reconstruct(X) == X).mean() > 0.97  # of nothing but zeros it is 0.83


# Normal numbers


def test_gaussian_tells_what_is_certain():
    rng = np.random.default_rng(0)
    group, noise = rng.integers(0, 4, 600), np.array([0.01, 0.3, 1.0])
    X = rng.normal(size=(4, 3))[group] + noise * rng.normal(size=(600, 3))
    vq = make_estimator(loss=Gaussian(), n_stages=2, n_options=4, max_steps=300).fit(X)
    np.testing.assert_array_equal(vq.reconstruct(X), vq.decode(vq.encode(X)))
    scales = np.exp(vq._parameters(vq.encode(X))[:, 1::2]).mean(axis=0)
    assert scales[0] < scales[1] < scales[2]
    squares = make_estimator(n_stages=2, n_options=4, max_steps=300).fit(X)
    assert np.square(vq.reconstruct(X) - X)[:, 0].mean() < 0.05
    assert np.square(squares.reconstruct(X) - X).mean() < np.square(vq.reconstruct(X) - X).mean()
    start = np.tile(vq.loss_.link(vq.mean_), (len(X), 1))
    assert -vq.score(X) < vq.loss_.rows(start, X).mean() - 0.5
    assert vq.mean_.shape == (6,)
    np.testing.assert_allclose(vq.decode(np.zeros((1, 0), int))[0], X.mean(axis=0), rtol=1e-5)


def test_gaussian_wants_numbers_that_have_fourth_powers(X):
    vq = make_estimator(loss=Gaussian(), max_steps=3).fit(X)
    for method in (vq.encode, clone(vq).fit):
        with pytest.raises(
            ValueError, match=r"needs values of up to 1e\+08 in size.*from -1e\+25 to 0"
        ):
            method(X * 0 - np.float64(1e25) * (X > 0.5))
    assert np.isfinite(make_estimator(loss=Gaussian()).fit(X * np.float64(1e8)).mean_).all()
    with pytest.raises(ValueError, match="'min_scale' parameter of Gaussian must be a float in"):
        make_estimator(loss=Gaussian(1e-300)).fit(X)


# Strings


TEXT = ["to be or not to be", "that is", "the question:", "whether 'tis", "nobler in the mind"]


def test_a_pipeline_from_strings_to_strings(tmp_path):
    strings = TEXT * 20
    refiner = SequenceRefiner(20, n_channels=16, n_blocks=2, basis_size=8)
    vq = make_estimator(loss=Categorical(), refiner=refiner, max_steps=60, n_options=8)
    pipeline = make_pipeline(CharacterTokenizer(20), vq).fit(strings)
    Z = pipeline.transform(strings)
    assert Z.shape == (100, 4 * 8)
    back = pipeline.inverse_transform(Z)
    assert all(isinstance(string, str) for string in back)
    assert list(back[:5]) == TEXT  # five different rows are few for 12 bits
    assert list(pipeline.inverse_transform(Z[:5])) == TEXT
    other = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(other.inverse_transform(Z), back)
    # What is not in the alphabet is a symbol too.
    assert "\N{REPLACEMENT CHARACTER}" in TEXT[0] or pipeline.transform(["ΑΒΓ"]).shape == (1, 32)
    assert len(pipeline[0].inverse_transform(pipeline[1].sample(3, random_state=0))) == 3


# Files


@pytest.mark.parametrize(
    "said",
    [
        None,
        {"class": "Categorical", "params": {"n_symbols": None}},
        {"class": "Categorical", "params": {"n_symbols": 0}},
        {"class": "Categorical", "params": {"n_symbols": "4"}},
        {"class": "Categorical", "params": {"n_symbols": 3}},
        {"class": "Categorical", "params": {"n_symbols": 10**9}},
        {"class": "Gaussian", "params": {"min_scale": 1e-3}},
        {"class": "Gaussian", "params": {"min_scale": 0.0}},
        {"class": "SquaredError", "params": {}},
        {"class": "LogLoss", "params": {}},
    ],
    ids=repr,
)
def test_files_with_another_loss(vq, tmp_path, said):
    vq.save(tmp_path / "model")
    header, text, rest = take_apart((tmp_path / "model").read_bytes())
    if said is None:
        del text["fitted"]["loss_"]
    else:
        text["fitted"]["loss_"] = said
    (tmp_path / "model").write_bytes(put_together(header, text, rest))
    with pytest.raises(FormatError):
        skvqdraw.load(tmp_path / "model")


# Sequences


@pytest.mark.parametrize(
    ("refiner", "message"),
    [
        (SequenceRefiner(5), "sequence_length=5 with n_channels_in=1 has 5 values; X has 12"),
        (SequenceRefiner(5, 2), "sequence_length=5 with n_channels_in=2 has 10 values; X has 12"),
        (SequenceRefiner(12, downsampling=5), "sequence_length=12 must be a multiple of downsam"),
        (SequenceRefiner(0), "'sequence_length' parameter of SequenceRefiner must be an int"),
        (SequenceRefiner(12, n_blocks=99), "'n_blocks' parameter of SequenceRefiner must be"),
    ],
)
def test_sequences_that_do_not_fit(tokens, refiner, message):
    with pytest.raises(ValueError, match=message):
        make_estimator(refiner=refiner).fit(tokens)


@pytest.mark.parametrize("hidden_size", [0, 8])
@pytest.mark.parametrize(("n_channels_in", "downsampling"), [(1, 1), (1, 2), (3, 2)])
def test_sequences_with_channels(hidden_size, n_channels_in, downsampling):
    rng = np.random.default_rng(0)
    phase, time = rng.uniform(0, 7, (200, 1, 1)), np.arange(16)[:, None] / 3
    X = np.sin(time + phase + np.arange(n_channels_in)).reshape(200, -1)
    refiner = SequenceRefiner(
        16,
        n_channels_in,
        n_channels=8,
        n_blocks=2,
        downsampling=downsampling,
        hidden_size=hidden_size,
        basis_size=4,
    )
    vq = make_estimator(refiner=refiner, max_steps=100).fit(X)
    assert -vq.score(X) < 0.1 * X.var()
    np.testing.assert_array_equal(vq.reconstruct(X), vq.decode(vq.encode(X)))


def test_a_sequence_trunk_sees_both_ways_as_far_as_it_says():
    refiner = SequenceRefiner(40, n_channels=8, n_blocks=3, basis_size=2)
    network = refiner.build(40, 4, 4).eval()
    x = torch.zeros(2, 40)
    x[1, 20] = 1
    with torch.no_grad():
        # Group normalisation sees the whole row, but only a little of it.
        for norm in [m for m in network.modules() if isinstance(m, torch.nn.GroupNorm)]:
            norm.forward = lambda h: h
        basis = network.trunks[0](x, 0)
    reached = (basis[0] != basis[1]).any(1).nonzero()[:, 0]
    reach = 1 + 1 + 2 + 4  # of the stem and of three blocks
    assert reached.tolist() == list(range(20 - reach, 20 + reach + 1))


def test_refiners_without_a_layout_take_symbols_too(tokens):
    vq = VQDRAW(2, 4, loss=Categorical(), refiner=MLPRefiner(8, basis_size=2), max_steps=2)
    assert vq.fit(tokens).encode(tokens).shape == (300, 2)

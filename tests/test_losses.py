"""Losses: of the library, and of somebody else's."""

import pickle

import numpy as np
import pytest
import torch
from conftest import make_estimator
from fuzz_load import put_together, take_apart
from scipy.special import expit, logit
from sklearn.base import clone
from test_checkpoint import CrashError, assert_same_fit, crash  # noqa: F401 (a fixture)

import skvqdraw
from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw.datasets import load_digits_images
from skvqdraw.losses import LogLoss, Loss, SquaredError
from skvqdraw.nn import DenseRound
from skvqdraw.nn.preparation import Preparation
from skvqdraw.refiners import ConvRefiner, MLPRefiner, PaperRefiner, Refiner


@pytest.fixture(scope="module")
def binary():
    return (load_digits_images().data[:300] > 0.5).astype(np.float32)


@pytest.fixture(scope="module")
def vq(binary):
    refiner = MLPRefiner(32, basis_size=12)
    return make_estimator(loss="log_loss", refiner=refiner, max_steps=100).fit(binary)


def log_loss(X, chances):
    return -(X * np.log(chances) + (1 - X) * np.log(1 - chances)).mean(axis=1)


# Each loss against the plain formula


class LogGaussian(Loss):
    """Minus the log likelihood of normal numbers, with a mean and a log scale for each feature."""

    n_params = 2
    centred = False

    def grid(self, params, target):
        mean, log_scale = params.unflatten(-1, (-1, 2)).clamp(-5, 5).unbind(-1)
        z = (target[:, None] - mean) * (-log_scale).exp()
        return (z.square() / 2 + log_scale).mean(-1)

    def rows(self, params, X):
        return self.grid(torch.from_numpy(params)[:, None], torch.from_numpy(X))[:, 0].numpy()

    def link(self, X):
        return np.stack([X, np.zeros_like(X)], -1).reshape(*X.shape[:-1], -1)

    def inverse_link(self, params):
        return params[:, ::2]


LOSSES = {"squares": SquaredError(), "chances": LogLoss(), "normal": LogGaussian()}


@pytest.mark.parametrize("name", LOSSES)
def test_candidates_are_scored_as_rows(name):
    loss, rng = LOSSES[name], np.random.default_rng(0)
    params, X = rng.normal(size=(5, 3, 4 * loss.n_params)), rng.random((5, 4))
    grid = loss.grid(torch.from_numpy(params), torch.from_numpy(X))
    for k in range(3):
        np.testing.assert_allclose(grid[:, k].numpy(), loss.rows(params[:, k], X), rtol=1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_data_are_their_parameters(name):
    X = np.random.default_rng(0).random((5, 4))
    np.testing.assert_allclose(LOSSES[name].inverse_link(LOSSES[name].link(X)), X)


def test_log_loss_is_minus_the_log_likelihood():
    X, params = np.array([[0.0, 1, 0.3]]), np.array([[-2.0, 3, 100]])
    expected = np.mean([np.log1p(np.exp(-2)), np.log1p(np.exp(-3)), 100 * 0.7])
    assert LogLoss().rows(params, X)[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("order", [None, np.array([2, 0, 3, 1])])
def test_a_network_counts_from_the_mean_in_its_own_order(name, order):
    loss, rng = LOSSES[name], np.random.default_rng(0)
    X = rng.random((50, 4))
    mean, scale = loss.mean_and_scale(X, np.ones(50))
    preparation = Preparation(loss, mean, scale, order)
    start = torch.zeros(1, preparation.width)
    np.testing.assert_allclose(preparation.inverse(start)[0], mean, rtol=1e-6)
    # What the network draws, scored as it is and as rows of data.
    drawn = torch.randn(50, preparation.width, generator=torch.Generator().manual_seed(0))
    grid = preparation.objective.grid(drawn[:, None], preparation.forward(X))[:, 0]
    expected = loss.rows(preparation.parameters(drawn), X)
    np.testing.assert_allclose(grid.numpy() * loss.unit(scale), expected, rtol=2e-5)


# VQDRAW with log loss, end to end


def test_log_loss_end_to_end(vq, binary, tmp_path):
    codes = vq.encode(binary)
    chances = vq.decode(codes)
    assert ((chances >= 0) & (chances <= 1)).all()
    np.testing.assert_array_equal(vq.reconstruct(binary), chances)
    expected = log_loss(binary.astype(float), np.clip(chances.astype(float), 1e-12, 1 - 1e-12))
    np.testing.assert_allclose(-vq.score_samples(binary), expected, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(vq.decode(codes[:, :0])[0], vq.mean_, rtol=1e-5)
    assert_losses_fall_with_prefixes(vq, binary, codes)
    assert vq.sample(3, random_state=0).shape == (3, 64)
    vq.save(tmp_path / "model")
    for same in (skvqdraw.load(tmp_path / "model"), pickle.loads(pickle.dumps(vq))):
        np.testing.assert_array_equal(same.encode(binary), codes)
        np.testing.assert_array_equal(same.decode(codes), chances)
        assert same.score(binary) == vq.score(binary)


def assert_losses_fall_with_prefixes(vq, X, codes):
    losses = [
        log_loss(X.astype(float), np.clip(vq.decode(codes[:, :s]).astype(float), 1e-9, 1 - 1e-9))
        for s in range(5)
    ]
    means = [loss.mean() for loss in losses]
    assert means == sorted(means, reverse=True)


def test_log_loss_is_far_below_that_of_cluster_boosting(vq, binary):
    boosting = ClusterBoosting(4, 8, loss="log_loss", random_state=0).fit(binary)
    assert -vq.score(binary) < 0.8 * -boosting.score(binary)
    assert vq.loss_curve_[-1]["error"] == pytest.approx(-vq.score(binary), rel=0.3)  # in nats


@pytest.mark.parametrize(
    "params",
    [
        {"refiner": ConvRefiner((8, 8), n_channels=8, downsampling=2, basis_size=4)},
        {"refiner": PaperRefiner((8, 8)), "max_steps": 5},
        {"beam_size": 2},
        {"round_beam_size": 1, "gradient_decay": 1.0},
        {"gradient_checkpointing": True, "gradient_accumulation": 2, "n_stages": 6},
        {"early_stopping": True},
    ],
    ids=repr,
)
def test_log_loss_with_other_parameters(binary, params):
    vq = make_estimator(loss="log_loss", **params).fit(binary)
    codes = vq.encode(binary)
    np.testing.assert_array_equal(vq.reconstruct(binary), vq.decode(codes))
    entropy = log_loss(binary.astype(float), np.tile(vq.mean_, (len(binary), 1)).astype(float))
    assert -vq.score(binary) < entropy.mean()
    order = np.random.default_rng(0).permutation(len(binary))
    np.testing.assert_array_equal(vq.encode(binary[order]), codes[order])


def test_log_loss_goes_on(binary, tmp_path, crash):  # noqa: F811
    whole = make_estimator(loss="log_loss").fit(binary)
    vq = make_estimator(loss="log_loss", checkpoint=tmp_path / "ckpt", checkpoint_every=0)
    crash(12)
    with pytest.raises(CrashError):
        vq.fit(binary)
    with pytest.raises(ValueError, match="loss was 'log_loss', is now 'squared_error'"):
        clone(vq).set_params(loss="squared_error").fit(binary)
    assert_same_fit(vq.fit(binary), whole, binary)
    score = vq.score(binary)
    for _ in range(5):
        vq.partial_fit(binary)
    assert vq.score(binary) > score
    vq.set_params(warm_start=True, loss="squared_error")
    with pytest.raises(ValueError, match="loss cannot change while training goes on; fitted with "):
        vq.fit(binary)


def test_a_vqdraw_keeps_the_loss_that_it_was_fitted_with(vq, binary, tmp_path):
    changed = clone(vq).fit(binary).set_params(loss="squared_error")
    codes = changed.encode(binary)
    assert changed.decode(codes).max() <= 1
    assert isinstance(changed.loss_, LogLoss)
    changed.save(tmp_path / "model")
    loaded = skvqdraw.load(tmp_path / "model")
    assert loaded.loss == "squared_error"
    np.testing.assert_array_equal(loaded.decode(codes), changed.decode(codes))


@pytest.mark.parametrize("estimator", [VQDRAW(2, 4, max_steps=2), ClusterBoosting(2, 4)])
def test_log_loss_wants_chances(estimator, binary):
    estimator = clone(estimator).set_params(loss="log_loss", random_state=0)
    with pytest.raises(ValueError, match=r"needs values in \[0, 1\]; X has values from 0 to 2"):
        estimator.fit(2 * binary)
    estimator.fit(binary)
    for method in (estimator.encode, estimator.score, estimator.reconstruct):
        with pytest.raises(ValueError, match=r"needs values in \[0, 1\]"):
            method(binary - 0.5)


def test_columns_that_are_all_0_or_1(binary):
    X = binary.copy()
    X[:, 3], X[:, 4] = 1, 0
    vq = make_estimator(loss="log_loss").fit(X)
    assert np.isfinite(vq.score_samples(X)).all()
    assert np.isfinite(vq.network_.table.detach().numpy()).all()
    np.testing.assert_allclose(vq.reconstruct(X)[:, 3:5], X[:, 3:5], atol=0.1)
    assert np.abs(logit(vq.mean_)).max() < 10
    assert expit(logit(vq.mean_[0])) == pytest.approx(vq.mean_[0], rel=1e-5)


# A loss of somebody else's, of two parameters


REFINERS = {
    "perceptron": MLPRefiner(16, basis_size=4),
    "convolutions": ConvRefiner((8, 8), n_channels=8, downsampling=2, basis_size=4),
    "paper": PaperRefiner((8, 8)),
}


@pytest.mark.parametrize("refiner", REFINERS)
def test_two_parameters_for_each_feature(X, refiner, tmp_path):
    steps = 3 if refiner == "paper" else 30
    vq = make_estimator(loss=LogGaussian(), refiner=REFINERS[refiner], max_steps=steps).fit(X)
    codes = vq.encode(X)
    assert vq.decode(codes).shape == X.shape
    np.testing.assert_array_equal(vq.reconstruct(X), vq.decode(codes))
    start = LogGaussian().rows(np.tile(LogGaussian().link(vq.mean_), (len(X), 1)), X)
    if refiner != "paper":
        assert -vq.score(X) < start.mean()
    vq.save(tmp_path / "model")
    with pytest.raises(skvqdraw.exceptions.FormatError, match="unknown .* 'LogGaussian'"):
        skvqdraw.load(tmp_path / "model")
    same = skvqdraw.load(tmp_path / "model", allow=[LogGaussian])
    np.testing.assert_array_equal(same.encode(X), codes)
    assert same.score(X) == vq.score(X)


class Fixed(torch.nn.Module):
    def __init__(self, n_features, n_stages, n_options):
        super().__init__()
        self.moves = torch.nn.Parameter(torch.randn(n_stages, n_options, n_features))

    def forward(self, x, stage):
        return DenseRound(x[:, None] + self.moves[stage])


class OldRefiner(Refiner):
    """Written before losses had parameters."""

    def build(self, n_features, n_stages, n_options):
        return Fixed(n_features, n_stages, n_options)


def test_a_refiner_without_n_params_serves_losses_of_one(X, binary):
    for loss in ("squared_error", "log_loss"):
        make_estimator(refiner=OldRefiner(), loss=loss, max_steps=3).fit(binary).encode(binary)
    with pytest.raises(TypeError, match="OldRefiner.build must take n_params, since LogGaussian"):
        make_estimator(refiner=OldRefiner(), loss=LogGaussian()).fit(X)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("absolute", "The 'loss' parameter of VQDRAW must be a str among .*'log_loss'"),
        (None, "The 'loss' parameter"),
        (3, "an object implementing 'grid' and 'get_params'"),
    ],
)
def test_what_is_no_loss(X, loss, message):
    with pytest.raises(ValueError, match=message):
        make_estimator(loss=loss).fit(X)


@pytest.mark.parametrize("name", ["grid", "rows"])
def test_a_loss_that_is_not_whole(name):
    with pytest.raises(NotImplementedError, match=f"Loss must implement {name}"):
        getattr(Loss(), name)(None, None)


class Weighted(Loss):
    """With parameters of any kind."""

    def __init__(self, weights=None, inner=None):
        self.weights = weights
        self.inner = inner

    def grid(self, params, target):
        weights = torch.as_tensor(np.asarray(self.weights), dtype=params.dtype)
        return ((params - target[:, None]).square() * weights).mean(-1)

    def rows(self, params, X):
        return (np.square(params - X) * np.asarray(self.weights)).mean(1)

    def unit(self, scale):
        return np.float64(scale) ** 2


@pytest.mark.parametrize("weights", [np.linspace(1, 2, 64), tuple(np.linspace(1, 2, 64))])
def test_losses_with_parameters_of_any_kind_go_on(X, weights, capsys):
    loss = Weighted(weights, inner=Weighted(weights))
    vq = make_estimator(loss=loss, verbose=2, warm_start=True).partial_fit(X).partial_fit(X)
    assert vq.fit(X).score(X) < 0
    assert type(vq.loss_curve_[-1]["error"]) is float
    for change in ({"loss__weights": weights[::-1]}, {"loss__inner": None}):
        other = pickle.loads(pickle.dumps(vq)).set_params(**change)
        with pytest.raises(ValueError, match="loss cannot change while training goes on"):
            other.fit(X)


def test_what_a_loaded_model_was_fitted_with_is_its_own(X, tmp_path):
    weights = tuple(np.linspace(1, 2, 64).tolist())
    make_estimator(loss=Weighted(weights), max_steps=3).fit(X).save(tmp_path / "model")
    vq = skvqdraw.load(tmp_path / "model", allow=[Weighted])
    before = vq.fingerprint()
    vq.set_params(loss__weights=weights[::-1])
    assert vq.fingerprint() == before
    assert vq.loss_.weights == weights


@pytest.mark.parametrize("kind", [VQDRAW, ClusterBoosting])
@pytest.mark.parametrize(
    "said",
    [
        "x",
        "log_loss",
        3,
        ["log_loss"],
        {"class": "Weighted", "params": {}},
        {"class": "MLPRefiner", "params": {}},
        {"class": "LogLoss", "params": {"eps": 1}},
    ],
    ids=repr,
)
def test_files_with_a_loss_that_is_none(X, tmp_path, kind, said):
    model = make_estimator(max_steps=2) if kind is VQDRAW else ClusterBoosting(2, 4)
    model.fit(X).save(tmp_path / "model")
    header, text, rest = take_apart((tmp_path / "model").read_bytes())
    text["fitted"]["loss_"] = said
    (tmp_path / "model").write_bytes(put_together(header, text, rest))
    allow = [Weighted] if kind is ClusterBoosting else ()
    with pytest.raises(skvqdraw.exceptions.FormatError):
        skvqdraw.load(tmp_path / "model", allow=allow)


def test_a_file_whose_loss_was_exchanged_decodes_to_numbers(X, tmp_path):
    for model in (make_estimator(max_steps=2), ClusterBoosting(4, 8)):
        model.fit(3 * X - 1).save(tmp_path / "model")
        header, text, rest = take_apart((tmp_path / "model").read_bytes())
        text["fitted"]["loss_"] = {"class": "LogLoss", "params": {}}
        (tmp_path / "model").write_bytes(put_together(header, text, rest))
        if isinstance(model, VQDRAW):
            with pytest.raises(skvqdraw.exceptions.FormatError, match="scale_ must be 1 with"):
                skvqdraw.load(tmp_path / "model")
        else:
            assert np.isfinite(skvqdraw.load(tmp_path / "model").decode([[0, 1]])).all()


@pytest.mark.parametrize("n_rows", [500, 300_000])
def test_a_start_from_projections_under_log_loss(n_rows, monkeypatch):
    """Centres may be a last bit above 1; options without rows start at the mean."""
    monkeypatch.setattr("skvqdraw.nn.start._MULTIPLICATIONS", 1)
    rng = np.random.default_rng(0)
    X = (rng.random((3, 16)) < 0.5).astype(np.uint8)[rng.integers(0, 3, n_rows)]
    X[:, :2] = 1
    vq = VQDRAW(
        1, 16, loss="log_loss", refiner=MLPRefiner(8, basis_size=2), max_steps=0, random_state=0
    ).fit(X, sample_weight=rng.random(n_rows))
    chances = vq.decode(np.arange(16)[:, None])
    assert np.isfinite(vq.network_.table.detach().numpy()).all()
    np.testing.assert_allclose(chances[:, :2], 1, atol=0.01)
    at_the_mean = np.abs(chances - vq.mean_).max(axis=1) < 0.01
    # Of the others, three of 16, rounding may make two or three where it splits equal rows.
    assert 7 <= at_the_mean.sum() <= 13
    others = chances[~at_the_mean]
    alike = np.abs(others[:, None] - others).max(axis=2) < 0.01
    assert len(np.unique(alike, axis=0)) == 3


def test_a_loss_given_by_name_has_no_parameters():
    with pytest.raises(ValueError, match="loss__power cannot be set: loss='squared_error' has no"):
        VQDRAW().set_params(loss__power=2)
    with pytest.raises(TypeError, match="loss must be an object, not a class.*Set LogLoss"):
        VQDRAW(loss=LogLoss).fit(np.eye(3))


def test_another_grid_is_not_taken_for_squares():
    class Twice(SquaredError):
        def grid(self, params, target):
            return 2 * super().grid(params, target)

    assert SquaredError().quadratic
    assert not Twice().quadratic
    assert type("Same", (SquaredError,), {})().quadratic

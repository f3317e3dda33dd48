"""Guided sampling, against brute force over all codes of small models."""

import itertools

import numpy as np
import pandas as pd
import pytest
from conftest import make_estimator
from extensions.fixed_moves import FixedMoves
from extensions.product_quantizer import ProductQuantizer
from scipy.stats import chisquare
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skvqdraw import VQDRAW, ClusterBoosting, _guided
from skvqdraw.datasets import load_digits_images
from skvqdraw.guides import (
    ClassGuide,
    FunctionGuide,
    Guide,
    LinearGuide,
    MaskGuide,
    grey_matrix,
    shrinking_matrix,
)
from skvqdraw.priors import MarkovPrior
from skvqdraw.refiners import ConvRefiner, MLPRefiner

S, K = 3, 4
ALL = np.array(list(itertools.product(range(K), repeat=S)))
UPPER = np.arange(64) < 32
SMALL = shrinking_matrix((8, 8), 2)


def make(**params):
    small = {"n_stages": S, "n_options": K, "max_steps": 20}
    return make_estimator(**{**small, **params})


IMAGES = ConvRefiner((8, 8), n_channels=8, n_blocks=1, hidden_size=0, stages_per_round=2)
MODELS = {
    "one round": make(),
    "rounds": make(refiner=MLPRefiner(16, basis_size=4, stages_per_round=1)),
    "convolutions": make(refiner=IMAGES),
    "written out": make(refiner=FixedMoves()),
    "log loss": make(loss="log_loss"),
    "boosting": ClusterBoosting(S, K, random_state=0),
    "of somebody": ProductQuantizer(S, K, random_state=0),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request, X):
    return MODELS[request.param].fit((X > 0.5).astype(X.dtype))


@pytest.fixture(scope="module")
def classifier():
    digits = load_digits_images()
    return LogisticRegression(max_iter=1000).fit(digits.data, digits.target)


def wishes(target, classifier):
    """Guides for a sample, and what each thinks of rows."""
    return {
        MaskGuide(target, UPPER): lambda rows: -np.square(rows - target)[:, UPPER].mean(axis=1),
        LinearGuide(SMALL @ target, SMALL): lambda rows: (
            -np.square((SMALL @ (rows - target).T).T).mean(axis=1)
        ),
        ClassGuide(classifier, 3): lambda rows: classifier.predict_log_proba(rows)[:, 3],
        FunctionGuide(lambda rows, stage: rows[:, :, 5]): lambda rows: rows[:, 5],
    }.items()


def test_a_beam_of_all_finds_the_best_of_all(model, X, classifier):
    for guide, wish in wishes(X[7].astype(float), classifier):
        guide.set_params(temperature=0, beam_size=K**S)
        found = model.sample(2, guide=guide, random_state=0)
        scores = wish(model.decode(ALL).astype(float))
        assert wish(found.astype(float)) == pytest.approx(scores.max(), rel=1e-4)


def expected_frequencies(model, weigh, prior=None):
    """Walk through all prefixes, and multiply the chances that weights give their options."""
    chances = {(): 1.0}
    for s in range(S):
        prefixes = ALL[:: K ** (S - s), :s]
        proposals = model.proposals(prefixes).astype(float)
        for prefix, candidates in zip(prefixes.tolist(), proposals, strict=True):
            logs = weigh(candidates)
            if prior is not None:
                following = np.column_stack([np.tile(prefix, (K, 1)), np.arange(K)])
                padded = np.pad(following, ((0, 0), (0, S - s - 1))).astype(int)
                logs = logs + prior.stage_scores(padded)[:, s]
            weights = np.exp(logs - logs.max())
            before = chances[tuple(prefix)]
            for k in range(K):
                chances[*prefix, k] = before * weights[k] / weights.sum()
    return np.array([chances[tuple(code)] for code in ALL])


@pytest.mark.parametrize("with_prior", [False, True])
def test_samples_are_as_frequent_as_their_weights_say(model, with_prior, X, classifier):
    codes = np.random.default_rng(0).choice(K, (300, S), p=[0.4, 0.3, 0.2, 0.1])
    prior = MarkovPrior(n_options=K).fit(codes) if with_prior else None
    n, target = 2000, X[7].astype(float)
    for guide, wish in wishes(target, classifier):
        relative = isinstance(guide, (MaskGuide, LinearGuide))
        guide.set_params(temperature=0.3 if relative else 2.0)

        def weigh(rows, wish=wish, relative=relative):
            scores = wish(rows)
            return scores / (0.3 * -scores.mean() if relative else 2.0)

        expected = n * expected_frequencies(model, weigh, prior)
        drawn = model.sample_codes(n, guide=guide, prior=prior, random_state=0)
        counts = np.bincount(drawn @ K ** np.arange(S)[::-1], minlength=K**S)
        often = expected > 5
        observed = np.append(counts[often], counts[~often].sum())
        few = max(expected[~often].sum(), 1e-9)
        observed, expected = observed + 1e-9, np.append(expected[often], few) + 1e-9
        assert chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-4


@pytest.mark.parametrize("beam_size", [1, 3])
def test_with_nothing_masked_a_code_is_that_of_its_row(model, beam_size, X):
    params = model.get_params()
    if model.loss == "log_loss" if "loss" in params else False:
        pytest.skip("it codes by another loss than squared error")
    beams = {"beam_size": beam_size, "round_beam_size": 1}
    if "beam_size" not in params and beam_size > 1:
        pytest.skip("it has no beam")
    model.set_params(**{name: beams[name] for name in beams if name in params})
    guide = MaskGuide(X, np.ones(64, bool), temperature=0, beam_size=beam_size)
    codes = model.sample_codes(len(X), guide=guide)
    np.testing.assert_array_equal(codes, model.encode(X))
    model.set_params(**{name: params[name] for name in beams if name in params})


@pytest.mark.parametrize("beam_size", [1, 3])
def test_rounds_serve_linear_guides_as_if_written_out(model, beam_size, X, monkeypatch):
    """The same draws, few candidates at a time or many; and no candidate where rounds can do it."""
    rows = X[:40].astype(float)
    for guide, matrix in (
        (MaskGuide(rows, UPPER, beam_size=beam_size), np.eye(64)[UPPER]),
        (LinearGuide(rows @ SMALL.T, SMALL, beam_size=beam_size), SMALL.toarray()),
    ):
        codes = model.sample_codes(40, guide=guide, random_state=0)
        seen = []

        class WrittenOut(Guide):
            def __init__(self, temperature=0.1, beam_size=beam_size):
                self.temperature = temperature
                self.beam_size = beam_size

            def scores(self, candidates, stage, samples, matrix=matrix, seen=seen):
                seen.append(candidates.shape[0])
                left = candidates @ matrix.T - (rows[samples] @ matrix.T)[:, None]
                return -np.square(left).mean(axis=2)

            log_weights = guide.prepared(40, 64).log_weights.__func__

        monkeypatch.setattr(_guided, "MOST_VALUES", 7 * K * 64)
        same = model.sample_codes(40, guide=WrittenOut(), random_state=0)
        monkeypatch.undo()
        assert max(seen) <= 7
        assert (same == codes).all(axis=1).mean() >= 0.97  # near ties may round another way


def test_rounds_write_no_candidates_out_for_linear_guides(X, monkeypatch):
    vq = make(refiner=IMAGES).fit(X)
    monkeypatch.setattr(
        "skvqdraw.nn.guiding._written_out", lambda *args: pytest.fail("written out")
    )
    vq.sample(3, guide=MaskGuide(X[0], UPPER, beam_size=2))
    with pytest.raises(pytest.fail.Exception):
        vq.sample(3, guide=FunctionGuide(lambda rows, stage: rows[:, :, 0]))


def test_what_is_drawn_of_a_sample_depends_on_no_other(model, X):
    targets = np.tile(X, (2, 1))[:300].astype(float)
    many = model.sample_codes(300, guide=MaskGuide(targets, UPPER, beam_size=2), random_state=0)
    few = model.sample_codes(3, guide=MaskGuide(targets[:3], UPPER, beam_size=2), random_state=0)
    np.testing.assert_array_equal(few, many[:3])
    other = model.sample_codes(300, guide=MaskGuide(targets, UPPER, beam_size=2), random_state=1)
    assert (other != many).any()


def test_prefixes_stay(model, X):
    codes = model.encode(X[:9])
    guide = MaskGuide(X[:9], UPPER, beam_size=3)
    for T in range(S + 1):
        drawn = model.sample_codes(9, guide=guide, prefix=codes[:, :T], random_state=0)
        np.testing.assert_array_equal(drawn[:, :T], codes[:, :T])
    rows = model.sample(9, guide=guide, random_state=0)
    np.testing.assert_array_equal(
        rows, model.decode(model.sample_codes(9, guide=guide, random_state=0))
    )


def test_guides_get_what_they_ask_for(X, classifier):
    """More of it where the temperature is lower and the beam is wider; classes one by one."""
    vq = make(n_stages=4, n_options=16, max_steps=200).fit(load_digits_images().data)
    y = np.arange(200) % 10
    hits = [
        (
            classifier.predict(
                vq.sample(200, guide=ClassGuide(classifier, y, **how), random_state=0)
            )
            == y
        ).mean()
        for how in (
            {"temperature": 8},
            {},
            {"temperature": 0.2},
            {"temperature": 0.2, "beam_size": 4},
        )
    ]
    assert hits[0] < hits[1] < hits[2] <= hits[3] > 0.95
    errors = [
        np.square(vq.sample(200, guide=MaskGuide(X, UPPER, **how), random_state=0) - X)[
            :, UPPER
        ].mean()
        for how in ({"temperature": 1}, {}, {"temperature": 0}, {"temperature": 0, "beam_size": 8})
    ]
    assert errors[0] > errors[1] > errors[2] > errors[3]


def test_classes_of_a_prior_and_a_guide(X, classifier):
    """Options that the prior of a class does not know are not chosen for the guide's sake."""
    vq = make().fit(X)
    prior = MarkovPrior(n_options=K).fit(
        np.repeat([[0, 1, 2], [3, 2, 1]], 10**4, axis=0), np.repeat([0, 1], 10**4)
    )
    guide = MaskGuide(X[0], UPPER, temperature=10)
    drawn = vq.sample_codes(50, prior=prior, y=[0, 1] * 25, guide=guide, random_state=0)
    np.testing.assert_array_equal(drawn, [[0, 1, 2], [3, 2, 1]] * 25)
    with pytest.raises(ValueError, match="temperature must be above 0 with a guide"):
        vq.sample(3, prior=prior, guide=guide, temperature=0)


class Blind:
    """A classifier that is fitted and says what it was made to say."""

    classes_ = np.array([0, 1])

    def __init__(self, chances):
        self.chances = chances

    def predict_proba(self, X):
        return self.chances


@pytest.mark.parametrize(
    ("guide", "error", "message"),
    [
        ("mask", TypeError, "guide must be one of skvqdraw.guides"),
        (MaskGuide, TypeError, "guide must be one of skvqdraw.guides"),
        (MaskGuide(np.zeros(64), UPPER[:9]), ValueError, r"mask must be 64 booleans.*shape \(9,\)"),
        (MaskGuide(np.zeros(64), UPPER.astype(int)), ValueError, "mask must be 64 booleans"),
        (MaskGuide(np.zeros(64), ~UPPER & UPPER), ValueError, "one at least True"),
        (MaskGuide(np.zeros(32), UPPER), ValueError, "target must be a row of 64 features"),
        (MaskGuide(np.zeros((3, 64)), UPPER), ValueError, "for n_samples=2; got"),
        (MaskGuide(np.full(64, np.nan), UPPER), ValueError, "target must be finite"),
        (MaskGuide(np.zeros(64), UPPER, temperature=-1), ValueError, "'temperature' parameter"),
        (MaskGuide(np.zeros(64), UPPER, beam_size=0), ValueError, "'beam_size' parameter"),
        (LinearGuide(np.zeros(3), np.ones((3, 9))), ValueError, "a column for each of 64 features"),
        (LinearGuide(np.zeros(4), np.ones((3, 64))), ValueError, r"target must be of shape \(3,\)"),
        (LinearGuide(np.zeros(1), np.full((1, 64), np.inf)), ValueError, "matrix contains inf"),
        (ClassGuide(LogisticRegression(), 1), ValueError, "classifier must be fitted"),
        (ClassGuide(LinearSVC(), 1), ValueError, "'classifier' parameter of ClassGuide"),
        (ClassGuide(Blind(None), 2), ValueError, r"classes of the classifier, \[0, 1\]; got 2"),
        (ClassGuide(Blind(None), [1]), ValueError, "y must be one label or n_samples=2"),
        (ClassGuide(Blind(np.ones((9, 2))), 1), ValueError, "predict_proba of the classifier must"),
        (ClassGuide(Blind(np.full((2 * K, 2), np.nan)), 1), ValueError, "some are NaN or infinite"),
        (FunctionGuide(lambda rows, stage: rows), ValueError, r"\(n, n_options\) = \(2, 4\); got"),
        (FunctionGuide(lambda rows, stage: rows[:, :, 0] * np.nan), ValueError, "some are NaN"),
        (FunctionGuide(lambda rows, stage: rows[:, :, 0] - np.inf), ValueError, "infinite"),
        (FunctionGuide("f"), ValueError, "'function' parameter of FunctionGuide"),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
@pytest.mark.parametrize("name", ["one round", "boosting"])
def test_bad_guides(name, guide, error, message, X):
    model = MODELS[name].fit(X)
    with pytest.raises(error, match=message):
        model.sample(2, guide=guide, random_state=0)


def test_a_classifier_of_other_rows(model, X):
    forest = RandomForestClassifier(2).fit(X[:, :9], np.arange(len(X)) % 2)
    with pytest.raises(ValueError, match="fitted on rows of 64 features.*fitted on 9"):
        model.sample(2, guide=ClassGuide(forest, 1))


def test_options_that_are_ruled_out(model):
    def even(rows, stage):
        return np.where(np.arange(K) % 2, -np.inf, np.zeros(len(rows))[:, None])

    codes = model.sample_codes(200, guide=FunctionGuide(even, beam_size=2), random_state=0)
    assert set(codes.ravel().tolist()) == {0, 2}


def test_matrices():
    image = np.random.default_rng(0).random((4, 6, 3))
    small = shrinking_matrix((4, 6, 3), 2) @ image.ravel()
    expected = image.reshape(2, 2, 3, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(small.reshape(2, 3, 3), expected)
    grey = grey_matrix((4, 6, 3)) @ image.ravel()
    np.testing.assert_allclose(grey.reshape(4, 6), image @ [0.299, 0.587, 0.114])
    with pytest.raises(ValueError, match="factor must divide height and width"):
        shrinking_matrix((8, 9), 2)
    with pytest.raises(ValueError, match=r"image_shape must be \(height, width, 3\)"):
        grey_matrix((8, 8))


def test_models_stay_as_they_are(X):
    """A guide changes nothing of the model, and nothing of itself."""
    vq = VQDRAW(2, 4, max_steps=2, random_state=0).fit(X)
    guide = ClassGuide(LogisticRegression().fit(X, np.arange(len(X)) % 2), 1)
    before, fingerprint = repr(guide), vq.fingerprint()
    vq.sample(3, guide=guide)
    assert (repr(guide), vq.fingerprint()) == (before, fingerprint)


@pytest.mark.parametrize("estimator", [make_estimator(), ClusterBoosting(4, 8, random_state=0)])
def test_a_classifier_that_was_fitted_on_a_frame(X, estimator):
    """It draws the same codes as one of arrays, is given frames, and a call warns once."""
    y = X[:, 20] > np.median(X[:, 20])
    estimator.fit(X)
    names = [f"pixel{i}" for i in range(X.shape[1])]
    frame = pd.DataFrame(X, columns=names)
    by_name = make_column_transformer((StandardScaler(), names))
    of_arrays, of_frames, of_columns = (
        LogisticRegression(max_iter=1000).fit(X, y),
        LogisticRegression(max_iter=1000).fit(frame, y),
        make_pipeline(by_name, LogisticRegression(max_iter=1000)).fit(frame, y),
    )
    expected = estimator.sample_codes(5, guide=ClassGuide(of_arrays, True), random_state=0)
    with pytest.warns(UserWarning, match="but LogisticRegression was fitted with feature na") as c:
        codes = estimator.sample_codes(5, guide=ClassGuide(of_frames, True), random_state=0)
    np.testing.assert_array_equal(codes, expected)
    assert [warning.filename for warning in c] == [__file__]
    with pytest.warns(UserWarning, match="but Pipeline was fitted with feature names") as c:
        rows = estimator.sample(20, guide=ClassGuide(of_columns, True, temperature=0.1))
    assert len(c) == 1
    assert of_columns.predict(pd.DataFrame(rows, columns=names)).mean() > 0.8

"""Distributions over codes."""

import itertools
import pickle

import numpy as np
import pytest
from conftest import make_estimator
from scipy.stats import chisquare, norm
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

import skvqdraw
from skvqdraw import ClusterBoosting
from skvqdraw.datasets import load_digits_images
from skvqdraw.metrics import classification_accuracy_score, prior_bits, two_sample_score
from skvqdraw.priors import AutoregressivePrior, MarginalPrior, MarkovPrior

S, K = 3, 4
ALL = np.array(list(itertools.product(range(K), repeat=S)))
NETWORK = AutoregressivePrior(hidden_size=16, max_steps=100, batch_size=64, random_state=0)
PRIORS = [MarginalPrior(), MarkovPrior(), NETWORK, MarkovPrior(2), MarkovPrior(3)]


@pytest.fixture(scope="module")
def training():
    """Codes in which options follow each other, and labels that know the first."""
    rng = np.random.default_rng(0)
    first, noise = rng.integers(0, K, 500), rng.random(500) < 0.3
    second = np.where(noise, rng.integers(0, K, 500), (first + 1) % K)
    third = (first + second + (rng.random(500) < 0.2)) % K
    return np.column_stack([first, second, third]), np.array(["a", "b", "b", "c"])[first]


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("prior", PRIORS, ids=repr)
def test_chances_of_all_codes_sum_to_one(prior, labelled, training):
    codes, y = training
    prior = clone(prior).fit(codes, y if labelled else None)
    chances = np.exp(prior.score_samples(ALL))
    assert chances.sum() == pytest.approx(1)
    assert (chances > 0).all()
    np.testing.assert_allclose(prior.bits(ALL), -np.log2(chances))
    np.testing.assert_allclose(prior.stage_scores(ALL).sum(axis=1), np.log(chances))
    if labelled:
        of_classes = [np.exp(prior.score_samples(ALL, np.full(len(ALL), c))) for c in "abc"]
        np.testing.assert_allclose(np.sum(of_classes, axis=1), 1)
        np.testing.assert_allclose(prior.class_counts_ / 500 @ of_classes, chances)


@pytest.mark.parametrize("given", [{}, {"y": "b"}, {"prefix": [2]}, {"temperature": 0.5}], ids=repr)
@pytest.mark.parametrize("prior", PRIORS[:3], ids=repr)
def test_samples_are_as_frequent_as_they_are_likely(prior, given, training):
    codes, y = training
    prior = clone(prior).fit(codes, y if "temperature" not in given else None)
    drawn = prior.sample(20000, random_state=0, **given)
    np.testing.assert_array_equal(drawn, prior.sample(20000, random_state=0, **given))
    places = drawn.astype(int) @ K ** np.arange(S)[::-1]
    labels = np.full(len(ALL), given["y"]) if "y" in given else None
    if "temperature" in given:  # of each option given those before it
        cubes = np.exp(2 * prior.stage_scores(ALL)).reshape(K, K, K, S)
        chances = [cubes[..., s] / cubes[..., s].sum(axis=s, keepdims=True) for s in range(S)]
        expected = np.prod(chances, axis=0).ravel()
    else:
        expected = np.exp(prior.score_samples(ALL, labels))
        expected *= (ALL[:, 0] == given["prefix"][0]) if "prefix" in given else 1
    expected *= 20000 / expected.sum()
    often = expected > 5
    counts = np.bincount(places, minlength=len(ALL))
    observed = np.append(counts[often], counts[~often].sum())
    assert (
        chisquare(observed + 1e-9, np.append(expected[often], expected[~often].sum()) + 1e-9).pvalue
        > 1e-3
    )


def test_markov_prior_mixes_levels(training):
    """A naive walk through the levels, with the weights that were chosen."""
    codes, y = training
    prior = MarkovPrior(2).fit(codes, y)
    rng = np.random.default_rng(1)
    for row, label in zip(rng.integers(0, K, (20, S)), rng.choice(list("abc"), 20), strict=True):
        for s in range(S):
            chances = np.full(K, 1 / K)
            same = [np.ones(500, bool), y == label]
            same += [
                (y == label) & (codes[:, s - n : s] == row[s - n : s]).all(axis=1)
                for n in range(1, min(2, s) + 1)
            ]
            for keep, weight in zip(same, prior.weights_[s], strict=False):
                counts = np.bincount(codes[keep, s], minlength=K)
                chances = (counts + weight * chances) / (keep.sum() + weight)
            found = prior.conditional_counts(row[None, :s], y=[label])[0]
            assert found.dtype == np.int64
            np.testing.assert_allclose(found / found.sum(), chances, atol=1e-5)


def test_weights_are_the_likeliest(training):
    """Leaving one code out, each weight is no worse than any other."""
    codes, _ = training
    counts = np.bincount(codes[:, 0], minlength=K)
    chosen = MarginalPrior().fit(codes).weights_[0, 0]

    def likelihood(weight):
        return counts @ np.log((counts - 1 + weight / K) / (counts.sum() - 1 + weight))

    assert likelihood(chosen) >= max(likelihood(2.0**i) for i in range(21)) - 1e-6


def test_what_depends_on_nothing_is_not_learned_by_heart():
    """Of uniform codes, a prior of many contexts needs hardly more than all options being alike."""
    rng = np.random.default_rng(0)
    codes, new = rng.integers(0, 16, (2, 2000, 4))
    for prior in (MarginalPrior(), MarkovPrior(), MarkovPrior(2)):
        assert prior.fit(codes).bits(new).mean() == pytest.approx(16, abs=0.05)


def test_what_is_certain():
    codes = np.repeat([[0, 1, 0], [1, 0, 1]], 500, axis=0)
    prior = MarkovPrior().fit(codes)
    np.testing.assert_allclose(prior.bits(codes), 1, atol=0.02)
    labelled = MarkovPrior().fit(codes, codes[:, 0])
    np.testing.assert_allclose(labelled.bits(codes, codes[:, 0]), 0, atol=0.02)
    np.testing.assert_allclose(labelled.bits(codes), 1, atol=0.02)
    np.testing.assert_array_equal(
        labelled.sample(3, y=[0, 1, 0], temperature=0), codes[[0, 500, 0]]
    )
    # A class that goes with the prefix is drawn.
    np.testing.assert_array_equal(labelled.sample(20, prefix=[1], random_state=0)[:, 1], 0)


def test_a_network_sees_what_came_before_and_no_more(training):
    """Scores of a stage are chances after the prefix; training finds what follows what."""
    codes, y = training
    prior = clone(NETWORK).set_params(max_steps=300).fit(codes, y)
    scores, labels_N = prior.stage_scores(ALL, np.full(len(ALL), "b")), np.ones(len(ALL), int)
    for s in range(S):
        chances = prior._log_chances(ALL[:, :s], labels_N)
        np.testing.assert_allclose(np.exp(chances).sum(axis=1), 1)
        np.testing.assert_allclose(chances[range(len(ALL)), ALL[:, s]], scores[:, s], rtol=1e-5)
    assert prior.bits(codes, y).mean() < MarginalPrior().fit(codes, y).bits(codes, y).mean() - 0.5
    assert prior.loss_curve_[-1]["loss"] < 1.2 * prior.loss_curve_[-1]["validation_error"]


def test_a_network_goes_on(training, tmp_path):
    """From a checkpoint as if nothing had been; with more codes; whatever is set meanwhile."""
    codes, y = training
    whole = clone(NETWORK).fit(codes, y)
    path = tmp_path / "fit"
    begun = clone(NETWORK).set_params(checkpoint=path, checkpoint_every=0)
    train = begun._task

    def interrupted(resume):
        task = train(resume)
        task.after_step = lambda sums, seen=[]: seen.append(0) or len(seen) < 50 or interrupt()
        return task

    def interrupt():
        raise KeyboardInterrupt

    begun._task = interrupted
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        begun.fit(codes, y)
    assert begun.n_steps_ < 100
    resumed = clone(NETWORK).set_params(checkpoint=path).fit(codes, y)
    np.testing.assert_array_equal(resumed.bits(ALL), whole.bits(ALL))

    more = clone(NETWORK).fit(codes[:, :2], y).partial_fit(codes[:9, :2], y[:9])
    assert more.n_steps_ == whole.n_steps_ + 1
    before = more.set_params(hidden_size=3).bits(codes[:, :2])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(more)).bits(codes[:, :2]), before)
    for name in ("hidden_size", "n_blocks", "n_options"):
        fitted = getattr(more, f"{name}_")
        with pytest.raises(ValueError, match=f"{name} cannot change .* fitted with {fitted}, got"):
            more.set_params(**{name: fitted + 1}).partial_fit(codes[:9, :2], y[:9])
        more.set_params(**{name: fitted})
    for wrong, message in ((None, "y must be given while"), (y[:8], "inconsistent|labels")):
        with pytest.raises(ValueError, match=message):
            more.partial_fit(codes[:9, :2], wrong)
    np.testing.assert_array_equal(more.bits(codes[:, :2]), before)


@pytest.mark.parametrize(
    "y", [None, np.arange(3), np.array(["x", "y", "ä"]), np.array([True, False, True])]
)
@pytest.mark.parametrize("prior", [MarkovPrior(), NETWORK], ids=["counts", "network"])
def test_saved_and_pickled(prior, y, tmp_path):
    codes = np.array([[0, 1], [2, 3], [1, 1]], dtype=np.uint8)
    prior = clone(prior).set_params(n_options=5).fit(codes, y)
    prior.save(tmp_path / "prior.safetensors")
    for same in (skvqdraw.load(tmp_path / "prior.safetensors"), pickle.loads(pickle.dumps(prior))):
        assert same.get_params() == prior.get_params()
        np.testing.assert_array_equal(same.bits(codes, y), prior.bits(codes, y))
        np.testing.assert_array_equal(
            same.sample(9, random_state=0), prior.sample(9, random_state=0)
        )
        if y is not None:
            np.testing.assert_array_equal(same.classes_, prior.classes_)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("classes_", None, "classes_ must be 2 labels; there are none"),
        ("classes_", np.array(["a"]), "classes_ must be 2 labels of one kind"),
        ("classes_", np.array([1, "a"], dtype=object), "classes_ must be 2 labels of one kind"),
        ("classes_", np.array(["b", "a"]), "classes_ must be in order"),
        ("classes_", np.array([0, 2**63], dtype=object), "classes_ must be integers of 64 bits"),
        ("class_counts_", np.array([0, 1]), "class_counts_ must be from 1"),
        ("order_", 2, "counts_ and weights_ must be those of order_=2"),
        ("weights_", np.ones((2, 1), int), "counts_ and weights_ must be those of order_=1"),
        ("counts_", np.full((2, 2, 4, 4), 2**38), "counts_ must be of 274877906944 codes or fewer"),
        ("counts_", np.full((2, 2, 4, 4), -1), "counts_ must be from 0"),
    ],
)
def test_what_does_not_go_together_is_no_file(name, value, message, tmp_path):
    """What a file says is checked the same when it is written and when it is read."""
    prior = MarkovPrior(n_options=4).fit([[0, 1], [2, 3]], ["a", "b"])
    setattr(prior, name, value)
    with pytest.raises(ValueError, match=message):
        prior.save(tmp_path / "prior")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("hidden_size_", 2**14, "'network.options' must be .*16384"),
        ("n_blocks_", 2, "it has fewer arrays than its network"),
        ("n_blocks_", -1, "n_blocks_ must be"),
        ("n_stages_", 3, "'network.options' must be"),
        ("class_counts_", np.array([1]), "classes_ must be 1 labels"),
    ],
)
def test_a_file_of_another_network_is_no_file(name, value, message, tmp_path):
    few = AutoregressivePrior(4, hidden_size=8, n_blocks=1, max_steps=1, early_stopping=False)
    prior = few.fit([[0, 1], [2, 3]], ["a", "b"])
    setattr(prior, name, value)
    with pytest.raises(ValueError, match=message):
        prior.save(tmp_path / "prior")
    assert not list(tmp_path.iterdir())


def test_a_low_temperature_is_that_of_the_likeliest():
    prior = MarginalPrior().fit([[0], [1], [1], [1]] * 100)
    np.testing.assert_array_equal(prior.sample(50, temperature=1e-320, random_state=0), 1)


@pytest.mark.parametrize("make", [make_estimator, lambda: ClusterBoosting(4, 8, random_state=0)])
def test_estimators_sample_by_a_prior(make, X):
    estimator = make().fit(X)
    codes = estimator.encode(X)
    n_options = estimator.code_usage_.shape[1]
    prior = MarkovPrior(n_options=n_options).fit(codes, codes[:, 0] % 4)
    rows = estimator.sample(50, prior=prior, y=3, temperature=0.7, random_state=0)
    drawn = prior.sample(50, y=3, temperature=0.7, random_state=0)
    np.testing.assert_array_equal(rows, estimator.decode(drawn))
    begun = estimator.sample_codes(len(X), prefix=codes[:, :2], random_state=0)
    np.testing.assert_array_equal(begun[:, :2], codes[:, :2])
    with pytest.raises(ValueError, match="y needs a prior that was fitted with labels"):
        estimator.sample(3, y=1)
    other = MarginalPrior(n_options=n_options + 1).fit(codes)
    with pytest.raises(ValueError, match=f"it was fitted on .* of {n_options + 1}"):
        estimator.sample(3, prior=other)
    for wrong in ("markov", MarkovPrior()):
        with pytest.raises(TypeError, match="prior must be a fitted prior"):
            estimator.sample(3, prior=wrong)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: p.fit([[0.5]]), "integers"),
        (lambda p: p.fit(np.empty((0, 3), int)), "at least one row and one stage"),
        (lambda p: p.fit([[0, 9]]), r"integers in \[0, 4\)"),
        (lambda p: p.fit([[0, 1]], [1, 2]), "inconsistent numbers of samples"),
        (lambda p: p.fit([[0], [1]], [0.5, 0.25]), "Unknown label type"),
        (lambda p: p.set_params(order=-1).fit([[0]]), "'order' parameter of MarkovPrior"),
        (lambda p: p.set_params(order=8, n_options=64).fit([[0]]), r"n_options\*\*\(order \+ 1\)"),
        (
            lambda p: p.set_params(n_options=2**20).fit([[0]]),
            "'n_options' parameter of MarkovPrior",
        ),
        (lambda p: p.set_params(n_options=None).fit([[2**40]]), "integers below 65536"),
        (lambda p: p.bits([[0, 4]]), r"integers in \[0, 4\)"),
        (lambda p: p.bits([[0, 1, 2]]), "2"),
        (
            lambda p: p.bits([[0, 1]], ["z"]),
            "must hold labels that this MarkovPrior was fitted with",
        ),
        (lambda p: p.bits([[0, 1]], ["a", "b"]), "inconsistent numbers of samples"),
        (lambda p: p.sample(2, y=["a"]), "y must be one label or have n_samples=2 of them"),
        (lambda p: p.sample(2, y="z"), "must hold labels"),
        (lambda p: p.sample(2, prefix=[[0]]), "a row for each of n_samples=2"),
        (lambda p: p.sample(2, prefix=[7]), r"integers in \[0, 4\)"),
        (lambda p: p.sample(2, prefix=[1, 1, 1]), "2"),
        (lambda p: p.sample(0), "n_samples == 0"),
        (lambda p: p.sample(2, temperature=-1), "temperature == -1"),
        (lambda p: p.sample(2, temperature=np.nan), "temperature must be a finite number"),
        (lambda p: p.bits([[0, 1]], [None]), "must hold labels .* got None"),
        (lambda p: p.bits([[0, 1]], [1]), "must hold labels .* got 1"),
        (lambda p: p.conditional_counts([[0]]), "y must be given"),
        (lambda p: p.conditional_counts([[0, 1]], y=["a"]), "1"),
    ],
)
def test_bad_input_changes_nothing(call, message):
    prior = MarkovPrior(n_options=4).fit([[0, 1], [2, 3], [1, 1]], ["a", "b", "b"])
    before = prior.bits([[0, 1], [3, 3]])
    with pytest.raises(ValueError, match=message):
        call(prior)
    np.testing.assert_array_equal(prior.bits([[0, 1], [3, 3]]), before)
    with pytest.raises(ValueError, match="y needs a prior that was fitted with labels"):
        MarginalPrior().fit([[0]]).bits([[0]], [1])


# What samples are worth


def test_bits_of_stages(training):
    codes, y = training
    prior = MarkovPrior().fit(codes[:400], y[:400])
    for labels in (None, y[400:]):
        bits = prior_bits(prior, codes[400:], labels)
        assert bits.shape == (S,)
        assert bits.sum() == pytest.approx(prior.bits(codes[400:], labels).mean())
    for wrong in (MarkovPrior, "prior", LogisticRegression()):
        with pytest.raises(TypeError, match="prior must be a fitted prior with stage_scores"):
            prior_bits(wrong, codes)
    with pytest.raises(ValueError, match="codes must have at least one row and one stage"):
        prior_bits(prior, codes[:0])


def test_two_samples():
    """Two normal distributions: the best classifier is right as often as their distance says."""
    A = np.random.default_rng(0).normal(size=(600, 2))
    B = np.random.default_rng(1).normal(size=(1800, 2))
    assert two_sample_score(A, B, random_state=0) == pytest.approx(0.5, abs=0.03)
    best = norm.cdf(0.5)
    assert (
        two_sample_score(A, B + np.array([1, 0]), classifier=GaussianNB(), random_state=0)
        < best + 0.03
    )
    balanced = two_sample_score(
        A, B[:600] + np.array([1, 0]), classifier=GaussianNB(), random_state=0
    )
    assert balanced == pytest.approx(best, abs=0.03)
    # A circle around the other set: no line tells them apart, a radial basis function does.
    far = 4 * A / np.linalg.norm(A, axis=1, keepdims=True)
    assert two_sample_score(A, far, random_state=0) > 0.95
    assert two_sample_score(A, far, classifier=LogisticRegression(), random_state=0) < 0.6
    with pytest.raises(ValueError, match="A and B must have as many features; got 2 and 1"):
        two_sample_score(A, B[:, :1])
    with pytest.raises(ValueError, match="at least cv=5 rows; got 3 and 1800"):
        two_sample_score(A[:3], B)


def test_accuracy_of_who_saw_samples_only(X):
    digits = load_digits_images()
    y = digits.target[:200]
    real = classification_accuracy_score(X, y, digits.data[200:], digits.target[200:])
    expected = LogisticRegression(max_iter=1000).fit(X, y)
    assert real == expected.score(digits.data[200:], digits.target[200:])
    classifier, noise = GaussianNB(), np.random.default_rng(0).random(X.shape)
    blind = classification_accuracy_score(noise, y, X, y, classifier=classifier)
    assert blind < 0.3 < real
    assert not hasattr(classifier, "classes_")

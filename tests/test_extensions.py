"""What others add is one file each, made of documented names, and as good as what is ours."""

import ast
import copy
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

import skvqdraw
from skvqdraw import VQDRAW
from skvqdraw.base import Array
from skvqdraw.refiners import MLPRefiner

FOLDER = Path(__file__).parent / "extensions"
FILES = sorted(FOLDER.glob("*.py"))
MODULES = [importlib.import_module(f"extensions.{path.stem}") for path in FILES]
CLASSES = {
    name: value
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, type) and value.__module__ == module.__name__
}
ProductQuantizer = CLASSES["ProductQuantizer"]
CLASSES["GradientQuantizer"].max_steps = 200  # of 1000: it is fitted a hundred times here
SMALL = {"n_stages": 3, "n_options": 4, "max_steps": 20, "random_state": 0}
ESTIMATORS = {
    "absolute_error": VQDRAW(**SMALL, loss=CLASSES["AbsoluteError"]()),
    "fixed_moves": VQDRAW(**SMALL, refiner=CLASSES["FixedMoves"]()),
    "product_quantizer": CLASSES["ProductQuantizer"](3, 4, random_state=0),
    "gradient_quantizer": CLASSES["GradientQuantizer"](3, 4, random_state=0),
}
WEIGHTS = "check_sample_weight_equivalence_on_dense_data"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_one_file_of_documented_names(path):
    text = path.read_text()
    assert path.stem in ESTIMATORS
    assert len(text.splitlines()) <= 60
    reference = (FOLDER.parents[1] / "docs" / "api.rst").read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("skvqdraw"):
            public = importlib.import_module(node.module).__all__
            assert {alias.name for alias in node.names} <= set(public)
            assert all(f"   {alias.name}\n" in reference for alias in node.names)


@parametrize_with_checks(
    list(ESTIMATORS.values()),
    expected_failed_checks=lambda estimator: (
        {WEIGHTS: "weights scale the loss of rows that are drawn in mini-batches"}
        if isinstance(estimator, VQDRAW)
        else {}
    ),
    xfail_strict=True,
)
def test_common_checks(estimator, check):
    check(estimator)


class Dropping(torch.nn.ParameterList):
    """Vectors that are, in training, sometimes others."""

    def __iter__(self):
        return (torch.nn.functional.dropout(v, 0.5, self.training) for v in super().__iter__())


class DroppingQuantizer(CLASSES["GradientQuantizer"]):
    def _network(self):
        return Dropping([*torch.randn(*self._code_shape, self.n_features_in_)])

    def _task(self, resume):
        task = super()._task(resume)
        task.build = lambda: Dropping([*torch.randn(*task.shape)])
        return task


def test_a_fitted_network_is_not_in_training(X):
    quantizer = DroppingQuantizer(2, 4, random_state=0).fit(X)
    codes = quantizer.encode(X)
    np.testing.assert_array_equal(quantizer.encode(X), codes)
    np.testing.assert_array_equal(copy.deepcopy(quantizer).encode(X), codes)


def test_constraints_and_declarations_of_all_bases_hold(X):
    quantizer = clone(ESTIMATORS["gradient_quantizer"]).set_params(encoding="words")
    with pytest.raises(ValueError, match="'encoding' parameter of GradientQuantizer must be"):
        quantizer.fit(X).transform(X)

    class Declares(ProductQuantizer):
        _learned = {"mean_": Array("D", "float32")}

    class Adds(ProductQuantizer):
        _learned = {"more_": Array("S", "float64")}

    class Both(Adds, Declares):
        pass

    assert Both._learned["mean_"] is Declares._learned["mean_"]
    assert {"more_", "centres_", "code_usage_"} <= Both._learned.keys()


def test_an_array_that_is_not_declared_counts_in_the_fingerprint(X):
    quantizer = clone(ESTIMATORS["product_quantizer"]).fit(X)
    before = quantizer.fingerprint()
    quantizer.shift_ = np.ones(3)
    assert quantizer.fingerprint() != before


def test_a_stranger_cannot_make_a_subclass_take_memory(X, tmp_path):
    """What our refiner would build is known before it is built, whoever's the estimator is."""

    class Mine(VQDRAW):
        pass

    vq = Mine(2, 4, refiner=MLPRefiner(8), max_steps=1).fit(X)
    vq.refiner_ = MLPRefiner(hidden_size=10**9)
    with pytest.raises(ValueError, match="cannot be saved: 'network.* must be .*1000000000"):
        vq.save(tmp_path / "model")


@pytest.mark.parametrize("verbose", [1, 2])
def test_records_may_hold_any_number(X, verbose, capsys):
    class Verbose(CLASSES["GradientQuantizer"]):
        def _task(self, resume):
            task = super()._task(resume)
            task.record = lambda sums, n_steps: {"loss": np.float32(1), "n": np.int64(n_steps)}
            self.verbose = verbose
            return task

    Verbose(2, 4).fit(X)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_fit_encode_decode_sample_save_and_load(name, X, tmp_path):
    estimator = clone(ESTIMATORS[name]).set_params(n_options=8).fit(X)
    codes = estimator.encode(X)
    assert codes.shape == (200, 3)
    assert codes.max() == 7
    errors = [np.square(estimator.decode(codes[:, :s]) - X).mean() for s in range(4)]
    assert errors[-1] == min(errors)
    assert errors[-1] < 0.8 * X.var(axis=0).mean()
    np.testing.assert_array_equal(estimator.decode(codes), estimator.reconstruct(X))
    np.testing.assert_array_equal(
        estimator.proposals(codes[:5, :2])[range(5), codes[:5, 2]], estimator.decode(codes[:5])
    )
    Z = estimator.transform(X)
    np.testing.assert_array_equal(estimator.inverse_transform(Z), estimator.decode(codes))
    assert estimator.sample(4, random_state=0).shape == (4, 64)
    estimator.save(tmp_path / "model")
    with pytest.raises(skvqdraw.exceptions.FormatError, match="unknown .*allow="):
        skvqdraw.load(tmp_path / "model")
    same = skvqdraw.load(tmp_path / "model", allow=list(CLASSES.values()))
    np.testing.assert_array_equal(same.encode(X), codes)
    np.testing.assert_array_equal(same.decode(codes), estimator.decode(codes))
    assert same.fingerprint() == estimator.fingerprint()
    assert clone(estimator).set_params(random_state=1).fit(X).fingerprint() != same.fingerprint()
    assert same.score(X) == estimator.score(X)

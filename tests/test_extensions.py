"""What others add is one file each, made of documented names, and as good as what is ours."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

import skvqdraw
from skvqdraw import VQDRAW

FOLDER = Path(__file__).parent / "extensions"
FILES = sorted(FOLDER.glob("*.py"))
MODULES = [importlib.import_module(f"extensions.{path.stem}") for path in FILES]
CLASSES = {
    name: value
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, type) and value.__module__ == module.__name__
}
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

"""PatchPCA: patches against a naive reference, components against their definition, and back."""

from itertools import product
from math import prod

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skvqdraw import ClusterBoosting
from skvqdraw.preprocessing import PatchPCA

LAYOUTS = {
    "volume": ((4, 6, 2), (2, 3, 2)),
    "image": ((6, 4), (3, 2)),
    "colour": ((6, 4, 3), (3, 2)),
    "colour, channels cut": ((6, 4, 4), (3, 2, 2)),
    "sequence": ((8, 5), (2,)),
    "whole rows": ((3, 4), (3, 4)),
    "single numbers": ((3, 4), (1, 1)),
}


def rows(shape, n_samples=30, seed=0):
    """Rows in which neighbours are alike."""
    X = np.random.default_rng(seed).normal(size=(n_samples, *shape))
    for axis in range(1, X.ndim):
        X = X.cumsum(axis)
    return X.reshape(n_samples, -1)


def cut(row, shape, patch_shape):
    """All patches of a row, one after another."""
    volume = row.reshape(shape)
    steps = [range(0, side, patch) for side, patch in zip(shape, patch_shape, strict=False)]
    return [
        volume[tuple(slice(i, i + p) for i, p in zip(start, patch_shape, strict=True))].ravel()
        for start in product(*steps)
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_components_are_those_of_patches_one_by_one(layout):
    shape, patch_shape = LAYOUTS[layout]
    X = rows(shape)
    patches = np.array([patch for row in X for patch in cut(row, shape, patch_shape)])
    n = min(3, patches.shape[1])
    transformer = PatchPCA(shape, patch_shape, n).fit(X)
    reference = PCA(n, svd_solver="covariance_eigh").fit(patches)
    Z = transformer.transform(X)
    assert Z.shape == (30, prod(transformer.grid_shape))
    np.testing.assert_allclose(Z, reference.transform(patches).reshape(30, -1), atol=1e-9)
    cells = tuple(side // patch for side, patch in zip(shape, patch_shape, strict=False))
    assert transformer.grid_shape == (*cells, n)
    first = reference.transform([cut(X[4], shape, patch_shape)[0]])[0]
    np.testing.assert_allclose(
        Z[4].reshape(transformer.grid_shape)[(0,) * len(cells)], first, atol=1e-9
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_components_lose_nothing_and_keep_distances(layout):
    shape, patch_shape = LAYOUTS[layout]
    X = rows(shape)
    size = len(cut(X[0], shape, patch_shape)[0])
    transformer = PatchPCA(shape, patch_shape, size).fit(X)
    Z = transformer.transform(X)
    np.testing.assert_allclose(transformer.inverse_transform(Z), X, atol=1e-9)
    distances = np.square(X[:, None] - X).sum(2)
    np.testing.assert_allclose(np.square(Z[:, None] - Z).sum(2), distances, atol=1e-6)
    assert transformer.explained_variance_ratio_.sum() == pytest.approx(1)


def test_what_comes_back_is_the_nearest_that_components_have():
    shape, patch_shape = LAYOUTS["volume"]
    X = rows(shape)
    transformer = PatchPCA(shape, patch_shape, 4).fit(X)
    back = transformer.inverse_transform(transformer.transform(X))
    np.testing.assert_allclose(transformer.transform(back), transformer.transform(X), atol=1e-9)
    lost, patches = np.square(X - back).sum(), X.reshape(30, -1)
    kept = transformer.explained_variance_ratio_.sum()
    of_patches = np.array([patch for row in patches for patch in cut(row, shape, patch_shape)])
    variance = np.square(of_patches - of_patches.mean(0)).sum()
    assert lost / variance == pytest.approx(1 - kept)


def test_dtypes_names_and_clones():
    shape, patch_shape = LAYOUTS["image"]
    X = np.round(rows(shape)).astype(np.int16)
    transformer = PatchPCA(shape, patch_shape, 2)
    assert clone(transformer).get_params() == transformer.get_params()
    for dtype, wanted in ((np.int16, np.float32), (np.float32, np.float32), (float, float)):
        Z = transformer.fit_transform(X.astype(dtype))
        assert Z.dtype == wanted
        assert transformer.inverse_transform(Z).dtype == wanted
    frame = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(X.shape[1])])
    named = transformer.set_output(transform="pandas").fit_transform(frame)
    assert [*named.columns[:2]] == ["patchpca0", "patchpca1"]
    assert [*transformer.feature_names_in_] == [*frame.columns]


def test_many_rows_are_as_few(monkeypatch):
    shape, patch_shape = LAYOUTS["volume"]
    X = rows(shape, 300).astype(np.float32)
    transformer = PatchPCA(shape, patch_shape, 4).fit(X)
    Z = transformer.transform(X)
    back = transformer.inverse_transform(Z)
    monkeypatch.setattr("skvqdraw._rows._PIECE_VALUES", 7 * X.shape[1])
    np.testing.assert_allclose(transformer.transform(X), Z, atol=1e-5)
    np.testing.assert_allclose(transformer.inverse_transform(Z), back, atol=1e-5)


def test_a_pipeline_codes_and_comes_back():
    shape, patch_shape = LAYOUTS["colour"]
    X = rows(shape)
    boosting = ClusterBoosting(3, 4, random_state=0)
    pipeline = make_pipeline(PatchPCA(shape, patch_shape, 6), boosting).fit(X)
    back = pipeline.inverse_transform(pipeline.transform(X))
    assert back.shape == X.shape
    assert np.square(back - X).mean() < 0.5 * X.var()


def test_constant_rows_come_back_without_a_warning():
    transformer = PatchPCA((4, 4), (2, 2), 2)
    X = np.full((5, 16), 3.0)
    np.testing.assert_array_equal(transformer.inverse_transform(transformer.fit_transform(X)), X)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"shape": (4, 5)}, r"patch_shape=\(2, 2\) must divide shape=\(4, 5\) axis by axis"),
        ({"patch_shape": (2, 2, 1)}, "must not have more axes than shape"),
        ({"shape": (4, 6)}, "X must have 24 columns.*got 16"),
        ({"n_components": 5}, "n_components=5 must be at most 4"),
        ({"n_components": 0}, "'n_components' parameter of PatchPCA must be an int"),
        ({"shape": 16}, "'shape' parameter of PatchPCA must be"),
        ({"patch_shape": (2, 0)}, "'patch_shape' parameter of PatchPCA must be"),
    ],
)
def test_what_does_not_fit_is_refused(params, message):
    X = np.random.default_rng(0).normal(size=(9, 16))
    transformer = PatchPCA(**{"shape": (4, 4), "patch_shape": (2, 2), "n_components": 3, **params})
    with pytest.raises(ValueError, match=message):
        transformer.fit(X)
    with pytest.raises(NotFittedError):
        transformer.transform(X)


@pytest.mark.parametrize(
    ("shape", "patch_shape", "message"),
    [
        (12, (2, 2), "'shape' parameter of PatchPCA must be"),
        ((4, 4), (0, 2), "'patch_shape' parameter of PatchPCA must be"),
        ((4,), (2, 2), "must not have more axes than shape"),
        ((4, 5), (2, 2), "must divide shape"),
    ],
)
def test_a_grid_of_wrong_shapes_is_refused_before_a_fit(shape, patch_shape, message):
    with pytest.raises(ValueError, match=message):
        _ = PatchPCA(shape, patch_shape, 2).grid_shape


def test_one_patch_is_too_few():
    X = rows((4, 4), 1)
    with pytest.raises(ValueError, match="at least 2 patches to learn from; got 1 sample of 1"):
        PatchPCA((4, 4), (4, 4), 1).fit(X)
    two = PatchPCA((4, 4), (2, 4), 1).fit(X)  # their difference is one component
    np.testing.assert_allclose(two.inverse_transform(two.transform(X)), X)


@pytest.mark.parametrize(("dtype", "factor"), [(np.float32, 1e30), (np.float64, 1e200)])
def test_numbers_whose_sums_are_not_finite_are_refused(dtype, factor):
    X = rows((4, 4)).astype(dtype)
    transformer = PatchPCA((4, 4), (2, 2), 4).fit(X)
    with pytest.raises(ValueError, match=f"X must hold numbers whose.*{dtype.__name__}.*Divide X"):
        PatchPCA((4, 4), (2, 2), 4).fit(X * dtype(factor))
    # The first component is about a mean, and components are as long as numbers of a patch.
    most = np.full((1, 16), np.finfo(dtype).max, dtype)
    for method in (transformer.transform, transformer.inverse_transform):
        with pytest.raises(ValueError, match="X must hold numbers whose sums"):
            method(most)


def test_sides_may_be_narrow_integers():
    X = rows((32, 32), 3)
    narrow = PatchPCA((np.uint8(32), np.uint8(32)), (np.uint8(16), np.uint8(16)), True).fit(X)
    expected = PatchPCA((32, 32), (16, 16), 1).fit(X)
    np.testing.assert_array_equal(narrow.transform(X), expected.transform(X))


def test_parameters_changed_after_fit_matter_at_the_next():
    X = np.random.default_rng(0).normal(size=(9, 16))
    transformer = PatchPCA((4, 4), (2, 2), 3).fit(X)
    Z = transformer.transform(X)
    back = transformer.inverse_transform(Z)
    transformer.set_params(shape=(2, 8), patch_shape=(2, 4), n_components=2)
    np.testing.assert_array_equal(transformer.transform(X), Z)
    np.testing.assert_array_equal(transformer.inverse_transform(Z), back)
    assert transformer.fit_transform(X).shape == (9, 4)


def test_a_fit_that_fails_changes_nothing():
    X = np.random.default_rng(0).normal(size=(9, 16))
    transformer = PatchPCA((4, 4), (2, 2), 3).fit(X)
    Z = transformer.transform(X)
    for other in (X[:, :8], np.full_like(X, np.nan)):
        with pytest.raises(ValueError, match="X"):
            transformer.fit(other)
        assert transformer.n_features_in_ == 16
        np.testing.assert_array_equal(transformer.transform(X), Z)


def test_rows_of_another_width_are_refused():
    X = np.random.default_rng(0).normal(size=(9, 16))
    transformer = PatchPCA((4, 4), (2, 2), 3)
    with pytest.raises(NotFittedError):
        transformer.inverse_transform(X)
    with pytest.raises(NotFittedError):
        _ = transformer.explained_variance_ratio_
    Z = transformer.fit_transform(X)
    with pytest.raises(ValueError, match="X has 12 features, but PatchPCA is expecting 16"):
        transformer.transform(Z)
    with pytest.raises(ValueError, match="X must have 12 columns.*got 16"):
        transformer.inverse_transform(X)
    with pytest.raises(ValueError, match="NaN"):
        transformer.transform(np.full((1, 16), np.nan))

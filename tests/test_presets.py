"""Settings for image data sets, shrunk, on pieces of photographs."""

import numpy as np
import pytest
import torch
from conftest import assert_same_model
from sklearn.base import clone

import skvqdraw
from skvqdraw import presets
from skvqdraw.datasets import load_photo_patches

SHAPES = {
    "mnist": (28, 28),
    "svhn": (32, 32, 3),
    "cifar10": (32, 32, 3),
    "celeba64": (64, 64, 3),
}
TINY = {
    "n_stages": 6,
    "n_options": 8,
    "max_steps": 3,
    "batch_size": 16,
    "gradient_accumulation": 1,
    "random_state": 0,
}


def images_of(shape, n_images=32):
    """Return rows in [0, 1]; grey ones for a shape without channels."""
    pixels = load_photo_patches(n_images, shape[0]).data.reshape(n_images, *shape[:2], 3) / 255
    images = pixels if len(shape) == 3 else pixels.mean(-1)
    return images.reshape(n_images, -1).astype(np.float32)


def tiny(name, paper, **params):
    """A preset that fits in a moment; the networks of the paper keep their width, not their size."""
    if paper:
        shape = (8, 8, *SHAPES[name][2:])
        small = {"refiner__image_shape": shape, "n_stages": 3, "refiner__segment_length": 2}
        small |= {"max_steps": 2, "batch_size": 8}
    else:
        shape = SHAPES[name]
        small = {
            "refiner__n_channels": 16,
            "refiner__basis_size": 8,
            "refiner__stages_per_round": (2, 1),
        }
    vq = getattr(presets, name)(paper=paper)
    return vq.set_params(**{**TINY, **small, **params}), images_of(shape)


@pytest.mark.parametrize("paper", [False, True])
@pytest.mark.parametrize(
    ("name", "of_paper", "ours"),
    [
        ("mnist", (10, 64), (10, 64)),
        ("svhn", (20, 64), (15, 256)),
        ("cifar10", (100, 64), (75, 256)),
        ("celeba64", (100, 64), (75, 256)),
    ],
)
def test_presets_are_estimators_of_the_same_bits(name, of_paper, ours, paper):
    vq = getattr(presets, name)(paper=paper)
    assert (vq.n_stages, vq.n_options) == (of_paper if paper else ours)
    assert ours[0] * np.log2(ours[1]) == of_paper[0] * np.log2(of_paper[1])
    vq._validate_params()
    assert repr(clone(vq)) == repr(vq)
    assert type(vq.refiner).__name__ == ("PaperRefiner" if paper else "ConvRefiner")
    with torch.device("meta"):
        vq.refiner.build(np.prod(SHAPES[name]), vq.n_stages, vq.n_options)


def test_every_preset_has_a_shape():
    assert set(presets.__all__) == set(SHAPES)


@pytest.mark.parametrize(
    ("name", "n_parts", "rows", "n_batches"),
    # Rows of a batch and number of batches as the original's README has them; a step is `n_parts`.
    [
        ("mnist", 1, 32, 50_000),
        ("svhn", 16, 32, 70_000),
        ("cifar10", 16, 32, 34_811),
        ("celeba64", 16, 32, 36_194),
    ],
)
def test_the_paper_trains_on_as_many_rows(name, n_parts, rows, n_batches):
    vq = getattr(presets, name)(paper=True)
    assert vq.gradient_accumulation == n_parts
    assert vq.batch_size == n_parts * rows
    assert vq.max_steps == n_batches // n_parts
    assert (vq.beam_size, vq.round_beam_size) == (1, 1)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("paper", [False, True])
def test_presets_fit_and_come_back_from_a_file(name, paper, tmp_path):
    vq, X = tiny(name, paper)
    vq.fit(X)
    codes = vq.encode(X)
    assert codes.shape == (32, vq.n_stages)
    np.testing.assert_array_equal(vq.decode(codes), vq.reconstruct(X))
    path = tmp_path / "model.safetensors"
    vq.save(path)
    assert_same_model(vq, skvqdraw.load(path), X)


@pytest.mark.parametrize("name", SHAPES)
def test_networks_of_the_paper_take_images_of_their_size(name):
    refiner = presets.celeba64(paper=True).refiner.set_params(architecture=name)
    D = int(np.prod(SHAPES[name]))
    network = refiner.build(D, 2, 3)
    with torch.no_grad():
        assert network(torch.randn(1, D), 1).materialise().shape == (1, 3, D)


def test_colour_images_are_learned():
    X = images_of((32, 32, 3), 300)
    vq = presets.svhn().set_params(
        **{**TINY, "max_steps": 100, "batch_size": 32, "refiner__n_channels": 32}
    )
    errors = np.square(vq.fit(X[:250]).reconstruct(X[250:]) - X[250:])
    assert errors.mean() < 0.25 * X[250:].var(axis=0).mean()


@pytest.mark.parametrize(("name", "paper"), [("cifar10", False), ("svhn", True)])
def test_memory_for_time_changes_nothing_else(name, paper):
    vq, X = tiny(name, paper, precision="float32", gradient_checkpointing=False)
    expected = vq.fit(X).loss_curve_[-1]["loss"]
    for params in ({"gradient_accumulation": 4}, {"gradient_checkpointing": True}):
        loss = clone(vq).set_params(**params).fit(X).loss_curve_[-1]["loss"]
        assert loss == pytest.approx(expected, rel=1e-4)

"""Saving, loading, pickling: the same model comes back."""

import copy
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import skops.io
import torch
from conftest import assert_same_model, make_estimator
from sklearn.base import clone

import skvqdraw
from skvqdraw import io
from skvqdraw.autoencoders import ConvAutoencoder
from skvqdraw.exceptions import FormatError, InconsistentVersionWarning
from skvqdraw.losses import Categorical, Gaussian
from skvqdraw.nn import DenseRound
from skvqdraw.nn.arrays import _Counted
from skvqdraw.nn.paper import ARCHITECTURES
from skvqdraw.priors import AutoregressivePrior, MarginalPrior, MarkovPrior
from skvqdraw.refiners import (
    ConvRefiner,
    MLPRefiner,
    PaperRefiner,
    Refiner,
    SectionRefiner,
    SequenceRefiner,
    VolumeRefiner,
)

KINDS = {
    "mlp": {},
    "conv": {"refiner": ConvRefiner((8, 8), n_channels=8, downsampling=2, basis_size=4)},
    "beams": {"beam_size": 3, "round_beam_size": 5},
    "paper": {"refiner": PaperRefiner((8, 8)), "max_steps": 3},
    "shared": {"refiner": MLPRefiner(8, rounds_per_trunk=2), "encoding": "ordinal"},
    "one stage": {"n_stages": 1},
    "sequences": {"refiner": SequenceRefiner(64, n_channels=8, basis_size=4, hidden_size=4)},
    "volumes": {"refiner": VolumeRefiner((4, 4, 4), n_channels=8, downsampling=2, splits=(1, 2))},
    "sections": {"refiner": SectionRefiner(64, hidden_size=8), "loss": Gaussian()},
}


def through_a_file(vq, tmp_path):
    vq.save(tmp_path / "model.safetensors")
    return skvqdraw.load(tmp_path / "model.safetensors")


def through_joblib(vq, tmp_path):
    joblib.dump(vq, tmp_path / "model.joblib")
    return joblib.load(tmp_path / "model.joblib", mmap_mode="r")


def through_skops(vq, tmp_path):
    return skops.io.loads(skops.io.dumps(vq), trusted=io.SKOPS_TRUSTED)


WAYS = {
    "file": through_a_file,
    "pickle": lambda vq, tmp_path: pickle.loads(pickle.dumps(vq)),
    "joblib": through_joblib,
    "skops": through_skops,
    "deepcopy": lambda vq, tmp_path: copy.deepcopy(vq),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_isexact(X, tmp_path, kind, way):
    vq = make_estimator(**KINDS[kind]).fit(X)
    assert_same_model(vq, WAYS[way](vq, tmp_path), X)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
def test_round_trip_of_cluster_boosting(X, tmp_path, loss, way):
    boosting = skvqdraw.ClusterBoosting(3, 8, loss=loss, shrinkage="auto", random_state=0).fit(X)
    back = WAYS[way](boosting, tmp_path)
    codes = boosting.encode(X)
    np.testing.assert_array_equal(back.encode(X), codes)
    np.testing.assert_array_equal(back.decode(codes), boosting.decode(codes))
    assert repr(back) == repr(boosting)
    assert vars(back).keys() == vars(boosting).keys()
    assert_round_trip_of_arrays(back, boosting)


def assert_round_trip_of_arrays(back, boosting):
    for name in ("mean_", "codebooks_", "stage_loss_", "code_usage_"):
        np.testing.assert_array_equal(getattr(back, name), getattr(boosting, name))
        assert getattr(back, name).dtype == getattr(boosting, name).dtype


@pytest.mark.parametrize("way", WAYS)
def test_training_goes_on_after_a_round_trip(X, tmp_path, way):
    vq = make_estimator().partial_fit(X).partial_fit(X)
    back = WAYS[way](vq, tmp_path)
    back.partial_fit(X)
    vq.partial_fit(X)
    assert back.n_steps_ == vq.n_steps_
    if way != "file":  # a file holds no optimizer
        np.testing.assert_array_equal(back.encode(X), vq.encode(X))
        np.testing.assert_array_equal(back.reconstruct(X), vq.reconstruct(X))


def test_a_pickle_holds_arrays_and_little_else(X):
    vq = make_estimator().fit(X)
    state = vq.__getstate__()
    assert all(isinstance(array, np.ndarray) for array in state["network_"].values())
    size = sum(array.nbytes for array in state["network_"].values())
    assert len(pickle.dumps(vq)) < size + 20_000
    assert isinstance(vq.network_, skvqdraw.nn.networks.FactoredNetwork)


def test_a_pickle_knows_nothing_of_torch_and_so_of_devices(X):
    assert b"torch" not in pickle.dumps(make_estimator().partial_fit(X))


def test_read_only_memory_maps(X, tmp_path):
    boosting = skvqdraw.ClusterBoosting(3, 8, random_state=0).fit(X)
    back = through_joblib(boosting, tmp_path)
    assert isinstance(back.codebooks_, np.memmap)
    assert not back.codebooks_.flags.writeable
    np.testing.assert_array_equal(back.encode(X), boosting.encode(X))
    back.save(tmp_path / "model.safetensors")
    assert_round_trip_of_arrays(skvqdraw.load(tmp_path / "model.safetensors"), boosting)


def test_processes_that_are_spawned(X):
    models = [make_estimator().fit(X), skvqdraw.ClusterBoosting(3, 8, random_state=0).fit(X)]
    halves = [X[:100], X[100:]]
    with joblib.parallel_backend("loky", n_jobs=2):
        found = joblib.Parallel()(
            joblib.delayed(model.encode)(half) for model in models for half in halves
        )
    for model, codes in zip(models, (found[:2], found[2:]), strict=True):
        np.testing.assert_array_equal(np.concatenate(codes), model.encode(X))


def test_types_for_skops_to_trust_are_those_that_it_asks_for(X):
    spec = ConvRefiner((8, 8), n_channels=8, downsampling=2, basis_size=4)
    models = [
        make_estimator().partial_fit(X),
        make_estimator(refiner=spec).fit(pd.DataFrame(X).rename(columns=str)),
        make_estimator(refiner=PaperRefiner((8, 8)), max_steps=0).fit(X),
        make_estimator(refiner=SequenceRefiner(64), max_steps=0, loss=Gaussian()).fit(X),
        make_estimator(refiner=VolumeRefiner((4, 4, 4)), max_steps=0).fit(X),
        make_estimator(refiner=SectionRefiner(64), max_steps=0, loss=Categorical()).fit(X > 0),
        skvqdraw.VQVAE(4, max_steps=1).fit(X),
        skvqdraw.VQVAE(4, autoencoder=ConvAutoencoder((8, 8)), max_steps=1).fit(X),
        skvqdraw.ClusterBoosting(2, 4, random_state=np.random.RandomState(0)).fit(X),
        skvqdraw.ClusterBoosting(2, 4, loss="log_loss").fit(X),
        MarginalPrior().fit([[0, 1]], ["a"]),
        MarkovPrior().fit([[0, 1]]),
        AutoregressivePrior(max_steps=1, early_stopping=False).fit([[0, 1]]),
    ]
    asked_for = set()
    for model in models:
        asked_for.update(skops.io.get_untrusted_types(data=skops.io.dumps(model)))
    assert sorted(asked_for) == io.SKOPS_TRUSTED


@pytest.mark.parametrize("estimator", [make_estimator(), skvqdraw.ClusterBoosting(2, 4)])
def test_a_pickle_of_another_version(X, estimator, monkeypatch):
    name = type(estimator).__name__
    dumped = pickle.dumps(estimator.fit(X))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = pickle.loads(dumped)
    monkeypatch.setattr("skvqdraw._base.__version__", "9.1")
    with pytest.warns(InconsistentVersionWarning, match=f"{name} was pickled by skvqdraw 0.* 9.1"):
        other = pickle.loads(dumped)
    assert vars(other).keys() == vars(same).keys()
    state = estimator.__getstate__()
    del state["_skvqdraw_version"]
    with pytest.warns(InconsistentVersionWarning, match="skvqdraw pre-0.1") as caught:
        other.__setstate__(state)
    assert caught[0].message.estimator_name == name
    assert caught[0].message.current_version == "9.1"


def test_loading_leaves_the_random_streams_alone(X, tmp_path):
    vq = make_estimator().fit(X)
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    through_a_file(vq, tmp_path)
    pickle.loads(pickle.dumps(vq))
    assert torch.equal(torch.rand(2), expected)


def test_feature_names_survive(X, tmp_path):
    frame = pd.DataFrame(X[:, :3]).set_axis(["pixel 1", "", "Größe\n"], axis=1)
    vq = make_estimator().fit(frame)
    back = through_a_file(vq, tmp_path)
    np.testing.assert_array_equal(back.feature_names_in_, vq.feature_names_in_)
    assert back.feature_names_in_.dtype == object
    np.testing.assert_array_equal(back.encode(frame), vq.encode(frame))


def test_names_of_more_features_than_a_header_holds(tmp_path):
    names = [f"gene-{i:010d}" for i in range(80_000)]
    frame = pd.DataFrame(np.eye(8, len(names), dtype=np.float32), columns=names)
    boosting = skvqdraw.ClusterBoosting(1, 2, random_state=0).fit(frame)
    back = through_a_file(boosting, tmp_path)
    np.testing.assert_array_equal(back.feature_names_in_, names)


def test_a_name_with_a_zero_in_it_is_not_saved_as_two(X, tmp_path):
    vq = make_estimator().fit(pd.DataFrame(X[:, :1], columns=["a\0b"]))
    with pytest.raises(ValueError, match="names of features must not hold the character"):
        through_a_file(vq, tmp_path)


@pytest.mark.parametrize(
    "loss_curve",
    [
        [],
        [{"step": 1, "loss": 0.1}, {"step": 2, "validation_error": float("inf"), "loss": 1e-300}],
        [{"step": step, "seconds": step / 7, "loss": 0.5} for step in range(30_000)],
    ],
)
def test_loss_curves_of_any_length(fitted, tmp_path, loss_curve):
    vq = copy.deepcopy(fitted)
    vq.loss_curve_ = loss_curve
    back = through_a_file(vq, tmp_path).loss_curve_
    assert back == loss_curve
    assert all(type(record["step"]) is int for record in back)


class FixedMoves(Refiner):
    """A user's own refiner."""

    def __init__(self, size=1.0):
        self.size = size

    def build(self, n_features, n_stages, n_options):
        import torch

        class Network(torch.nn.Module):
            def __init__(self, size):
                super().__init__()
                moves = size * torch.randn(n_stages, n_options, n_features)
                self.moves = torch.nn.Parameter(moves)

            def forward(self, x, stage):
                return DenseRound(x[:, None] + self.moves[stage])

        return Network(self.size)


def test_refiners_of_users_must_be_allowed(X, tmp_path):
    vq = make_estimator(refiner=FixedMoves(0.5)).fit(X)
    path = tmp_path / "model.safetensors"
    vq.save(path)
    with pytest.raises(FormatError, match=r"unknown refiner 'FixedMoves'.*load\(path, allow="):
        skvqdraw.load(path)
    for wrong in (FixedMoves, ["FixedMoves"]):
        with pytest.raises(TypeError, match="allow must be a list of classes; got"):
            skvqdraw.load(path, allow=wrong)
    assert_same_model(vq, skvqdraw.load(path, allow=[FixedMoves]), X)
    assert_same_model(vq, pickle.loads(pickle.dumps(vq)), X)


class Stack(FixedMoves):
    """A refiner of several others."""

    def __init__(self, size=1.0, parts=()):
        super().__init__(size)
        self.parts = parts


def test_refiners_made_of_refiners(X, tmp_path):
    vq = make_estimator(refiner=Stack(0.5, (MLPRefiner(4), (FixedMoves(2.0), "a")))).fit(X)
    vq.save(tmp_path / "model.safetensors")
    with pytest.raises(FormatError, match="unknown refiner 'FixedMoves'"):
        skvqdraw.load(tmp_path / "model.safetensors", allow=[Stack])
    back = skvqdraw.load(tmp_path / "model.safetensors", allow=[Stack, FixedMoves])
    assert_same_model(vq, back, X)
    assert repr(back.refiner_) == repr(vq.refiner_)


def class_called(name, base=FixedMoves):
    return type(name, (base,), {"__init__": base.__init__})


def test_classes_of_one_name_are_not_mixed_up(X, tmp_path):
    """A file says their names alone."""
    path = tmp_path / "model.safetensors"
    ours, other = class_called("MLPRefiner", MLPRefiner), class_called("FixedMoves")
    message = "two classes are called {}: .* and .*rename yours"
    for name, refiner in (
        ("MLPRefiner", ours(4, basis_size=2)),
        ("FixedMoves", Stack(0.5, (FixedMoves(), other()))),
    ):
        vq = make_estimator(refiner=refiner, max_steps=1).fit(X)
        with pytest.raises(ValueError, match=message.format(name)):
            vq.save(path)
    assert not path.exists()
    make_estimator(refiner=FixedMoves(), max_steps=1).fit(X).save(path)
    for name, allow in (("MLPRefiner", [ours]), ("FixedMoves", [FixedMoves, other])):
        with pytest.raises(ValueError, match=message.format(name)):
            skvqdraw.load(path, allow=allow)
    skvqdraw.load(path, allow=[FixedMoves, FixedMoves])


def test_our_networks_are_not_evaluated_to_load_them(fitted, X, tmp_path, monkeypatch):
    def forward(self, x, stage):
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(type(fitted.network_), "forward", forward)
        back = through_a_file(fitted, tmp_path)
    assert_same_model(fitted, back, X)


def test_refiners_of_users_nest_to_a_bound(X, tmp_path):
    vq = make_estimator(refiner=Stack()).fit(X)
    for depth in (8, 9):
        deep = 1.0
        for _ in range(depth):
            deep = {"class": "Stack", "params": {"size": deep}}
        path = rewritten(vq, tmp_path, setting("params", "refiner", deep))
        if depth == 8:
            model = skvqdraw.load(path, allow=[Stack])
            assert repr(clone(model)) == repr(model)
        else:
            with pytest.raises(FormatError, match="nested more than 8 deep"):
                skvqdraw.load(path, allow=[Stack])


class WithBuffer(FixedMoves):
    """A refiner whose network has a buffer of some dtype."""

    def __init__(self, dtype="float32"):
        super().__init__()
        self.dtype = dtype

    def build(self, n_features, n_stages, n_options):
        network = super().build(n_features, n_stages, n_options)
        network.register_buffer("extra", torch.zeros(3, dtype=getattr(torch, self.dtype)))
        return network


def test_weights_of_half_precision_take_half_the_room(X, tmp_path):
    vq = make_estimator(n_stages=2, n_options=8, max_steps=2).fit(X)
    vq.save(tmp_path / "whole.safetensors")
    weights = list(vq.network_.parameters())
    with torch.no_grad():
        for weight in weights:
            weight.copy_(weight.half())
    vq.save(tmp_path / "half.safetensors")
    n_bytes = {path.stem: path.stat().st_size for path in tmp_path.iterdir()}
    n_halved = 2 * sum(weight.numel() for weight in weights)
    assert n_bytes["whole"] - n_bytes["half"] == pytest.approx(n_halved, abs=300)
    same = skvqdraw.load(tmp_path / "half.safetensors")
    assert {weight.dtype for weight in same.network_.parameters()} == {torch.float32}
    assert_same_model(vq, same, X)
    assert same.fingerprint() == vq.fingerprint()
    with torch.no_grad():
        weights[-1].view(-1)[-1] += 1e-7  # one number that is not of half precision
    vq.save(tmp_path / "half.safetensors")
    assert (tmp_path / "half.safetensors").stat().st_size == pytest.approx(n_bytes["whole"], abs=9)
    assert_same_model(vq, skvqdraw.load(tmp_path / "half.safetensors"), X)


def test_dtypes_of_networks_that_files_lack(X, tmp_path):
    path = tmp_path / "model.safetensors"
    vq = make_estimator(refiner=WithBuffer("complex64"), max_steps=2).fit(X)
    with pytest.raises(ValueError, match="'network.extra' is of dtype complex64, and a file may"):
        vq.save(path)
    message = "'extra' of the network is of dtype torch.bfloat16, .* store it as float32"
    vq.set_params(refiner=WithBuffer("bfloat16")).fit(X)
    for call in (lambda: vq.save(path), lambda: pickle.dumps(vq)):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match=message):
        vq.set_params(checkpoint=path, checkpoint_every=0).fit(X)
    assert list(tmp_path.iterdir()) == []


def test_paths_of_bytes(fitted, X, tmp_path):
    path = os.fsencode(tmp_path / "model.safetensors")
    fitted.save(path)
    assert_same_model(fitted, skvqdraw.load(path), X)
    for wrong in (3, None):
        for call in (fitted.save, skvqdraw.load):
            with pytest.raises(TypeError, match="expected str, bytes or os.PathLike"):
                call(wrong)


def test_a_random_state_instance_cannot_be_saved(X, tmp_path):
    vq = make_estimator(random_state=np.random.RandomState(0)).fit(X)
    with pytest.raises(TypeError, match="random_state must be None, .*got RandomState.*set_params"):
        vq.save(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, np.float32("inf")])
@pytest.mark.parametrize("name", ["max_time", "tol", "refiner__hidden_size"])
def test_a_parameter_that_is_not_finite_is_named(fitted, tmp_path, name, value):
    vq = copy.deepcopy(fitted).set_params(**{name: value})
    message = f"{name} must be a finite number to be saved; got {value}. .*set_params.{name}="
    with pytest.raises(ValueError, match=message):
        vq.save(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda vq: vq.set_params(beam_size=0), "The 'beam_size' parameter of VQDRAW must be"),
        (lambda vq: vq.set_params(refiner=MLPRefiner(0)), "'hidden_size' parameter of MLPRefiner"),
        (lambda vq: vq.network_.double(), "must be .'float32', .*it is .'float64'"),
        (lambda vq: vq.mean_.fill(np.nan), "'mean_' has numbers that are infinite or NaN"),
    ],
)
def test_what_load_would_refuse_is_not_saved(fitted, tmp_path, spoil, message):
    vq = copy.deepcopy(fitted)
    spoil(vq)
    with pytest.raises(ValueError, match=f"this VQDRAW cannot be saved: .*{message}"):
        vq.save(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_subclass_is_loaded_if_it_is_allowed(X, tmp_path):
    class Mine(skvqdraw.VQDRAW):
        pass

    vq = Mine(2, 4, refiner=MLPRefiner(8), max_steps=2).fit(X)
    vq.save(tmp_path / "model.safetensors")
    with pytest.raises(FormatError, match="unknown class 'Mine'; known are .*VQDRAW.*allow="):
        skvqdraw.load(tmp_path / "model.safetensors")
    same = skvqdraw.load(tmp_path / "model.safetensors", allow=[Mine])
    assert type(same) is Mine
    np.testing.assert_array_equal(same.encode(X), vq.encode(X))


def test_what_is_learned_and_not_declared_is_not_lost_in_silence(X, tmp_path):
    """In a class of somebody else; to ours, nobody but ourselves adds what is learned."""

    class Mine(skvqdraw.VQDRAW):
        def __init__(self, n_stages=2, n_options=4, lambda_=1):
            super().__init__(n_stages, n_options, refiner=MLPRefiner(8), max_steps=2)
            self.lambda_ = lambda_

    vq, path = Mine().fit(X), tmp_path / "model.safetensors"
    vq.save(path)
    path.unlink()
    vq.more_ = 1
    with pytest.raises(
        TypeError, match="Mine cannot be saved: its _learned does not declare more_"
    ):
        vq.save(path)
    assert not path.exists()


def test_the_format_is_as_documented(fitted, X, tmp_path):
    """Read with nothing of ours: the package safetensors, JSON and a hash of the whole file."""
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        text = json.loads(file.metadata()["skvqdraw"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    assert text["format_version"] == 2
    assert text["class"] == "VQDRAW"
    assert text["params"]["n_options"] == 8
    assert text["params"]["refiner"]["class"] == "MLPRefiner"
    assert text["fitted"]["scale_"] == fitted.scale_
    assert text["versions"]["skvqdraw"] == skvqdraw.__version__
    assert text["versions"]["torch"] == torch.__version__
    np.testing.assert_array_equal(arrays["mean_"], fitted.mean_)
    np.testing.assert_array_equal(arrays["network.table"], fitted.network_.table.detach().numpy())
    data = path.read_bytes()
    digest = text["sha256"].encode()
    assert data.count(digest) == 1
    assert hashlib.sha256(data.replace(digest, b"0" * 64)).hexdigest() == digest.decode()


def rewrite(path, change):
    """Apply `change(text, arrays)` to a saved model, and put its hash right."""
    with safetensors.safe_open(path, framework="numpy") as file:
        text = json.loads(file.metadata()["skvqdraw"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    digest = text["sha256"].encode()
    change(text, arrays)
    data = safetensors.numpy.save(arrays, {"skvqdraw": json.dumps(text)})
    data = data.replace(digest, b"0" * 64)
    path.write_bytes(data.replace(b"0" * 64, hashlib.sha256(data).hexdigest().encode(), 1))


def rewritten(model, tmp_path, change):
    path = tmp_path / "model.safetensors"
    model.save(path)
    rewrite(path, change)
    return path


def setting(part, name, value):
    """Return a change of one entry of `text[part]`, or of the arrays."""
    return lambda text, arrays: (arrays if part == "arrays" else text[part]).update({name: value})


def of_refiner(**params):
    return lambda text, arrays: text["fitted"]["refiner_"]["params"].update(params)


def test_rewriting_alone_changes_nothing(fitted, X, tmp_path):
    path = rewritten(fitted, tmp_path, lambda text, arrays: None)
    assert_same_model(fitted, skvqdraw.load(path), X)


def test_parameters_younger_than_a_file_have_their_defaults(fitted, X, tmp_path):
    path = rewritten(fitted, tmp_path, lambda text, arrays: text["params"].pop("beam_size"))
    assert_same_model(fitted, skvqdraw.load(path), X)


def chain(n):
    """Return a refiner in a refiner, and so on, which takes long to print."""
    value = [8, 8]
    for _ in range(n):
        value = {"class": "ConvRefiner", "params": {"image_shape": value}}
    return value


def nested(depth):
    return [nested(depth - 1)] if depth else 8


def records(n, step=1):
    """Return a change of the loss curve to `n` records of a step."""
    return lambda text, arrays: (
        text["fitted"].update(loss_curve_=["step"]),
        arrays.update({"loss_curve_": np.full((n, 1), step, float)}),
        arrays.update({"loss_curve_.known": np.ones((n, 1), np.uint8)}),
    )


def two_million_names(text, arrays):
    """Change a model of one stage and basis vector; its last check refuses the step."""
    D = 2_000_000
    text["fitted"]["n_features_in_"] = D
    text["fitted"]["refiner_"] = {"class": "MLPRefiner", "params": {"basis_size": 1}}
    records(1, 0.5)(text, arrays)
    for name in [name for name in arrays if name.startswith("network.")]:
        arrays.pop(name)
    arrays.update(
        {
            "mean_": np.zeros(D, np.float32),
            "code_usage_": np.full((1, 2), 0.5),
            "network.table": np.zeros((2, D), np.float32),
            "network.mixing": np.zeros((0, 2, 1), np.float32),
            "feature_names_in_": np.frombuffer(b"\0".join([b"ab"] * D), np.uint8),
        }
    )


def paper(image_shape):
    return {"class": "PaperRefiner", "params": {"image_shape": image_shape}}


LIES = {
    "newer": (lambda t, a: t.update(format_version=3), "format version 3, and 2 is the one that"),
    "first": (lambda t, a: t.update(format_version=1), "format version 1, .*newest skvqdraw"),
    "no version": (lambda t, a: t.pop("format_version"), "format version None"),
    "a string": (lambda t, a: t.update(format_version="2"), "format version '2'"),
    "a float": (lambda t, a: t.update(format_version=2.0), "format_version must be of type int"),
    "lacks": (lambda t, a: t.pop("versions"), r"its text must hold .*it lacks \['versions'\]"),
    "besides": (lambda t, a: t.update(more=1), r"has besides \['more'\]"),
    "kind": (lambda t, a: t.update(params=[]), "params must be of type dict; it is \\[\\]"),
    "versions": (setting("versions", "torch", 2), "versions must be strings"),
    "class": (lambda t, a: t.update({"class": "os.system"}), "unknown class 'os.system'; known"),
    "hash": (lambda t, a: t.update(sha256="0" * 63 + "X"), "sha256 must be 64 hexadecimal digits"),
    "unknown parameter": (setting("params", "surprise", 1), r"no parameters \['surprise'\]"),
    "parameter": (setting("params", "n_stages", 0), r"'n_stages' .*range \[1, inf\). Got 0"),
    "parameter's type": (setting("params", "n_stages", "4"), "'n_stages' .* Got '4'"),
    "checkpoint": (setting("params", "checkpoint", "/etc/passwd"), "must not hold .'checkpoint'"),
    "refiner": (
        setting("params", "refiner", {"class": "Popen", "params": {}}),
        r"unknown refiner 'Popen'; known are .*load\(path, allow=\[TheClass\]\)",
    ),
    "refiner's class": (
        setting("params", "refiner", {"class": [], "params": {}}),
        r"unknown refiner \[\]",
    ),
    "refiner's keys": (setting("params", "refiner", {"class": "MLPRefiner"}), "lacks .'params'"),
    "refiner's parameters": (
        setting("params", "refiner", {"class": "MLPRefiner", "params": 1}),
        "parameters of MLPRefiner must be an object; they are 1",
    ),
    "refiner lacks": (
        setting("params", "refiner", {"class": "ConvRefiner", "params": {}}),
        "ConvRefiner cannot be made: .*missing .*image_shape",
    ),
    "refiner in a refiner": (
        setting("params", "refiner", chain(12)),
        "a refiner is where none may be",
    ),
    "refiner for a number": (setting("params", "n_stages", chain(12)), "a refiner is where none"),
    "deep": (setting("params", "refiner", paper(nested(400))), "nested more than 8 deep"),
    "image_shape": (
        setting("params", "refiner", paper(nested(3))),
        "'image_shape' parameter of PaperRefiner must be .*Got",
    ),
    "refiner_": (
        setting("fitted", "refiner_", None),
        "refiner_ must have the method build; it is None",
    ),
    "refiner_'s range": (of_refiner(hidden_size=0), "'hidden_size' parameter of MLPRefiner must"),
    "refiner_'s size": (of_refiner(hidden_size=17), r"must be .*17.*by refiner_; it is .*16"),
    "more blocks": (of_refiner(n_blocks=3), "fewer arrays than its network"),
    "fewer blocks": (of_refiner(n_blocks=1), "must be absent, by refiner_; it is .'float32'"),
    "lacks scale_": (lambda t, a: t["fitted"].pop("scale_"), r"fitted must .*lacks \['scale_'\]"),
    "scale_": (setting("fitted", "scale_", 0), r"scale_ must be a float in the range \(0.*is 0"),
    "scale_ beyond floats": (setting("fitted", "scale_", 10**400), "scale_ must be a float in the"),
    "n_steps_": (setting("fitted", "n_steps_", -1), "n_steps_ must be an int .*; it is -1"),
    "true": (setting("fitted", "n_steps_", True), "n_steps_ must be an int .*; it is True"),
    "n_features_in_": (setting("fitted", "n_features_in_", 63), r"'network.table' must be .*63"),
    "columns": (setting("fitted", "loss_curve_", ["loss"]), "different keys, step being one"),
    "columns twice": (setting("fitted", "loss_curve_", ["step", "step"]), "different keys"),
    "unhashable": (setting("fitted", "loss_curve_", [[]]), "different keys"),
    "fewer columns": (
        setting("fitted", "loss_curve_", ["step"]),
        "loss_curve_ must be float64 of 1 columns",
    ),
    "lacks mean_": (lambda t, a: a.pop("mean_"), "mean_ is missing"),
    "mean_'s axes": (setting("arrays", "mean_", np.ones((1, 64))), r"mean_ must be \('M',\)"),
    "mean_'s dtype": (
        setting("arrays", "mean_", np.ones(64, int)),
        "float32 or float64; it is int",
    ),
    "usage": (
        setting("arrays", "code_usage_", np.full((4, 8), 1.5)),
        "code_usage_ must be from 0 to 1",
    ),
    "one option": (
        setting("arrays", "code_usage_", np.ones((4, 1))),
        "K of code_usage_ must be 2 to inf",
    ),
    "no stage": (
        setting("arrays", "code_usage_", np.ones((0, 8))),
        "S of code_usage_ must be 1 to 65536",
    ),
    "stages": (setting("arrays", "code_usage_", np.ones((3, 8))), r"mixing' must be .*\(2, 8, 4\)"),
    "lacks mixing": (
        lambda t, a: a.pop("network.mixing"),
        "fewer arrays than its network",
    ),
    "extra": (setting("arrays", "extra", np.ones(1)), "unknown arrays: .'extra'"),
    "renamed": (
        lambda t, a: a.update({"network.mix": a.pop("network.mixing")}),
        "'network.mixing' must be .*; it is absent",
    ),
    "float64": (
        lambda t, a: a.update({"network.table": a["network.table"].astype(float)}),
        "'network.table' must be .'float32', .*it is .'float64'",
    ),
    "NaN": (
        lambda t, a: a["network.table"].fill(np.nan),
        "'network.table' has numbers that are inf",
    ),
    "steps": (lambda t, a: a["loss_curve_"].fill(0.5), "steps of loss_curve_ must be integers"),
    "step unknown": (
        lambda t, a: a["loss_curve_.known"].fill(0),
        "known must be 0 or 1, and 1 for each step",
    ),
    "known": (lambda t, a: a["loss_curve_.known"].fill(2), "known must be 0 or 1"),
    "n_steps_ beyond floats": (setting("fitted", "n_steps_", 2**53 + 1), "n_steps_ must be an int"),
    "records": (records(2**20 + 1), "loss_curve_ may have 1048576 records; it has 1048577"),
    "names": (
        setting("arrays", "feature_names_in_", np.zeros(3, dtype=np.uint8)),
        "must be 64 names; they are 4",
    ),
    "not UTF-8": (
        setting("arrays", "feature_names_in_", np.array([0] * 63 + [255], dtype=np.uint8)),
        "feature_names_in_ must be UTF-8",
    ),
}


@pytest.mark.parametrize(("change", "message"), LIES.values(), ids=LIES)
def test_lies(fitted, tmp_path, change, message):
    path = rewritten(fitted, tmp_path, change)
    says = rf"(?s)^{re.escape(str(path))} is not a model that skvqdraw .* reads: .*{message}"
    with pytest.raises(FormatError, match=says):
        skvqdraw.load(path)


def boosting_lies():
    ones = np.ones
    return {
        "lacks": (lambda t, a: a.pop("codebooks_"), "codebooks_ is missing"),
        "other stages": (setting("arrays", "codebooks_", ones((4, 8, 64), "f4")), "'S': 3"),
        "other options": (setting("arrays", "codebooks_", ones((3, 9, 64), "f4")), "'K': 8"),
        "other features": (setting("arrays", "codebooks_", ones((3, 8, 63), "f4")), "'D': 64"),
        "dtype": (setting("arrays", "codebooks_", ones((3, 8, 64))), "of dtype float32; it is"),
        "stage_loss_": (setting("arrays", "stage_loss_", ones(2)), "stage_loss_ must be .'S',"),
        "infinite": (setting("arrays", "stage_loss_", ones(3) * np.inf), "infinite or NaN"),
        "unknown": (setting("arrays", "network.a", ones(2)), "unknown arrays: .'network.a'"),
        "refiner_": (setting("fitted", "refiner_", None), "besides .'refiner_'"),
        "n_iter_": (setting("fitted", "n_iter_", 1.5), "n_iter_ must be an int"),
        "data_dtype_": (setting("fitted", "data_dtype_", "uint7"), "name of a dtype.*'uint7'"),
        "no data_dtype_": (setting("fitted", "data_dtype_", [3]), "name of a dtype"),
        "order": (setting("fitted", "data_range_", [1.0, 0.0]), "data_range_ must be two finite"),
        "no floats": (setting("fitted", "data_range_", [0, 1]), "data_range_ must be two finite"),
        "no range": (setting("fitted", "data_range_", 0.0), "data_range_ must be two finite"),
        "one axis": (setting("fitted", "row_shape_", [64]), "row_shape_ must be the sizes"),
        "a shape": (setting("fitted", "row_shape_", [2, 3]), "row_shape_ must be the sizes"),
        "a bool": (setting("fitted", "row_shape_", [True, 64]), "row_shape_ must be the sizes"),
        "negative": (setting("fitted", "row_shape_", [-8, -8]), "row_shape_ must be the sizes"),
        "no shape": (setting("fitted", "row_shape_", "88"), "row_shape_ must be the sizes"),
    }


@pytest.mark.parametrize("lie", boosting_lies())
def test_lies_of_cluster_boosting(X, tmp_path, lie):
    change, message = boosting_lies()[lie]
    boosting = skvqdraw.ClusterBoosting(3, 8, max_iter=2, random_state=0).fit(X)
    with pytest.raises(FormatError, match=message):
        skvqdraw.load(rewritten(boosting, tmp_path, change))


@pytest.mark.parametrize("where", [9, 200, -1])
def test_a_changed_byte_is_noticed(fitted, tmp_path, where):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError):
        skvqdraw.load(path)


def test_a_changed_number_in_the_text_is_noticed(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    data = path.read_bytes()
    assert data.count(rb"\"beam_size\": 1") == 1
    path.write_bytes(data.replace(rb"\"beam_size\": 1", rb"\"beam_size\": 2"))
    with pytest.raises(FormatError, match="it has changed since it was written"):
        skvqdraw.load(path)


HUGE = {
    "hidden_size": of_refiner(hidden_size=10**9),
    "hidden_size beyond int64": of_refiner(hidden_size=10**30),
    "basis_size beyond float64": of_refiner(basis_size=10**400),
    "n_blocks": of_refiner(n_blocks=10**9),
    "channels": lambda t, a: t["fitted"].update(
        refiner_={"class": "ConvRefiner", "params": {"image_shape": [8, 8], "n_channels": 10**9}}
    ),
    "segments": lambda t, a: (
        t["fitted"].update(
            refiner_={
                "class": "PaperRefiner",
                "params": {"image_shape": [8, 8], "segment_length": 1},
            }
        ),
        a.update(code_usage_=np.zeros((65_536, 8))),
    ),
    "stages": lambda t, a: a.update(code_usage_=np.zeros((1_000_000, 8))),
    "rounds": lambda t, a: (
        of_refiner(stages_per_round=1)(t, a),
        a.update(code_usage_=np.zeros((65_536, 8))),
    ),
    "names": lambda t, a: a.update(feature_names_in_=np.zeros(30_000_000, dtype=np.uint8)),
    "names, then steps": two_million_names,
    "arrays": lambda t, a: a.update({f"network.{i}": np.zeros(0) for i in range(13_000)}),
    "nested": setting("params", "refiner", [[[]]] * 100_000),
}

# Prints the growth of the most memory held over each load, and its seconds.
WATCHER = """
import sys, time
from pathlib import Path
import fuzz_load, skvqdraw
memory = fuzz_load.Memory()
for path in sys.argv[1:]:
    memory.start()
    started = time.process_time()
    try:
        skvqdraw.load(path)
    except skvqdraw.exceptions.FormatError:
        print(memory.growth(), time.process_time() - started)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the most memory held is read from /proc")
def test_huge_claims_cost_little(fitted, tmp_path):
    paths = []
    for name, change in HUGE.items():
        paths.append(tmp_path / name)
        fitted.save(paths[-1])
        rewrite(paths[-1], change)
    folders = [str(Path(__file__).parent), str(Path(skvqdraw.__file__).parents[1])]
    watched = subprocess.run(
        [sys.executable, "-c", WATCHER, *paths],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = watched.stdout.splitlines()
    assert len(lines) == len(paths)
    for path, line in zip(paths, lines, strict=True):
        growth, seconds = map(float, line.split())
        assert growth <= 2 * path.stat().st_size + 64 * 2**20, path.name
        assert seconds < 5, path.name


def test_networks_are_counted_exactly():
    """A file has as many arrays as its network makes tensors: no more may be made."""
    specs = [
        MLPRefiner(8),
        ConvRefiner((64, 64, 3), n_channels=8),
        *(PaperRefiner((64, 64, 3), architecture=name) for name in ARCHITECTURES),
    ]
    for spec in specs:
        with torch.device("meta"):
            n_arrays = len(spec.build(64 * 64 * 3, 7, 4).state_dict())
        with torch.device("meta"), _Counted(n_arrays):
            spec.build(64 * 64 * 3, 7, 4)
        with pytest.raises(FormatError), torch.device("meta"), _Counted(n_arrays - 1):
            spec.build(64 * 64 * 3, 7, 4)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\xff" * 100])
def test_files_that_are_something_else(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="is not a model that skvqdraw"):
        skvqdraw.load(path)


def test_a_safetensors_file_of_somebody_else(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.numpy.save({"weight": np.ones(3)}))
    with pytest.raises(FormatError, match="header has no text 'skvqdraw': something else wrote"):
        skvqdraw.load(path)


def test_a_pickle_is_not_unpickled(fitted, tmp_path):
    joblib.dump(fitted, tmp_path / "model.joblib")
    with pytest.raises(FormatError, match="first 8 bytes"):
        skvqdraw.load(tmp_path / "model.joblib")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(FileNotFoundError):
        skvqdraw.load(tmp_path / "nothing.safetensors")
    with pytest.raises(IsADirectoryError):
        skvqdraw.load(tmp_path)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int64, np.float16, np.float64])
def test_what_training_rows_were_is_kept_and_decodes_nothing(dtype, tmp_path):
    X = (np.arange(24).reshape(4, 6) % 5).astype(dtype)
    model = skvqdraw.ClusterBoosting(n_stages=1, n_options=2, random_state=0).fit(X)
    expected = model.fingerprint()
    assert (model.data_dtype_, model.data_range_) == (np.dtype(dtype).name, (X.min(), X.max()))
    assert model.row_shape_ is None
    model._keep_row_shape((2, 3))
    model.save(tmp_path / "m")
    for same in (skvqdraw.load(tmp_path / "m"), pickle.loads(pickle.dumps(model))):
        assert same.fingerprint() == expected
        assert (same.data_dtype_, same.data_range_) == (model.data_dtype_, model.data_range_)
        assert same.row_shape_ == (2, 3)
    assert model.fit(X).row_shape_ is None  # the rows of another fit may be anything


def test_partial_fit_widens_the_range_and_encode_does_not(tmp_path):
    refiner = MLPRefiner(hidden_size=4, basis_size=2)
    vq = skvqdraw.VQDRAW(1, 2, refiner=refiner, random_state=0)
    vq.partial_fit(np.full((5, 2), 3, np.uint8))
    vq.partial_fit(np.float32([[-1, 2], [2, 2]]))
    assert (vq.data_dtype_, vq.data_range_) == ("float32", (-1, 3))
    vq.encode(np.full((2, 2), 4.0))
    assert vq.data_range_ == (-1, 3)
    vq.fit(np.ones((5, 2)))
    assert (vq.data_dtype_, vq.data_range_) == ("float64", (1, 1))


def test_networks_of_images_and_volumes_know_the_shape_of_rows():
    X = np.random.default_rng(0).normal(size=(9, 64))
    for refiner, shape in [
        (ConvRefiner((4, 16), n_channels=4, downsampling=4), (4, 16)),
        (VolumeRefiner((4, 4, 4), n_channels=4, downsampling=4), (4, 4, 4)),
    ]:
        model = skvqdraw.VQDRAW(1, 2, refiner=refiner, max_steps=1, random_state=0).fit(X)
        assert model.row_shape_ == shape
        model._check_row_shape((*shape, 1), "X")
        with pytest.raises(ValueError, match=rf"{re.escape(str(shape))}, as this .* \(16, 4\)"):
            model._check_row_shape((16, 4), "X")

"""Saving, loading, pickling: the same model comes back."""

import copy
import json
import pickle

import joblib
import numpy as np
import pytest
import safetensors.numpy
import skops.io
from conftest import assert_same_model, make_estimator

import skvqdraw
from skvqdraw.exceptions import FormatError
from skvqdraw.nn import DenseRound
from skvqdraw.refiners import ConvRefiner, MLPRefiner, PaperRefiner, Refiner

KINDS = {
    "mlp": {},
    "conv": {"refiner": ConvRefiner((8, 8), n_channels=8, downsampling=2, basis_size=4)},
    "beams": {"beam_size": 3, "round_beam_size": 5},
    "paper": {"refiner": PaperRefiner((8, 8)), "max_steps": 3},
    "shared": {"refiner": MLPRefiner(8, rounds_per_trunk=2), "encoding": "ordinal"},
    "one stage": {"n_stages": 1},
}


def through_a_file(vq, tmp_path):
    vq.save(tmp_path / "model.safetensors")
    return skvqdraw.load(tmp_path / "model.safetensors")


def through_joblib(vq, tmp_path):
    joblib.dump(vq, tmp_path / "model.joblib")
    return joblib.load(tmp_path / "model.joblib", mmap_mode="r")


def through_skops(vq, tmp_path):
    dumped = skops.io.dumps(vq)
    unknown = skops.io.get_untrusted_types(data=dumped)
    assert all(name.startswith(("skvqdraw.", "numpy.")) for name in unknown)
    return skops.io.loads(dumped, trusted=unknown)


WAYS = {
    "file": through_a_file,
    "pickle": lambda vq, tmp_path: pickle.loads(pickle.dumps(vq)),
    "joblib": through_joblib,
    "skops": through_skops,
    "deepcopy": lambda vq, tmp_path: copy.deepcopy(vq),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_round_trip_is_exact(X, tmp_path, kind, way):
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


def test_loading_leaves_the_random_streams_alone(X, tmp_path):
    import torch

    vq = make_estimator().fit(X)
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    through_a_file(vq, tmp_path)
    pickle.loads(pickle.dumps(vq))
    assert torch.equal(torch.rand(2), expected)


def test_feature_names_survive(X, tmp_path):
    import pandas as pd

    frame = pd.DataFrame(X[:, :5]).rename(columns="pixel{}".format)
    vq = make_estimator().fit(frame)
    back = through_a_file(vq, tmp_path)
    np.testing.assert_array_equal(back.feature_names_in_, vq.feature_names_in_)
    np.testing.assert_array_equal(back.encode(frame), vq.encode(frame))


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
    assert_same_model(vq, skvqdraw.load(path, allow=[FixedMoves]), X)
    assert_same_model(vq, pickle.loads(pickle.dumps(vq)), X)


def test_a_random_state_instance_cannot_be_saved(X, tmp_path):
    vq = make_estimator(random_state=np.random.RandomState(0)).fit(X)
    with pytest.raises(TypeError, match="random_state must be None, .*got RandomState.*set_params"):
        vq.save(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_subclass_is_not_saved_as_what_load_would_not_know(X, tmp_path):
    class Mine(skvqdraw.VQDRAW):
        pass

    vq = Mine(2, 4, refiner=MLPRefiner(8), max_steps=2).fit(X)
    with pytest.raises(TypeError, match="only ClusterBoosting, VQDRAW can be saved.*got Mine"):
        vq.save(tmp_path / "model.safetensors")


def rewrite(path, change):
    """Apply `change(header, tensors)` to a saved model."""
    with safetensors.safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["skvqdraw"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    change(header, tensors)
    path.write_bytes(safetensors.numpy.save(tensors, {"skvqdraw": json.dumps(header)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, t: h.update(format_version=2), "format version 2; this version .* reads 1"),
        (lambda h, t: h.pop("format_version"), "format version None"),
        (lambda h, t: h.update({"class": "os.system"}), "unknown class 'os.system'; known are"),
        (lambda h, t: h["params"].update(surprise=1), "does not hold a whole model: TypeError"),
        (lambda h, t: h["fitted"].pop("scale_"), "does not hold a whole model: KeyError: 'scale_'"),
        (lambda h, t: t.pop("mean_"), "does not hold a whole model: KeyError: 'mean_'"),
        (lambda h, t: t.pop("network.mixing"), "(?s)does not hold a whole model: .*mixing"),
        (lambda h, t: t.update(extra=np.ones(1)), "(?s)does not hold a whole model: .*extra"),
        (
            lambda h, t: h["refiner_"]["params"].update(hidden_size=0),
            "'hidden_size' parameter of MLPRefiner must be",
        ),
    ],
)
def test_files_that_are_not_whole_models(X, tmp_path, change, message):
    path = tmp_path / "model.safetensors"
    make_estimator().fit(X).save(path)
    rewrite(path, change)
    with pytest.raises(FormatError, match=message):
        skvqdraw.load(path)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\xff" * 100])
def test_files_that_are_something_else(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="is not a model saved by skvqdraw"):
        skvqdraw.load(path)


def test_a_safetensors_file_of_somebody_else(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(safetensors.numpy.save({"weight": np.ones(3)}))
    with pytest.raises(FormatError, match="is not a model saved by skvqdraw: KeyError"):
        skvqdraw.load(path)


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        skvqdraw.load(tmp_path / "nothing.safetensors")

"""Files that earlier versions wrote: every later one reads them, and codes as they did."""

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors

import skvqdraw

GOLDEN = sorted((Path(__file__).parent / "data").glob("format-*/*.safetensors"))


def test_there_are_files_of_every_format():
    assert {path.parent.name for path in GOLDEN} == {"format-2"}


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_golden_file(path, tmp_path):
    expected = np.load(path.with_suffix(".npz"))
    for model in (skvqdraw.load(path), saved_again(path, tmp_path)):
        np.testing.assert_array_equal(model.encode(expected["X"]), expected["codes"])
        np.testing.assert_allclose(model.decode(expected["codes"]), expected["decoded"], atol=1e-5)
        np.testing.assert_allclose(
            model.decode(expected["codes"][:, :2]), expected["decoded_prefix"], atol=1e-5
        )


def saved_again(path, tmp_path):
    skvqdraw.load(path).save(tmp_path / "again")
    return skvqdraw.load(tmp_path / "again")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_nothing_of_a_golden_file_is_lost(path):
    model = skvqdraw.load(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        text = json.loads(file.metadata()["skvqdraw"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    for name, value in text["params"].items():
        if name != "refiner":
            assert getattr(model, name) == value
    for name in ("scale_", "n_steps_", "n_iter_", "n_features_in_"):
        assert getattr(model, name, None) == text["fitted"].get(name)
    for name in ("mean_", "code_usage_", "codebooks_", "stage_loss_"):
        if name in arrays:
            np.testing.assert_array_equal(getattr(model, name), arrays[name])
    if "network.table" in arrays:
        state = model.network_.state_dict()
        assert {f"network.{name}" for name in state} <= arrays.keys()
        for name, tensor in state.items():
            np.testing.assert_array_equal(tensor.numpy(), arrays[f"network.{name}"])
        assert len(model.loss_curve_) == len(arrays["loss_curve_"])
    assert ("feature_names_in_" in arrays) == hasattr(model, "feature_names_in_")

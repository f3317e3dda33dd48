"""What can be asked of a decoder: the proposals of a stage, and which decoder it is."""

import pickle
import tracemalloc
from copy import copy
from pathlib import Path

import numpy as np
import pytest
from conftest import make_estimator
from sklearn.base import clone

import skvqdraw
from skvqdraw import ClusterBoosting
from skvqdraw.refiners import ConvRefiner, MLPRefiner, PaperRefiner

CONV = ConvRefiner((8, 8), n_channels=8, downsampling=2, basis_size=4)
ESTIMATORS = {
    "perceptron": make_estimator(),
    "one stage each": make_estimator(refiner=MLPRefiner(16, basis_size=4, stages_per_round=1)),
    "convolutions": make_estimator(refiner=CONV),
    "paper": make_estimator(refiner=PaperRefiner((8, 8)), max_steps=2),
    "many options": make_estimator(n_options=300, max_steps=2),
    "log loss": make_estimator(loss="log_loss"),
    "beams": make_estimator(beam_size=3),
    "boosting": ClusterBoosting(4, 8, random_state=0),
    "boosting with log loss": ClusterBoosting(4, 8, loss="log_loss", random_state=0),
}


@pytest.fixture(scope="module", params=ESTIMATORS)
def model(request, X):
    return clone(ESTIMATORS[request.param]).fit(X)


# Proposals


@pytest.mark.parametrize("n_prefix", [0, 1, 2, 3])
def test_proposals_are_what_the_next_option_decodes_to(model, X, n_prefix):
    n_options = model.code_usage_.shape[1]
    codes = model.encode(X[:5])[:, :n_prefix]
    proposals = model.proposals(codes)
    assert proposals.shape == (5, n_options, 64)
    assert proposals.dtype == model.decode(codes).dtype
    for option in range(n_options):
        longer = np.column_stack([codes, np.full(5, option)])
        np.testing.assert_array_equal(proposals[:, option], model.decode(longer))


def test_proposals_do_not_depend_on_the_rows_beside(fitted, X):
    codes = fitted.encode(np.tile(X, (2, 1)))[:, :2]
    proposals = fitted.proposals(codes)
    np.testing.assert_array_equal(fitted.proposals(codes[270:271]), proposals[270:271])


def test_proposals_take_little_room_beside_themselves(X):
    vq = make_estimator(n_options=256, max_steps=1).fit(X)
    codes = vq.encode(np.tile(X, (5, 1)))[:, :1]
    vq.proposals(codes[:1])
    tracemalloc.start()
    try:
        proposals = vq.proposals(codes)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < proposals.nbytes + 2e6


def test_after_the_last_stage_nothing_is_proposed(model, X):
    codes = model.encode(X[:2])
    with pytest.raises(ValueError, match="at most 3 columns, one for each stage; got 4"):
        model.proposals(codes)
    with pytest.raises(ValueError, match=r"integers in \[0, .*; got 999 at row 0, stage 0"):
        model.proposals([[999]])
    assert model.proposals(codes[:0, :2]).shape[0] == 0


# Fingerprints


def test_a_fingerprint_is_of_the_decoder_alone(model, X, tmp_path):
    first = model.fingerprint()
    assert len(first) == 64
    model.save(tmp_path / "model")
    loaded = skvqdraw.load(tmp_path / "model")
    others = [pickle.loads(pickle.dumps(model)), loaded, clone(model).fit(X)]
    changed = copy(model).set_params(encoding="ordinal", n_stages=7, loss="squared_error")
    for same in [*others, changed]:
        assert same.fingerprint() == first
    other = clone(model).set_params(random_state=1).fit(X)
    assert other.fingerprint() != first


@pytest.mark.parametrize("name", ["mean_", "codebooks_", "loss_"])
def test_whatever_decoding_reads_changes_the_fingerprint(X, name):
    boosting = clone(ESTIMATORS["boosting"]).fit(X)
    first = boosting.fingerprint()
    if name == "loss_":
        boosting.loss_ = skvqdraw.losses.LogLoss()
    else:
        getattr(boosting, name).flat[0] += 1e-3
    assert boosting.fingerprint() != first


@pytest.mark.parametrize("name", ["mean_", "scale_", "refiner_", "loss_", "network_"])
def test_whatever_vqdraw_decodes_with_changes_the_fingerprint(X, name):
    vq = make_estimator(max_steps=2).fit(X)
    first, codes = vq.fingerprint(), vq.encode(X)
    vq.code_usage_[0, 0] += 0.1  # says nothing of decoding
    assert vq.fingerprint() == first
    if name == "network_":
        vq.network_.mixing.data[0, 0, 0] += 1e-3
    elif name == "mean_":
        vq.mean_[0] += 1e-3
    elif name == "loss_":
        vq.loss_ = skvqdraw.losses.LogLoss()
    elif name == "refiner_":
        vq.refiner_ = MLPRefiner(16, basis_size=5)
    else:
        vq.scale_ *= 1.001
    assert vq.fingerprint() != first
    assert len(codes) == 200


def test_parameters_that_came_later_are_told_where_they_say_something_else(X):
    class Later(MLPRefiner):
        _later_params = {"n_blocks": 2}

    class Other(MLPRefiner):
        _later_params = {"n_blocks": 1}

    def told(refiner):
        return skvqdraw._base._told_apart(refiner)[1]

    assert "n_blocks" not in told(Later(16))
    assert told(Other(16))["n_blocks"] == 2
    assert told(MLPRefiner(16))["n_blocks"] == 2


GOLDEN = {
    "boosting": "66b9f7840c103f15308258e11fc94eee6549ea33c66cdca3c11ed1c01572a9e7",
    "boosting-log-loss": "a8fb49327209d9afe36844c8e5f8681e1963814cedb3cedbae54e162cf12f3d6",
    "conv": "2bbb1880750e3e971ab917ef13c2e0a7e734d687e4d7d8c32b477ee06712f0d0",
    "mlp": "a2f7f0e342088c2646ba54fc212233f4d55019c5d423e6bcb4519e8426c3a5cb",
    "shared-trunks": "bdaa41752a65f285ac944ab48c356412db60c565c11b4b62c0308d8169c65cbf",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_fingerprints(name):
    """Codes are kept with them: they are never to change."""
    folder = Path(__file__).parent / "data" / "format-2"
    assert skvqdraw.load(folder / f"{name}.safetensors").fingerprint() == GOLDEN[name]
    assert {path.stem for path in folder.glob("*.safetensors")} == GOLDEN.keys()


def test_the_fingerprint_of_the_shipped_weights():
    expected = "b13db2f35648a1a0c7ee595efbe5f4ca527971ded8dabcb6cba6f71a2938230c"
    assert skvqdraw.load_pretrained("mnist-60bit").fingerprint() == expected

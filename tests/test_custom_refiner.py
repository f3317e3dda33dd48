"""The refiner of the user guide, complete and by somebody else, is as good as the library's own."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

import skvqdraw
from skvqdraw import VQDRAW
from skvqdraw.losses import Gaussian, SquaredError

GUIDE = Path(__file__).parents[1] / "docs" / "guide"
AttentionRefiner = runpy.run_path(str(GUIDE / "attention_refiner.py"))["AttentionRefiner"]


@pytest.fixture(scope="module")
def table():
    """Eight columns that depend on each other: all are made of three."""
    rng = np.random.default_rng(0)
    return np.tanh(rng.normal(size=(300, 3)) @ rng.normal(size=(3, 8)))


@pytest.fixture(scope="module")
def vq(table):
    refiner = AttentionRefiner(width=8, basis_size=6)
    return VQDRAW(5, 8, refiner=refiner, max_steps=200, random_state=0).fit(table)


def test_it_learns(vq, table):
    codes = vq.encode(table)
    errors = [np.square(vq.decode(codes[:, :s]) - table).mean() for s in (0, 3, 5)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.5 * errors[1]
    np.testing.assert_array_equal(vq.decode(codes), vq.reconstruct(table))


def test_its_rounds_serve_every_stage_and_offer_what_they_write_out():
    torch.manual_seed(0)
    network = AttentionRefiner(width=8, basis_size=6).build(24, 5, 8)
    x, target, stage = torch.randn(4, 24), torch.randn(4, 24), 0
    while stage < 5:
        a_round = network(x, stage)
        for _ in range(a_round.n_stages):
            written_out = a_round.materialise()
            expected = (written_out - target[:, None]).square().mean(-1)
            torch.testing.assert_close(a_round.losses(target, SquaredError()), expected)
            a_round = a_round.choose(torch.tensor([0, 1, 2, 7]))
            stage += 1
        x = a_round.reconstruction()
        torch.testing.assert_close(x, written_out[range(4), [0, 1, 2, 7]])
    assert stage == 5


def test_features_of_several_parameters(table):
    loss = Gaussian(min_scale=0.05)
    vq = VQDRAW(2, 4, loss=loss, refiner=AttentionRefiner(width=8), max_steps=20, random_state=0)
    vq.fit(table)
    assert -vq.score(table) < -vq.set_params(max_steps=0).fit(table).score(table)


def test_a_specification_is_cloned_tuned_and_saved(vq, table, tmp_path):
    assert repr(clone(vq.refiner)) == "AttentionRefiner(basis_size=6, width=8)"
    tuned = clone(vq).set_params(refiner__basis_size=3, max_steps=1).fit(table)
    assert tuned.network_.mixing.shape == (5, 8, 3)
    vq.save(tmp_path / "table.safetensors")
    with pytest.raises(skvqdraw.exceptions.FormatError, match="unknown refiner 'AttentionRefiner'"):
        skvqdraw.load(tmp_path / "table.safetensors")
    same = skvqdraw.load(tmp_path / "table.safetensors", allow=[AttentionRefiner])
    np.testing.assert_array_equal(same.encode(table), vq.encode(table))

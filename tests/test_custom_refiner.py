"""The refiner of the user guide, complete and by somebody else, is as good as the library's own."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone

import skvqdraw
from skvqdraw import VQDRAW
from skvqdraw.losses import SquaredError

GUIDE = Path(__file__).parents[1] / "docs" / "guide"
SeriesRefiner = runpy.run_path(str(GUIDE / "series_refiner.py"))["SeriesRefiner"]


@pytest.fixture(scope="module")
def waves():
    rng = np.random.default_rng(0)
    speed, phase = rng.uniform(1, 4, (300, 1)), rng.uniform(0, 1, (300, 1))
    return np.sin(2 * np.pi * (speed * np.linspace(0, 1, 24) + phase))


@pytest.fixture(scope="module")
def vq(waves):
    refiner = SeriesRefiner(n_channels=8, basis_size=6)
    return VQDRAW(5, 8, refiner=refiner, max_steps=200, random_state=0).fit(waves)


def test_it_learns(vq, waves):
    codes = vq.encode(waves)
    errors = [np.square(vq.decode(codes[:, :s]) - waves).mean() for s in (0, 3, 5)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.5 * errors[1]
    np.testing.assert_array_equal(vq.decode(codes), vq.reconstruct(waves))


def test_its_rounds_serve_every_stage_and_offer_what_they_write_out():
    torch.manual_seed(0)
    network = SeriesRefiner(n_channels=8, basis_size=6).build(24, 5, 8)
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


def test_a_specification_is_cloned_tuned_and_saved(vq, waves, tmp_path):
    assert repr(clone(vq.refiner)) == "SeriesRefiner(basis_size=6, n_channels=8)"
    tuned = clone(vq).set_params(refiner__basis_size=3, max_steps=1).fit(waves)
    assert tuned.network_.mixing.shape == (5, 8, 3)
    vq.save(tmp_path / "waves.safetensors")
    with pytest.raises(skvqdraw.exceptions.FormatError, match="unknown refiner 'SeriesRefiner'"):
        skvqdraw.load(tmp_path / "waves.safetensors")
    same = skvqdraw.load(tmp_path / "waves.safetensors", allow=[SeriesRefiner])
    np.testing.assert_array_equal(same.encode(waves), vq.encode(waves))

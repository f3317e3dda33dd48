"""Rounds whose stages refine regions of rows, against candidates written out."""

import itertools

import numpy as np
import pytest
import torch
from conftest import assert_same_model, make_estimator
from sklearn.base import clone
from test_second_order import KNOWING, draw, targets
from test_sections import AbsoluteError, WrittenOut

import skvqdraw
from skvqdraw.guides import MaskGuide
from skvqdraw.losses import SquaredError
from skvqdraw.nn import FactoredRound
from skvqdraw.nn.objective import stage_weights
from skvqdraw.nn.preparation import _FromStart
from skvqdraw.nn.regions import RegionRound, region_order
from skvqdraw.refiners import ConvRefiner

N, G, D, R, T, K = 3, 2, 6, 4, 2, 5
LOSSES = {**KNOWING, "squares": SquaredError(), "absolute": AbsoluteError()}


def region_round(loss, n_rows=N, n_stages=T * G):
    """A round of two regions of three features each, as the objective sees it."""
    Q = loss.n_params
    leaves = draw(n_rows, D * Q), draw(n_rows * G, D * Q // G, R, seed=1), draw(T, K, R, seed=2)
    x, basis, mixing = (leaf.requires_grad_() for leaf in leaves)
    inner = FactoredRound(x.view(n_rows * G, -1), basis, mixing)
    objective = loss if loss.centred else _FromStart(loss, draw(D * Q, seed=3))
    return RegionRound(inner, G, n_stages), objective, (x, basis, mixing)


@pytest.mark.parametrize("name", LOSSES)
def test_stages_move_one_region_each(name):
    loss = LOSSES[name]
    a_round, objective, (x, basis, mixing) = region_round(loss)
    target, codes = targets(loss, N, D), torch.tensor([0, 4, 2])
    expected = x.detach().clone().view(N, G, -1)
    for stage, (t, g) in enumerate(itertools.product(range(T), range(G))):
        moves = torch.einsum("npr,kr->nkp", basis.view(N, G, -1, R)[:, g], mixing[t])
        options = expected[:, None].repeat(1, K, 1, 1)
        options[:, :, g] += moves
        torch.testing.assert_close(a_round.materialise(), options.flatten(2))
        torch.testing.assert_close(
            a_round.losses(target, objective), objective.grid(options.flatten(2), target)
        )
        a_round = a_round.take(torch.arange(N)).choose(codes)
        expected = options[torch.arange(N), codes].detach()
        torch.testing.assert_close(a_round.reconstruction(), expected.flatten(1))
        assert a_round.n_stages == T * G - 1 - stage
    again = a_round.take(torch.tensor([2, 2]))
    torch.testing.assert_close(again.reconstruction(), expected[[2, 2]].flatten(1))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n_hypotheses", [1, 2])
@pytest.mark.parametrize(("n_stages", "n_best"), [(4, 1), (4, 7), (3, 1), (1, 1)])
def test_the_search_is_that_of_whole_rows(name, n_hypotheses, n_stages, n_best, monkeypatch):
    """Regions are searched each for itself: the best rows are made of their best continuations.

    Where stages end amid regions, the last ones are searched for those that they have, not beyond.
    """
    monkeypatch.setattr("skvqdraw.nn.rounds._LISTED", K**T)
    loss, n_samples = LOSSES[name], N if n_hypotheses == 1 else 1
    a_round, objective, _ = region_round(loss, n_samples * n_hypotheses, n_stages)
    target = targets(loss, n_samples, D)
    rows, codes = a_round.search(target, objective, n_stages, n_hypotheses * K**T, n_best)
    everything = WrittenOut(a_round).search(
        target, objective, n_stages, n_hypotheses * K**4, n_best
    )
    assert torch.equal(rows, everything[0])
    assert torch.equal(codes, everything[1])


def test_hypotheses_are_kept_for_each_row_of_the_round(monkeypatch):
    """As many as the estimator says: not for each region as many as for all rows together."""
    kept = []
    search = FactoredRound._beam
    monkeypatch.setattr(FactoredRound, "_beam", lambda *args: kept.append(args[4]) or search(*args))
    a_round, objective, _ = region_round(SquaredError(), n_rows=6)
    a_round.search(targets(SquaredError(), 2, D), objective, T * G, 12, 3)
    assert kept == [4]


@pytest.mark.parametrize("n_gone", range(T * G))
def test_a_search_goes_on_from_wherever_the_round_is(n_gone):
    a_round, objective, _ = region_round(SquaredError())
    target = targets(SquaredError(), N, D)
    for _ in range(n_gone):
        a_round = a_round.choose(torch.tensor([1, 0, 3]))
    n_left = T * G - n_gone
    found = a_round.search(target, objective, n_left, K**4, 1)
    expected = WrittenOut(a_round).search(target, objective, n_left, K**4, 1)
    assert all(map(torch.equal, found, expected))
    *_, following = a_round.walk(target, objective, found[1][:, 0])
    best = objective.grid(following.reconstruction()[:, None], target)[:, 0]
    for codes in itertools.product(range(K), repeat=min(n_left, 2)):
        at = a_round
        for k in (*codes, *found[1][0, 0, len(codes) :]):
            at = at.choose(torch.full((N,), int(k)))
        assert (objective.grid(at.reconstruction()[:, None], target)[0, 0] >= best[0] - 1e-9).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n_stages", [1, 2, 3, 4])
def test_walks_and_gradients_are_those_of_whole_rows(name, n_stages):
    """After a search too, which finds out what the walk needs."""
    loss = LOSSES[name]
    a_round, objective, leaves = region_round(loss, n_stages=n_stages)
    target = targets(loss, N, D)
    codes = a_round.search(target, objective, n_stages, 4, 1)[1][:, 0]
    assert codes.shape == (N, n_stages)
    chosen, means, following = a_round.walk(target, objective, codes)
    at, of_options = a_round, []
    for t in range(n_stages):
        grid = objective.grid(at.materialise(), target)
        of_options.append(grid.mean(1))
        expected = grid[torch.arange(N), codes[:, t]]
        torch.testing.assert_close(chosen[t], expected)
        gradients = (
            torch.autograd.grad(each.sum(), leaves, retain_graph=True, allow_unused=True)
            for each in (chosen[t], expected)
        )
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other)
        at = at.choose(codes[:, t])
    if not loss.expands:  # others approximate it
        torch.testing.assert_close(torch.stack(means), torch.stack(of_options))
    assert following.n_stages == 0
    torch.testing.assert_close(following.reconstruction(), at.reconstruction())


def test_stages_of_regions_weigh_as_one():
    for n_stages, n_regions in [(4, 4), (8, 4), (7, 4), (3, 4), (12, 4)]:
        weights = stage_weights(n_stages, 0, n_regions)
        assert len(weights) == n_stages
        assert [weights[t] for t in range(n_stages) if weights[t]] == stage_weights(
            -(-n_stages // n_regions)
        )
        assert weights[-1] > 0
        assert all(weights[t] for t in range(n_regions - 1, n_stages, n_regions))


@pytest.mark.parametrize(
    ("grid", "splits"), [((4, 4), (1, 2, 4)), ((4, 6), (2, 1)), ((6,), (1, 3)), ((4, 2, 2), (2,))]
)
def test_regions_are_neighbours_in_the_order(grid, splits):
    order = region_order(grid, splits)
    assert sorted(order) == list(range(np.prod(grid)))
    places = np.stack(np.unravel_index(order, grid), 1)
    for split in splits:
        for region in places.reshape(split ** len(grid), -1, len(grid)):
            sides = region.max(axis=0) - region.min(axis=0) + 1
            np.testing.assert_array_equal(sides, np.array(grid) // split)
            assert len(region) == sides.prod()
    np.testing.assert_array_equal(region_order(grid, (1,)), np.arange(np.prod(grid)))


def test_what_a_network_sees_does_not_depend_on_the_order_of_regions():
    """With the same weights, the basis of a patch is the same whether regions are asked for."""
    shape = {"n_channels": 8, "hidden_size": 0, "downsampling": 2, "basis_size": 3}
    plain = ConvRefiner((8, 4, 3), **shape, stages_per_round=1).build(96, 3, 4)
    split = ConvRefiner((8, 4, 3), **shape, stages_per_round=1, splits=(1, 2)).build(96, 6, 4)
    image = torch.randn(2, 96)
    for trunk in (0, 1):
        split.trunks[trunk].load_state_dict(plain.trunks[trunk].state_dict())
        found, expected = (
            each.trunks[trunk](image[:, each.feature_order], 0)[:, np.argsort(each.feature_order)]
            for each in (split, plain)
        )
        torch.testing.assert_close(found, expected)


def test_a_region_changes_nothing_else():
    """Stage 4 + r of a code refines quarter r of the image."""
    refiner = ConvRefiner((8, 8), downsampling=2, stages_per_round=(3, 1), splits=(1, 2))
    X = np.random.default_rng(0).random((40, 64), dtype=np.float32)
    vq = make_estimator(n_stages=8, n_options=8, refiner=refiner, max_steps=5).fit(X)
    codes = vq.encode(X)
    for r, (top, left) in enumerate(itertools.product((0, 4), repeat=2)):
        before, after = (vq.decode(codes[:, :s]).reshape(-1, 8, 8) for s in (4 + r, 5 + r))
        changed = np.abs(after - before).max(axis=0) > 1e-7
        assert changed[top : top + 4, left : left + 4].all()
        assert changed.sum() == 16


@pytest.fixture(scope="module")
def images():
    """Four bright and dark quarters, and noise."""
    rng = np.random.default_rng(0)
    quarters = rng.choice([0.2, 0.8], (300, 2, 2))
    bright = np.kron(quarters, np.ones((4, 4)))
    return (bright + rng.normal(0, 0.05, bright.shape)).reshape(300, 64).clip(0, 1)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"round_beam_size": 1, "gradient_decay": 1.0},
        {"gradient_checkpointing": True, "gradient_accumulation": 2, "n_stages": 9},
        {"encoding": "soft", "early_stopping": True},
        {"loss": "log_loss"},
        {"loss": AbsoluteError()},
        {"beam_size": 3},
        {"n_stages": 6},
        {"n_stages": 11, "beam_size": 2},
        {"refiner__stages_per_round": (1, 2), "refiner__rounds_per_trunk": 2, "n_stages": 14},
        {"refiner__splits": 2, "n_stages": 9},
    ],
    ids=repr,
)
def test_fits(images, params):
    refiner = ConvRefiner((8, 8), n_channels=16, downsampling=2, hidden_size=8, splits=(1, 2))
    refiner.set_params(stages_per_round=(2, 1))
    vq = make_estimator(n_stages=7, n_options=8, refiner=refiner, max_steps=60, batch_size=32)
    vq = clone(vq).set_params(**params).fit(images)
    codes = vq.encode(images)
    np.testing.assert_allclose(vq.decode(codes), vq.reconstruct(images), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(vq.encode(images[::-1])[::-1], codes)
    errors = [np.square(vq.decode(codes[:, :s]) - images).mean() for s in (1, vq.n_stages)]
    assert errors[1] < min(errors[0], 0.03)  # of a variance of 0.09
    if vq.encoding == "soft":
        assert np.isfinite(vq.transform(images[:5])).all()


def test_it_comes_back_from_a_file(images, tmp_path):
    refiner = ConvRefiner((8, 8), downsampling=2, stages_per_round=(2, 1), splits=(1, 4, 2))
    vq = make_estimator(n_stages=27, n_options=4, refiner=refiner, max_steps=3).fit(images)
    vq.save(tmp_path / "model.safetensors")
    assert_same_model(vq, skvqdraw.load(tmp_path / "model.safetensors"), images)


def test_guided_samples(images):
    refiner = ConvRefiner((8, 8), downsampling=2, stages_per_round=(2, 1), splits=(1, 2))
    vq = make_estimator(n_stages=7, n_options=8, refiner=refiner, max_steps=60).fit(images)
    known = np.zeros(64, dtype=bool)
    known[:32] = True
    guide = MaskGuide(images[0], known)
    drawn = vq.sample(8, guide=guide, random_state=0)
    free = vq.sample(8, random_state=0)
    error, error_of_free = (np.square(X - images[0])[:, known].mean() for X in (drawn, free))
    assert error < 0.5 * error_of_free


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"splits": 3}, r"splits=\(3,\) must divide the sides \(4, 4\) of the grid"),
        ({"splits": (2, 3)}, "each the next larger one"),
        ({"splits": 0}, "'splits' parameter of ConvRefiner must be .*or a tuple of positive"),
        ({"splits": ()}, "'splits' parameter of ConvRefiner"),
        ({"splits": (1, 2.0)}, "'splits' parameter of ConvRefiner"),
        ({"stages_per_round": (2, 0)}, "'stages_per_round' parameter of ConvRefiner"),
    ],
)
def test_what_does_not_fit(params, message):
    with pytest.raises(ValueError, match=message):
        ConvRefiner((8, 8), downsampling=2, **params).build(64, 9, 4)

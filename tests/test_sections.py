"""Networks that write a row section by section."""

import numpy as np
import pytest
import torch
from conftest import make_estimator
from sklearn.base import clone
from test_second_order import KNOWING, draw, targets

from skvqdraw.losses import Categorical, Loss, SquaredError
from skvqdraw.nn import FactoredRound
from skvqdraw.nn.preparation import _FromStart
from skvqdraw.nn.rounds import Round
from skvqdraw.nn.sections import SectionRound
from skvqdraw.refiners import SectionRefiner

N, D, R, T, K = 3, 5, 4, 2, 6


class AbsoluteError(Loss):
    def grid(self, params, target):
        return (params - target[:, None]).abs().mean(-1)


LOSSES = {**KNOWING, "squares": SquaredError(), "absolute": AbsoluteError()}


class WrittenOut(Round):
    """The same candidates, compared as whole rows."""

    def __init__(self, inner):
        self.inner, self.n_rows, self.n_stages = inner, inner.n_rows, inner.n_stages

    def losses(self, target, loss):
        return loss.grid(self.inner.materialise(), target)

    def choose(self, codes):
        return WrittenOut(self.inner.choose(codes))

    def take(self, rows):
        return WrittenOut(self.inner.take(rows))


def section_round(loss, n_rows=N):
    """A round of features 1 to 3 of five, as the objective sees it."""
    Q = loss.n_params
    x, params = draw(n_rows, D * Q), slice(Q, 4 * Q)
    basis = draw(n_rows, 3 * Q, R, seed=1).requires_grad_()
    mixing = draw(T, K, R, scale=0.3, seed=2).requires_grad_()
    inner = FactoredRound(x[:, params], basis, mixing)
    objective = loss if loss.centred else _FromStart(loss, draw(D * Q, seed=3))
    return SectionRound(x, slice(1, 4), params, inner), objective, (basis, mixing)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_whole_rows(name):
    a_round, objective, _ = section_round(LOSSES[name])
    target = targets(LOSSES[name])
    codes = torch.tensor([0, 5, 2])
    for stage in range(T):
        written_out = a_round.materialise()
        torch.testing.assert_close(
            a_round.losses(target, objective), objective.grid(written_out, target)
        )
        a_round = a_round.choose(codes)
        torch.testing.assert_close(a_round.reconstruction(), written_out[torch.arange(N), codes])
        assert a_round.n_stages == T - 1 - stage


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n_hypotheses", [1, 2])
def test_the_search_is_that_of_whole_rows(name, n_hypotheses, monkeypatch):
    monkeypatch.setattr("skvqdraw.nn.rounds._LISTED", K**T)
    n_samples = N if n_hypotheses == 1 else 2
    a_round, objective, _ = section_round(LOSSES[name], n_samples * n_hypotheses)
    target = targets(LOSSES[name])[:n_samples]
    rows, codes = a_round.search(target, objective, T, 100, 3)

    expected_rows, expected = WrittenOut(a_round).search(target, objective, T, 100, 3)
    torch.testing.assert_close(codes, expected)
    torch.testing.assert_close(rows, expected_rows)


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_is_that_of_whole_rows(name):
    """Nothing outside a section changes: only its own features give a gradient."""
    a_round, objective, inputs = section_round(LOSSES[name])
    target, codes = targets(LOSSES[name]), torch.tensor([[0, 1], [5, 5], [2, 0]])
    chosen, _, following = a_round.walk(target, objective, codes)
    at = a_round
    for t in range(T):
        rows = at.materialise()[torch.arange(N), codes[:, t]]
        expected = objective.grid(rows[:, None], target)[:, 0]
        torch.testing.assert_close(chosen[t], expected)
        found = torch.autograd.grad(chosen[t].sum(), inputs, retain_graph=True)
        for one, other in zip(
            found, torch.autograd.grad(expected.sum(), inputs, retain_graph=True), strict=True
        ):
            torch.testing.assert_close(one, other)
        at = at.choose(codes[:, t])
    torch.testing.assert_close(following.reconstruction(), at.reconstruction())
    torch.testing.assert_close(at.reconstruction()[:, [0, -1]], a_round._x_NP[:, [0, -1]])


@pytest.mark.parametrize(
    ("length", "n_stages", "stages_per_round", "lookahead"),
    [(12, 4, 1, 0), (12, 5, 2, 2), (7, 3, 1, 1), (3, 9, 2, 0), (5, 1, 3, 4)],
)
@pytest.mark.parametrize(("n_channels_in", "n_params"), [(1, 1), (2, 3)])
def test_sections_go_from_start_to_end(
    length, n_stages, stages_per_round, lookahead, n_channels_in, n_params
):
    refiner = SectionRefiner(
        length,
        n_channels_in,
        context=2,
        lookahead=lookahead,
        hidden_size=8,
        basis_size=3,
        stages_per_round=stages_per_round,
    )
    width = n_channels_in * n_params
    network = refiner.build(length * n_channels_in, n_stages, 4, n_params=n_params).eval()
    x, stage, seen, starts = torch.randn(2, length * width), 0, torch.zeros(length * width), []
    while stage < n_stages:
        a_round = network(x, stage)
        moves = (a_round.materialise() - x[:, None]).abs().sum((0, 1)) > 0
        changed = moves.nonzero()[:, 0]
        starts.append(changed.min().item() / width)
        assert changed.tolist() == list(range(changed.min(), changed.max() + 1))
        # What lies further back than the context, or is yet to come, is not looked at.
        other = x.clone()
        far = max(changed.min() - 2 * width, 0)
        other[:, :far] += 1
        other[:, changed.max() + 1 :] += 1
        basis = [network(each, stage)._inner._basis_NDR for each in (x, other)]
        torch.testing.assert_close(*basis)
        seen += moves
        stage += a_round.n_stages
    assert stage == n_stages
    assert (seen > 0).all()
    assert starts == sorted(starts)
    assert all(start == int(start) for start in starts)


def test_symbols_are_drawn_as_embeddings():
    """Basis vectors of a feature are one matrix, the same everywhere, times fewer numbers."""
    refiner = SectionRefiner(6, 2, hidden_size=8, basis_size=5, embedding_size=3)
    network = refiner.build(12, 3, 4, n_params=7).eval()
    assert network.embedding.shape == (7, 3)
    projection = network.embedding @ torch.linalg.pinv(network.embedding)
    for stage in range(3):
        of_symbols = network(torch.randn(4, 84), stage)._inner._basis_NDR.unflatten(1, (-1, 7))
        assert torch.linalg.matrix_rank(of_symbols.transpose(0, 2).flatten(1)) == 3
        torch.testing.assert_close(projection @ of_symbols, of_symbols)
    assert refiner.build(12, 3, 4, n_params=3).embedding is None


@pytest.fixture(scope="module")
def sentences():
    """Rows of three words of four letters each."""
    words = np.array([[1, 2, 3, 0], [3, 1, 1, 0], [2, 2, 0, 0], [4, 1, 2, 0], [1, 1, 4, 0]])
    drawn = np.random.default_rng(0).integers(0, 5, (400, 3))
    return words[drawn].reshape(400, 12).astype(np.uint8)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"beam_size": 3},
        {"round_beam_size": 1, "gradient_decay": 1.0},
        {"gradient_checkpointing": True, "gradient_accumulation": 2},
        {"encoding": "soft", "early_stopping": True},
        {"refiner__stages_per_round": 2, "n_stages": 6},
    ],
    ids=repr,
)
def test_rows_are_written_from_the_start(sentences, params):
    refiner = SectionRefiner(12, context=4, lookahead=1, hidden_size=32, basis_size=12)
    vq = make_estimator(
        n_stages=3, loss=Categorical(), refiner=refiner, max_steps=100, learning_rate=1e-2
    )
    vq = clone(vq).set_params(**params).fit(sentences)
    codes = vq.encode(sentences)
    decoded = vq.decode(codes)
    np.testing.assert_array_equal(vq.reconstruct(sentences), decoded)
    order = np.random.default_rng(0).permutation(400)[:70]
    np.testing.assert_array_equal(vq.encode(sentences[order]), codes[order])
    np.testing.assert_array_equal(vq.inverse_transform(vq.transform(sentences)), decoded)
    assert (decoded == sentences).mean() > 0.95
    assert vq.loss_curve_[-1]["error"] == pytest.approx(-vq.score(sentences), rel=0.5, abs=0.02)
    third = vq.decode(codes[:, : vq.n_stages // 3])
    assert (third[:, :4] == sentences[:, :4]).mean() > 0.9
    np.testing.assert_array_equal(third[:, 6:], vq.decode(codes[:, :0])[:, 6:])


def test_a_series_in_sections():
    rng = np.random.default_rng(0)
    X = np.sin(np.arange(24) / 3 + rng.uniform(0, 7, (300, 1)))
    vq = make_estimator(refiner=SectionRefiner(24, hidden_size=32), max_steps=150).fit(X)
    assert -vq.score(X) < 0.1 * X.var()
    np.testing.assert_array_equal(vq.reconstruct(X), vq.decode(vq.encode(X)))


@pytest.mark.parametrize(
    ("refiner", "message"),
    [
        (SectionRefiner(5), "sequence_length=5 with n_channels_in=1 has 5 values; X has 12"),
        (SectionRefiner(12, context=-1), "'context' parameter of SectionRefiner must be an int"),
        (SectionRefiner(12, stages_per_round=0), "'stages_per_round' parameter of SectionRefiner"),
    ],
)
def test_what_does_not_fit(sentences, refiner, message):
    with pytest.raises(ValueError, match=message):
        make_estimator(refiner=refiner).fit(sentences)

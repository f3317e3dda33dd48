"""Losses that know their gradient and curvature, and rounds that list candidates by them."""

import numpy as np
import pytest
import torch
from scipy import stats
from test_losses import LOSSES

from skvqdraw.losses import Categorical, Gaussian, LogLoss, Loss
from skvqdraw.nn import FactoredRound
from skvqdraw.nn.objective import accumulate_gradients
from skvqdraw.nn.rounds import Round, TableRound
from skvqdraw.refiners import MLPRefiner

N, D, R, T, K = 3, 5, 4, 3, 6
KNOWING = {"chances": LogLoss(), "symbols": Categorical(3), "normal numbers": Gaussian(0.1)}


def draw(*shape, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def targets(loss, n_rows=N, n_features=D):
    rng = np.random.default_rng(0)
    X = {
        LogLoss: lambda: rng.random((n_rows, n_features)),
        Categorical: lambda: rng.integers(0, 3, (n_rows, n_features)).astype(float),
    }.get(type(loss), lambda: rng.normal(size=(n_rows, n_features)))()
    return torch.from_numpy(X)


# Against scipy.stats


def test_categorical_is_minus_the_log_likelihood():
    params, X = np.random.default_rng(0).normal(size=(7, 12)), np.arange(28).reshape(7, 4) % 3
    chances = np.exp(params).reshape(7, 4, 3)
    chances /= chances.sum(axis=2, keepdims=True)
    expected = -stats.multinomial.logpmf(np.eye(3)[X], 1, chances).mean(axis=1)
    np.testing.assert_allclose(Categorical(3).rows(params, X), expected)
    np.testing.assert_array_equal(Categorical(3).inverse_link(params), chances.argmax(axis=2))


def test_gaussian_is_minus_the_log_likelihood():
    rng = np.random.default_rng(0)
    mean, log_scale, X = rng.normal(size=(3, 7, 4))
    log_scale[0, 0] = -9  # below the least
    params = np.stack([mean, log_scale], axis=2).reshape(7, 8)
    scale = np.maximum(np.exp(log_scale), 0.01)
    expected = -stats.norm.logpdf(X, mean, scale).mean(axis=1)
    np.testing.assert_allclose(Gaussian(0.01).rows(params, X), expected)
    np.testing.assert_array_equal(Gaussian().inverse_link(params), mean)


def test_log_loss_is_minus_the_log_likelihood_of_bits():
    rng = np.random.default_rng(0)
    params, X = rng.normal(size=(7, 4)), rng.integers(0, 2, (7, 4))
    expected = -stats.bernoulli.logpmf(X, 1 / (1 + np.exp(-params))).mean(axis=1)
    np.testing.assert_allclose(LogLoss().rows(params, X), expected)


@pytest.mark.parametrize("name", KNOWING)
def test_the_mean_says_what_all_rows_are_like(name):
    """No other constant parameters are better for the training rows than those of their mean."""
    loss, X = KNOWING[name], targets(KNOWING[name], 400).numpy()
    weight = np.linspace(0.5, 1.5, len(X))
    mean, scale = loss.mean_and_scale(X, weight)
    assert scale == 1
    of_mean = np.tile(loss.link(mean), (len(X), 1))
    best = weight @ loss.rows(of_mean, X)
    for other in draw(20, of_mean.shape[1], scale=0.2).numpy():
        assert weight @ loss.rows(of_mean + other, X) > best
    plain = np.average(loss.statistics(X), axis=0, weights=weight)
    np.testing.assert_allclose(mean, plain, atol=0.01)


# Gradients and curvatures


@pytest.mark.parametrize("name", KNOWING)
def test_gradients(name):
    loss, target = KNOWING[name], targets(KNOWING[name])
    params = draw(N, K, D * loss.n_params).requires_grad_()
    losses = loss.grid(params, target)
    found, gradients = loss.gradient(params.detach(), target)
    torch.testing.assert_close(found, losses.detach())
    torch.testing.assert_close(gradients, torch.autograd.grad(losses.sum(), params)[0])
    step, h = draw(*params.shape, seed=1), 1e-5
    ends = [loss.grid(params.detach() + side * h * step, target) for side in (1, -1)]
    torch.testing.assert_close((gradients * step).sum(2), (ends[0] - ends[1]) / (2 * h))


@pytest.mark.parametrize("name", KNOWING)
def test_curvatures_are_second_derivatives(name):
    loss = KNOWING[name]
    params = draw(N, D * loss.n_params)
    found = loss.curvature(params, torch.eye(params.shape[1], dtype=params.dtype).expand(N, -1, -1))
    torch.testing.assert_close(found, found.transpose(1, 2))
    assert (torch.linalg.eigvalsh(found) > -1e-12).all()
    expected = torch.zeros_like(found)
    # Over targets as they are expected: of the others the Hessian does not depend on them.
    mean, log_scale = params[:, ::2], params[:, 1::2].clamp(min=np.log(0.1))
    normal = [mean + side * log_scale.exp() for side in (1, -1)] if name.startswith("n") else None
    for target in normal or [targets(loss)] * 2:
        for n in range(N):

            def of_row(row, n=n, target=target):
                return loss.grid(row[None, None], target[n : n + 1]).sum()

            expected[n] += torch.autograd.functional.hessian(of_row, params[n]) / 2
    above = torch.ones(N, D * loss.n_params, dtype=bool)
    if normal:  # below the least scale nothing changes; Fisher information stands for it
        above[:, 1::2] = params[:, 1::2] > np.log(0.1)
    both = above[:, :, None] & above[:, None]
    torch.testing.assert_close(found[both], expected[both])


@pytest.mark.parametrize("name", [*KNOWING, *LOSSES])
def test_a_table_is_a_grid_of_the_same_for_all(name):
    loss = {**LOSSES, **KNOWING}[name]
    options, target = draw(K, D * loss.n_params), targets(loss)
    expected = loss.grid(options.expand(N, -1, -1), target)
    torch.testing.assert_close(loss.table(options, target), expected)


def test_symbols_as_good_as_impossible_have_gradients():
    loss, target = Categorical(3), torch.tensor([[0.0, 1.0]])
    params = torch.tensor([[[-300.0, 0, 0, 0, 0, 300]]])
    found, gradients = loss.gradient(params, target)
    assert found.item() == pytest.approx(87.3, abs=0.1)
    torch.testing.assert_close(gradients, torch.tensor([[[-0.5, 0.25, 0.25, 0, -0.5, 0.5]]]))


def test_a_subclass_with_another_grid_is_written_out():
    class Focal(LogLoss):
        def grid(self, params, target):
            return super().grid(params, target) ** 2

    class Half(LogLoss):
        def grid(self, params, target):
            return super().grid(params, target) / 2

        def gradient(self, params, target):
            loss, slopes = super().gradient(params, target)
            return loss / 2, slopes / 2

    assert not Focal.expands
    assert Focal.table is Loss.table
    assert Half.expands
    assert type("Same", (LogLoss,), {}).expands
    options, target = draw(K, D), targets(LogLoss())
    expected = Focal().grid(options.expand(N, -1, -1), target)
    torch.testing.assert_close(Focal().table(options, target), expected)


# Rounds


def parts(loss, scale=0.3):
    P = D * loss.n_params
    return draw(N, P), draw(N, P, R, seed=1), draw(T, K, R, scale=scale, seed=2), targets(loss)


@pytest.mark.parametrize("name", KNOWING)
def test_a_walk_is_exact_on_its_path_and_of_second_order_beside_it(name):
    loss = KNOWING[name]
    x, basis, mixing, target = parts(loss)
    codes = torch.randint(0, K, (N, T), generator=torch.Generator().manual_seed(0))
    chosen, means, following = FactoredRound(x, basis, mixing).walk(target, loss, codes)
    at, curved = x, loss.curvature(x, basis)
    for t in range(T):
        value, slope = (part[:, 0] for part in loss.gradient(at[:, None], target))
        for n in range(N):
            moves = mixing[t] @ basis[n].T
            bends = torch.stack([m @ basis[n].T @ curved[n] @ m for m in mixing[t]])
            expected = (value[n] + moves @ slope[n] + bends / 2).mean()
            torch.testing.assert_close(means[t][n], expected)
        at = at + (basis @ mixing[t][codes[:, t]][:, :, None])[:, :, 0]
        torch.testing.assert_close(chosen[t], loss.grid(at[:, None], target)[:, 0])
    torch.testing.assert_close(following.reconstruction(), at)


@pytest.mark.parametrize("name", KNOWING)
@pytest.mark.parametrize("started", [False, True])
def test_the_gradient_of_a_walk(name, started):
    """That of the loss on the path, and of the expansion with slopes and curvatures held fixed."""
    loss = KNOWING[name]
    *inputs, target = parts(loss)
    inputs = [part.requires_grad_() for part in inputs]
    codes = torch.randint(0, K, (N, T), generator=torch.Generator().manual_seed(0))
    weights = draw(2, T, N, seed=3)

    def objective(walk):
        a_round, first = FactoredRound(*inputs), 0
        if started:
            a_round, first = a_round.choose(codes[:, 0]), 1
        chosen, means, _ = walk(a_round, codes[:, first:])
        n = len(chosen)
        return (weights[0, :n] * torch.stack([*chosen])).sum() + (
            weights[1, :n] * torch.stack([*means])
        ).sum()

    def plainly(a_round, codes):
        at = a_round.reconstruction()
        basis, mixing = inputs[1], inputs[2][-codes.shape[1] :]
        gram = basis.transpose(1, 2) @ loss.curvature(at, basis).detach()
        gram = (gram + gram.transpose(1, 2)) / 2
        gram = gram + (gram - gram.detach())  # the curvature is fixed, both bases are not
        chosen, means = [], []
        for t, codes_N in enumerate(codes.T):
            value = loss.grid(at[:, None], target)[:, 0]
            slope = loss.gradient(at.detach()[:, None], target)[1]
            along = (slope @ basis)[:, 0] @ mixing[t].T
            bends = torch.einsum("kr,nrs,ks->nk", mixing[t], gram, mixing[t])
            means.append((value[:, None] + along + bends / 2).mean(1))
            at = at + (basis @ mixing[t][codes_N][:, :, None])[:, :, 0]
            chosen.append(loss.grid(at[:, None], target)[:, 0])
        return chosen, means, None

    found = torch.autograd.grad(objective(lambda r, c: r.walk(target, loss, c)), inputs)
    expected = torch.autograd.grad(objective(plainly), inputs)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", KNOWING)
@pytest.mark.parametrize("n_hypotheses", [1, 2])
def test_with_a_list_of_all_candidates_the_search_is_exact(name, n_hypotheses, monkeypatch):
    monkeypatch.setattr("skvqdraw.nn.rounds._LISTED", K**T)
    loss = KNOWING[name]
    x, basis, mixing, target = parts(loss, scale=1.0)
    samples = target[: 1 if n_hypotheses > 1 else N]
    n_rows = len(samples) * n_hypotheses
    a_round = FactoredRound(x[:n_rows], basis[:n_rows], mixing)
    n_kept = K**T * n_hypotheses
    rows, codes = a_round.search(samples, loss, T, n_kept, 4)
    expected_rows, expected = Round.search(a_round, samples, loss, T, n_kept, 4)
    torch.testing.assert_close(codes, expected)
    torch.testing.assert_close(rows, expected_rows)


@pytest.mark.parametrize("name", KNOWING)
def test_short_lists_find_what_full_scoring_finds(name):
    """Greedily, with moves as small as those of trained networks."""
    loss = KNOWING[name]
    generator = torch.Generator().manual_seed(0)
    P, K, n_rows = 20 * loss.n_params, 64, 50
    x = torch.randn(n_rows, P, generator=generator)
    basis = torch.randn(n_rows, P, 8, generator=generator)
    mixing = 0.05 * torch.randn(3, K, 8, generator=generator)
    target, a_round = targets(loss, n_rows, 20).float(), FactoredRound(x, basis, mixing)
    codes = a_round.search(target, loss, 3, 1, 1)[1]
    full = Round.search(a_round, target, loss, 3, 1, 1)[1]
    assert (codes == full).all(2).float().mean() > 0.9
    more = a_round.search(target, loss, 3, 8, 1)[1]
    ends = [a_round.walk(target, loss, c[:, 0])[0][-1].mean() for c in (codes, more)]
    assert ends[1] < ends[0]


@pytest.mark.parametrize("name", KNOWING)
def test_a_table_and_what_follows_it(name):
    loss = KNOWING[name]
    table = draw(K, D * loss.n_params)
    basis, mixing = draw(K, D * loss.n_params, R, seed=1), draw(T, K, R, scale=0.3, seed=2)
    target = targets(loss)
    a_round = TableRound(N, table, basis, mixing)
    rows, codes = a_round.search(target, loss, T + 1, 4, 2)
    torch.testing.assert_close(rows, torch.arange(N)[:, None].expand(N, 2))
    firsts = loss.grid(table.expand(N, -1, -1), target).topk(2, largest=False).indices
    for n in range(N):
        assert set(codes[n, :, 0].tolist()) <= set(firsts[n].tolist())
    # The walk after the search, which reuses what it found, is the walk of a new round.
    for b in range(2):
        known = a_round.walk(target, loss, codes[:, b])
        anew = TableRound(N, table, basis, mixing).walk(target, loss, codes[:, b])
        for one, other in zip(known[:2], anew[:2], strict=True):
            torch.testing.assert_close(torch.stack([*one]), torch.stack([*other]))


@pytest.mark.parametrize("name", KNOWING)
def test_training_with_lists_is_training_with_all_written_out(name, monkeypatch):
    """The same codes, and gradients that differ by what the options not chosen are weighed."""
    loss = KNOWING[name]
    target, weight = targets(loss, 8).float(), torch.full((8,), 1 / 8)
    found = []
    for aux_weight in (0.0, 0.01):
        for written_out in (False, True):
            torch.manual_seed(0)
            network = MLPRefiner(16, basis_size=4).build(D, 4, 6, n_params=loss.n_params).train()
            network.table.data.normal_()
            with monkeypatch.context() as patch:
                patch.setattr("skvqdraw.nn.rounds._LISTED", 1000)
                if written_out:
                    patch.setattr(type(loss), "expands", False)
                _, losses, codes = accumulate_gradients(
                    network, loss, target, weight, 4, aux_weight=aux_weight, gradient_decay=0.0
                )
            found.append((codes, losses, [p.grad for p in network.parameters()]))
    for one, other, tolerance in [(found[0], found[1], 1e-5), (found[2], found[3], 1e-2)]:
        torch.testing.assert_close(one[0], other[0])
        torch.testing.assert_close(one[1], other[1])
        for a, b in zip(one[2], other[2], strict=True):
            assert (a - b).norm() <= tolerance * b.norm() + 1e-7

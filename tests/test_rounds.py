"""Rounds against candidates written out one by one, in float64."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from skvqdraw.losses import Loss, SquaredError
from skvqdraw.nn import DenseRound, FactoredRound
from skvqdraw.nn.rounds import Round, TableRound, _Products, _smallest

N, T, K, D, R = 5, 3, 7, 11, 4
RELATIVE = 1e-10


def naive_grid(a_round, target):
    return ((target[:, None] - a_round.materialise()) ** 2).mean(-1)


def make_parts(residual, basis, mixing, *, seed=0):
    """Leaves x, basis and mixing, and a target `residual` away from x."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        values = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
        return values.requires_grad_()

    leaves = [normal(N, D), normal(N, D, R, scale=basis), normal(T, K, R, scale=mixing)]
    target = (leaves[0] + normal(N, D, scale=residual)).detach()
    return leaves, target


CASES = pytest.mark.parametrize(
    ("residual", "basis", "mixing"),
    [(1, 1, 1), (1e-6, 1, 1e-6), (1e-6, 1e-6, 1), (1e-6, 1, 1)],
    ids=["early", "late, small mixing", "late, small basis", "late, wild options"],
)


@CASES
def test_factored_grid_choice_and_reconstruction(residual, basis, mixing):
    leaves, target = make_parts(residual, basis, mixing)
    x, basis_NDR, mixing_TKR = leaves[:3]
    a_round = FactoredRound(*leaves)
    expected = x.clone()
    assert a_round.n_stages == T
    for stage in range(T):
        # The candidates, from the definition.
        options = torch.stack(
            [
                torch.stack(
                    [
                        expected[n]
                        + sum(mixing_TKR[stage, k, r] * basis_NDR[n, :, r] for r in range(R))
                        for k in range(K)
                    ]
                )
                for n in range(N)
            ]
        )
        torch.testing.assert_close(a_round.materialise(), options, rtol=1e-9, atol=1e-18)
        grid = a_round.losses(target, SquaredError())
        naive = naive_grid(a_round, target)
        assert ((grid - naive).abs() <= RELATIVE * naive).all()
        codes = grid.argmin(1)
        assert torch.equal(codes, naive.argmin(1))
        a_round = a_round.choose(codes)
        expected = options[torch.arange(N), codes]
        torch.testing.assert_close(a_round.reconstruction(), expected, rtol=1e-10, atol=1e-18)
    assert a_round.n_stages == 0


def training_loss(leaves, target, grid_of):
    """Chosen and mean losses of each stage, and the reconstruction that the next round sees."""
    a_round, total = FactoredRound(*leaves), 0.0
    for _ in range(T):
        grid = grid_of(a_round, target)
        codes = grid.argmin(1)
        total = total + grid.gather(1, codes[:, None]).mean() + 0.01 * grid.mean()
        a_round = a_round.choose(codes)
    following = (a_round.reconstruction() - target).square() * torch.arange(D)
    return total + following.mean()


@CASES
def test_factored_gradients(residual, basis, mixing):
    leaves, target = make_parts(residual, basis, mixing)
    fast = torch.autograd.grad(
        training_loss(leaves, target, lambda r, t: r.losses(t, SquaredError())), leaves
    )
    naive = torch.autograd.grad(training_loss(leaves, target, naive_grid), leaves)
    for ours, theirs in zip(fast, naive, strict=True):
        assert (ours - theirs).norm() <= RELATIVE * theirs.norm()
        assert theirs.norm() > 0


def test_products_gradcheck():
    leaves, _ = make_parts(1, 1, 1)
    assert torch.autograd.gradcheck(_Products.apply, (leaves[0], leaves[1]))


def test_a_round_is_functional():
    leaves, target = make_parts(1, 1, 1)
    a_round = FactoredRound(*leaves)
    before = a_round.losses(target, SquaredError())
    a_round.choose(before.argmin(1)).choose(before.argmax(1))
    assert torch.equal(a_round.losses(target, SquaredError()), before)
    assert torch.equal(a_round.reconstruction(), leaves[0])


def test_products_follow_the_target():
    leaves, target = make_parts(1, 1, 1)
    a_round = FactoredRound(*leaves)
    a_round.losses(target, SquaredError())
    another = target + 1
    torch.testing.assert_close(
        a_round.losses(another, SquaredError()), naive_grid(a_round, another), rtol=1e-10, atol=0
    )


def test_products_are_of_the_target_that_a_thread_asks_about():
    """The first round is shared by the threads that code."""
    both_have_stored = threading.Barrier(2, timeout=20)

    class Slow(FactoredRound):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if value is not None and name in ("_known", "_products"):
                both_have_stored.wait()

    leaves, target = make_parts(1, 1, 1)
    a_round, targets = Slow(*leaves), (target, target + 1)
    with ThreadPoolExecutor(2) as threads:
        found = threads.map(lambda some: a_round.losses(some, SquaredError()), targets)
    for losses, some in zip(found, targets, strict=True):
        assert torch.equal(losses, FactoredRound(*leaves).losses(some, SquaredError()))


def test_losses_are_never_negative():
    x = torch.zeros(1, 2)
    exact = FactoredRound(x, torch.eye(2)[None], torch.full((1, 1, 2), 1 / 3))
    target = torch.full((1, 2), 1 / 3)
    assert exact.losses(target, SquaredError()).item() >= 0
    assert exact.losses(target, SquaredError()).item() < 1e-7


def test_any_other_loss_sees_the_candidates():
    class AbsoluteError(Loss):
        def grid(self, options_NKD, target_ND):
            return (options_NKD - target_ND[:, None]).abs().mean(-1)

    leaves, target = make_parts(1, 1, 1)
    a_round = FactoredRound(*leaves)
    expected = (a_round.materialise() - target[:, None]).abs().mean(-1)
    assert torch.equal(a_round.losses(target, AbsoluteError()), expected)


def test_dense_round_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    options = torch.randn(N, K, D, generator=generator, dtype=torch.float64)
    target = torch.randn(N, D, generator=generator, dtype=torch.float64)
    a_round = DenseRound(options)
    grid = a_round.losses(target, SquaredError())
    for n in range(N):
        for k in range(K):
            expected = sum((options[n, k, d] - target[n, d]) ** 2 for d in range(D)) / D
            assert grid[n, k].item() == pytest.approx(expected.item(), rel=1e-12)
    codes = grid.argmin(1)
    chosen = a_round.choose(codes)
    assert chosen.n_stages == 0
    for n in range(N):
        assert torch.equal(chosen.reconstruction()[n], options[n, codes[n]])
    assert torch.equal(a_round.materialise(), options)


class Written(Round):
    """A round as its candidates, and searched as any round can be."""

    def __init__(self, a_round):
        self._round = a_round
        self.n_rows, self.n_stages = a_round.n_rows, a_round.n_stages

    def losses(self, target, loss):
        return naive_grid(self._round, target)

    def choose(self, codes):
        return Written(self._round.choose(codes))

    def take(self, rows):
        return Written(self._round.take(rows))


def make_round(kind):
    """A round of two rows for each sample of the target, chosen from already or a table."""
    leaves, target = make_parts(1, 1, 1)
    x, basis, mixing = (leaf.detach() for leaf in leaves)
    if kind == "table":
        more = make_parts(1, 1, 1, seed=1)[0]
        table = torch.cat([x, more[0].detach()])[:K]
        bases = torch.cat([basis, more[1].detach()])[:K]
        return TableRound(N, table, bases, mixing[1:]), target
    rows = torch.arange(N).repeat_interleave(2)
    x = x[rows] + 0.5 * torch.arange(2.0).repeat(N)[:, None]
    a_round = FactoredRound(x, basis[rows] * (1 + rows[:, None, None]), mixing)
    if kind == "chosen":
        a_round = a_round.choose(torch.arange(2 * N) % K)
    return a_round, target


ROUNDS = pytest.mark.parametrize("kind", ["fresh", "chosen", "table"])


@ROUNDS
@pytest.mark.parametrize(("beam_size", "n_best"), [(1, 1), (4, 1), (4, 3), (3, 100)])
def test_search_in_few_dimensions_is_the_search_of_candidates(kind, beam_size, n_best):
    a_round, target = make_round(kind)
    for n_stages in range(1, a_round.n_stages + 1):
        arguments = (target, SquaredError(), n_stages, beam_size, n_best)
        rows, codes = a_round.search(*arguments)
        naive_rows, naive_codes = Written(a_round).search(*arguments)
        assert torch.equal(rows, naive_rows)
        assert torch.equal(codes, naive_codes)


@ROUNDS
def test_search_with_a_wide_beam_is_exhaustive(kind):
    a_round, target = make_round(kind)
    n_stages, per_sample = a_round.n_stages, a_round.n_rows // N
    everything = list(itertools.product(range(per_sample), *[range(K)] * n_stages))
    rows, codes = a_round.search(target, SquaredError(), n_stages, per_sample * K**n_stages, 2)
    for n in range(N):
        errors = []
        for start, *path in everything:
            end = a_round.take(torch.tensor([n * per_sample + start]))
            for code in path:
                end = end.choose(torch.tensor([code]))
            errors.append(float((end.reconstruction() - target[n]).square().mean()))
        for b, best in enumerate(np.argsort(errors)[:2]):
            start, *path = everything[best]
            assert rows[n, b] == n * per_sample + start
            assert codes[n, b].tolist() == path


@ROUNDS
def test_greedy_search_chooses_stage_by_stage(kind):
    a_round, target = make_round(kind)
    a_round = a_round.take(torch.arange(N) * (a_round.n_rows // N))
    rows, codes = a_round.search(target, SquaredError(), a_round.n_stages, 1, 1)
    assert rows[:, 0].tolist() == list(range(N))
    for stage in range(a_round.n_stages):
        assert torch.equal(codes[:, 0, stage], naive_grid(a_round, target).argmin(1))
        a_round = a_round.choose(codes[:, 0, stage])


@pytest.mark.parametrize("n_kept", [1, 3])
@pytest.mark.parametrize("n_losses", [7, 96, 32 * 96, 32 * 200, 32 * 200 + 1])
def test_the_smallest_of_many_losses(n_kept, n_losses):
    loss = torch.randn(50, n_losses, generator=torch.Generator().manual_seed(0))
    kept, places = _smallest(loss, n_kept)
    assert torch.equal(kept.sort(1).values, loss.sort(1).values[:, :n_kept])
    assert torch.equal(loss.gather(1, places), kept)
    assert all(len(set(row.tolist())) == n_kept for row in places)
    ties = torch.randint(3, (50, n_losses), generator=torch.Generator().manual_seed(1))
    _, first = _smallest(ties.float(), 1)
    assert torch.equal(
        first[:, 0], torch.stack([(row == row.min()).nonzero()[0, 0] for row in ties])
    )
    kept, places = _smallest(ties.float(), n_kept)
    assert torch.equal(kept.sort(1).values, ties.float().sort(1).values[:, :n_kept])
    assert all(len(set(row.tolist())) == n_kept for row in places)


def test_table_round_is_a_table_and_then_the_basis_of_the_choice():
    a_round, target = make_round("table")
    table, basis, mixing = a_round._table_KD, a_round._basis_KDR, a_round._mixing_TKR
    assert a_round.n_stages == T
    grid = a_round.losses(target, SquaredError())
    torch.testing.assert_close(grid, naive_grid(a_round, target))
    codes = torch.arange(N)
    following = a_round.choose(codes)
    expected = FactoredRound(table[codes], basis[codes], mixing)
    assert torch.equal(following.materialise(), expected.materialise())
    assert TableRound(N, table).choose(codes).n_stages == 0


def test_search_under_any_other_loss():
    class AbsoluteError(Loss):
        def grid(self, options_NKD, target_ND):
            return (options_NKD - target_ND[:, None]).abs().mean(-1)

    for kind in ("fresh", "table"):
        a_round, target = make_round(kind)
        a_round = a_round.take(torch.arange(N) * (a_round.n_rows // N))
        _, codes = a_round.search(target, AbsoluteError(), 2, 1, 1)
        for stage in range(2):
            options = a_round.materialise()
            best = (options - target[:, None]).abs().mean(-1).argmin(1)
            assert torch.equal(codes[:, 0, stage], best)
            a_round = a_round.choose(best)


@pytest.mark.parametrize("beam_size", [1, 2, 5])
@pytest.mark.parametrize("n_best", [1, 3])
def test_hypotheses_are_scored_one_at_a_time_as_all_at_once(beam_size, n_best):
    """The search of squared errors, and the same without what is known of squares."""

    class WrittenOut(SquaredError):
        quadratic = False

    for kind in ("fresh", "table"):
        a_round, target = make_round(kind)
        a_round = a_round.take(torch.arange(N) * (a_round.n_rows // N))
        known, written = (
            a_round.search(target, loss, 2, beam_size, n_best)
            for loss in (SquaredError(), WrittenOut())
        )
        assert all(torch.equal(*pair) for pair in zip(known, written, strict=True))

"""Rounds against candidates written out one by one, in float64."""

import pytest
import torch

from skvqdraw.nn import DenseRound, FactoredRound
from skvqdraw.nn.losses import SquaredError
from skvqdraw.nn.rounds import _Products

N, T, K, D, R = 5, 3, 7, 11, 4
RELATIVE = 1e-10


def naive_grid(a_round, target):
    return ((target[:, None] - a_round.materialise()) ** 2).mean(-1)


def make_parts(residual, basis, mixing, *, codebooks, seed=0):
    """Leaves x, basis, mixing (and codebooks), and a target `residual` away from x."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        values = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
        return values.requires_grad_()

    leaves = [normal(N, D), normal(N, D, R, scale=basis), normal(T, K, R, scale=mixing)]
    if codebooks:
        leaves.append(normal(T, K, D, scale=residual))
    target = (leaves[0] + normal(N, D, scale=residual)).detach()
    return leaves, target


CASES = pytest.mark.parametrize(
    ("residual", "basis", "mixing"),
    [(1, 1, 1), (1e-6, 1, 1e-6), (1e-6, 1e-6, 1), (1e-6, 1, 1)],
    ids=["early", "late, small mixing", "late, small basis", "late, wild options"],
)
CODEBOOKS = pytest.mark.parametrize("codebooks", [False, True])


@CASES
@CODEBOOKS
def test_factored_grid_choice_and_reconstruction(residual, basis, mixing, codebooks):
    leaves, target = make_parts(residual, basis, mixing, codebooks=codebooks)
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
                        + (leaves[3][stage, k] if codebooks else 0)
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
@CODEBOOKS
def test_factored_gradients(residual, basis, mixing, codebooks):
    leaves, target = make_parts(residual, basis, mixing, codebooks=codebooks)
    fast = torch.autograd.grad(
        training_loss(leaves, target, lambda r, t: r.losses(t, SquaredError())), leaves
    )
    naive = torch.autograd.grad(training_loss(leaves, target, naive_grid), leaves)
    for ours, theirs in zip(fast, naive, strict=True):
        assert (ours - theirs).norm() <= RELATIVE * theirs.norm()
        assert theirs.norm() > 0


def test_products_gradcheck():
    leaves, _ = make_parts(1, 1, 1, codebooks=False)
    assert torch.autograd.gradcheck(_Products.apply, (leaves[0], leaves[1]))


def test_a_round_is_functional():
    leaves, target = make_parts(1, 1, 1, codebooks=False)
    a_round = FactoredRound(*leaves)
    before = a_round.losses(target, SquaredError())
    a_round.choose(before.argmin(1)).choose(before.argmax(1))
    assert torch.equal(a_round.losses(target, SquaredError()), before)
    assert torch.equal(a_round.reconstruction(), leaves[0])


def test_products_follow_the_target():
    leaves, target = make_parts(1, 1, 1, codebooks=False)
    a_round = FactoredRound(*leaves)
    a_round.losses(target, SquaredError())
    another = target + 1
    torch.testing.assert_close(
        a_round.losses(another, SquaredError()), naive_grid(a_round, another), rtol=1e-10, atol=0
    )


def test_losses_are_never_negative():
    x = torch.zeros(1, 2)
    exact = FactoredRound(x, torch.eye(2)[None], torch.full((1, 1, 2), 1 / 3))
    target = torch.full((1, 2), 1 / 3)
    assert exact.losses(target, SquaredError()).item() >= 0
    assert exact.losses(target, SquaredError()).item() < 1e-7


def test_any_other_loss_sees_the_candidates():
    class AbsoluteError:
        def grid(self, options_NKD, target_ND):
            return (options_NKD - target_ND[:, None]).abs().mean(-1)

    leaves, target = make_parts(1, 1, 1, codebooks=True)
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

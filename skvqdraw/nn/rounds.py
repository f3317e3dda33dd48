"""A round: one network evaluation and the candidates of the stages that it serves.

Axes: N samples, T stages of the round, K options, D features, R basis vectors.

A round is functional: `choose` returns the next round and changes nothing. It has

- `n_stages`, how many stages are left in it;
- `losses(target_ND, loss) -> loss_NK` of the current stage's candidates, differentiable;
- `choose(codes_N)`, the round after that choice: same network output, next stage;
- `reconstruction() -> x_ND` after the choices made so far, of which there is at least one;
- `materialise() -> options_NKD`, the current stage's candidates written out.
"""

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from .losses import SquaredError


class DenseRound:
    """A round of one stage whose candidates the network wrote out.

    Parameters
    ----------
    options_NKD : tensor of shape (n_samples, n_options, n_features)
        The candidate reconstructions.

    Examples
    --------
    >>> import torch
    >>> from skvqdraw.nn import DenseRound
    >>> a_round = DenseRound(torch.arange(6.0).reshape(1, 3, 2))
    >>> a_round.choose(torch.tensor([2])).reconstruction()
    tensor([[4., 5.]])
    """

    n_stages = 1

    def __init__(self, options_NKD):
        self._options_NKD = options_NKD

    def losses(self, target_ND, loss):
        return loss.grid(self._options_NKD, target_ND)

    def choose(self, codes_N):
        rows = torch.arange(len(codes_N), device=codes_N.device)
        return _Chosen(self._options_NKD[rows, codes_N])

    def materialise(self):
        return self._options_NKD


class _Chosen:
    """What is left of a dense round when its choice is made."""

    n_stages = 0

    def __init__(self, x_ND):
        self._x_ND = x_ND

    def reconstruction(self):
        return self._x_ND


class FactoredRound:
    """A round whose candidates are mixtures of a few basis vectors that the network drew.

    Candidate k of a stage is ``x + basis @ (a + mixing[k]) + codebook[k]``, where ``a`` sums the
    mixing rows chosen so far in this round. The squared error of all K of them needs no candidate
    to be written out: with r the residual at x, ``q = basis.T @ r`` and ``G = basis.T @ basis``,

        D * loss_k = |r_a|^2 - 2 m_k . (q - G a) + m_k . G m_k,    r_a = r - basis @ a,

    so that after the network's evaluation everything happens in R dimensions.

    Parameters
    ----------
    x_ND : tensor of shape (n_samples, n_features)
        The reconstruction at the start of the round.
    basis_NDR : tensor of shape (n_samples, n_features, n_basis)
        The network's output; `n_basis` may be 0 where there are codebooks.
    mixing_TKR : tensor of shape (n_stages, n_options, n_basis)
        How each option mixes the basis.
    codebooks_TKD : tensor of shape (n_stages, n_options, n_features), default=None
        Vectors that each option adds, whatever x is. They make the grid cost R K D per row, as
        much as writing the candidates out.

    Examples
    --------
    >>> import torch
    >>> from skvqdraw.nn import FactoredRound
    >>> x, basis = torch.zeros(1, 2), torch.eye(2)[None]
    >>> mixing = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.0, 2.0]]])
    >>> a_round = FactoredRound(x, basis, mixing)
    >>> a_round.choose(torch.tensor([0])).choose(torch.tensor([1])).reconstruction()
    tensor([[1., 2.]])
    """

    def __init__(self, x_ND, basis_NDR, mixing_TKR, codebooks_TKD=None):
        self._x_ND = x_ND
        self._basis_NDR = basis_NDR
        self._mixing_TKR = mixing_TKR
        self._codebooks_TKD = codebooks_TKD
        # What `choose` hands on: the mixing rows chosen so far, and what is known of a target.
        self._mixed_NR = self._target_ND = self._products = None

    @property
    def n_stages(self):
        return len(self._mixing_TKR)

    def losses(self, target_ND, loss):
        if type(loss) is not SquaredError:
            return loss.grid(self.materialise(), target_ND)
        grid_NK = _squared_error_grid(
            *self._products_with(target_ND), self._mixed_NR, self._mixing_TKR[0]
        )
        if self._codebooks_TKD is not None:
            grid_NK = grid_NK + _codebook_terms(
                target_ND - self._x_ND,
                self._basis_NDR,
                self._mixing_TKR[0],
                self._codebooks_TKD[0],
            )
        return grid_NK.clamp(min=0) / target_ND.shape[1]

    def choose(self, codes_N):
        # F.embedding, because the gradient of plain indexing adds up in no fixed order on CPUs.
        mixed_NR = F.embedding(codes_N, self._mixing_TKR[0])
        if self._codebooks_TKD is None:
            following = FactoredRound(self._x_ND, self._basis_NDR, self._mixing_TKR[1:])
            following._mixed_NR = mixed_NR if self._mixed_NR is None else self._mixed_NR + mixed_NR
            following._target_ND, following._products = self._target_ND, self._products
            return following
        # With codebooks the residual leaves the span of the basis: start afresh from the choice.
        vectors_ND = F.embedding(codes_N, self._codebooks_TKD[0])
        return FactoredRound(
            self._x_ND + _mix(mixed_NR, self._basis_NDR) + vectors_ND,
            self._basis_NDR,
            self._mixing_TKR[1:],
            self._codebooks_TKD[1:],
        )

    def reconstruction(self):
        if self._mixed_NR is None:
            return self._x_ND
        return self._x_ND + _mix(self._mixed_NR, self._basis_NDR)

    def materialise(self):
        deltas_NDK = self._basis_NDR @ self._mixing_TKR[0].T
        options_NKD = self.reconstruction()[:, None] + deltas_NDK.transpose(1, 2)
        if self._codebooks_TKD is not None:
            options_NKD = options_NKD + self._codebooks_TKD[0]
        return options_NKD

    def _products_with(self, target_ND):
        """|r|^2, q and G: once per round and target, however many stages the round serves."""
        if self._target_ND is not target_ND:
            self._products = _Products.apply(target_ND - self._x_ND, self._basis_NDR)
            self._target_ND = target_ND
        return self._products


class _Products(torch.autograd.Function):
    """|r|^2 (N), q = basis.T @ r (N, R) and G = basis.T @ basis (N, R, R), differentiable once.

    By hand, because autograd goes over the basis several times on the way back where once will do:
    a tenth of a training step on MNIST.
    """

    @staticmethod
    def forward(ctx, r_ND, basis_NDR):
        ctx.save_for_backward(r_ND, basis_NDR)
        transposed_NRD = basis_NDR.transpose(1, 2)
        return (
            r_ND.square().sum(1),
            torch.bmm(transposed_NRD, r_ND[:, :, None])[:, :, 0],
            torch.bmm(transposed_NRD, basis_NDR),
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, d_rr_N, d_q_NR, d_gram_NRR):
        r_ND, basis_NDR = ctx.saved_tensors
        d_r_ND = 2 * d_rr_N[:, None] * r_ND + _mix(d_q_NR, basis_NDR)
        d_basis_NDR = torch.bmm(basis_NDR, d_gram_NRR + d_gram_NRR.transpose(1, 2))
        d_basis_NDR.addcmul_(r_ND[:, :, None], d_q_NR[:, None])
        return d_r_ND, d_basis_NDR


def _mix(mixed_NR, basis_NDR):
    """Basis times mixing rows, (N, D)."""
    return torch.bmm(basis_NDR, mixed_NR[:, :, None])[:, :, 0]


def _squared_error_grid(rr_N, q_NR, gram_NRR, mixed_NR, mixing_KR):
    """|r_a|^2 - 2 m_k . (q - G a) + m_k . G m_k for every option, (N, K), as one product."""
    if mixed_NR is None:
        q_a_NR = q_NR
    else:
        q_a_NR = q_NR - torch.bmm(gram_NRR, mixed_NR[:, :, None])[:, :, 0]
        # |r - B a|^2 = |r|^2 - a . (2 q - G a)
        rr_N = rr_N - (mixed_NR * (q_NR + q_a_NR)).sum(1)
    squares_KRR = mixing_KR[:, :, None] * mixing_KR[:, None]
    left_Nm = torch.cat([gram_NRR.flatten(1), q_a_NR], 1)
    right_Km = torch.cat([squares_KRR.flatten(1), -2 * mixing_KR], 1)
    return torch.addmm(rr_N[:, None], left_Nm, right_Km.T)


def _codebook_terms(r_ND, basis_NDR, mixing_KR, codebook_KD):
    """What codebook vectors add to the grid: |C_k|^2 - 2 r . C_k + 2 m_k . B' C_k, (N, K)."""
    cross_NRK = basis_NDR.transpose(1, 2) @ codebook_KD.T
    crossed_NK = (cross_NRK * mixing_KR.T).sum(1)
    return codebook_KD.square().sum(1) - 2 * r_ND @ codebook_KD.T + 2 * crossed_NK

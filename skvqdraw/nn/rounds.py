"""A round: one network evaluation and the candidates of the stages that it serves.

Axes: N samples, B hypotheses of each, M rows of a round (N x B, sample by sample), T stages of
the round, K options, D features, R basis vectors, U distinct bases.

A round is functional: `choose` returns the next round and changes nothing. `Round` says what it
has; after a choice it also has `reconstruction() -> x_MD`, and tests want `materialise()`, the
current stage's candidates (M, K, D) written out.
"""

import threading
from contextlib import contextmanager
from copy import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from .._rows import TILE_ROWS

# Neighbours among losses of which the smallest is looked for first, where there are very many.
_GROUP = 32
# Candidates of a stage that are written out, and hypotheses that are kept at most, where a search
# lists candidates by an approximation.
_LISTED = 8
# Products of fewer rows are summed in another order, and those of fewer options in an order that
# depends on a row's place: such rows and options are filled up to so many.
_FEWEST_ROWS = 16


class Round:
    """Base class of rounds: what they must offer, and a beam search made of nothing else."""

    n_rows: int
    """Number of rows that the network was evaluated for."""
    n_stages: int
    """Number of stages that are left."""
    n_alone = 0
    """Number of first stages that are as good as rounds of their own, such as a table's."""
    n_regions = 1
    """Number of next stages that are as good as one, because each refines a region of a row."""

    @property
    def n_together(self):
        """Number of next stages that a search of coding goes through, `n_stages` or fewer."""
        return self.n_stages

    def losses(self, target_MD, loss):
        """Return the losses of the current stage's candidates.

        Parameters
        ----------
        target_MD : tensor of shape (n_rows, n_features)
            What each row should become.
        loss : Loss
            Scores candidates; of a `quadratic` one, rounds may know the form.

        Returns
        -------
        loss_MK : tensor of shape (n_rows, n_options)
            Differentiable.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement losses.")

    def choose(self, codes_M):
        """Return the round after each row has chosen an option.

        Parameters
        ----------
        codes_M : tensor of shape (n_rows,)
            The options chosen at the current stage, integers.

        Returns
        -------
        following : object
            Has ``reconstruction()``, and is a `Round` while there are stages left.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement choose.")

    def take(self, rows):
        """Return the round of some of its rows.

        Parameters
        ----------
        rows : tensor of shape (n_taken,)
            Numbers of rows, in any order, repeated or not.

        Returns
        -------
        taken : Round
            The same stage of these rows.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement take.")

    def measured(self, measure):
        """Return the round of linear measurements of its candidates.

        Parameters
        ----------
        measure : callable
            Returns the measurements (..., n_measurements) of a tensor (..., n_features); linear.

        Returns
        -------
        measured : Round or None
            None where candidates have to be written out.
        """
        return

    def search(self, target_ND, loss, n_stages, beam_size, n_best):
        """Return the best codes of the next stages that a beam search finds.

        Parameters
        ----------
        target_ND : tensor of shape (n_samples, n_features)
            The rows of the round are hypotheses of these samples, equally many of each.
        loss : Loss
            Scores candidates; of a `quadratic` one, rounds may know the form.
        n_stages : int
            How many stages to choose for.
        beam_size : int
            Hypotheses of a sample to keep from stage to stage. 1 is the greedy choice.
        n_best : int
            Hypotheses of a sample to return, fewer if there are not so many.

        Returns
        -------
        rows_NB : tensor of shape (n_samples, n_best)
            Which row of the round each hypothesis goes on from.
        codes_NBT : tensor of shape (n_samples, n_best, n_stages)
            What it chooses; the best hypothesis comes first.
        """
        beam = self._beam(target_ND, loss, n_stages, beam_size, n_best)
        return beam.rows_NB, beam.codes_NBT

    @torch.no_grad()
    def _beam(self, target_ND, loss, n_stages, beam_size, n_best):
        """Return the `Beam` of a search at its end; parameters are those of `search`."""
        beam, a_round = Beam(self.n_rows, target_ND), self
        for stages_left in range(n_stages, 0, -1):
            B = beam.rows_NB.shape[1]
            # One hypothesis of each sample at a time: candidates that are written out take room.
            rows_BN = torch.arange(a_round.n_rows, device=target_ND.device).view(-1, B).T
            parts = [a_round] if B == 1 else map(a_round.take, rows_BN)
            losses_BNK = [part.losses(target_ND, loss) for part in parts]
            n_kept = beam_size if stages_left > 1 else n_best
            _, parents_NB, options_NB = beam.extend(torch.stack(losses_BNK, 1), n_kept)
            if stages_left > 1:
                starts_N1 = B * torch.arange(len(target_ND), device=parents_NB.device)[:, None]
                a_round = a_round.take((starts_N1 + parents_NB).flatten())
                a_round = a_round.choose(options_NB.flatten())
        return beam

    def walk(self, target_ND, loss, codes_NT):
        """Go through stages with the choices given.

        Parameters
        ----------
        target_ND : tensor of shape (n_rows, n_features)
            What each row should become.
        loss : Loss
            Scores candidates.
        codes_NT : tensor of shape (n_rows, n_stages)
            What each row chooses at the next stages.

        Returns
        -------
        chosen_TN : list of tensors of shape (n_rows,)
            The loss of each stage's choices. Differentiable.
        mean_TN : list of tensors of shape (n_rows,)
            The mean of the losses of each stage's options. Differentiable. A round may
            approximate it.
        following : object
            What `choose` returns after the last choice.
        """
        codes_N, *later = codes_NT.unbind(1)
        loss_NK, following = self.losses(target_ND, loss), self.choose(codes_N)
        chosen_TN, mean_TN = [loss_NK.gather(1, codes_N[:, None])[:, 0]], [loss_NK.mean(1)]
        if later:
            *of_later, following = following.walk(target_ND, loss, codes_NT[:, 1:])
            chosen_TN, mean_TN = [*chosen_TN, *of_later[0]], [*mean_TN, *of_later[1]]
        return chosen_TN, mean_TN, following


_heard = threading.local()


@contextmanager
def losses_heard():
    """Have a list of the losses (N, B) that searches of this thread keep, stage by stage."""
    _heard.losses = []
    try:
        yield _heard.losses
    finally:
        del _heard.losses


class Beam:
    """Hypotheses of a beam search: the row that each came from, what it chose since, what is left.

    Losses `loss_NB` may lack a factor that is the same for all. There are none before anything is
    chosen.
    """

    def __init__(self, n_rows, target_ND):
        self.rows_NB = torch.arange(n_rows, device=target_ND.device).view(len(target_ND), -1)
        self.codes_NBT = self.rows_NB.new_empty(*self.rows_NB.shape, 0)

    def extend(self, loss_NBK, n_kept):
        """Keep the best of all continuations; return their losses, parents and options.

        Parents are numbered from 0 within a sample. If one is kept, ties go to the lowest.
        """
        K = loss_NBK.shape[2]
        flat_loss = loss_NBK.flatten(1)
        n_kept = min(n_kept, flat_loss.shape[1])
        kept_NB, best_NB = _smallest(flat_loss, n_kept)
        parents_NB, options_NB = best_NB // K, best_NB % K
        self._keep(kept_NB, parents_NB)
        self.codes_NBT = torch.cat([self.codes_NBT, options_NB[:, :, None]], 2)
        return kept_NB, parents_NB, options_NB

    def shorten(self, loss_NB, n_kept):
        """Keep the best hypotheses by these losses; return the losses and where they were."""
        kept_NB, places_NB = _smallest(loss_NB, min(n_kept, loss_NB.shape[1]))
        self._keep(kept_NB, places_NB)
        return kept_NB, places_NB

    def of_samples(self, target_ND, loss_MB, n_best):
        """Keep the best of all hypotheses of a sample, of which each had several rows."""
        N = len(target_ND)
        self.rows_NB = self.rows_NB.reshape(N, -1)
        self.codes_NBT = self.codes_NBT.reshape(N, self.rows_NB.shape[1], -1)
        self.shorten(loss_MB.reshape(N, -1), n_best)
        return self

    def _keep(self, kept_NB, parents_NB):
        if hasattr(_heard, "losses"):
            _heard.losses.append(kept_NB)
        self.loss_NB = kept_NB
        self.rows_NB = self.rows_NB.gather(1, parents_NB)
        self.codes_NBT = pick(self.codes_NBT, parents_NB)


def _smallest(loss_NC, n_kept):
    """Return the smallest losses of each row and where they are: of equals, if one, the first."""
    n_groups = loss_NC.shape[1] // _GROUP
    if n_groups * _GROUP < loss_NC.shape[1] or n_groups < _GROUP * n_kept:
        return _smallest_of_few(loss_NC, n_kept)
    # Of groups of neighbours, those of the smallest minima have all that is to be kept.
    minima_NG = loss_NC.unflatten(1, (n_groups, _GROUP)).amin(2)
    _, groups_NB = _smallest_of_few(minima_NG, n_kept)
    within = torch.arange(_GROUP, device=loss_NC.device)
    columns_NC = (groups_NB[:, :, None] * _GROUP + within).flatten(1)
    kept_NB, places_NB = _smallest_of_few(loss_NC.gather(1, columns_NC), n_kept)
    return kept_NB, columns_NC.gather(1, places_NB)


def _smallest_of_few(loss_NC, n_kept):
    if n_kept == 1:
        best_N1 = loss_NC.argmin(1, keepdim=True)
        return loss_NC.gather(1, best_N1), best_N1
    return loss_NC.topk(n_kept, largest=False)


def pick(values, parents_NC):
    """Return for each sample the values of some of its hypotheses, (N, C, x)."""
    return values.gather(1, parents_NC[:, :, None].expand(-1, -1, values.shape[2]))


class PartRound(Round):
    """Base class of rounds that see rows in parts: to an inner round these are its rows.

    A subclass implements `_cut`: what a target and a loss are to the inner round.
    """

    _known = None  # a target and a loss, and what they are inside

    def _cut(self, target_ND, loss):
        raise NotImplementedError

    def _inside(self, target_ND, loss):
        """Return target and loss inside: the same ones each time, which rounds remember."""
        known = self._known  # at once: another thread may ask about another target
        if known is None or known[0] is not target_ND or known[1] is not loss:
            self._known = known = target_ND, loss, self._cut(target_ND, loss)
        return known[2]

    def _knowing(self, following):
        """Return the round that follows, which knows as much."""
        following._known = self._known
        return following


class DenseRound(Round):
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

    @property
    def n_rows(self):
        """Number of rows that the network was evaluated for."""
        return len(self._options_NKD)

    def losses(self, target_ND, loss):
        return loss.grid(self._options_NKD, target_ND)

    def choose(self, codes_N):
        rows = torch.arange(len(codes_N), device=codes_N.device)
        return _Chosen(self._options_NKD[rows, codes_N])

    def take(self, rows):
        return DenseRound(self._options_NKD[rows])

    def measured(self, measure):
        return DenseRound(measure(self._options_NKD))

    def materialise(self):
        """Return the candidates of the stage.

        Returns
        -------
        options_NKD : tensor of shape (n_samples, n_options, n_features)
            As the network wrote them out.
        """
        return self._options_NKD


def choose_all(a_round, codes_MT):
    """Return what follows a round after choosing these codes, a column for each stage."""
    for codes_M in codes_MT.unbind(1):
        a_round = a_round.choose(codes_M)
    return a_round


class _Chosen:
    """What is left of a round whose choices are made."""

    n_stages = 0

    def __init__(self, x_ND):
        self._x_ND = x_ND

    def reconstruction(self):
        return self._x_ND


class FactoredRound(Round):
    """A round whose candidates are mixtures of a few basis vectors that the network drew.

    Candidate k of a stage is ``x + basis @ (a + mixing[k])``, where ``a`` sums the mixing rows
    chosen so far in this round. The squared error of all K of them needs no candidate to be
    written out: with r the residual at x, ``q = basis.T @ r`` and ``G = basis.T @ basis``, ::

        D * loss_k = |r_a|^2 - 2 m_k . (q - G a) + m_k . G m_k,    r_a = r - basis @ a,

    so that after the network's evaluation everything, a beam search too, happens in R dimensions.

    Parameters
    ----------
    x_ND : tensor of shape (n_samples, n_features)
        The reconstruction at the start of the round.
    basis_NDR : tensor of shape (n_samples, n_features, n_basis)
        The network's output.
    mixing_TKR : tensor of shape (n_stages, n_options, n_basis)
        How each option mixes the basis.

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

    def __init__(self, x_ND, basis_NDR, mixing_TKR):
        self._x_ND = x_ND
        self._basis_NDR = basis_NDR
        self._mixing_TKR = mixing_TKR
        # What `choose` hands on: the mixing rows chosen so far, and what is known of a target.
        self._mixed_NR = self._known = None
        self._expanded = None  # a target, a loss and its expansion at the present

    @property
    def n_rows(self):
        """Number of rows that the network was evaluated for."""
        return len(self._x_ND)

    @property
    def n_stages(self):
        """Number of stages that are left."""
        return len(self._mixing_TKR)

    def losses(self, target_ND, loss):
        if not loss.quadratic:
            return loss.grid(self.materialise(), target_ND)
        grid_NK = _squared_error_grid(
            *self._products_with(target_ND), self._mixed_NR, self._mixing_TKR[0]
        )
        return grid_NK.clamp(min=0) / target_ND.shape[1]

    def walk(self, target_ND, loss, codes_NT):
        if not loss.expands:
            return super().walk(target_ND, loss, codes_NT)
        following, mixed_TNR = self, [self._mixed()]
        for codes_N in codes_NT.unbind(1):
            following = following.choose(codes_N)
            mixed_TNR.append(following._mixed_NR)
        mixing_TKR = self._mixing_TKR[: codes_NT.shape[1]]
        chosen_NT, mean_NT = _Path.apply(
            self._x_ND,
            self._basis_NDR,
            torch.stack(mixed_TNR, 1),
            mixing_TKR.mean(1),
            mixing_TKR.transpose(1, 2) @ mixing_TKR / mixing_TKR.shape[1],
            self._expansion(target_ND, loss),
            target_ND,
            loss,
        )
        return chosen_NT.unbind(1), mean_NT.unbind(1), following

    def _beam(self, target_ND, loss, n_stages, beam_size, n_best):
        if loss.expands:
            return self._search_nearby(target_ND, loss, n_stages, beam_size, n_best)
        if not loss.quadratic:
            return super()._beam(target_ND, loss, n_stages, beam_size, n_best)
        beam = Beam(self.n_rows, target_ND)
        B = beam.rows_NB.shape[1]
        if B > 1:
            target_ND = target_ND.repeat_interleave(B, 0)
        # Not under no_grad: the losses of the same target will want their gradient.
        rr_M, q_MR, gram_MRR = (product.detach() for product in self._products_with(target_ND))
        with torch.no_grad():
            if self._mixed_NR is not None:
                rr_M, q_MR = _after(rr_M, q_MR, gram_MRR, self._mixed_NR)
            return _search_mixtures(
                beam,
                rr_M.view(beam.rows_NB.shape),
                q_MR.view(*beam.rows_NB.shape, -1),
                gram_MRR,
                _squares(gram_MRR, self._mixing_TKR[:n_stages]),
                None if B == 1 else beam.rows_NB,
                self._mixing_TKR[:n_stages],
                beam_size,
                n_best,
            )

    @torch.no_grad()
    def _search_nearby(self, target_ND, loss, n_stages, beam_size, n_best):
        """Search as `Round` does, among candidates that are the best to second order."""
        B = self.n_rows // len(target_ND)
        target_MD = target_ND if B == 1 else target_ND.repeat_interleave(B, 0)
        # Each row of the round has its own hypotheses, H of them.
        n_kept = min(max(beam_size // B, 1), _LISTED)
        beam = Beam(self.n_rows, target_MD)
        expansion = self._expansion(target_MD, loss)
        loss_MH, q_MHR = expansion.loss_N[:, None], expansion.q_NR[:, None]
        squares_MTK = _squares(expansion.gram_NRR, self._mixing_TKR[:n_stages])
        mixed_MHR = self._mixed()[:, None]
        for t in range(n_stages):
            mixing_KR = self._mixing_TKR[t]
            near_MHK = loss_MH[:, :, None] + q_MHR @ mixing_KR.T + squares_MTK[:, t, None] / 2
            _, parents_MC, options_MC = beam.extend(near_MHK, _LISTED)
            mixed_MCR = pick(mixed_MHR, parents_MC) + mixing_KR[options_MC]
            x_MCP = _mixtures(self._x_ND, mixed_MCR, self._basis_NDR)
            if t == n_stages - 1:
                loss_MH = loss.grid(x_MCP, target_MD)
                continue
            loss_MC, slopes_MCP = loss.gradient(x_MCP, target_MD)
            loss_MH, places_MH = beam.shorten(loss_MC, n_kept)
            mixed_MHR = pick(mixed_MCR, places_MH)
            q_MHR = pick(torch.bmm(slopes_MCP, self._basis_NDR), places_MH)
        return beam.of_samples(target_ND, loss_MH, n_best)

    def choose(self, codes_N):
        # F.embedding, because the gradient of plain indexing adds up in no fixed order on CPUs.
        mixed_NR = F.embedding(codes_N, self._mixing_TKR[0])
        following = FactoredRound(self._x_ND, self._basis_NDR, self._mixing_TKR[1:])
        following._mixed_NR = mixed_NR if self._mixed_NR is None else self._mixed_NR + mixed_NR
        following._known = self._known
        return following

    def take(self, rows):
        taken = FactoredRound(self._x_ND[rows], self._basis_NDR[rows], self._mixing_TKR)
        taken._mixed_NR = None if self._mixed_NR is None else self._mixed_NR[rows]
        return taken

    def measured(self, measure):
        basis_NQR = measure(self._basis_NDR.transpose(1, 2)).transpose(1, 2)
        measured = FactoredRound(measure(self._x_ND), basis_NQR, self._mixing_TKR)
        measured._mixed_NR = self._mixed_NR
        return measured

    def reconstruction(self):
        """Return the rows after the choices made so far.

        Returns
        -------
        x_ND : tensor of shape (n_samples, n_features)
            Differentiable.
        """
        if self._mixed_NR is None:
            return self._x_ND
        return self._x_ND + _mix(self._mixed_NR, self._basis_NDR)

    def materialise(self):
        """Return the candidates of the current stage, written out.

        Returns
        -------
        options_NKD : tensor of shape (n_samples, n_options, n_features)
            What `losses` compares without it.
        """
        deltas_NDK = self._basis_NDR @ self._mixing_TKR[0].T
        return self.reconstruction()[:, None] + deltas_NDK.transpose(1, 2)

    def _products_with(self, target_ND):
        """|r|^2, q and G: once per round and target, however many stages the round serves."""
        known = self._known  # at once: another thread may ask about another target
        if known is None or known[0] is not target_ND:
            products = _Products.apply(target_ND - self._x_ND, self._basis_NDR)
            self._known = known = target_ND, products
        return known[1]

    @torch.no_grad()
    def _expansion(self, target_ND, loss):
        known = self._expanded
        if known is None or known[0] is not target_ND or known[1] is not loss:
            expansion = _Expansion.of(self, target_ND, loss)
            self._expanded = known = target_ND, loss, expansion
        return known[2]

    def _mixed(self):
        if self._mixed_NR is None:
            return self._basis_NDR.new_zeros(self.n_rows, self._basis_NDR.shape[2])
        return self._mixed_NR


class TableRound(Round):
    """The first round: a table of vectors, then stages that go on from the vector chosen.

    It is the same for all samples, since nothing has been chosen yet: the network draws one basis
    for each vector of the table, however many samples there are.

    Parameters
    ----------
    n_rows : int
        Number of samples.
    table_KD : tensor of shape (n_options, n_features)
        The candidates of the first stage.
    basis_KDR : tensor of shape (n_options, n_features, n_basis), default=None
        The basis after each choice of the first stage.
    mixing_TKR : tensor of shape (n_stages - 1, n_options, n_basis), default=None
        How the options of the stages after it mix that basis.
    apart : bool, default=False
        Whether a search goes through the first stage alone. Together with what follows it takes
        the products of all rows with all bases: too many where there are many options.
    """

    n_alone = 1

    def __init__(self, n_rows, table_KD, basis_KDR=None, mixing_TKR=None, *, apart=False):
        self.n_rows = n_rows
        self._table_KD = table_KD
        self._basis_KDR = basis_KDR
        self._mixing_TKR = mixing_TKR
        self._apart = apart
        # What searches need of all options, and where the last one went on, with what it knows.
        self._products = self._searched = None

    @property
    def n_stages(self):
        return 1 if self._mixing_TKR is None else 1 + len(self._mixing_TKR)

    @property
    def n_together(self):
        """Number of next stages that a search of coding goes through."""
        return 1 if self._apart else self.n_stages

    def losses(self, target_ND, loss):
        if not loss.quadratic:
            return loss.table(self._table_KD, target_ND)
        squares_NK = target_ND.square().sum(1)[:, None] + self._table_KD.square().sum(1)
        grid_NK = _addmm(squares_NK, target_ND, self._table_KD.T, alpha=-2)
        return grid_NK.clamp(min=0) / target_ND.shape[1]

    def _beam(self, target_ND, loss, n_stages, beam_size, n_best):
        if n_stages == 1 or not (loss.quadratic or loss.expands):
            return super()._beam(target_ND, loss, n_stages, beam_size, n_best)
        if not loss.quadratic:
            return self._search_by_turns(target_ND, loss, n_stages, beam_size, n_best)
        beam = Beam(self.n_rows, target_ND)
        with torch.no_grad():
            loss_NK = self.losses(target_ND, loss)
            loss_NB, _, codes_NB = beam.extend(loss_NK[:, None], beam_size)
            # No basis is copied: products with all K of them cost less than a few copies.
            q_KNR = _product(target_ND, self._basis_KDR)
            q_KR, gram_KRR, squares_KTK = self._products or self._own_products()
            samples_N1 = torch.arange(len(target_ND), device=codes_NB.device)[:, None]
            return _search_mixtures(
                beam,
                loss_NB * target_ND.shape[1],
                q_KNR[codes_NB, samples_N1] - q_KR[codes_NB],
                gram_KRR,
                squares_KTK,
                codes_NB,
                self._mixing_TKR[: n_stages - 1],
                beam_size,
                n_best,
            )

    @torch.no_grad()
    def _search_by_turns(self, target_ND, loss, n_stages, beam_size, n_best):
        """Choose of the table first, and then go on."""
        first = Beam(self.n_rows, target_ND)
        first.extend(self.losses(target_ND, loss)[:, None], n_best)
        options_M = first.codes_NBT.flatten()
        following = self.of_rows(len(options_M)).choose(options_M)
        beam = following._beam(target_ND, loss, n_stages - 1, beam_size, n_best)
        if not torch.is_inference_mode_enabled():  # where rounds are shared
            self._searched = options_M, following
        codes_NB1 = options_M[beam.rows_NB][:, :, None]
        beam.rows_NB = first.rows_NB[:, :1].expand_as(beam.rows_NB)
        beam.codes_NBT = torch.cat([codes_NB1, beam.codes_NBT], 2)
        return beam

    def choose(self, codes_N):
        x_ND = F.embedding(codes_N, self._table_KD)
        if self._mixing_TKR is None:
            return _Chosen(x_ND)
        basis_NDR = self._basis_KDR.index_select(0, codes_N)
        chosen = FactoredRound(x_ND, basis_NDR, self._mixing_TKR)
        if self._searched is not None and torch.equal(self._searched[0], codes_N):
            chosen._expanded = self._searched[1]._expanded
        return chosen

    def take(self, rows):
        return self.of_rows(len(rows))

    def measured(self, measure):
        basis_KQR = self._basis_KDR
        if basis_KQR is not None:
            basis_KQR = measure(basis_KQR.transpose(1, 2)).transpose(1, 2)
        return TableRound(self.n_rows, measure(self._table_KD), basis_KQR, self._mixing_TKR)

    def of_rows(self, n_rows):
        """Return the same of so many rows."""
        taken = copy(self)
        taken.n_rows = n_rows
        return taken

    def with_products(self):
        """Return the same with all that a search needs and that does not depend on rows."""
        taken = copy(self)
        taken._products = None if self._apart else self._own_products()
        return taken

    def _own_products(self):
        """Return of each basis its products with its vector, with itself and of all mixtures."""
        gram_KRR = self._basis_KDR.transpose(1, 2) @ self._basis_KDR
        return (
            torch.einsum("kdr,kd->kr", self._basis_KDR, self._table_KD),
            gram_KRR,
            _squares(gram_KRR, self._mixing_TKR),
        )

    def materialise(self):
        return self._table_KD.expand(self.n_rows, -1, -1)


class _Products(torch.autograd.Function):
    """|r|^2 (N), q = basis.T @ r (N, R) and G = basis.T @ basis (N, R, R), differentiable once.

    By hand, because autograd goes over the basis several times on the way back where once will do.
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
        d_r_ND = None
        if ctx.needs_input_grad[0]:
            d_r_ND = 2 * d_rr_N[:, None] * r_ND + _mix(d_q_NR, basis_NDR)
        d_basis_NDR = torch.bmm(basis_NDR, d_gram_NRR + d_gram_NRR.transpose(1, 2))
        d_basis_NDR.addcmul_(r_ND[:, :, None], d_q_NR[:, None])
        return d_r_ND, d_basis_NDR


class _Expansion(NamedTuple):
    """A loss at rows, and its slopes and curvatures along their bases."""

    loss_N: torch.Tensor
    q_NR: torch.Tensor
    gram_NRR: torch.Tensor
    curved_NPR: torch.Tensor

    @classmethod
    def of(cls, a_round, target_ND, loss):
        x_NP, basis_NPR = a_round.reconstruction(), a_round._basis_NDR
        loss_N1, slopes_N1P = loss.gradient(x_NP[:, None], target_ND)
        curved_NPR = loss.curvature(x_NP, basis_NPR)
        return cls(
            loss_N1[:, 0],
            torch.bmm(slopes_N1P, basis_NPR)[:, 0],
            torch.bmm(basis_NPR.transpose(1, 2), curved_NPR),
            curved_NPR,
        )


class _Path(torch.autograd.Function):
    """The losses along a path of choices, exact, and those of all options, to second order."""

    @staticmethod
    def forward(ctx, x_NP, basis_NPR, mixed_NSR, mean_TR, squares_TRR, expansion, target_ND, loss):
        path_NSP = _mixtures(x_NP, mixed_NSR, basis_NPR)
        loss_NS, slopes_NSP = loss.gradient(path_NSP, target_ND)
        q_NSR = torch.bmm(slopes_NSP, basis_NPR)
        bends_NT = expansion.gram_NRR.flatten(1) @ squares_TRR.flatten(1).T
        options_NT = loss_NS[:, :-1] + (q_NSR[:, :-1] * mean_TR).sum(2) + bends_NT / 2
        ctx.expansion = expansion
        ctx.save_for_backward(mixed_NSR, mean_TR, squares_TRR, slopes_NSP, q_NSR)
        return loss_NS[:, 1:], options_NT

    @staticmethod
    @once_differentiable
    def backward(ctx, d_chosen_NT, d_options_NT):
        mixed_NSR, mean_TR, squares_TRR, slopes_NSP, q_NSR = ctx.saved_tensors
        gram_NRR, curved_NPR = ctx.expansion.gram_NRR, ctx.expansion.curved_NPR
        d_loss_NS = F.pad(d_chosen_NT, (1, 0)) + F.pad(d_options_NT, (0, 1))
        d_x_NP = torch.bmm(d_loss_NS[:, None], slopes_NSP)[:, 0]
        d_mixed_NSR = d_loss_NS[:, :, None] * q_NSR
        # Of the basis: along the path, along the mean option, and by the curvature.
        moves_NSR = d_loss_NS[:, :, None] * mixed_NSR
        moves_NSR[:, :-1] += d_options_NT[:, :, None] * mean_TR
        d_gram_NRR = (d_options_NT @ squares_TRR.flatten(1)).view_as(gram_NRR)
        d_basis_NPR = torch.bmm(slopes_NSP.transpose(1, 2), moves_NSR)
        d_basis_NPR.baddbmm_(curved_NPR, d_gram_NRR)
        d_mean_TR = torch.einsum("nt,ntr->tr", d_options_NT, q_NSR[:, :-1])
        d_squares_TRR = (d_options_NT.T @ gram_NRR.flatten(1) / 2).view_as(squares_TRR)
        return d_x_NP, d_basis_NPR, d_mixed_NSR, d_mean_TR, d_squares_TRR, None, None, None


def _product(rows_MR, matrix_RK):
    """Return rows times one matrix, (M, K), or several, (..., M, K)."""
    return (_filled(rows_MR) @ matrix_RK)[..., : len(rows_MR), :]


def _addmm(plus_MK, rows_MR, matrix_RK, *, alpha=1):
    """Return ``plus + alpha * rows @ matrix``, (M, K); of `plus` all columns or one."""
    matrix_RK, n_options = _filled(matrix_RK.T).T, matrix_RK.shape[1]
    if plus_MK.shape[1] == n_options:
        plus_MK = _filled(plus_MK.T).T
    filled_MK = torch.addmm(_filled(plus_MK), _filled(rows_MR), matrix_RK, alpha=alpha)
    return filled_MK[: len(rows_MR), :n_options]


def _filled(rows_MR):
    """Return rows, or options, with zeros to as many as are summed in the same order as many."""
    n_missing = _FEWEST_ROWS - len(rows_MR)
    return F.pad(rows_MR, (0, 0, 0, n_missing)) if n_missing > 0 else rows_MR


def _mix(mixed_NR, basis_NDR):
    """Basis times mixing rows, (N, D)."""
    return torch.bmm(basis_NDR, mixed_NR[:, :, None])[:, :, 0]


def _mixtures(x_ND, mixed_NSR, basis_NDR):
    """Rows plus basis times several mixing rows of each, (N, S, D)."""
    return torch.baddbmm(x_ND[:, None], mixed_NSR, basis_NDR.transpose(1, 2))


def _after(rr_N, q_NR, gram_NRR, mixed_NR):
    """|r_a|^2 = |r|^2 - a . (2 q - G a), and q - G a."""
    q_a_NR = q_NR - torch.bmm(gram_NRR, mixed_NR[:, :, None])[:, :, 0]
    return rr_N - (mixed_NR * (q_NR + q_a_NR)).sum(1), q_a_NR


def _squared_error_grid(rr_N, q_NR, gram_NRR, mixed_NR, mixing_KR):
    """|r_a|^2 - 2 m_k . (q - G a) + m_k . G m_k for every option, (N, K), as one product."""
    if mixed_NR is not None:
        rr_N, q_NR = _after(rr_N, q_NR, gram_NRR, mixed_NR)
    squares_KRR = mixing_KR[:, :, None] * mixing_KR[:, None]
    left = torch.cat([gram_NRR.flatten(1), q_NR], 1)
    right = torch.cat([squares_KRR.flatten(1), -2 * mixing_KR], 1)
    return _addmm(rr_N[:, None], left, right.T)


def _search_mixtures(
    beam, rr_NB, q_NBR, gram_URR, squares_UTK, bases_NB, mixing_TKR, beam_size, n_best
):
    """Go on with a beam search through stages that mix one basis; see `Round.search`.

    Each hypothesis has a residual of squared norm `rr_NB`, of products `q_NBR` with its basis,
    and the number `bases_NB` of that basis' Gram matrix; None where a sample has but one.
    """
    T = len(mixing_TKR)
    for t in range(T):
        rr_M1, q_MR = rr_NB.flatten()[:, None], q_NBR.flatten(0, 1)
        loss_MK = _addmm(rr_M1, q_MR, mixing_TKR[t].T, alpha=-2)
        loss_NBK = loss_MK.unflatten(0, rr_NB.shape)
        loss_NBK += squares_UTK[:, t, None] if bases_NB is None else squares_UTK[bases_NB, t]
        rr_NB, parents_NB, options_NB = beam.extend(loss_NBK, beam_size if t < T - 1 else n_best)
        if t < T - 1:
            if bases_NB is not None:
                bases_NB = bases_NB.gather(1, parents_NB)
            moved_NBR = _moved(gram_URR, bases_NB, mixing_TKR[t], options_NB)
            q_NBR = pick(q_NBR, parents_NB) - moved_NBR
    return beam


def _squares(gram_URR, mixing_TKR):
    """Return m . G m of every basis, stage and option, (U, T, K)."""
    squares_TKRR = mixing_TKR[..., None] * mixing_TKR[..., None, :]
    products_UC = _product(gram_URR.flatten(1), squares_TKRR.flatten(2).flatten(0, 1).T)
    return products_UC.unflatten(1, mixing_TKR.shape[:2])


def _moved(gram_URR, bases_NB, mixing_KR, options_NB):
    """Return G m of each hypothesis, (N, B, R)."""
    if bases_NB is None:
        return torch.bmm(mixing_KR[options_NB], gram_URR)
    U, R, _ = gram_URR.shape
    # Fewer products than those of all options? Of a whole tile: the way must not depend on how many
    # rows there are.
    if bases_NB.shape[1] * TILE_ROWS * R < U * len(mixing_KR):
        return torch.einsum("nbrs,nbs->nbr", gram_URR[bases_NB], mixing_KR[options_NB])
    return torch.matmul(mixing_KR, gram_URR)[bases_NB, options_NB]

"""Networks that write a sequence section by section, from its start to its end.

Axes: N rows, K options, T stages of a round, D features, P parameters of all features, W those of a
section, R basis vectors.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .blocks import LinearBlock, gelu, normal, quiet
from .refinement import RefinementNetwork
from .rounds import FactoredRound, PartRound

# Inputs are drawn in where they are larger: log odds of what is certain have no bound.
_INPUT_SCALE = 4.0


class SectionRound(PartRound):
    """A round that changes some neighbouring features of rows, and leaves the others.

    Parameters
    ----------
    x_NP : tensor of shape (n_samples, n_features * n_params)
        The reconstruction at the start of the round.
    features : slice
        Those that it changes.
    params : slice
        Their parameters.
    inner : Round
        That of these features alone.
    """

    def __init__(self, x_NP, features, params, inner):
        self._x_NP, self._features, self._params, self._inner = x_NP, features, params, inner

    @property
    def n_rows(self):
        return len(self._x_NP)

    @property
    def n_stages(self):
        return self._inner.n_stages

    def losses(self, target_ND, loss):
        target_NW, inside = self._inside(target_ND, loss)
        share, outside_N = self._outside(target_ND, loss)
        return outside_N[:, None] + share * self._inner.losses(target_NW, inside)

    def search(self, target_ND, loss, n_stages, beam_size, n_best):
        target_NW, inside = self._inside(target_ND, loss)
        n_hypotheses = self.n_rows // len(target_ND)
        if n_hypotheses > 1:
            if not loss.expands:
                return super().search(target_ND, loss, n_stages, beam_size, n_best)
            target_MD = target_ND.repeat_interleave(n_hypotheses, 0)
            share, outside_M = self._outside(target_MD, loss)
            inside = _Beside(inside, outside_M / share)
        return self._inner.search(target_NW, inside, n_stages, beam_size, n_best)

    def walk(self, target_ND, loss, codes_NT):
        target_NW, inside = self._inside(target_ND, loss)
        share, outside_N = self._outside(target_ND, loss)
        *found, following = self._inner.walk(target_NW, inside, codes_NT)
        chosen_TN, mean_TN = ([outside_N + share * part_N for part_N in part] for part in found)
        return chosen_TN, mean_TN, self._with(following)

    def choose(self, codes_N):
        return self._with(self._inner.choose(codes_N))

    def take(self, rows):
        return SectionRound(self._x_NP[rows], self._features, self._params, self._inner.take(rows))

    def reconstruction(self):
        """Return the rows after the choices made so far.

        Returns
        -------
        x_NP : tensor of shape (n_samples, n_features * n_params)
            Differentiable.
        """
        return self._put_in(self._inner.reconstruction())

    def materialise(self):
        """Return the candidates of the current stage, written out.

        Returns
        -------
        options_NKP : tensor of shape (n_samples, n_options, n_features * n_params)
            What `losses` compares.
        """
        options_NKW = self._inner.materialise()
        return torch.stack([self._put_in(x_NW) for x_NW in options_NKW.unbind(1)], 1)

    def _with(self, inner):
        return self._knowing(SectionRound(self._x_NP, self._features, self._params, inner))

    def _put_in(self, x_NW):
        before_NP = self._x_NP[:, : self._params.start]
        return torch.cat([before_NP, x_NW, self._x_NP[:, self._params.stop :]], 1)

    def _cut(self, target_ND, loss):
        return target_ND[:, self._features].contiguous(), loss.of_features(self._features)

    @torch.no_grad()
    def _outside(self, target_ND, loss):
        """Return the share of the section in the loss, and what the other features add to it."""
        target_NW, inside = self._inside(target_ND, loss)
        share = target_NW.shape[1] / target_ND.shape[1]
        whole_N1 = loss.grid(self._x_NP[:, None], target_ND)
        inside_N1 = inside.grid(self._x_NP[:, None, self._params], target_NW)
        return share, (whole_N1 - share * inside_N1)[:, 0]


class _Beside:
    """The loss of a section, and what hypotheses lose elsewhere."""

    quadratic, expands = False, True

    def __init__(self, loss, elsewhere_M):
        self.loss, self.elsewhere_M = loss, elsewhere_M

    def grid(self, params_MCW, target_MW):
        return self.loss.grid(params_MCW, target_MW) + self.elsewhere_M[:, None]

    def gradient(self, params_MCW, target_MW):
        loss_MC, slopes_MCW = self.loss.gradient(params_MCW, target_MW)
        return loss_MC + self.elsewhere_M[:, None], slopes_MCW

    def curvature(self, params_MW, vectors_MWR):
        return self.loss.curvature(params_MW, vectors_MWR)


class SectionNetwork(RefinementNetwork):
    """A perceptron that sees a section and what is before it, and refines the section.

    It is the same for all sections.

    Parameters
    ----------
    shape : tuple of int
        Positions of a row, and features of each.
    n_params : int
        Parameters of a feature.
    n_stages, n_options : int
        What it must serve.
    context : int
        Positions before a section that it sees.
    lookahead : int
        Positions of the next section that it refines along.
    embedding_size : int
        Numbers that the head draws for a feature of more parameters than that.
    """

    draws = False

    def __init__(
        self,
        shape,
        n_params,
        n_stages,
        n_options,
        *,
        context,
        lookahead,
        hidden_size,
        n_blocks,
        basis_size,
        embedding_size,
        stages_per_round,
    ):
        super().__init__()
        self.length, self.n_channels_in = shape
        self.n_params, self.n_stages, self.context = n_params, n_stages, context
        self.basis_size, self.stages_per_round = basis_size, stages_per_round
        self.n_rounds = math.ceil(n_stages / stages_per_round)
        self.width = min(math.ceil(self.length / self.n_rounds) + lookahead, self.length)
        per_position = self.n_channels_in * n_params
        self.stem = nn.Linear((context + self.width) * per_position, hidden_size)
        self.blocks = nn.ModuleList(LinearBlock(1, hidden_size) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(hidden_size)
        # Symbols are many, and alike at all positions: their log odds are made of fewer numbers.
        self.embedding, n_drawn = None, n_params
        if n_params > embedding_size:
            n_drawn = embedding_size
            self.embedding = nn.Parameter(normal(n_params, n_drawn).div_(math.sqrt(n_drawn)))
        n_drawn *= self.width * self.n_channels_in
        self.head = quiet(nn.Linear(hidden_size, n_drawn * basis_size), 0.5)
        self.mixing = nn.Parameter(
            normal(stages_per_round, n_options, basis_size).div_(math.sqrt(basis_size))
        )

    def forward(self, x_NP, stage):
        position = self.length * (stage // self.stages_per_round) // self.n_rounds
        position = min(position, self.length - self.width)
        features, params = (
            slice(position * each, (position + self.width) * each)
            for each in (self.n_channels_in, self.n_channels_in * self.n_params)
        )
        first = params.start - self.context * self.n_channels_in * self.n_params
        seen_NP = F.pad(x_NP[:, max(first, 0) : params.stop], (max(-first, 0), 0))
        h = self.stem((seen_NP / _INPUT_SCALE).tanh())
        for block in self.blocks:
            h = block(h, 0)
        x_NW = x_NP[:, params]
        basis_NWR = self._basis(self.head(gelu(self.norm(h))))
        n_next = min(self.stages_per_round, self.n_stages - stage)
        inner = FactoredRound(x_NW, basis_NWR.to(x_NP.dtype), self.mixing[:n_next])
        return SectionRound(x_NP, features, params, inner)

    def _basis(self, drawn):
        if self.embedding is not None:
            drawn = self.embedding @ drawn.unflatten(
                1, (-1, self.embedding.shape[1], self.basis_size)
            )
        return drawn.reshape(len(drawn), -1, self.basis_size)

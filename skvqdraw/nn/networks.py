"""Refinement networks: `network(x_ND, stage)` returns the round that starts at `stage`.

Axes: N samples, S stages, K options, D features, R basis vectors.
"""

import math
from collections import Counter
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .._rows import TILE_ROWS
from .blocks import (
    ConvBlock,
    LinearBlock,
    StageMask,
    VolumeConv,
    gelu,
    group_norm,
    normal,
    quiet,
)
from .refinement import RefinementNetwork
from .regions import RegionRound, region_order
from .rounds import FactoredRound, TableRound

# Most options for which a search goes through the table and the stages after it together. In coding
# the limit is the products of all rows with all bases, in training the evaluation of all options.
_MOST_TOGETHER = TILE_ROWS
_MOST_TOGETHER_IN_TRAINING = 64
# Most values of the bases, one for each option of the table, that are kept with a network.
_MOST_KEPT = 2**25


class Planned(NamedTuple):
    """What a round serves, and which network draws its basis."""

    start: int
    stop: int
    n_regions: int
    """Regions of a row that its stages refine in turn."""
    mixing: slice
    """Rows of the mixing that it has: one for each stage of a region."""
    trunk: int
    position: int
    """Among the rounds of that trunk."""


def plan_rounds(n_stages, stages_per_round, n_regions, rounds_per_trunk):
    """Return what each round serves. Stage 0 is a table and belongs to no round.

    `stages_per_round` (of a region) and `n_regions` are one number for each round; after them the
    last ones serve all others.
    """
    plan, start = [], 1
    while start < n_stages:
        T, G = (each[min(len(plan), len(each) - 1)] for each in (stages_per_round, n_regions))
        stop = min(start + T * G, n_stages)
        first, trunk, position = 0, 0, 0
        if plan:
            last = plan[-1]
            first, trunk, position = last.mixing.stop, last.trunk, last.position + 1
            if position == rounds_per_trunk or last.n_regions != G:
                trunk, position = trunk + 1, 0
        mixing = slice(first, first + math.ceil((stop - start) / G))
        plan.append(Planned(start, stop, G, mixing, trunk, position))
        start = stop
    return plan


class FactoredNetwork(RefinementNetwork):
    """A table for stage 0, then rounds whose basis a trunk draws from the reconstruction.

    `make_trunk(n_rounds, n_regions)` returns a module that maps `(x_ND, position)` to `basis_NDR`,
    for rounds in which so many regions of a row are refined.
    """

    draws = False
    _kept = None

    def __init__(
        self,
        make_trunk,
        n_features,
        n_stages,
        n_options,
        *,
        basis_size,
        stages_per_round,
        rounds_per_trunk,
        n_regions=(1,),
    ):
        super().__init__()
        plan = plan_rounds(n_stages, stages_per_round, n_regions, rounds_per_trunk)
        self.plan = {planned.start: planned for planned in plan}
        rounds_of = Counter((planned.trunk, planned.n_regions) for planned in plan)
        self.trunks = nn.ModuleList(make_trunk(n, G) for (_, G), n in sorted(rounds_of.items()))
        n_mixed = plan[-1].mixing.stop if plan else 0
        self.mixing = nn.Parameter(
            normal(n_mixed, n_options, basis_size).mul_(0.3).div_(math.sqrt(basis_size))
        )
        self.table = nn.Parameter(torch.zeros(n_options, n_features))

    @property
    def feature_order(self):
        """The order in which the network wants its features, or None for the user's own."""
        return next((trunk.feature_order for trunk in self.trunks), None)

    def start_from_table(self, table_KD):
        """Take an ndarray as the options of stage 0."""
        with torch.no_grad():
            self.table.copy_(torch.tensor(table_KD, device="cpu"))

    def forward(self, x_ND, stage):
        if stage > 0:
            return self._round(x_ND, stage)
        most_together = _MOST_TOGETHER_IN_TRAINING if self.training else _MOST_TOGETHER
        together = len(self.table) <= most_together
        coding = torch.is_inference_mode_enabled() and not self.training
        keeps = coding and self.table.numel() * self.mixing.shape[2] <= _MOST_KEPT
        one_region = self.plan and self.plan[1].n_regions == 1
        if not one_region or not (together or keeps):
            return TableRound(len(x_ND), self.table)
        # The next evaluation has only K different inputs: serve it along with the table.
        if keeps:
            return self._kept_round(apart=not together).of_rows(len(x_ND))
        return TableRound(len(x_ND), self.table, self._basis(self.table, 1), self._mixing(1))

    def train(self, mode=True):
        if mode:
            self._kept = None
        return super().train(mode)

    def __getstate__(self):
        return {**self.__dict__, "_kept": None}

    def _round(self, x_ND, stage):
        planned, basis_NDR = self.plan[stage], self._basis(x_ND, stage)
        n_regions = planned.n_regions
        if n_regions == 1:
            return FactoredRound(x_ND, basis_NDR, self._mixing(stage))
        x_LW = x_ND.view(len(x_ND) * n_regions, -1)
        inner = FactoredRound(x_LW, basis_NDR.view(*x_LW.shape, -1), self._mixing(stage))
        return RegionRound(inner, n_regions, planned.stop - planned.start)

    def _basis(self, x_ND, stage):
        planned = self.plan[stage]
        return self.trunks[planned.trunk](x_ND, planned.position).to(x_ND.dtype)

    def _mixing(self, stage):
        return self.mixing[self.plan[stage].mixing]

    def _kept_round(self, apart):
        """Return the first round, made anew if it would not be equal."""
        made_of = self.table, self.mixing, *self.trunks[0].parameters()
        made_by = (
            [(tensor.device, tensor.dtype) for tensor in made_of],
            torch.is_autocast_enabled(self.table.device.type),
            torch.get_num_threads(),
        )
        kept = self._kept
        if kept is None or kept.made_by != made_by or not all(map(_equal, kept.made_of, made_of)):
            copies = [tensor.detach().clone() for tensor in made_of]
            parts = [self._basis(some, 1) for some in self.table.split(TILE_ROWS)]
            mixing_TKR = self._mixing(1).detach().clone()
            a_round = TableRound(0, copies[0], torch.cat(parts), mixing_TKR, apart=apart)
            with torch.autocast(self.table.device.type, enabled=False):  # as all that compares
                self._kept = kept = _Kept(made_by, copies, a_round.with_products())
        return kept.a_round


class _Kept(NamedTuple):
    """A first round that is kept with a network, and what it depends on."""

    made_by: tuple
    made_of: list
    a_round: TableRound


class MLPTrunk(nn.Module):
    """Basis from a multi-layer perceptron: for rows of numbers without a layout.

    It sees each region of a row for itself, and is the same for all of them.
    """

    feature_order = None

    def __init__(self, n_rounds, n_regions=1, *, n_features, basis_size, hidden_size, n_blocks):
        super().__init__()
        self.basis_size, self.n_seen = basis_size, n_features // n_regions
        self.stem = nn.Linear(self.n_seen, hidden_size)
        self.stem_mask = StageMask(n_rounds, hidden_size)
        self.blocks = nn.ModuleList(LinearBlock(n_rounds, hidden_size) for _ in range(n_blocks))
        self.norm = nn.LayerNorm(hidden_size)
        self.head = quiet(nn.Linear(hidden_size, basis_size * self.n_seen))

    def forward(self, x_ND, position):
        h = self.stem_mask(self.stem(x_ND.reshape(-1, self.n_seen)), position)
        for block in self.blocks:
            h = block(h, position)
        return self.head(gelu(self.norm(h))).view(*x_ND.shape, self.basis_size)


class _ImageHead(nn.Conv2d):
    """A linear layer of channels, the last axis; files have it as a convolution of one patch."""

    def __init__(self, n_channels, n_out):
        super().__init__(n_channels, n_out, 1)

    def forward(self, h):
        return F.linear(h, self.weight.flatten(1), self.bias)


class ConvTrunk(nn.Module):
    """Basis from convolutions on a grid of patches: for sequences, images and volumes.

    To it a layer that sees a whole region adds a basis of its own, if `hidden_size` is not 0.

    It works on features in the order of patches, and within a patch of rows, columns and channels:
    so its input and its output are views, and nothing is shuffled. Where axes are cut into regions,
    the patches of a region are neighbours; then what convolutions see is put into the order of the
    grid, and what they say of each patch is put back.
    """

    def __init__(
        self,
        n_rounds,
        n_regions=1,
        *,
        sides,
        n_channels_in,
        basis_size,
        n_channels,
        n_blocks,
        downsampling,
        hidden_size=0,
        dilation_growth=1,
        n_params=1,
        splits=(1,),
    ):
        super().__init__()
        self.sides, self.n_channels_in, self.basis_size = sides, n_channels_in, basis_size
        self.grid = tuple(side // downsampling for side in sides)
        self.patch_size = downsampling ** len(sides) * n_channels_in * n_params
        layer = (nn.Conv1d, nn.Conv2d, VolumeConv)[len(sides) - 1]
        self.stem = layer(self.patch_size, n_channels, 3, padding=1)
        self.position_map = nn.Parameter(torch.zeros(n_channels, *self.grid))
        self.stem_mask = StageMask(n_rounds, n_channels)
        self.blocks = nn.ModuleList(
            ConvBlock(n_rounds, n_channels, layer, dilation_growth**i) for i in range(n_blocks)
        )
        self.norm = group_norm(n_channels)
        head = _ImageHead if len(sides) == 2 else nn.Linear
        self.head = quiet(head(n_channels, self.patch_size * basis_size))
        self.whole = None
        if hidden_size:
            n_features = self.patch_size * math.prod(self.grid)
            sizes = {"n_features": n_features, "basis_size": basis_size, "hidden_size": hidden_size}
            self.whole = MLPTrunk(n_rounds, n_regions, **sizes, n_blocks=0)
        order = torch.from_numpy(region_order(self.grid, splits))
        in_place = bool((order.diff() == 1).all())
        self.register_buffer("order", None if in_place else order, persistent=False)
        self.register_buffer("places", None if in_place else order.argsort(), persistent=False)
        if len(sides) > 1:
            in_memory = torch.channels_last if len(sides) == 2 else torch.channels_last_3d
            for part in (self.stem, self.blocks):
                part.to(memory_format=in_memory)

    @property
    def feature_order(self):
        """The order of patches, as indices of features; None where rows are in that order."""
        n_axes = len(self.grid)
        if n_axes == 1:
            return None
        within = (side // cells for side, cells in zip(self.sides, self.grid, strict=True))
        cut = [n for pair in zip(self.grid, within, strict=True) for n in pair]
        features = np.arange(math.prod(self.sides) * self.n_channels_in).reshape(*cut, -1)
        axes = (*range(0, 2 * n_axes, 2), *range(1, 2 * n_axes, 2), 2 * n_axes)
        patches = features.transpose(axes).reshape(math.prod(self.grid), -1)
        return (patches if self.order is None else patches[self.order.cpu().numpy()]).ravel()

    def forward(self, x_ND, position):
        patches = self._placed(x_ND.view(len(x_ND), -1, self.patch_size), self.places)
        h = patches.transpose(1, 2).unflatten(2, self.grid)
        h = self.stem_mask(self.stem(h) + self.position_map, position)
        for block in self.blocks:
            h = block(h, position)
        h = self._placed(gelu(self.norm(h)).flatten(2).transpose(1, 2), self.order)
        # Of each patch features, and of each feature basis vectors, lie side by side: no copy.
        basis_NDR = self.head(h).reshape(*x_ND.shape, self.basis_size)
        return basis_NDR if self.whole is None else basis_NDR + self.whole(x_ND, position)

    def _placed(self, of_patches, places):
        return of_patches if places is None else of_patches.index_select(1, places)


def _equal(one, other):
    """Return whether tensors are equal; of float32 on a CPU, numpy sees it three times as fast."""
    if one.dtype == torch.float32 and one.device.type == "cpu":
        return np.array_equal(one.detach().numpy(), other.detach().numpy())
    return torch.equal(one, other)

"""Auto-encoders whose latents are vectors of codebooks, on one level or several.

Axes: N samples, D features, L levels, P positions of a level, C dimensions of a code, H hidden
units.
"""

import math
from itertools import pairwise

import torch
from torch import nn

from .blocks import ConvBlock, LinearBlock, group_norm


class LevelNetwork(nn.Module):
    """Encoder and decoder of rows, with codebooks between them.

    Levels count from the top, which is the coarsest. The encoder looks at a row from the finest
    level up; then, from the top down, each level's latents are made of what the encoder has seen
    there and of what the levels above it have said.

    Parameters
    ----------
    parts : object
        Makes the layers, see `ConvParts`.
    n_levels : int
        How many levels.

    Attributes
    ----------
    n_positions : list of int
        Latents of each level.
    """

    def __init__(self, parts, n_levels):
        super().__init__()
        levels = range(n_levels)
        self.n_positions = [parts.n_positions(level) for level in levels]
        self.encoder = nn.ModuleDict(
            {
                "stem": parts.stem(),
                "downs": nn.ModuleList(parts.down(level) for level in levels[:-1]),
                "contexts": nn.ModuleList(parts.mix() for _ in levels[1:]),
                "heads": nn.ModuleList(parts.latents(level) for level in levels),
            }
        )
        self.decoder = nn.ModuleDict(
            {
                "stems": nn.ModuleList(parts.from_vectors(level) for level in levels),
                "ups": nn.ModuleList(parts.up(level) for level in levels[1:]),
                "bodies": nn.ModuleList(parts.body() for _ in levels),
                "head": parts.rows(),
            }
        )

    def seen(self, x_ND):
        """Return what the encoder sees of rows at each level, the top first."""
        seen = [self.encoder["stem"](x_ND)]
        for down in reversed(self.encoder["downs"]):
            seen.insert(0, down(seen[0]))
        return seen

    def latents(self, level, seen, said=None):
        """Return the latents (N, P, C) of a level, after what the levels above it have said."""
        if level:
            seen = seen + self.encoder["contexts"][level - 1](said)
        return self.encoder["heads"][level](seen)

    def said(self, level, vectors_NPC, said=None):
        """Return what the levels down to this one say, at the resolution of the next."""
        h = self.decoder["stems"][level](vectors_NPC)
        if level:
            h = h + said
        h = self.decoder["bodies"][level](h)
        return h if level == len(self.n_positions) - 1 else self.decoder["ups"][level](h)

    def rows(self, said):
        """Return the reconstructions (N, D) from what all levels say."""
        return self.decoder["head"](said)


class CodebookNetwork(nn.Module):
    """A network of levels and their codebooks.

    Parameters
    ----------
    levels : torch.nn.Module
        Such as `LevelNetwork`.
    codebooks : sequence of Codebook
        One for each level.
    """

    def __init__(self, levels, codebooks):
        super().__init__()
        self.levels = levels
        self.codebooks = nn.ModuleList(codebooks)

    def forward(self, x_ND, quantize, last=None):
        """Return the reconstructions (N, D) of rows, with latents replaced as a function says.

        `quantize(level, latents_NPC)` returns what the decoder is given of a level. After the
        latents of the level `last`, if it is named, nothing more is computed or returned.
        """
        said = None
        for level, seen in enumerate(self.levels.seen(x_ND)):
            vectors_NPC = quantize(level, self.levels.latents(level, seen, said).float())
            if level == last:
                return None
            said = self.levels.said(level, vectors_NPC, said)
        return self.levels.rows(said)

    def encode(self, x_ND):
        """Return codes (N, P), latents (N, P, C) and least distances (N, P) of all levels."""
        found = []

        def quantize(level, latents_NPC):
            codes_NP, least_NP = self.codebooks[level].nearest(latents_NPC)
            found.append((codes_NP, latents_NPC, least_NP))
            return self.codebooks[level](codes_NP)

        self(x_ND, quantize, last=len(self.codebooks) - 1)
        return tuple(torch.cat(of_levels, 1) for of_levels in zip(*found, strict=True))

    def decode(self, codes_NP):
        """Return the rows (N, D) of the codes of some levels, the top first, side by side.

        Vectors of 0 stand for what is not known of the others.
        """
        said, start = None, 0
        shape_of_levels = zip(self.levels.n_positions, self.codebooks, strict=True)
        for level, (n_positions, book) in enumerate(shape_of_levels):
            if start < codes_NP.shape[1]:
                vectors_NPC = book(codes_NP[:, start : start + n_positions])
            else:
                vectors_NPC = book.vectors.new_zeros(len(codes_NP), n_positions, book.code_dim)
            said = self.levels.said(level, vectors_NPC, said)
            start += n_positions
        return self.levels.rows(said)


class ConvParts:
    """Convolutions: levels are grids, each of half the height and width of the one below it.

    Parameters
    ----------
    image_shape : tuple of int
        Height, width and channels.
    n_levels : int
        Number of grids.
    code_dim : int
        Dimensions of a latent.
    n_channels, n_blocks, downsampling : int
        Those of `ConvAutoencoder`.
    """

    def __init__(self, image_shape, n_levels, code_dim, *, n_channels, n_blocks, downsampling):
        self.image_shape, self.code_dim = image_shape, code_dim
        self.n_channels, self.n_blocks = n_channels, n_blocks
        H, W, _ = image_shape
        self.grids = [(H // downsampling, W // downsampling)]
        while len(self.grids) < n_levels:
            self.grids.insert(0, tuple(-(-size // 2) for size in self.grids[0]))
        # Channels of each resolution between the image and the finest grid, and of the latter.
        n_halvings = downsampling.bit_length() - 1
        self.widths = [max(n_channels >> i, 1) for i in reversed(range(n_halvings))]

    def n_positions(self, level):
        """Return the number of latents of a level."""
        return math.prod(self.grids[level])

    def stem(self):
        """Return what the encoder begins with."""
        layers, n_before = [_ToImages(self.image_shape)], self.image_shape[2]
        for width in self.widths[:-1]:
            layers += [nn.Conv2d(n_before, width, 4, 2, 1), _ConvBlock(width)]
            n_before = width
        layer = nn.Conv2d(n_before, self.n_channels, 4, 2, 1)
        return _channels_last(*layers, layer, *self._blocks())

    def down(self, level):
        """Return what leads the encoder up to a level."""
        layer = nn.Conv2d(self.n_channels, self.n_channels, 3, 2, 1)
        return _channels_last(layer, *self._blocks())

    def mix(self):
        """Return what the encoder makes of what the levels above say."""
        return _channels_last(nn.Conv2d(self.n_channels, self.n_channels, 1))

    def latents(self, level):
        """Return what makes latents."""
        layer = nn.Conv2d(self.n_channels, self.code_dim, 1)
        return _channels_last(group_norm(self.n_channels), layer, _ToPositions())

    def from_vectors(self, level):
        """Return what the decoder makes of vectors."""
        layer = nn.Conv2d(self.code_dim, self.n_channels, 3, padding=1)
        return _channels_last(_ToGrid(self.grids[level]), layer)

    def body(self):
        """Return what the decoder does at a level."""
        return _channels_last(*self._blocks())

    def up(self, level):
        """Return what leads the decoder down to a level."""
        layer = nn.Conv2d(self.n_channels, self.n_channels, 3, padding=1)
        return _channels_last(nn.Upsample(self.grids[level]), layer)

    def rows(self):
        """Return what the decoder ends with."""
        widths, layers = self.widths[::-1], [group_norm(self.n_channels)]
        for before, width in pairwise(widths):
            layers += [nn.ConvTranspose2d(before, width, 4, 2, 1), _ConvBlock(width)]
        layer = nn.ConvTranspose2d(widths[-1], self.image_shape[2], 4, 2, 1)
        return _channels_last(*layers, layer, _ToRows())

    def _blocks(self):
        return [_ConvBlock(self.n_channels) for _ in range(self.n_blocks)]


class MLPParts:
    """Fully connected layers: a level has a quarter of the latents of the one below it.

    Parameters
    ----------
    n_features, n_levels, code_dim : int
        Of rows, of the network and of a latent.
    n_positions, hidden_size, n_blocks : int
        Those of `MLPAutoencoder`.
    """

    def __init__(self, n_features, n_levels, code_dim, *, n_positions, hidden_size, n_blocks):
        self.n_features, self.code_dim = n_features, code_dim
        self.hidden_size, self.n_blocks = hidden_size, n_blocks
        self.sizes = [-(-n_positions // 4**level) for level in reversed(range(n_levels))]

    def n_positions(self, level):
        """Return the number of latents of a level."""
        return self.sizes[level]

    def stem(self):
        """Return what the encoder begins with."""
        return nn.Sequential(nn.Linear(self.n_features, self.hidden_size), *self._blocks())

    def down(self, level):
        """Return what leads the encoder up to a level."""
        return nn.Sequential(self.mix(), *self._blocks())

    def mix(self):
        """Return what the encoder makes of what the levels above say."""
        return nn.Linear(self.hidden_size, self.hidden_size)

    def latents(self, level):
        """Return what makes latents."""
        shape = self.sizes[level], self.code_dim
        layer = nn.Linear(self.hidden_size, math.prod(shape))
        return nn.Sequential(nn.LayerNorm(self.hidden_size), layer, nn.Unflatten(1, shape))

    def from_vectors(self, level):
        """Return what the decoder makes of vectors."""
        n_numbers = self.sizes[level] * self.code_dim
        return nn.Sequential(nn.Flatten(), nn.Linear(n_numbers, self.hidden_size))

    def body(self):
        """Return what the decoder does at a level."""
        return nn.Sequential(*self._blocks())

    def up(self, level):
        """Return what leads the decoder down to a level."""
        return self.mix()

    def rows(self):
        """Return what the decoder ends with."""
        layer = nn.Linear(self.hidden_size, self.n_features)
        return nn.Sequential(nn.LayerNorm(self.hidden_size), layer)

    def _blocks(self):
        return [_LinearBlock(self.hidden_size) for _ in range(self.n_blocks)]


class _ConvBlock(ConvBlock):
    """A residual block of one stage."""

    def __init__(self, n_channels):
        super().__init__(1, n_channels)

    def forward(self, h):
        return super().forward(h, 0)


class _LinearBlock(LinearBlock):
    """A residual block of one stage."""

    def __init__(self, n_channels):
        super().__init__(1, n_channels)

    def forward(self, h):
        return super().forward(h, 0)


class _ToImages(nn.Module):
    def __init__(self, image_shape):
        super().__init__()
        self.image_shape = image_shape

    def forward(self, x_ND):
        return x_ND.view(-1, *self.image_shape).permute(0, 3, 1, 2)


class _ToRows(nn.Module):
    def forward(self, h):
        return h.permute(0, 2, 3, 1).flatten(1)


class _ToPositions(nn.Module):
    def forward(self, h):
        return h.permute(0, 2, 3, 1).flatten(1, 2)


class _ToGrid(nn.Module):
    def __init__(self, grid):
        super().__init__()
        self.grid = grid

    def forward(self, vectors_NPC):
        return vectors_NPC.unflatten(1, self.grid).permute(0, 3, 1, 2)


def _channels_last(*layers):
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)

"""Coding by an auto-encoder: rows to the codes of all levels at once, and back.

Axes: N samples, D features, L levels, P positions of all levels, C dimensions of a code, K options.
"""

import torch

from .._device import low_precision
from .tiles import TileCoder, Tiles


class LevelCoding(Tiles):
    """Rows of X to codes and back by a `CodebookNetwork`; the options are those of `LevelCoder`."""

    def encoded(self, X):
        """Yield (slice, codes_NP) of X."""

        def encode(coder, tile):
            return coder.encode(self._targets(coder, X, tile))

        for tile, (codes_NP, *_) in self._in_tiles(encode, len(X), 0):
            yield tile, codes_NP

    def judged(self, X, rows):
        """Yield (slice, errors_N, codes_NP) of the rows of X that are named."""

        def judge(coder, tile):
            target_ND = self._targets(coder, X, tile, rows)
            codes_NP, *_ = coder.encode(target_ND)
            return (coder.decode(codes_NP) - target_ND).square().mean(1), codes_NP

        for tile, judged in self._in_tiles(judge, len(rows), 0):
            yield tile, *judged

    def distances(self, X):
        """Yield (slice, codes_NP, squared distances (N, P, K) of latents to vectors) of X."""

        def measure(coder, tile):
            codes_NP, latents_NPC, _ = coder.encode(self._targets(coder, X, tile))
            return codes_NP, coder.distances(latents_NPC)

        for tile, measured in self._in_tiles(measure, len(X), 0):
            yield tile, *measured

    def _new_coder(self, tile_rows):
        return LevelCoder(self.network, **self.options, tile_rows=tile_rows)


class LevelCoder(TileCoder):
    """Codes rows with an auto-encoder, a whole tile of them at a time.

    Parameters
    ----------
    network : CodebookNetwork
        In evaluation mode.
    bf16 : bool
        Whether it computes in bfloat16; latents are compared in float32 all the same.
    tile_rows : int
        Rows that it sees at a time.
    """

    def __init__(self, network, *, bf16=False, tile_rows):
        super().__init__(tile_rows, next(network.parameters()).device)
        self.network, self.bf16 = network, bf16

    def encode(self, target_ND):
        """Return codes (N, P), latents (N, P, C) and least distances (N, P) of a tile."""
        with low_precision(self.device, self.bf16):
            return self.network.encode(target_ND)

    def decode(self, codes_NP):
        """Return the reconstructions (N, D) of a tile of codes of whole levels."""
        with low_precision(self.device, self.bf16):
            return self.network.decode(codes_NP).float()

    def distances(self, latents_NPC):
        """Return the squared distances (N, P, K) of latents to the vectors of their level."""
        parts = latents_NPC.split(self.network.levels.n_positions, 1)
        books = self.network.codebooks
        halves = [book.distances(part) for part, book in zip(parts, books, strict=True)]
        lengths_NP1 = latents_NPC.square().sum(2, keepdim=True)
        return (2 * torch.cat(halves, 1) + lengths_NP1).clamp(min=0)

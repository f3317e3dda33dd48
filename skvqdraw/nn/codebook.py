"""A codebook: the vectors that latents are replaced by, and how it follows them.

Axes: M latents, K options, C dimensions of a code.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .blocks import normal

# Steps at least that moving averages look back, and latents of an average vector that these have:
# of fewer, vectors would seem dead that are only rare.
_WINDOW, _LEAST_LATENTS = 12, 50
# A vector that serves less than this share of an average one's latents is as good as dead.
_LEAST_SHARE = 0.1
# Most distances that are held at a time to find the least.
_MOST_DISTANCES = 2**22
# How far the two halves of a cell are set apart, in units of its spread.
_APART = 0.5


class Codebook(nn.Module):
    """Vectors, and moving averages of what they stand for.

    Vectors are parameters, and `requires_grad` says who moves them: an optimizer, or `follow`. That
    sets them to the moving averages of their latents.

    Parameters
    ----------
    n_options, code_dim : int
        Number of vectors, and of their dimensions.
    """

    def __init__(self, n_options, code_dim):
        super().__init__()
        self.vectors = nn.Parameter(normal(n_options, code_dim))
        self.register_buffer("sums", torch.zeros(n_options, code_dim))
        self.register_buffer("counts", torch.zeros(n_options))
        self.register_buffer("squares", torch.zeros(n_options))
        self.register_buffer("n_steps", torch.zeros((), dtype=torch.int64))

    @property
    def code_dim(self):
        """Dimensions of a vector."""
        return self.vectors.shape[1]

    @torch.no_grad()
    def nearest(self, latents):
        """Return the codes of the nearest vectors, of equals the first, and what is the least.

        That is half the squared distance, less half the latent's squared length.
        """
        parts = latents.reshape(-1, self.code_dim).split(
            max(_MOST_DISTANCES // len(self.counts), 1)
        )
        found = [self.distances(part).min(1) for part in parts]
        least, codes = (
            torch.cat(each).view(latents.shape[:-1]) for each in zip(*found, strict=True)
        )
        return codes, least

    def distances(self, latents):
        """Return half the squared distances (..., K), less half the latents' squared lengths."""
        with torch.autocast(latents.device.type, enabled=False):
            half_norms_K = self.vectors.square().sum(1) / 2
            flat_MC = latents.reshape(-1, self.code_dim)
            return torch.addmm(half_norms_K, flat_MC, self.vectors.T, alpha=-1).view(
                *latents.shape[:-1], len(half_norms_K)
            )

    def forward(self, codes):
        return F.embedding(codes, self.vectors)

    @torch.no_grad()
    def start(self, latents_MC, vectors_KC, weight_M):
        """Begin with vectors that are near some latents."""
        self.vectors.copy_(vectors_KC)
        seen = self.statistics(latents_MC, self.nearest(latents_MC)[0], weight_M)
        for name, of_start in seen.items():
            getattr(self, name).copy_(of_start)

    @torch.no_grad()
    def statistics(self, latents_MC, codes_M, weight_M):
        """Return the weight of the latents of each option, their sums and their squared errors."""
        squares_M = (latents_MC - self(codes_M)).square().mean(1)
        return {
            "counts": torch.zeros_like(self.counts).index_add_(0, codes_M, weight_M),
            "sums": torch.zeros_like(self.sums).index_add_(
                0, codes_M, latents_MC * weight_M[:, None]
            ),
            "squares": torch.zeros_like(self.counts).index_add_(0, codes_M, weight_M * squares_M),
        }

    @torch.no_grad()
    def follow(self, seen, n_latents):
        """Move averages by the statistics of a step, of so many latents: a tensor.

        Vectors of no weight stay where they are.
        """
        share = (n_latents / (_LEAST_LATENTS * len(self.counts))).clamp(max=1 / _WINDOW)
        for name, of_step in seen.items():
            getattr(self, name).lerp_(of_step, share)
        self.n_steps += 1
        if not self.vectors.requires_grad:
            known = self.counts > torch.finfo(torch.float32).tiny
            means_KC = self.sums / torch.where(known, self.counts, 1)[:, None]
            self.vectors.copy_(torch.where(known[:, None], means_KC, self.vectors))

    @torch.no_grad()
    def revive(self, optimizer):
        """Let each dead vector take half of what the busiest one stands for.

        All that is known of the dead one is forgotten, by the optimizer too. Where it goes is drawn
        from a seed of its own: all processes of a fit do the same.
        """
        dead = self.counts < _LEAST_SHARE * self.counts.mean()
        for k in dead.nonzero()[:, 0].tolist():
            busiest = int(self.counts.argmax())
            for known in (self.counts, self.squares, self.sums):
                known[busiest] /= 2
                known[k] = known[busiest]
            spread = (self.squares[busiest] / self.counts[busiest]).clamp(min=0).sqrt()
            seed = (len(dead) * int(self.n_steps) + k) % 2**63
            rng = torch.Generator("cpu").manual_seed(seed)
            away_C = torch.randn(self.code_dim, generator=rng, dtype=torch.float32, device="cpu")
            away_C = _APART * spread * away_C.to(self.vectors)
            self.vectors[k] = self.vectors[busiest] + away_C
            self.sums[k] = self.vectors[k] * self.counts[k]
            for memory in optimizer.state.get(self.vectors, {}).values():
                if memory.shape == self.vectors.shape:
                    memory[k] = 0


def straight_through(latents, vectors):
    """Return the vectors, with the gradient of the latents that they stand for."""
    return latents + (vectors - latents).detach()

"""Rounds whose stages refine regions of rows, each for itself.

Axes: N samples, B hypotheses of each, M rows of a round (N x B), G regions of a row, L regions of
all rows (M x G), T stages of a region, K options, H continuations of a region, D features, P
parameters of all features, W those of a region, R basis vectors.
"""

from math import prod

import numpy as np
import torch
import torch.nn.functional as F

from .rounds import Beam, PartRound, choose_all


class RegionRound(PartRound):
    """A round in which each stage refines one of the equal regions that a row consists of.

    First each region is refined once, one after another, then each a second time, and so on. What
    is chosen in one changes nothing in another: so the regions of a row are to the inner round as
    many rows.

    Parameters
    ----------
    inner : FactoredRound
        Of ``n_samples * n_regions`` rows, the regions of a row one after another.
    n_regions : int
        Regions of a row: neighbouring features, equally many in each.
    n_stages : int
        Stages left, ``n_regions`` for each of the inner round or fewer.
    """

    def __init__(self, inner, n_regions, n_stages):
        self._inner, self.n_regions, self.n_stages = inner, n_regions, n_stages
        self._columns = ()  # what the first regions have chosen at the present stage of the inner

    @property
    def n_rows(self):
        return self._inner.n_rows // self.n_regions

    def losses(self, target_ND, loss):
        g, G = len(self._columns), self.n_regions
        features = self._slice(g, target_ND.shape[1])
        target_MW = target_ND[:, features].contiguous()
        loss_MK = self._of_region(g).losses(target_MW, loss.of_features(features))
        now_MG = self._losses_now(target_ND, loss)
        return ((now_MG.sum(1) - now_MG[:, g])[:, None] + loss_MK) / G

    def search(self, target_ND, loss, n_stages, beam_size, n_best):
        G, B = self.n_regions, self.n_rows // len(target_ND)
        if self._columns:
            return super().search(target_ND, loss, n_stages, beam_size, n_best)
        target_MD = target_ND if B == 1 else target_ND.repeat_interleave(B, 0)
        n_kept = max(beam_size // B, 1)  # for each row of the round, which has its own hypotheses
        if n_stages % G:
            codes_MT = self._search_part(target_MD, loss, n_stages, n_kept)
            beam = Beam(self.n_rows, target_ND)
            with torch.no_grad():
                x_MP = choose_all(self, codes_MT).reconstruction()
                beam.shorten(loss.grid(x_MP[:, None], target_MD).view(-1, B), n_best)
            return beam.rows_NB, codes_MT[beam.rows_NB]
        # Not under no_grad: the inner round will want the gradient of what it finds out.
        found = self._inner._beam(*self._inside(target_MD, loss), n_stages // G, n_kept, n_best)
        codes_MGHT = found.codes_NBT.unflatten(0, (-1, G))
        rows_NB, places_NBG = _best_together(found.loss_NB.unflatten(0, (-1, G)), target_ND, n_best)
        regions_G = torch.arange(G, device=target_ND.device)
        codes_NBGT = codes_MGHT[rows_NB[:, :, None], regions_G, places_NBG]
        return rows_NB, codes_NBGT.transpose(2, 3).flatten(2)

    def _search_part(self, target_MD, loss, n_stages, n_kept):
        """Return codes (M, n_stages) of stages of which the last refine the first regions only."""
        T, n_more = divmod(n_stages, self.n_regions)
        inside = self._inside(target_MD, loss)
        codes_MTG = self._codes_of_rows(self._inner._beam(*inside, T + 1, n_kept, 1))
        if T:
            shorter_MTG = self._codes_of_rows(self._inner._beam(*inside, T, n_kept, 1))
            codes_MTG[:, :T, n_more:] = shorter_MTG[:, :, n_more:]
        return codes_MTG.flatten(1)[:, :n_stages]

    def _codes_of_rows(self, found):
        return found.codes_NBT[:, 0].unflatten(0, (-1, self.n_regions)).transpose(1, 2)

    def walk(self, target_ND, loss, codes_NT):
        if self._columns:
            return super().walk(target_ND, loss, codes_NT)
        G, n_stages = self.n_regions, codes_NT.shape[1]
        T = -(-n_stages // G)
        # Regions that are refined once less choose anything in addition, and it is not looked at.
        filled_NTG = F.pad(codes_NT, (0, T * G - n_stages)).unflatten(1, (T, G))
        *found, inner = self._inner.walk(
            *self._inside(target_ND, loss), filled_NTG.transpose(1, 2).flatten(0, 1)
        )
        after_NTG, mean_NTG = (
            torch.stack(part, 1).unflatten(0, (-1, G)).transpose(1, 2) for part in found
        )
        start_N1G = self._losses_now(target_ND, loss)[:, None]
        before_NTG = torch.cat([start_N1G, after_NTG[:, :-1]], 1)
        done_NTG = after_NTG.cumsum(2)
        left_NTG = before_NTG.sum(2, keepdim=True) - before_NTG.cumsum(2)
        chosen_NTG = (done_NTG + left_NTG) / G
        mean_NTG = chosen_NTG + (mean_NTG - after_NTG) / G
        chosen_TN, mean_TN = (
            list(part.flatten(1)[:, :n_stages].unbind(1)) for part in (chosen_NTG, mean_NTG)
        )
        if n_stages == T * G:
            return chosen_TN, mean_TN, self._with(inner, n_stages)
        return chosen_TN, mean_TN, choose_all(self, codes_NT)

    def choose(self, codes_N):
        columns = (*self._columns, codes_N)
        if len(columns) == self.n_regions:
            return self._with(self._inner.choose(torch.stack(columns, 1).flatten()), 1)
        following = self._with(self._inner, 1)
        following._columns = columns
        return following

    def take(self, rows):
        regions = torch.arange(self.n_regions, device=rows.device)
        inner = self._inner.take((rows[:, None] * self.n_regions + regions).flatten())
        taken = RegionRound(inner, self.n_regions, self.n_stages)
        taken._columns = tuple(codes_N[rows] for codes_N in self._columns)
        return taken

    def reconstruction(self):
        """Return the rows after the choices made so far.

        Returns
        -------
        x_NP : tensor of shape (n_samples, n_features * n_params)
            Differentiable.
        """
        x_NGW, n_chosen = self._regions(self._inner), len(self._columns)
        if n_chosen:
            codes_NG = F.pad(torch.stack(self._columns, 1), (0, self.n_regions - n_chosen))
            chosen_NGW = self._regions(self._inner.choose(codes_NG.flatten()))
            x_NGW = torch.cat([chosen_NGW[:, :n_chosen], x_NGW[:, n_chosen:]], 1)
        return x_NGW.flatten(1)

    def materialise(self):
        """Return the candidates of the current stage, written out.

        Returns
        -------
        options_NKP : tensor of shape (n_samples, n_options, n_features * n_params)
            What `losses` compares.
        """
        x_NP, options_NKW = self.reconstruction(), self._of_region(len(self._columns)).materialise()
        params = self._slice(len(self._columns), x_NP.shape[1])
        around_NKP = x_NP[:, None].expand(-1, options_NKW.shape[1], -1)
        return torch.cat(
            [around_NKP[..., : params.start], options_NKW, around_NKP[..., params.stop :]], 2
        )

    def _with(self, inner, n_gone):
        return self._knowing(RegionRound(inner, self.n_regions, self.n_stages - n_gone))

    def _regions(self, inner):
        return inner.reconstruction().unflatten(0, (-1, self.n_regions))

    def _of_region(self, g):
        return self._inner.take(slice(g, None, self.n_regions))

    def _slice(self, g, width):
        width //= self.n_regions
        return slice(g * width, (g + 1) * width)

    def _losses_now(self, target_ND, loss):
        """Return the losses (M, G) of the regions as they are."""
        target_LW, inside = self._inside(target_ND, loss)
        x_LW = self.reconstruction().view(len(target_LW), -1)
        return inside.grid(x_LW[:, None], target_LW).view(-1, self.n_regions)

    def _cut(self, target_MD, loss):
        target_LW = target_MD.reshape(len(target_MD) * self.n_regions, -1)
        return target_LW, loss.of_regions(self.n_regions)


def _best_together(loss_MGH, target_ND, n_best):
    """Return the rows whose losses are the least in sum, and which continuation of each region.

    Continuations of a region are ordered, the best first.
    """
    beam = Beam(len(loss_MGH), target_ND)
    # All regions go on as well as they can; then each may go on otherwise.
    total_NB = loss_MGH[:, :, 0].sum(1).view(len(target_ND), -1)
    total_NB, _ = beam.shorten(total_NB, n_best)
    _, G, H = loss_MGH.shape
    if H == 1:
        return beam.rows_NB, beam.rows_NB.new_zeros(*beam.rows_NB.shape, G)
    extra_MGH = loss_MGH - loss_MGH[:, :, :1]
    for g in range(G):
        total_NB, _, _ = beam.extend(total_NB[:, :, None] + extra_MGH[beam.rows_NB, g], n_best)
    return beam.rows_NB, beam.codes_NBT


def region_order(grid, splits):
    """Return an order of the cells of a grid in which regions are neighbours.

    Parameters
    ----------
    grid : tuple of int
        Cells along each axis.
    splits : iterable of int
        Into how many parts each axis is cut, once or several times.

    Returns
    -------
    order : ndarray of shape (n_cells,)
        Numbers of cells: those of the first region of each cut, then those of the next. Within the
        smallest regions they are as in the grid, row by row.

    Raises
    ------
    ValueError
        If a part would not consist of whole cells, or of whole parts of a finer cut.
    """
    splits = sorted(set(splits))
    for split, finer in zip(splits, [*splits[1:], None], strict=True):
        if any(cells % split for cells in grid) or (finer and finer % split):
            raise ValueError(
                f"splits={tuple(splits)} must divide the sides {tuple(grid)} of the grid of "
                "patches, and each the next larger one; choose others, such as 1, 2 and 4, or "
                "another downsampling."
            )
    cells = np.indices(grid).reshape(len(grid), -1)
    keys = [
        cell // (side // split) for split in splits for cell, side in zip(cells, grid, strict=True)
    ]
    return np.lexsort([*keys, np.arange(prod(grid))][::-1])

"""Walks of guided sampling through the rounds of a network.

Axes: N samples, M hypotheses of all samples, K options, D features, P parameters of all features, Q
measurements, R basis vectors.
"""

from functools import cached_property

import numpy as np
import torch

from .._guided import Walk, slices


class RoundWalk(Walk):
    """A walk of the samples of a tile.

    Parameters
    ----------
    coder : RoundCoder
        Whose tile it is.
    preparation : Preparation
        What leads to and from the network.
    n_options : int
        Options of a stage.
    n_samples : int
        How many of the tile's samples there are; the others fill it up.
    measurement : Measurement or None
        What a linear guide sees, if rounds are to score it without writing candidates out.
    """

    def __init__(self, coder, preparation, n_options, n_samples, measurement):
        self.coder, self.preparation = coder, preparation
        self.n_options, self.n_samples = n_options, n_samples
        self.measurement = measurement
        self.n_rows = n_samples  # hypotheses; rounds have those of samples that fill it up, too
        self.targets_MQ = None
        self.stage = 0
        self._begin(coder._first)

    def _begin(self, a_round):
        """Go on with a round, and with what is measured of it."""
        self.round, self.measured = a_round, None
        if self.measurement is not None:
            self.measured = a_round.measured(self.measurement.of)

    def go(self, parents_M, options_M):
        B = len(parents_M) // self.n_samples
        parents, options = (self._filled(numbers, B) for numbers in (parents_M, options_M))
        stay = np.array_equal(parents_M, np.arange(self.n_rows))
        going = [a for a in (self.round, self.measured) if a is not None]
        going = [(a if stay else a.take(parents)).choose(options) for a in going]
        self.round, self.measured = (*going, None)[:2]
        self.stage, self.n_rows = self.stage + 1, len(parents_M)
        if self.round.n_stages == 0:
            self._begin(self.coder._round(self.round.reconstruction(), self.stage))

    def candidates(self):
        for some in slices(self.n_rows, self.n_options * self.preparation.width):
            rows = torch.arange(some.start, some.stop, device=self.coder.device)
            x_mKP = _written_out(self.round.take(rows), self.n_options, rows.device)
            candidates = self.preparation.inverse(x_mKP.flatten(0, 1))
            yield some, candidates.reshape(len(x_mKP), self.n_options, -1)

    def scores(self, guide, stage, samples_M):
        if self.measured is None:
            return super().scores(guide, stage, samples_M)
        if self.targets_MQ is None or len(self.targets_MQ) != self.measured.n_rows:
            filled = self._filled(samples_M, len(samples_M) // self.n_samples)
            self.targets_MQ = self.measurement.targets_NQ[filled]
        losses_MK = self.measured.losses(self.targets_MQ, self.coder.loss)
        return -losses_MK[: self.n_rows].double().cpu().numpy()

    def _filled(self, numbers_M, n_hypotheses):
        """Return numbers on the device, and zeros for the samples that fill the tile up."""
        filled = np.zeros(self.coder.n_samples * n_hypotheses, dtype=np.int64)
        filled[: len(numbers_M)] = numbers_M
        return torch.from_numpy(filled).to(self.coder.device)


class Measurement:
    """What a linear guide sees of rows as the network has them.

    Parameters
    ----------
    guide : Guide
        With `linear`, and `targets` for each sample.
    preparation : Preparation
        Of a loss that is centred.
    device : torch.device
        Where to compute.
    """

    def __init__(self, guide, preparation, device):
        self.device = device
        left_NQ = (guide.targets - guide.linear @ preparation.mean_D) / preparation.scale
        self.targets_NQ = torch.from_numpy(left_NQ.astype(np.float32)).to(device)
        order = preparation.feature_order
        self.matrix_QD = guide.linear if order is None else guide.linear[:, order]

    def of(self, rows):
        """Return the measurements (..., Q) of rows (..., D)."""
        if self._places is not None:
            return rows.index_select(-1, self._places)
        return rows @ self._weights_DQ

    @cached_property
    def _places(self):
        """The features that are measured, if measurements are features."""
        matrix_QD = self.matrix_QD
        if not (np.diff(matrix_QD.indptr) == 1).all() or not (matrix_QD.data == 1).all():
            return None
        return torch.from_numpy(matrix_QD.indices.astype(np.int64)).to(self.device)

    @cached_property
    def _weights_DQ(self):
        weights_QD = self.matrix_QD.toarray().astype(np.float32)
        return torch.from_numpy(weights_QD).to(self.device).T


def _written_out(a_round, n_options, device):
    """Return the candidates (M, K, P) of a round."""
    if hasattr(a_round, "materialise"):
        return a_round.materialise()
    options = torch.arange(n_options, device=device)[:, None].expand(-1, a_round.n_rows)
    return torch.stack([a_round.choose(codes_M).reconstruction() for codes_M in options], 1)

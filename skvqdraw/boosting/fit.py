"""A fit of cluster boosting, and coding with what it found.

Axes: N rows, S stages, K options, D features, B hypotheses of a row.
"""

import numpy as np
from sklearn.utils import check_random_state
from tqdm import tqdm

from .._codes import codes_dtype, option_frequencies
from .._meeting import BusyMachine
from .._rows import float_dtype, take_rows, tiles
from .beam import BeamSearch
from .kmeans import cluster, refit

# Where a fit with a beam has fewer rows per option, it trains on several hypotheses of each row.
_ROWS_PER_OPTION = 256
_OUT_OF_RANGE = (
    "X has values as {} as {:.3g}, whose squares are too {} for {}; rescale X, for example with "
    "sklearn.preprocessing.RobustScaler, or give float64."
)


class StageCoder:
    """Chooses options for tiles of rows: with a beam search, or the best of each stage."""

    def __init__(self, loss, mean_D, codebooks_SKD, beam=None):
        self.loss = loss
        self.start_D = loss.link(mean_D)
        self.codebooks_SKD = codebooks_SKD
        self.beam = beam

    def state(self, rows):
        """Return the state of rows before the first stage."""
        return self.loss._state(rows, self.start_D)

    def codes(self, state, losses_SN=None):
        """Return the codes (N, S) of a tile or less, and leave its state at the last stage.

        The losses after each stage are written into `losses_SN`.
        """
        codes_NS = np.empty((len(state), len(self.codebooks_SKD)), dtype=np.intp)
        if self.beam is not None:
            codes_NS[:] = self.beam.codes(state)
        for s, codebook_KD in enumerate(self.codebooks_SKD):
            if self.beam is None:
                codes_NS[:, s] = self.loss._choose(state, codebook_KD)
            self.loss._move(state, codebook_KD[codes_NS[:, s]])
            if losses_SN is not None:
                losses_SN[s] = self.loss._losses(state)
        return codes_NS

    def option_losses(self, state, codes_NS):
        """Return the losses (N, S, K) of all options along codes; the state ends as in `codes`."""
        losses_NSK = np.empty((len(state), *self.codebooks_SKD.shape[:2]))
        for s, codebook_KD in enumerate(self.codebooks_SKD):
            losses_NSK[:, s] = self.loss._options(state, codebook_KD)
            self.loss._move(state, codebook_KD[codes_NS[:, s]])
        return losses_NSK


class BoostingFit:
    """What a fit works on, apart from the estimator until all of it is done."""

    def __init__(self, estimator, loss, X, sample_weight):
        self.estimator = estimator
        self.loss = loss
        self.X = X
        self.sample_weight = sample_weight
        self.weighted_rows = self.rows = np.flatnonzero(sample_weight)
        self.rng = check_random_state(estimator.random_state)
        self.mean_D = self._mean()
        shape = (estimator.n_stages, estimator.n_options, X.shape[1])
        self.codebooks_SKD = np.empty(shape, dtype=self.mean_D.dtype)
        self.n_iter = 0
        # Greedy codes of the same rows at all stages: the state goes on from stage to stage.
        self.keeps_state = estimator.subsample is None and estimator.beam_size == 1

    def run(self):
        """Find the codebooks, and store all that a fit learns in the estimator."""
        estimator = self.estimator
        state, busy = None, BusyMachine()
        work = len(self.rows) * self.X.shape[1] * estimator.n_options
        for s in tqdm(
            range(estimator.n_stages),
            desc="ClusterBoosting",
            unit="stage",
            disable=estimator.verbose != 1,
        ):
            with busy.avoided(work):
                state = self._state_before(s, state)
                if estimator.verbose > 1:
                    loss = np.average(self.loss._losses(state), weights=self._weight_of(state))
                    print(f"ClusterBoosting, stage {s}: loss before it {loss:.6g}")
                self.codebooks_SKD[s] = self._new_codebook(s, state)
        with busy.avoided(work):
            codes_NS, stage_loss_S = self._finished(state)
        estimator.loss_ = self.loss
        estimator.mean_ = self.mean_D
        estimator.codebooks_ = self.codebooks_SKD
        estimator.stage_loss_ = stage_loss_S
        estimator.code_usage_ = option_frequencies(codes_NS, estimator.n_options)
        estimator.n_iter_ = self.n_iter

    def _finished(self, state):
        """Return codes of the training rows and the loss after each stage, refitted if asked."""
        estimator = self.estimator
        if self.keeps_state:
            self._one_stage_on(estimator.n_stages, state)
            codes_NS, stage_loss_S = self.codes_NS, self._average(self.losses_SN)
        else:
            codes_NS, stage_loss_S = self._judge(self.codebooks_SKD)
        if estimator.n_refits:
            codes_NS, stage_loss_S = self._refit(codes_NS, stage_loss_S)
        return codes_NS, stage_loss_S

    def _state_before(self, s, state):
        """Return the state of the training rows of stage s, as `encode` would leave them."""
        estimator = self.estimator
        if self.keeps_state and s > 0:
            self._one_stage_on(s, state)
            return state
        if estimator.subsample is not None:
            n_drawn = min(estimator.subsample, len(self.weighted_rows))
            self.rows = np.sort(self.rng.choice(self.weighted_rows, n_drawn, replace=False))
        coder = self._coder(self.codebooks_SKD[:s])
        state = coder.state(self._of_rows(self.X))
        if self.keeps_state:
            self.codes_NS, self.losses_SN = self._room_for_codes(len(state))
        elif s > 0 and estimator.beam_size > 1:
            state = self._left_by_hypotheses(coder.beam, state)
        elif s > 0:
            for tile in tiles(len(state)):
                coder.codes(state[tile])
        return state

    def _one_stage_on(self, s, state):
        """Lead the state from before stage s - 1 to before stage s; note codes and losses."""
        last = slice(s - 1, s)
        coder = self._coder(self.codebooks_SKD[last])
        for tile in tiles(len(state)):
            self.codes_NS[tile, last] = coder.codes(state[tile], self.losses_SN[last, tile])

    def _left_by_hypotheses(self, beam, x_ND):
        """Return what the best hypotheses leave of rows; where rows are many, of each the best one.

        Where they are few, the other hypotheses are further examples of what a stage has to serve.
        """
        n_best = max(1, _ROWS_PER_OPTION * self.estimator.n_options // len(x_ND))
        left = []
        for tile in tiles(len(x_ND)):
            rows_ND = x_ND[tile]
            codes_NBS = beam.best(rows_ND, min(n_best, beam.beam_size))
            left_NBD = np.repeat(rows_ND[:, None], codes_NBS.shape[1], axis=1)
            for codebook_KD, codes_NB in zip(
                beam.codebooks_SKD, np.moveaxis(codes_NBS, 2, 0), strict=True
            ):
                left_NBD -= codebook_KD[codes_NB]
            left.append(left_NBD.reshape(-1, x_ND.shape[1]))
        return np.concatenate(left)

    def _new_codebook(self, s, state):
        estimator, weight = self.estimator, self._weight_of(state)
        loss = self.loss
        centres_KD, n_iter = cluster(
            loss._descent(state),
            estimator.n_options,
            self.rng,
            max_iter=estimator.max_iter,
            tol=estimator.tol,
            sample_weight=weight,
        )
        self.n_iter = max(self.n_iter, n_iter)
        if estimator.line_search:
            centres_KD = loss._steps(state, centres_KD, weight)
        shrinkage = estimator.shrinkage
        if shrinkage == "auto":
            shrinkage = 1.0 if s == 0 else 0.2
        return shrinkage * centres_KD

    def _weight_of(self, state):
        """Return the weight of each row of a state: of hypotheses, that of their row."""
        weight = self._of_rows(self.sample_weight)
        return np.repeat(weight, len(state) // len(weight))

    def _refit(self, codes_NS, stage_loss_S):
        """Refit the codebooks as long as it helps; return codes and losses after it."""
        x_ND = self._coder(self.codebooks_SKD).state(self._of_rows(self.X))
        weight = self._of_rows(self.sample_weight)
        for _ in range(self.estimator.n_refits):
            codebooks_SKD = refit(x_ND, codes_NS, self.codebooks_SKD, weight)
            new_codes_NS, new_loss_S = self._judge(codebooks_SKD)
            if not new_loss_S[-1] < stage_loss_S[-1]:
                break
            self.codebooks_SKD, codes_NS, stage_loss_S = codebooks_SKD, new_codes_NS, new_loss_S
        return codes_NS, stage_loss_S

    def _judge(self, codebooks_SKD):
        """Return the codes of the training rows and their mean loss after each stage."""
        coder = self._coder(codebooks_SKD)
        X = self._of_rows(self.X)
        codes_NS, losses_SN = self._room_for_codes(len(X))
        for tile in tiles(len(X)):
            codes_NS[tile] = coder.codes(coder.state(X[tile]), losses_SN[:, tile])
        return codes_NS, self._average(losses_SN)

    def _room_for_codes(self, n_rows):
        """Return arrays for codes (N, S) and for the losses after each stage (S, N)."""
        n_stages, n_options = self.codebooks_SKD.shape[:2]
        return np.empty((n_rows, n_stages), codes_dtype(n_options)), np.empty((n_stages, n_rows))

    def _average(self, losses_SN):
        return np.average(losses_SN, axis=1, weights=self._of_rows(self.sample_weight))

    def _coder(self, codebooks_SKD):
        beam_size = self.estimator.beam_size
        beam = BeamSearch(codebooks_SKD, beam_size) if beam_size > 1 else None
        return StageCoder(self.loss, self.mean_D, codebooks_SKD, beam)

    def _of_rows(self, array):
        """Return the training rows of an array, uncopied where these are all."""
        return array if len(self.rows) == len(array) else take_rows(array, self.rows)

    def _mean(self):
        """Return the weighted mean per feature, in the dtype of the model."""
        X, dtype = self.X, float_dtype(self.X.dtype)
        low_D, high_D = X.min(axis=0), X.max(axis=0)
        farthest = max(-float(low_D.min()), float(high_D.max()))
        if farthest > np.sqrt(np.finfo(dtype).max / X.shape[1]) / 4:
            raise ValueError(_OUT_OF_RANGE.format("large", farthest, "large", dtype))
        spread = float((high_D - low_D.astype(np.float64)).max())
        if 0 < spread < np.sqrt(np.finfo(dtype).tiny / np.finfo(dtype).eps):
            raise ValueError(_OUT_OF_RANGE.format("close to each other", spread, "small", dtype))
        return self.loss.mean(X, self.sample_weight).astype(dtype)

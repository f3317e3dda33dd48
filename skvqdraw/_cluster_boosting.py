"""Cluster boosting: k-means on what is left, again and again."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state
from tqdm import tqdm

from . import losses
from ._base import CodeTransformer, unchanged_on_failure
from ._codes import codes_dtype, option_frequencies
from ._residual_kmeans import BeamSearch, cluster, padded, refit
from ._rows import float_dtype, pieces, take_rows, tiles, unit_weights
from ._sklearn import (
    Interval,
    StrOptions,
    check_sample_weight,
    fit_context,
    validate_params,
)

# Where a fit with a beam has fewer rows per option, it trains on several hypotheses of each row.
_ROWS_PER_OPTION = 256
_OUT_OF_RANGE = (
    "X has values as {} as {:.3g}, whose squares are too {} for {}; rescale X, for example with "
    "sklearn.preprocessing.RobustScaler, or give float64."
)


class ClusterBoosting(CodeTransformer):
    """Gradient boosting with k-means: sums of cluster centres, written as integers.

    Stage after stage, k-means clusters minus the gradients of the loss at the present
    reconstructions. Each cluster's centre becomes an option: a step that any row may add to its
    reconstruction, and the option with the least loss is the row's integer of that stage.

    With squared error the gradients are what is left of the rows: this is residual k-means, the
    residual quantizer of the literature. With ``n_stages=1`` it is k-means. Unlike those of
    :class:`VQDRAW`, the options of a stage are the same whatever was chosen before.

    Parameters
    ----------
    n_stages : int, default=8
        Number of integers in a code. Each refines the ones before.
    n_options : int, default=64
        Number of clusters at each stage, at least 2. 16 to 1024; powers of two waste no bits.
        Time and memory grow in proportion.
    loss : {"squared_error", "log_loss"}, default="squared_error"
        What to lower. "log_loss" is for rows of 0 and 1, or of chances between them: steps are
        then taken in log odds, and reconstructions are chances.
    shrinkage : float or "auto", default=1.0
        Share of each step that is taken, in (0, 1]. Less than 1 needs more stages and over-fits
        less. "auto" is 1 at the first stage and 0.2 after it.
    line_search : bool, default=True
        Whether to scale each cluster's step for the least loss of the rows in it. Squared error
        needs no search: the centre is the best step.
    subsample : int or None, default=None
        Number of rows to draw, anew for each stage, to train on: for data larger than memory, of
        which a fit holds no more than these. Options are the means of fewer rows, and so less
        exact: 256 rows per option are few, 1000 are many. None takes all rows.
    beam_size : int, default=1
        Hypotheses kept from stage to stage, in `fit` and `encode`: lower errors for more time.
        1 is greedy; 4 to 64. It may be set after `fit`. More than 1 needs squared error. In `fit`,
        where there are less than 128 rows per option, a stage trains on several hypotheses of
        each row, which over-fits less.
    n_refits : int, default=0
        How many times, after the last stage, to code the training rows and fit all codebooks at
        once to these codes by least squares, for a lower error after the last stage. 1 to 10,
        best with a beam; a refit that does not lower the training error is undone and ends them.
        More than 0 needs squared error, and memory for ``(n_stages * n_options) ** 2`` numbers.
    max_iter : int, default=20
        Most iterations of k-means at a stage. 5 give most of what there is to gain.
    tol : float, default=1e-4
        Tolerance of k-means, as in :class:`sklearn.cluster.KMeans`; 0 saves the time it takes to
        measure the variance.
    encoding : {"onehot", "onehot-dense", "ordinal"}, default="onehot"
        What `transform` returns: a sparse matrix, the same as an ndarray, or the integers.
    random_state : int, RandomState instance or None, default=None
        Seed of k-means++ and of the rows drawn. As with :class:`sklearn.cluster.KMeans`, sums
        over more than two threads may round differently from run to run.
    verbose : int, default=0
        1 for a progress bar, 2 for a line per stage.

    Attributes
    ----------
    codebooks_ : ndarray of shape (n_stages, n_options, n_features)
        The steps: a reconstruction is `mean_` plus one of them for each stage. (With "log_loss"
        sums are log odds, and start from those of `mean_`.)
    mean_ : ndarray of shape (n_features,)
        Mean of the training data. With "log_loss" half a row of 1 and half a row of 0 are counted
        in, so that its log odds are finite.
    loss_ : Loss
        The loss that the codebooks were fitted with, whatever `loss` says by now.
    stage_loss_ : ndarray of shape (n_stages,)
        Mean loss of the training rows after each stage, when `fit` had ended.
    code_usage_ : ndarray of shape (n_stages, n_options)
        Share of the training rows that use each option.
    n_iter_ : int
        Most iterations that k-means made at a stage.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features seen in `fit`, where X has them.

    See Also
    --------
    VQDRAW : Options that depend on the choices made before.
    sklearn.cluster.KMeans : One stage.

    Notes
    -----
    k-means++ chooses its starting rows by distances in 32 random projections where there are more
    than 64 features, and among 512 rows per option where there are more. Otherwise, with squared
    error, no shrinkage, no beam and no refits, the codebooks are those of
    ``KMeans(n_options, n_init=1, max_iter=max_iter, tol=tol)`` on what is left, stage after stage.

    With `subsample`, `stage_loss_` and `code_usage_` are of the rows drawn last.

    References
    ----------
    J. Friedman, "Greedy function approximation: a gradient boosting machine", Annals of
    Statistics 29(5), 2001. Y. Chen, T. Guan and C. Wang, "Approximate nearest neighbor search by
    residual vector quantization", Sensors 10(12), 2010. Beam search and refits: A. Babenko and
    V. Lempitsky, "Additive quantization for extreme vector compression", CVPR 2014.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvqdraw import ClusterBoosting
    >>> X = load_digits().data
    >>> boosting = ClusterBoosting(n_stages=4, n_options=16, random_state=0).fit(X)
    >>> codes = boosting.encode(X)
    >>> codes.shape, codes.dtype
    ((1797, 4), dtype('uint8'))
    >>> boosting.decode(codes[:, :2]).shape
    (1797, 64)
    """

    _parameter_constraints: dict = {
        **CodeTransformer._parameter_constraints,
        "n_stages": [Interval(Integral, 1, None, closed="left")],
        "n_options": [Interval(Integral, 2, None, closed="left")],
        "loss": [StrOptions(set(losses.NAMES))],
        "shrinkage": [Interval(Real, 0, 1, closed="right"), StrOptions({"auto"})],
        "line_search": ["boolean"],
        "subsample": [Interval(Integral, 1, None, closed="left"), None],
        "beam_size": [Interval(Integral, 1, None, closed="left")],
        "n_refits": [Interval(Integral, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_stages=8,
        n_options=64,
        *,
        loss="squared_error",
        shrinkage=1.0,
        line_search=True,
        subsample=None,
        beam_size=1,
        n_refits=0,
        max_iter=20,
        tol=1e-4,
        encoding="onehot",
        random_state=None,
        verbose=0,
    ):
        self.n_stages = n_stages
        self.n_options = n_options
        self.loss = loss
        self.shrinkage = shrinkage
        self.line_search = line_search
        self.subsample = subsample
        self.beam_size = beam_size
        self.n_refits = n_refits
        self.max_iter = max_iter
        self.tol = tol
        self.encoding = encoding
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, sample_weight=None):
        """Find the codebooks, stage after stage.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows, floats or integers; in [0, 1] for "log_loss". With `subsample`, a
            memory map is never read whole into memory.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.

        Returns
        -------
        self : ClusterBoosting
            The fitted estimator. If a fit fails, it is as it was before.

        Raises
        ------
        ValueError
            If `beam_size` or `n_refits` ask for what only squared error can have, or X holds
            numbers that `loss` cannot.
        """
        with unchanged_on_failure(self):
            X = self._validate_X(X, reset=True)
            sample_weight = check_sample_weight(sample_weight, X, ensure_non_negative=True)
            _Fit(self, X, unit_weights(sample_weight)).run()
        return self

    def _validate_X(self, X, *, reset):
        loss = losses.find(self.loss) if reset else self.loss_
        if reset:
            self._refuse_without_squares(loss, "n_refits", 0)
        else:
            validate_params(self, "beam_size")
        self._refuse_without_squares(loss, "beam_size", 1)
        X = super()._validate_X(X, reset=reset)
        loss.check(X)
        return X

    def _refuse_without_squares(self, loss, name, most):
        """Refuse more of a parameter than a loss can have."""
        if not loss.quadratic and getattr(self, name) > most:
            raise ValueError(
                f"{name}={getattr(self, name)} needs loss='squared_error'; got {loss}. Set "
                f"{name}={most}, or fit with the other loss."
            )

    def _fitted_on(self):
        if not self.loss_.centred:
            return None  # what rows may be, the loss itself says
        squares_K = np.square(self.codebooks_[0].astype(np.float64)).mean(axis=1)
        return self.mean_, self.code_usage_[0] @ squares_K + self.stage_loss_[0]

    def _encode(self, X, codes):
        coder = _Coder(self.loss_, self.mean_, self.codebooks_, self.beam_size)
        for tile in tiles(len(X)):
            codes[tile] = coder.codes(coder.state(X[tile]))

    def _parameters(self, codes):
        """Return the parameters of the reconstructions of codes or prefixes."""
        params_ND = np.empty((len(codes), self.n_features_in_), dtype=self.mean_.dtype)
        params_ND[:] = self.loss_.link(self.mean_)
        for tile in tiles(len(codes)):
            for codebook_KD, codes_N in zip(self.codebooks_, codes[tile].T, strict=False):
                params_ND[tile] += codebook_KD[codes_N]
        return params_ND

    def _decoder(self):
        return {"loss": self.loss_}, {"mean_": self.mean_, "codebooks_": self.codebooks_}

    def _decode(self, codes):
        return self.loss_.inverse_link(self._parameters(codes))

    def _row_losses(self, X):
        for piece in pieces(*X.shape):
            rows = X[piece]
            yield piece, self.loss_.rows(self._parameters(self._codes_of(rows)), rows)


class _Coder:
    """Chooses options for tiles of rows."""

    def __init__(self, loss, mean_D, codebooks_SKD, beam_size):
        self.loss = loss
        self.start_D = loss.link(mean_D)
        self.codebooks_SKD = codebooks_SKD
        self.beam = BeamSearch(codebooks_SKD, beam_size) if beam_size > 1 else None

    def state(self, rows):
        """Return the state of rows before the first stage."""
        return self.loss._state(rows, self.start_D)

    def codes(self, state, losses_SN=None):
        """Return the codes (N, S) of a tile or less, and leave its state at the last stage.

        The losses after each stage are written into `losses_SN`.
        """
        codes_NS = np.empty((len(state), len(self.codebooks_SKD)), dtype=np.intp)
        if self.beam is not None:
            codes_NS[:] = self.beam.codes(padded(state))[: len(state)]
        for s, codebook_KD in enumerate(self.codebooks_SKD):
            if self.beam is None:
                codes_NS[:, s] = self.loss._choose(padded(state), codebook_KD)[: len(state)]
            self.loss._move(state, codebook_KD[codes_NS[:, s]])
            if losses_SN is not None:
                losses_SN[s] = self.loss._losses(state)
        return codes_NS


class _Fit:
    """What a fit works on, apart from the estimator until all of it is done."""

    def __init__(self, estimator, X, sample_weight):
        self.estimator = estimator
        self.loss = losses.find(estimator.loss)
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
        state = None
        for s in tqdm(
            range(estimator.n_stages),
            desc="ClusterBoosting",
            unit="stage",
            disable=estimator.verbose != 1,
        ):
            state = self._state_before(s, state)
            if estimator.verbose > 1:
                loss = np.average(self.loss._losses(state), weights=self._weight_of(state))
                print(f"ClusterBoosting, stage {s}: loss before it {loss:.6g}")
            self.codebooks_SKD[s] = self._new_codebook(s, state)
        if self.keeps_state:
            self._one_stage_on(estimator.n_stages, state)
            codes_NS, stage_loss_S = self.codes_NS, self._average(self.losses_SN)
        else:
            codes_NS, stage_loss_S = self._judge(self.codebooks_SKD)
        if estimator.n_refits:
            codes_NS, stage_loss_S = self._refit(codes_NS, stage_loss_S)
        estimator.loss_ = self.loss
        estimator.mean_ = self.mean_D
        estimator.codebooks_ = self.codebooks_SKD
        estimator.stage_loss_ = stage_loss_S
        estimator.code_usage_ = option_frequencies(codes_NS, estimator.n_options)
        estimator.n_iter_ = self.n_iter

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
            codes_NBS = beam.best(padded(rows_ND), min(n_best, beam.beam_size))[: len(rows_ND)]
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
        return _Coder(self.loss, self.mean_D, codebooks_SKD, self.estimator.beam_size)

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

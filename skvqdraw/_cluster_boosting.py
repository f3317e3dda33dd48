"""Cluster boosting: k-means on what is left, again and again."""

from numbers import Integral, Real

import numpy as np

from . import losses
from ._base import CodeTransformer, unchanged_on_failure
from ._numbers import check_weights
from ._rows import tiles
from ._sklearn import Interval, StrOptions, fit_context, validate_params
from .boosting.beam import kept_search
from .boosting.fit import BoostingFit, StageCoder
from .files.json import known
from .files.learned import Array, Number


@known
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
    encoding : {"onehot", "onehot-dense", "ordinal", "soft"}, default="onehot"
        What `transform` returns: a sparse matrix, the same as an ndarray, the integers, or an
        ndarray of how well each option would have served, which tells classifiers more.
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
    data_dtype_ : str
        Name of the dtype of the training rows. Files of older versions lack it.
    data_range_ : tuple of (float, float)
        The least and the largest number of the training rows. Files of older versions lack it.
    row_shape_ : tuple of int or None
        Shape of the images or volumes that rows are, where the command line fitted it.
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
    _learned: dict = {
        "mean_": Array("D", "float32", "float64"),
        "loss_": losses.LearnedLoss("_descent"),
        "codebooks_": Array("SKD", "mean_"),
        "stage_loss_": Array("S", "float64"),
        "n_iter_": Number(Interval(Integral, 0, None, closed="left")),
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
            weight = check_weights(sample_weight, X)
            BoostingFit(self, losses.find(self.loss), X, weight).run()
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

    def _coder(self):
        beam = None
        if self.beam_size > 1:
            beam = kept_search(self, self.codebooks_, self.beam_size)
        return StageCoder(self.loss_, self.mean_, self.codebooks_, beam)

    def _encode(self, X, codes):
        coder = self._coder()
        for tile in tiles(len(X)):
            codes[tile] = coder.codes(coder.state(X[tile]))

    def _option_losses(self, X):
        coder = self._coder()
        for tile in tiles(len(X)):
            codes_NS = coder.codes(coder.state(X[tile]))
            yield tile, codes_NS, coder.option_losses(coder.state(X[tile]), codes_NS)

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

    def _losses_of(self, codes, X):
        return self.loss_.rows(self._parameters(codes), X)

"""Distributions made of counts: how often options follow each other.

Axes: N codes, S stages, K options, C classes, X contexts of one stage, L levels.
"""

from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._base import unchanged_on_failure
from .._codes import check_codes
from .._sklearn import Interval, validate_params
from ..exceptions import FormatError
from ..files.json import known
from ..files.learned import Array, Number
from ._base import Prior, check_training_codes

# The chances of all options of a stage, as integers, sum up to this, about.
_TOTAL = 2**24
# Weights of the level below that are tried, in training codes.
_WEIGHTS = 2 ** np.arange(21)
MOST_WEIGHT = int(_WEIGHTS[-1])
# Training codes at most: so many times _TOTAL is an integer of 64 bits.
MOST_CODES = 2**38
# Counts that are held at most: 512 MiB.
_MOST_COUNTS = 2**26
HIGHEST_ORDER = 8


class _Counts(Array):
    """Counts of which no sum is too large."""

    def _check_numbers(self, name, reading, arrays):
        super()._check_numbers(name, reading, arrays)
        n_codes = arrays[name].sum(axis=(1, 2, 3), dtype=np.float64).max()
        if n_codes > MOST_CODES:
            raise FormatError(
                f"{name} must be of {MOST_CODES} codes or fewer; it is of {n_codes:g}"
            )


class _CountPrior(Prior):
    """How often options follow the `order_` options before them.

    Levels go from few contexts to many: all codes, those of a class, those in which the last option
    is the same, the last two, and so on. Chances at a level are counts, and added to them those of
    the level below with a weight.
    """

    _learned: dict = {
        "counts_": _Counts(
            "SCXK", "int64", within=(0, MOST_CODES), sizes={"S": (1, 2**16), "K": (1, 2**16)}
        ),
        "weights_": Array("SL", "int64", within=(1, MOST_WEIGHT)),
        "order_": Number(Interval(Integral, 0, HIGHEST_ORDER, closed="both")),
    }

    @property
    def n_stages_(self):
        """Number of stages."""
        return len(self.counts_)

    @property
    def n_options_(self):
        """Number of options of each stage."""
        return self.counts_.shape[3]

    def fit(self, codes, y=None):
        """Count.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_stages)
            Integers in ``[0, n_options)``: what ``encode`` returned, or others.
        y : array-like of shape (n_samples,), default=None
            Labels of them; None for a distribution that knows no classes.

        Returns
        -------
        self : object
            The fitted prior.

        Raises
        ------
        ValueError
            If `codes` is not a 2-D array of such integers with a row and a column, or there are
            too many contexts.
        """
        validate_params(self)
        with unchanged_on_failure(self):
            codes, K = check_training_codes(codes, self.n_options)
            labels_N = self._learn_classes(codes, y)
            self.order_ = int(getattr(self, "order", 0))
            S, C, X = codes.shape[1], len(self.class_counts_), K**self.order_
            if S * C * X * K > _MOST_COUNTS:
                raise ValueError(
                    f"{self} needs n_stages * n_classes * n_options**(order + 1) = {S * C * X * K} "
                    f"counts; at most {_MOST_COUNTS} are allowed. Set a lower order."
                )
            self.counts_ = np.empty((S, C, X, K), dtype=np.int64)
            for s in range(S):
                cells_N = labels_N * X + self._contexts(codes[:, :s], K)
                cells_N = cells_N * K + codes[:, s]
                self.counts_[s] = np.bincount(cells_N, minlength=C * X * K).reshape(C, X, K)
            self.weights_ = np.stack([self._weights(s) for s in range(S)])
        return self

    def conditional_counts(self, prefix, *, y=None):
        """Return the chances of the next option as integers.

        They are the same on every machine, as arithmetic coders need them.

        Parameters
        ----------
        prefix : array-like of shape (n_samples, n_prefix)
            The first ``n_prefix < n_stages`` integers of each code, maybe none.
        y : array-like of shape (n_samples,), default=None
            Labels, for a prior that was fitted with some.

        Returns
        -------
        counts : ndarray of shape (n_samples, n_options), dtype int64
            At least 1. Divided by their sum, which is about 2**24, they are probabilities.

        Raises
        ------
        ValueError
            If `prefix` does not fit, or labels are missing or unknown.
        """
        check_is_fitted(self)
        prefix = check_codes(prefix, self.n_options_, max_stages=self.n_stages_ - 1)
        if y is None and self.classes_ is not None:
            raise ValueError(
                "y must be given for a prior that was fitted with labels: integers for each class "
                "have no mean in integers. Pass one label for each prefix."
            )
        return self._counts_after(prefix, self._labels_of(y, len(prefix)))

    def _counts_after(self, prefix_NT, labels_N):
        contexts_N = self._contexts(prefix_NT, self.n_options_)
        return self._table(prefix_NT.shape[1])[labels_N, contexts_N]

    def _log_chances(self, prefix_NT, labels_N):
        counts_NK = self._counts_after(prefix_NT, labels_N)
        return np.log(counts_NK) - np.log(counts_NK.sum(axis=1, keepdims=True))

    def _contexts(self, prefix_NT, n_options):
        """Return the number of the context of each prefix: its last option is the lowest digit."""
        contexts_N = np.zeros(len(prefix_NT), dtype=np.intp)
        for back in range(min(self.order_, prefix_NT.shape[1]), 0, -1):
            contexts_N = contexts_N * n_options + prefix_NT[:, -back]
        return contexts_N

    def _levels(self, stage):
        """Yield the counts (C, X, K) of a stage from level to level, some of fewer C and X."""
        counts_CXK, K = self.counts_[stage], self.n_options_
        yield counts_CXK.sum(axis=(0, 1), keepdims=True)
        if len(counts_CXK) > 1:
            yield counts_CXK.sum(axis=1, keepdims=True)
        for order in range(1, min(self.order_, stage) + 1):
            yield counts_CXK.reshape(len(counts_CXK), -1, K**order, K).sum(axis=1)

    def _check_learned(self):
        """Refuse learned attributes of a file that do not go together."""
        n_classes, n_contexts, n_options = self.counts_.shape[1:]
        n_levels = 1 + (n_classes > 1) + self.order_
        if n_contexts != n_options**self.order_ or self.weights_.shape[1] != n_levels:
            raise FormatError(
                f"counts_ and weights_ must be those of order_={self.order_}; they are of shape "
                f"{self.counts_.shape} and {self.weights_.shape}"
            )

    def _table(self, stage):
        """Return the integer chances of a stage in all contexts, (C, X, K)."""
        chances = np.full((1, 1, self.n_options_), _TOTAL // self.n_options_)
        for counts, weight in zip(self._levels(stage), self.weights_[stage], strict=False):
            chances = _mixed(counts, weight, _repeated(chances, counts))
        return chances + 1

    def _weights(self, stage):
        """Return the weight of the level below for each level, the likeliest of those tried."""
        n_levels = 1 + (len(self.class_counts_) > 1) + self.order_
        weights_L = np.ones(n_levels, dtype=np.int64)
        chances = np.full((1, 1, self.n_options_), _TOTAL // self.n_options_)
        for level, counts in enumerate(self._levels(stage)):
            chances = _repeated(chances, counts)
            likelihoods = [_without_itself(counts, weight, chances) for weight in _WEIGHTS]
            weights_L[level] = _WEIGHTS[np.argmax(likelihoods)]
            chances = _mixed(counts, weights_L[level], chances)
        return weights_L


def _repeated(chances, counts):
    """Return chances (C, X, K) of a level for all contexts of the next one, whose counts these are.

    Of a context there, the digits here are the lowest.
    """
    times = [many // few for many, few in zip(counts.shape, chances.shape, strict=True)]
    return np.tile(chances, times)


def _mixed(counts, weight, chances):
    """Return the chances of counts and, of so much weight, those of the level below."""
    return (counts * _TOTAL + weight * chances) // (counts.sum(axis=2, keepdims=True) + weight)


def _without_itself(counts, weight, chances):
    """Return the log likelihood of each training code by what the others say."""
    others = np.maximum(counts - 1, 0) + weight * (chances + 1) / _TOTAL
    totals = np.maximum(counts.sum(axis=2, keepdims=True) - 1, 0) + weight
    return (counts * (np.log(others) - np.log(totals))).sum()


@known
class MarginalPrior(_CountPrior):
    """How often each option of each stage occurs, whatever the others are.

    Parameters
    ----------
    n_options : int or None, default=None
        Options of each stage. None for the largest integer of the training codes plus one: name it
        where there are few rows.

    Attributes
    ----------
    counts_ : ndarray of shape (n_stages, n_classes, 1, n_options)
        How often each option occurs in codes of each class.
    weights_ : ndarray of shape (n_stages, n_levels)
        How many training codes the level below is worth, chosen by the likelihood of each training
        code given the others. The first level has the same chance for all options below it; a
        second one, of classes, has all codes.
    classes_ : ndarray of shape (n_classes,) or None
        Labels, if there were any.
    class_counts_ : ndarray of shape (n_classes,)
        How many training codes have them.
    n_stages_, n_options_, order_ : int
        The shape of codes, and how many options before matter.

    See Also
    --------
    MarkovPrior : Options that depend on those before them.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw.priors import MarginalPrior
    >>> codes = np.repeat([[0, 1], [0, 1], [0, 0], [1, 1]], 100, axis=0)
    >>> prior = MarginalPrior().fit(codes)
    >>> prior.bits([[0, 1], [1, 0]]).round(1)
    array([0.8, 4. ])
    >>> prior.sample(2, prefix=[1], temperature=0)
    array([[1, 1],
           [1, 1]], dtype=uint8)
    """

    def __init__(self, n_options=None):
        self.n_options = n_options


@known
class MarkovPrior(_CountPrior):
    """How often each option follows the one, or the few, before it.

    Parameters
    ----------
    order : int, default=1
        Number of options before that matter. ``n_options ** (order + 1)`` counts are held for each
        stage and class: 1, or 2 where options are few.
    n_options : int or None, default=None
        Options of each stage. None for the largest integer of the training codes plus one: name it
        where there are few rows.

    Attributes
    ----------
    counts_ : ndarray of shape (n_stages, n_classes, n_options ** order, n_options)
        How often each option occurs in codes of each class after those before it; of these the last
        one counts 1, the one before it `n_options`, and so on.
    weights_ : ndarray of shape (n_stages, n_levels)
        How many training codes the level below is worth, chosen by the likelihood of each training
        code given the others. Levels: all codes, those of a class, those with the same option
        before, with the same two.
    classes_ : ndarray of shape (n_classes,) or None
        Labels, if there were any.
    class_counts_ : ndarray of shape (n_classes,)
        How many training codes have them.
    n_stages_, n_options_, order_ : int
        The shape of codes, and how many options before matter.

    See Also
    --------
    MarginalPrior : Options that depend on nothing.

    References
    ----------
    Mixing levels: F. Jelinek and R. L. Mercer, "Interpolated estimation of Markov source parameters
    from sparse data", 1980. The weights are those of a Dirichlet prior around the level below: D.
    J. C. MacKay and L. C. Bauman Peto, "A hierarchical Dirichlet language model", Natural Language
    Engineering 1(3), 1995.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw.priors import MarkovPrior
    >>> codes = np.repeat([[0, 1, 0], [1, 0, 1]], 50, axis=0)
    >>> prior = MarkovPrior().fit(codes)
    >>> prior.bits([[0, 1, 0], [0, 0, 0]]).round(1)
    array([ 1. , 14.3])
    >>> prior.conditional_counts([[0]]).shape
    (1, 2)
    """

    _parameter_constraints: dict = {"order": [Interval(Integral, 0, HIGHEST_ORDER, closed="both")]}

    def __init__(self, order=1, *, n_options=None):
        self.order = order
        self.n_options = n_options

"""What all distributions over codes share.

Axes: N codes, S stages, K options, C classes.
"""

from numbers import Integral, Real

import numpy as np
from scipy.special import logsumexp
from sklearn.utils import check_random_state, check_scalar, column_or_1d
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from .._base import Storable
from .._codes import check_codes, check_prefix, codes_dtype
from .._numbers import check_labels
from .._rows import pieces
from .._sklearn import Interval
from ..files.learned import Array, Labels

_MOST_OPTIONS = 2**16


class Prior(Storable):
    """Base class of distributions over codes.

    A subclass implements `fit`, which starts with `check_training_codes` and `_learn_classes`, and
    `_log_chances`, and tells `n_stages_` and `n_options_`.
    """

    _parameter_constraints: dict = {
        "n_options": [Interval(Integral, 1, _MOST_OPTIONS, closed="both"), None],
    }
    _learned: dict = {
        "class_counts_": Array("C", "int64", within=(1, 2**53)),
        "classes_": Labels("class_counts_"),
    }

    def _log_chances(self, prefix_NT, labels_N):
        """Return the log probabilities (N, K) of the next option after prefixes.

        `labels_N` are places in `classes_`; 0 for all where there are no classes.
        """
        raise NotImplementedError

    def _stage_log_chances(self, codes_NS, labels_N):
        """Return the log probability (N, S) of each option given those before it."""
        N, S = codes_NS.shape
        found_NS = np.empty((N, S))
        for s in range(S):
            chances_NK = self._log_chances(codes_NS[:, :s], labels_N)
            options_N1 = codes_NS[:, s, None].astype(np.intp)
            found_NS[:, s] = np.take_along_axis(chances_NK, options_N1, 1)[:, 0]
        return found_NS

    def _learn_classes(self, codes, y):
        """Return the places of the labels of training codes."""
        labels_N = np.zeros(len(codes), dtype=np.intp)
        self.classes_ = None
        if y is not None:
            check_consistent_length(codes, y)
            self.classes_, labels_N = np.unique(check_labels(y), return_inverse=True)
        self.class_counts_ = np.bincount(labels_N).astype(np.int64)
        return labels_N

    def sample(self, n_samples=1, *, y=None, prefix=None, temperature=1.0, random_state=None):
        """Draw codes.

        Parameters
        ----------
        n_samples : int, default=1
            Number of codes.
        y : label or array-like of shape (n_samples,), default=None
            The class of all codes, or of each; for a prior that was fitted with labels. None draws
            classes, too, as often as they were among the training codes.
        prefix : array-like of shape (n_prefix,) or (n_samples, n_prefix), default=None
            What all codes, or each, begin with. None leaves all stages to be drawn.
        temperature : float, default=1.0
            Divides log probabilities: below 1 likely options become more likely, and samples less
            diverse; at 0 the most likely one is taken at each stage. 0.5 to 1 are useful.
        random_state : int, RandomState instance or None, default=None
            The seed belongs to the call: the same int gives the same codes.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_stages)
            Integers in ``[0, n_options_)``.

        Raises
        ------
        ValueError
            If a label was not among the training data, or `prefix` does not fit.
        """
        check_is_fitted(self)
        n_samples = int(check_scalar(n_samples, "n_samples", Integral, min_val=1))
        _check_temperature(temperature)
        rng = check_random_state(random_state)
        n_stages, n_options = self.n_stages_, self.n_options_
        prefix_NT = check_prefix(prefix, n_samples, n_options, max_stages=n_stages)
        labels_N = self._drawn_labels(y, prefix_NT, rng)
        T = prefix_NT.shape[1]
        codes_NS = np.empty((n_samples, n_stages), dtype=codes_dtype(n_options))
        codes_NS[:, :T] = prefix_NT
        for s in range(T, n_stages):
            for some in self._pieces(n_samples):
                chances_NK = self._log_chances(codes_NS[some, :s], labels_N[some])
                codes_NS[some, s] = drawn(chances_NK, temperature, rng)
        return codes_NS

    def _guiding(self, prefix_NT, y, temperature, rng):
        """Return a function of prefixes and their samples' numbers: log chances, over temperature.

        Classes are those given, or drawn.
        """
        _check_temperature(temperature)
        if temperature == 0:
            raise ValueError(
                "temperature must be above 0 with a guide: at 0 there is but one option to guide. "
                "Lower the guide's temperature instead."
            )
        labels_N = self._drawn_labels(y, prefix_NT, rng)

        def log_chances(prefix_MT, samples_M):
            return self._log_chances(prefix_MT, labels_N[samples_M]) / temperature

        return log_chances

    def score_samples(self, codes, y=None):
        """Return the log likelihood of each code.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_stages)
            Integers in ``[0, n_options_)``.
        y : array-like of shape (n_samples,), default=None
            Their labels, for a prior that was fitted with some: then likelihoods are those given
            the class. Without, they are means over classes.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            In nats.

        Raises
        ------
        ValueError
            If `codes` has another shape or other integers than the prior was fitted on, or `y`
            other labels.
        """
        return self.stage_scores(codes, y).sum(axis=1)

    def stage_scores(self, codes, y=None):
        """Return the log likelihood of each option given those before it.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_stages)
            Integers in ``[0, n_options_)``.
        y : array-like of shape (n_samples,), default=None
            Their labels, see `score_samples`, or None.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_stages)
            In nats; the sum over stages is that of `score_samples`.
        """
        check_is_fitted(self)
        codes = check_codes(codes, self.n_options_, n_stages=self.n_stages_)
        if y is not None:
            check_consistent_length(codes, y)
        given = y is not None or self.classes_ is None
        labels_N = self._labels_of(y, len(codes)) if given else None
        scores_NS = np.empty(codes.shape)
        for some in self._pieces(len(codes)):
            if given:
                scores_NS[some] = self._stage_log_chances(codes[some], labels_N[some])
            else:
                scores_NS[some] = self._over_classes(codes[some])
        return scores_NS

    def _pieces(self, n_rows):
        """Return slices of rows of which the chances in all classes take little memory."""
        return pieces(n_rows, self.n_options_ * len(self.class_counts_))

    def _over_classes(self, codes_NS):
        """Return the stage scores where the class is not known."""
        joint_NCS = self._in_each_class(codes_NS).cumsum(axis=2)
        joint_NS = logsumexp(joint_NCS + self._class_log_chances()[:, None], axis=1)
        return np.diff(joint_NS, axis=1, prepend=0)

    def _in_each_class(self, codes_NS):
        """Return the log probability (N, C, S) of each option given a class and those before it."""
        N, C = len(codes_NS), len(self.class_counts_)
        labels_M = np.tile(np.arange(C), N)
        return self._stage_log_chances(codes_NS.repeat(C, axis=0), labels_M).reshape(N, C, -1)

    def score(self, codes, y=None):
        """Return the mean log likelihood of codes: higher is better.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_stages)
            Integers in ``[0, n_options_)``.
        y : array-like of shape (n_samples,), default=None
            Their labels, see `score_samples`, or None.

        Returns
        -------
        score : float
            The mean of `score_samples`, in nats.
        """
        return float(self.score_samples(codes, y).mean())

    def bits(self, codes, y=None):
        """Return how many bits an ideal coder with this prior needs for each code.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_stages)
            Integers in ``[0, n_options_)``.
        y : array-like of shape (n_samples,), default=None
            Their labels, if the decoder knows them, or None.

        Returns
        -------
        bits : ndarray of shape (n_samples,)
            ``-score_samples(codes, y) / log(2)``; `n_stages` times ``log2(n_options)`` if all
            options were alike.
        """
        return -self.score_samples(codes, y) / np.log(2)

    def _class_log_chances(self):
        return np.log(self.class_counts_) - np.log(self.class_counts_.sum())

    def _drawn_labels(self, y, prefix_NT, rng):
        """Return the classes of samples: those given, or some that go with their prefixes."""
        n_samples = len(prefix_NT)
        if y is not None and np.ndim(y) == 0:
            y = np.full(n_samples, y)
        if y is not None and len(y) != n_samples:
            raise ValueError(
                f"y must be one label or have n_samples={n_samples} of them; it has {len(y)}. "
                "Give one label for each sample."
            )
        if y is not None or self.classes_ is None:
            return self._labels_of(y, n_samples)
        labels_N = np.empty(n_samples, dtype=np.intp)
        for some in self._pieces(n_samples):
            posterior_NC = np.tile(self._class_log_chances(), (len(prefix_NT[some]), 1))
            if prefix_NT.shape[1]:
                posterior_NC += self._in_each_class(prefix_NT[some]).sum(axis=2)
            labels_N[some] = drawn(posterior_NC, 1.0, rng)
        return labels_N

    def _labels_of(self, y, n_samples):
        """Return the places of labels in `classes_`, or say what is wrong with them."""
        if y is None:
            return np.zeros(n_samples, dtype=np.intp)
        name = type(self).__name__
        if self.classes_ is None:
            raise ValueError(
                f"y needs a prior that was fitted with labels; this {name} was fitted without. "
                "Fit it with fit(codes, y), or leave y out."
            )
        known, y = self.classes_.tolist(), column_or_1d(y).tolist()
        places = {label: place for place, label in enumerate(known)}
        if unknown := [label for label in y if label not in places]:
            raise ValueError(
                f"y must hold labels that this {name} was fitted with, {known}; got "
                f"{unknown[0]!r}. Leave such rows out, or fit with them."
            )
        return np.array([places[label] for label in y], dtype=np.intp)


def check_training_codes(codes, n_options):
    """Return valid training codes and the number of options, or say what is wrong with them."""
    codes = check_codes(codes, n_options)
    if not codes.size:
        raise ValueError(
            f"codes must have at least one row and one stage; got shape {codes.shape}. Give what "
            "encode returns of some rows."
        )
    n_options = n_options or int(codes.max()) + 1
    if n_options > _MOST_OPTIONS:
        raise ValueError(
            f"codes must be integers below {_MOST_OPTIONS}; got {n_options - 1}. Number the "
            "options of each stage from 0."
        )
    return codes, int(n_options)


def _check_temperature(temperature):
    check_scalar(temperature, "temperature", Real, min_val=0)
    if not np.isfinite(temperature):
        raise ValueError(
            f"temperature must be a finite number; got {temperature}. Leave the prior out for "
            "codes that are all as likely."
        )


def drawn(log_NK, temperature, rng):
    """Draw an index from each row of log probabilities, which need not be normalised."""
    if temperature == 0:
        return log_NK.argmax(axis=1)
    with np.errstate(over="ignore"):  # what is far below the likeliest has no chance
        below_NK = (log_NK - log_NK.max(axis=1, keepdims=True)) / temperature
    sums_NK = np.exp(below_NK).cumsum(axis=1)
    draws_N1 = rng.uniform(size=(len(log_NK), 1)) * sums_NK[:, -1:]
    return (sums_NK[:, :-1] <= draws_N1).sum(axis=1)

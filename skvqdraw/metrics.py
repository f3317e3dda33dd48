"""What codes are worth: how they use their options, whether they tell rows apart, what they keep.

Functions of codes take integers of shape (n_samples, n_stages) from anywhere: `encode` of an
estimator of this library, a residual or product quantizer of another one. Functions of an
estimator take any object with the methods that they name. Whatever comes as a Bunch of arrays of
one length becomes a table with ``pandas.DataFrame(bunch)``.
"""

from inspect import isclass
from numbers import Integral

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import SVC
from sklearn.utils import Bunch, check_scalar

from ._codes import check_codes, entropy_bits, one_hot, option_frequencies
from ._numbers import check_labels, check_numbers

__all__ = [
    "classification_accuracy_score",
    "code_entropy",
    "code_usage",
    "collision_rate",
    "perplexity",
    "prior_bits",
    "probe_score",
    "rate_distortion_curve",
    "two_sample_score",
]

# Fewer rows for each prefix seen, and the entropy of prefixes says more of the rows than of them.
_ROWS_PER_PREFIX = 10
# Options of all stages whose shares are counted: a table of 2 GiB.
_LARGEST_TABLE = 2**28
# Rows whose reconstructions are held at a time where only their errors are wanted.
_DECODED_ROWS = 1024
# What is counted of each feature, of reconstructions and rows.
_METRICS = {
    "squared_error": lambda decoded, X: np.square(decoded - X),
    "accuracy": np.equal,
}


def code_usage(codes, n_options=None):
    """Return the share of rows that use each option of each stage.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_stages)
        Integers of at least 0.
    n_options : int or None, default=None
        Number of options per stage. None counts up to the largest integer in `codes`, and so
        overlooks unused options beyond it.

    Returns
    -------
    usage : ndarray of shape (n_stages, n_options)
        Each row sums to 1; an option at 0 is a dead one.

    Raises
    ------
    ValueError
        If `codes` is not a 2-D array of integers in ``[0, n_options)`` with a row and a column, or
        all options of all stages are more than ``2 ** 28``.

    Examples
    --------
    >>> from skvqdraw.metrics import code_usage
    >>> code_usage([[0, 1], [0, 0], [1, 0], [0, 0]], n_options=3)
    array([[0.75, 0.25, 0.  ],
           [0.75, 0.25, 0.  ]])
    """
    if n_options is not None:
        check_scalar(n_options, "n_options", Integral, min_val=1)
    codes = _some_codes(codes, n_options)
    n_options = int(codes.max()) + 1 if n_options is None else int(n_options)
    if n_options * codes.shape[1] > _LARGEST_TABLE:
        raise ValueError(
            f"n_options must be at most {_LARGEST_TABLE // codes.shape[1]}, for {codes.shape[1]} "
            f"stages; got {n_options}. Number the integers that occur in codes first: "
            "numpy.unique(codes, return_inverse=True)[1]."
        )
    return option_frequencies(codes, n_options)


def perplexity(codes):
    """Return the effective number of options in use at each stage.

    Two to the power of the marginal entropy in bits: 1 if all rows use one option, K if K options
    are used equally often. Like that entropy it comes out too low from few rows, see
    `code_entropy`: take ten times as many rows as there are options.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_stages)
        Integers of at least 0.

    Returns
    -------
    perplexity : ndarray of shape (n_stages,)
        Between 1 and the number of options.

    Raises
    ------
    ValueError
        If `codes` is not a 2-D array of integers of at least 0 with a row and a column.

    References
    ----------
    Aäron van den Oord, Oriol Vinyals and Koray Kavukcuoglu, "Neural Discrete Representation
    Learning", NeurIPS 2017; the figure by which the authors' implementation in Sonnet tells how
    much of a codebook is in use.

    Examples
    --------
    >>> from skvqdraw.metrics import perplexity
    >>> perplexity([[0, 2], [1, 2], [2, 2], [3, 2]])
    array([4., 1.])
    """
    return 2 ** _marginal_entropy(_some_codes(codes))


def code_entropy(codes):
    """Estimate how many bits of information the stages of codes hold.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_stages)
        Integers of at least 0.

    Returns
    -------
    entropy : Bunch
        Three arrays of shape (n_stages,), in bits. `marginal`: the entropy of each stage by
        itself. `conditional`: that of each stage given all stages before it. `joint`: that of the
        prefix that ends with the stage, the cumulative sum of `conditional`. The latter two are
        NaN from the stage on where there are fewer than ten rows for each prefix seen.

    Raises
    ------
    ValueError
        If `codes` is not a 2-D array of integers of at least 0 with a row and a column.

    Notes
    -----
    Shares of rows are put in the place of probabilities. Such plug-in estimates are too low on
    average: by about ``(m - 1) / (2 n ln 2)`` bits for m values that occur in n rows (the term of
    Miller and Madow, which is not added here), by far more where values are left that have not
    occurred. [1]_

    What a stage adds is a difference of two joint entropies, so the values to count are the
    prefixes that *end with* the stage. Those before it are too few: with ten rows behind each, a
    stage of 64 options that holds 6 bits could not show more than log2(10) = 3.3. Ten rows for
    each prefix seen keep the term above below 0.08 bits, and the rows of prefixes not yet seen
    below a tenth, about. Without them an estimate would tell the number of rows: the joint entropy
    of 60,000 rows cannot come out above log2(60,000) = 15.9 bits, be it 60 in truth.

    References
    ----------
    .. [1] Liam Paninski, "Estimation of Entropy and Mutual Information", Neural Computation
       15(6), 2003.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw.metrics import code_entropy
    >>> bits = np.random.default_rng(0).permutation(np.arange(64) % 4)
    >>> entropy = code_entropy(np.column_stack([bits, bits // 2, np.arange(64)]))
    >>> entropy.marginal
    array([2., 1., 6.])
    >>> entropy.joint  # 64 prefixes of three stages in 64 rows
    array([ 2.,  2., nan])
    """
    codes = _some_codes(codes)
    joint = np.full(codes.shape[1], np.nan)
    for stage, counts in enumerate(_prefix_counts(codes)):
        if len(codes) < _ROWS_PER_PREFIX * len(counts):
            break  # longer prefixes are no fewer
        joint[stage] = entropy_bits(counts / len(codes))
    return Bunch(
        marginal=_marginal_entropy(codes), conditional=np.diff(joint, prepend=0), joint=joint
    )


def collision_rate(codes):
    """Return, for each prefix length, the share of rows that are not alone with their prefix.

    The question to ask of codes that are to identify rows, such as the semantic IDs of items in a
    recommender [1]_, which need an extra integer where two items share one. Code for these often
    reports ``1 - n_distinct / n_samples`` instead, which lets one row of each group off and so is
    smaller, by up to a half.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_stages)
        Integers of at least 0, of the rows to tell apart: the rate grows with their number.

    Returns
    -------
    rate : ndarray of shape (n_stages,)
        In [0, 1]: at index s the share of rows whose first ``s + 1`` integers another row has
        too. It never rises.

    Raises
    ------
    ValueError
        If `codes` is not a 2-D array of integers of at least 0 with a row and a column.

    References
    ----------
    .. [1] Shashank Rajput et al., "Recommender Systems with Generative Retrieval", NeurIPS 2023.

    Examples
    --------
    >>> from skvqdraw.metrics import collision_rate
    >>> collision_rate([[0, 0, 1], [0, 0, 2], [0, 1, 0], [1, 0, 0]])
    array([0.75, 0.5 , 0.  ])
    """
    codes = _some_codes(codes)
    return np.array([counts[counts > 1].sum() for counts in _prefix_counts(codes)]) / len(codes)


def rate_distortion_curve(estimator, X, *, X_validation=None, metric="squared_error"):
    """Return bits and error, or accuracy, of the prefixes of codes, stage by stage.

    Parameters
    ----------
    estimator : object
        Fitted, with ``encode(X)``, with a ``decode(codes)`` that takes prefixes, and with
        `code_usage_` of shape (n_stages, n_options) or `n_options`. It is not fitted again.
    X : array-like of shape (n_samples, n_features)
        Rows to code, usually those of the fit. Each is decoded `n_stages` times, in bounded
        memory: give a few thousand rows if stages are many.
    X_validation : array-like of shape (n_samples, n_features), default=None
        Other rows. Where their curve leaves that of `X`, the fit has learned rows by heart.
    metric : {"squared_error", "accuracy"}, default="squared_error"
        What to measure, whatever loss the estimator was fitted with. "squared_error" is for
        numbers, in the squared units of X; "accuracy", the share of features that come back
        equal, for symbols, see :class:`~skvqdraw.losses.Categorical`.

    Returns
    -------
    curve : Bunch
        Arrays of shape (n_stages,); of :class:`~skvqdraw.VQVAE`, which decodes whole levels,
        (n_levels,). `bits`: what the prefix that ends with the stage takes,
        ``(stage + 1) * log2(n_options)``, uncompressed. `train` and, if asked for, `validation`:
        the metric of its reconstruction, the mean over rows and features.

    Raises
    ------
    TypeError
        If `estimator` lacks a method, or does not tell its number of options.
    ValueError
        If `metric` is another one.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvqdraw import VQDRAW
    >>> from skvqdraw.metrics import rate_distortion_curve
    >>> X = load_digits().data
    >>> vq = VQDRAW(n_stages=3, n_options=16, max_steps=30, random_state=0).fit(X[:1000])
    >>> curve = rate_distortion_curve(vq, X[:1000], X_validation=X[1000:])
    >>> curve.bits
    array([ 4.,  8., 12.])
    >>> curve.validation.shape
    (3,)
    """
    check_code_estimator(estimator, "encode", "decode")
    if not isinstance(metric, str) or metric not in _METRICS:
        raise ValueError(
            f"metric must be 'squared_error' or 'accuracy'; got {metric!r}. Set 'squared_error' "
            "for numbers, 'accuracy' for symbols."
        )
    bits_per_stage = np.log2(_n_options(estimator))
    lengths, train = _means_by_length(estimator, X, _METRICS[metric])
    curve = Bunch(bits=lengths * bits_per_stage, train=train)
    if X_validation is not None:
        _, curve.validation = _means_by_length(estimator, X_validation, _METRICS[metric])
    return curve


def probe_score(estimator, X, y, *, classifier=None, cv=5, scoring=None):
    """Return how well a classifier reads labels from codes, by cross-validation.

    Rows are encoded once and the classifier is fitted to the one-hot codes, `n_options` columns
    for each stage. The estimator is not fitted again, so only the classifier is judged on rows
    that it has not seen: for the codes of new rows, give rows that were not in the estimator's fit.

    It asks what is in the digits, which is what may be stored. For what a classifier can read of
    rows that are at hand, give ``transform(X)`` with ``encoding="soft"`` to
    `sklearn.model_selection.cross_val_score`.

    Parameters
    ----------
    estimator : object
        Fitted, with ``encode(X)``.
    X : array-like of shape (n_samples, n_features)
        Rows to encode.
    y : array-like of shape (n_samples,)
        Their labels.
    classifier : classifier or None, default=None
        Not fitted; a clone is, for each fold. None for ``LogisticRegression(max_iter=1000)``: a
        linear probe, whose score tells what can be read off directly.
    cv : int, cross-validation generator or iterable, default=5
        Number of stratified folds, cut in the order of the rows, or whatever else
        `sklearn.model_selection.cross_val_score` takes.
    scoring : str, callable or None, default=None
        As `cross_val_score` takes it; None for accuracy.

    Returns
    -------
    scores : ndarray of shape (n_folds,)
        One score for each fold.

    Raises
    ------
    TypeError
        If `estimator` has no `encode`.
    ValueError
        If `y` does not fit `X`, or no class has as many rows as there are folds.

    References
    ----------
    Guillaume Alain and Yoshua Bengio, "Understanding intermediate layers using linear classifier
    probes", arXiv:1610.01644, 2016.

    Alex Nichol, "VQ-DRAW: A Sequential Discrete VAE", arXiv:2003.01599, 2020, in whose code a small
    network reads MNIST digits from one-hot codes.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvqdraw import VQDRAW
    >>> from skvqdraw.metrics import probe_score
    >>> X, y = load_digits(return_X_y=True)
    >>> vq = VQDRAW(n_stages=4, n_options=16, max_steps=30, random_state=0).fit(X[:1000])
    >>> probe_score(vq, X[1000:], y[1000:]).mean() > 0.5
    np.True_
    """
    check_code_estimator(estimator, "encode")
    if np.shape(X)[:1] != np.shape(y)[:1]:
        raise ValueError(
            f"y must have one label for each row of X; got X of shape {np.shape(X)} and y of shape "
            f"{np.shape(y)}. Give the labels of the same rows, in the same order."
        )
    y = check_labels(y)
    most = np.unique(y, return_counts=True)[1].max()
    if isinstance(cv, Integral) and cv > most:
        raise ValueError(
            f"cv must be at most {most}, the number of rows of the most frequent label in y; "
            f"got {cv}. Give more rows, or lower cv."
        )
    codes = _some_codes(estimator.encode(X))
    Z = one_hot(codes, int(codes.max()) + 1)
    if classifier is None:
        classifier = LogisticRegression(max_iter=1000)
    return cross_val_score(classifier, Z, y, cv=cv, scoring=scoring, error_score="raise")


def prior_bits(prior, codes, y=None):
    """Return how many bits a prior needs for each stage of codes, given the stages before it.

    Parameters
    ----------
    prior : object
        Fitted, with ``stage_scores(codes, y)``, such as those of :mod:`skvqdraw.priors`.
    codes : array-like of shape (n_samples, n_stages)
        Codes that it was not fitted on.
    y : array-like of shape (n_samples,), default=None
        Their labels, for a prior of classes: bits are then those given the class.

    Returns
    -------
    bits : ndarray of shape (n_stages,)
        Means over codes. ``log2(n_options)`` is what a stage takes without a prior: what is below
        it is what the prior knows.

    Raises
    ------
    TypeError
        If `prior` has no such method.
    ValueError
        If `codes` is not a 2-D array of integers of at least 0 with a row and a column.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw.metrics import prior_bits
    >>> from skvqdraw.priors import MarkovPrior
    >>> codes = np.repeat([[0, 1], [1, 0]], 1000, axis=0)
    >>> prior_bits(MarkovPrior().fit(codes), codes).round(2)
    array([1., 0.])
    """
    if not callable(getattr(prior, "stage_scores", None)) or isclass(prior):
        raise TypeError(
            "prior must be a fitted prior with stage_scores, such as "
            f"skvqdraw.priors.MarkovPrior().fit(codes); got {prior!r}."
        )
    _some_codes(codes)  # the prior takes them as they are
    return -prior.stage_scores(codes, y).mean(axis=0) / np.log(2)


def two_sample_score(A, B, *, classifier=None, cv=5, random_state=None):
    """Return how well a classifier tells two sets of rows apart, by cross-validation.

    Of rows of one distribution it is 0.5, and 1.0 is no likeness at all. For samples of a model,
    reconstructions of rows that they were not made from are the fair comparison: real rows show
    what codes leave out, whether a sample is plausible or not.

    Parameters
    ----------
    A, B : array-like of shape (n_samples_A, n_features) and (n_samples_B, n_features)
        Rows. Each set counts as much as the other, however many it has.
    classifier : classifier or None, default=None
        Not fitted; a clone is, for each fold. None for ``sklearn.svm.SVC()``, with a radial basis
        function: a few thousand rows take seconds.
    cv : int, default=5
        Number of folds.
    random_state : int, RandomState instance or None, default=None
        Which rows go to which fold.

    Returns
    -------
    score : float
        The mean over folds of the balanced accuracy.

    Raises
    ------
    ValueError
        If A and B differ in width, or one has fewer rows than folds.

    References
    ----------
    David Lopez-Paz and Maxime Oquab, "Revisiting Classifier Two-Sample Tests", ICLR 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw.metrics import two_sample_score
    >>> A, B = np.random.default_rng(0).normal(size=(2, 200, 3))
    >>> bool(two_sample_score(A, B, random_state=0) < 0.6)
    True
    >>> bool(two_sample_score(A, B + 3, random_state=0) > 0.9)
    True
    """
    A, B = check_numbers(A, "A"), check_numbers(B, "B")
    if A.shape[1] != B.shape[1]:
        raise ValueError(
            f"A and B must have as many features; got {A.shape[1]} and {B.shape[1]}. Give rows of "
            "one kind."
        )
    check_scalar(cv, "cv", Integral, min_val=2)
    if min(len(A), len(B)) < cv:
        raise ValueError(
            f"A and B must have at least cv={cv} rows; got {len(A)} and {len(B)}. Give more rows, "
            "or lower cv."
        )
    folds = StratifiedKFold(cv, shuffle=True, random_state=random_state)
    scores = cross_val_score(
        SVC() if classifier is None else classifier,
        np.concatenate([A, B]),
        np.repeat([0, 1], [len(A), len(B)]),
        cv=folds,
        scoring="balanced_accuracy",
        error_score="raise",
    )
    return float(scores.mean())


def classification_accuracy_score(X_samples, y_samples, X_test, y_test, *, classifier=None):
    """Return how well a classifier that saw nothing but samples does on real rows.

    Samples that look right but are all alike teach little; so do those that belong to another
    class than they were drawn for. Beside it tell the same of a classifier of real rows.

    Parameters
    ----------
    X_samples : array-like of shape (n_samples, n_features)
        Generated rows.
    y_samples : array-like of shape (n_samples,)
        The classes that they were generated for.
    X_test : array-like of shape (n_test, n_features)
        Real rows that no model was fitted on.
    y_test : array-like of shape (n_test,)
        Their classes.
    classifier : classifier or None, default=None
        Not fitted; a clone is. None for ``LogisticRegression(max_iter=1000)``.

    Returns
    -------
    accuracy : float
        The share of test rows that are recognised.

    References
    ----------
    Suman Ravuri and Oriol Vinyals, "Classification Accuracy Score for Conditional Generative
    Models", NeurIPS 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skvqdraw import ClusterBoosting
    >>> from skvqdraw.metrics import classification_accuracy_score
    >>> from skvqdraw.priors import MarkovPrior
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X / 16
    >>> boosting = ClusterBoosting(n_stages=4, n_options=16, random_state=0).fit(X[:1000])
    >>> prior = MarkovPrior().fit(boosting.encode(X[:1000]), y[:1000])
    >>> samples = boosting.sample(1000, prior=prior, y=y[:1000], random_state=0)
    >>> score = classification_accuracy_score(samples, y[:1000], X[1000:], y[1000:])
    >>> bool(score > 0.7)
    True
    """
    y_samples, y_test = check_labels(y_samples, "y_samples"), check_labels(y_test, "y_test")
    classifier = LogisticRegression(max_iter=1000) if classifier is None else clone(classifier)
    return float(classifier.fit(X_samples, y_samples).score(X_test, y_test))


def _some_codes(codes, n_options=None):
    """Return codes that have been checked, of at least one row and one stage."""
    codes = check_codes(codes, n_options)
    if not codes.size:
        raise ValueError(
            f"codes must have at least one row and one stage; got shape {codes.shape}. Give the "
            "codes of some rows."
        )
    return codes


def _marginal_entropy(codes):
    """Return the entropy of each stage by itself, in bits."""
    counts = (np.unique(column, return_counts=True)[1] for column in codes.T)
    return np.array([entropy_bits(count / len(codes)) for count in counts])


def _prefix_counts(codes):
    """Yield for each stage how many rows have each prefix, among those seen, that ends with it."""
    rows = codes[np.lexsort(codes.T[::-1])]  # rows with a prefix in common lie side by side
    is_first = np.arange(len(rows)) == 0
    for column in rows.T:
        is_first[1:] |= column[1:] != column[:-1]
        yield np.diff(np.flatnonzero(is_first), append=len(rows))


def check_code_estimator(estimator, *methods):
    """Raise TypeError unless `estimator` is an instance that has `methods`."""
    missing = [name for name in methods if not callable(getattr(estimator, name, None))]
    if isclass(estimator):
        got = f"{estimator.__name__}, a class"
    elif isinstance(estimator, str):  # which has `encode`
        got = f"{estimator!r}, a str; of a file's name, pass what skvqdraw.load returns"
    elif missing:
        got = f"{type(estimator).__name__}, which lacks {' and '.join(missing)}"
    else:
        return
    needed = " and ".join(methods) or "code_usage_"
    raise TypeError(
        f"estimator must be a fitted estimator of codes with {needed}, such as "
        f"skvqdraw.VQDRAW(...).fit(X); got {got}. Of a pipeline, pass the step that has them."
    )


def _n_options(estimator):
    if hasattr(estimator, "code_usage_"):  # of the fit, whatever the parameter says by now
        return np.shape(estimator.code_usage_)[1]
    if hasattr(estimator, "n_options"):
        return estimator.n_options
    raise TypeError(
        "estimator must have code_usage_, of shape (n_stages, n_options), or n_options, which the "
        f"bits of its codes follow from; {type(estimator).__name__} has neither. Set "
        "estimator.n_options to the number of options per stage."
    )


def _means_by_length(estimator, X, compare):
    """Return the lengths of prefixes, and the mean of what is counted of their reconstructions."""
    codes = np.asarray(estimator.encode(X))  # of X as it is, with the names of its columns
    _some_codes(codes)  # their dtype stays what `decode` expects
    X = check_numbers(X, "X")
    lengths = np.array(getattr(estimator, "_prefix_lengths", range(codes.shape[1] + 1))[1:])
    sums = np.zeros(len(lengths))
    for start in range(0, len(X), _DECODED_ROWS):
        rows = slice(start, start + _DECODED_ROWS)
        for place, length in enumerate(lengths):
            decoded = np.asarray(estimator.decode(codes[rows, :length]), dtype=np.float64)
            sums[place] += compare(decoded, X[rows]).sum()
    return lengths, sums / X.size

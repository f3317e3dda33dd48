"""Guides: what samples are to be, said without gradients.

A guide scores the candidates of each stage, and codes are drawn by these scores. Pass one to
``sample`` or ``sample_codes`` of any estimator of codes: `MaskGuide` completes rows of which a part
is known, `LinearGuide` finds rows of which a smaller or a grey image is known, `ClassGuide` fulfils
the wish of a classifier, and `FunctionGuide` takes any function.
"""

from contextlib import suppress
from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import FunctionTransformer

from ._codes import read_array
from ._numbers import as_numbers, check_numbers
from ._sklearn import HasMethods, Interval, validate_params
from ._warn import warn

__all__ = [
    "ClassGuide",
    "FunctionGuide",
    "Guide",
    "LinearGuide",
    "MaskGuide",
    "grey_matrix",
    "shrinking_matrix",
]


class Guide(BaseEstimator):
    """Base class of guides.

    A subclass has parameters `temperature` and `beam_size`, and implements `scores`.

    Examples
    --------
    >>> from skvqdraw.guides import Guide
    >>> class Bright(Guide):
    ...     def __init__(self, temperature=0.1, beam_size=1):
    ...         self.temperature = temperature
    ...         self.beam_size = beam_size
    ...
    ...     def scores(self, candidates, stage, samples):
    ...         return candidates.mean(axis=2)
    """

    _parameter_constraints: dict = {
        "temperature": [Interval(Real, 0, None, closed="left")],
        "beam_size": [Interval(Integral, 1, None, closed="left")],
    }

    linear = None
    """A sparse matrix, where scores are minus the mean squared errors of its products with rows."""
    parallel = False
    """Whether several threads may ask for scores at once."""

    def scores(self, candidates, stage, samples):
        """Say how much candidates are wanted.

        Parameters
        ----------
        candidates : ndarray of shape (n, n_options, n_features)
            What each option of a stage would lead to, rows in the units of the training data.
        stage : int
            Which stage it is, counted from 0.
        samples : ndarray of shape (n,)
            Which of the samples that were asked for each one is to become.

        Returns
        -------
        scores : ndarray of shape (n, n_options)
            The higher the better: those of log probabilities, if `temperature` is to be 1. Minus
            infinity is never chosen where there is something else.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement scores.")

    def prepared(self, n_samples, n_features):
        """Return the guide for so many samples, with everything checked.

        Parameters
        ----------
        n_samples : int
            How many samples are asked for.
        n_features : int
            Features of a row.

        Returns
        -------
        guide : Guide
            Itself, or another one that says the same.
        """
        validate_params(self)
        return self

    def log_weights(self, scores):
        """Return the log weights of the continuations of each sample, for `temperature` above 0.

        Parameters
        ----------
        scores : ndarray of shape (n_samples, n_continuations)
            As `scores` gave them.

        Returns
        -------
        log_weights : ndarray of shape (n_samples, n_continuations)
            Scores divided by the temperature.
        """
        return scores / self.temperature


class _Target(Guide):
    """Rows whose products with a matrix are near a target."""

    parallel = True

    def __init__(self, matrix, targets, guide):
        self.linear = matrix
        self.targets = targets
        self.temperature = guide.temperature
        self.beam_size = guide.beam_size

    def scores(self, candidates, stage, samples):
        n, K, D = candidates.shape
        products = (self.linear @ candidates.reshape(n * K, D).T).T.reshape(n, K, -1)
        return -np.square(products - self.targets[samples][:, None]).mean(axis=2)

    def log_weights(self, scores):
        """Errors count as shares of their mean: so they matter as much when all are small."""
        mean = -scores.mean(axis=1, keepdims=True)
        return scores / np.maximum(self.temperature * mean, np.finfo(float).tiny)


class LinearGuide(Guide):
    """Samples of which linear measurements are known, such as a smaller or a grey image.

    Options are drawn by the mean squared error of their candidates' measurements.

    Parameters
    ----------
    target : array-like of shape (n_measurements,) or (n_samples, n_measurements)
        What is known of all samples, or of each.
    matrix : array-like or sparse matrix of shape (n_measurements, n_features)
        What measures a row: its products with the rows of this. `shrinking_matrix` and
        `grey_matrix` make some.
    temperature : float, default=0.1
        An error that is larger by this share of the mean error of all candidates makes an option
        e times less likely. 0 takes the best; 0.02 to 0.3 are useful, and more is more diverse.
    beam_size : int, default=1
        Codes of each sample that are kept from stage to stage. 4 to 16 come nearer to the target,
        at so many times the cost; samples of one target become more alike.

    See Also
    --------
    MaskGuide : Where some features are known, and others are not.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw import load_pretrained
    >>> from skvqdraw.guides import LinearGuide, shrinking_matrix
    >>> vq = load_pretrained("mnist-60bit")
    >>> matrix = shrinking_matrix((28, 28), 2)
    >>> small = matrix @ vq.sample(random_state=0)[0]
    >>> guide = LinearGuide(small, matrix, beam_size=4)
    >>> vq.sample(3, guide=guide, random_state=0).shape
    (3, 784)
    """

    _parameter_constraints: dict = {
        **Guide._parameter_constraints,
        "target": ["array-like"],
        "matrix": ["array-like", "sparse matrix"],
    }

    def __init__(self, target, matrix, *, temperature=0.1, beam_size=1):
        self.target = target
        self.matrix = matrix
        self.temperature = temperature
        self.beam_size = beam_size

    def prepared(self, n_samples, n_features):
        validate_params(self)
        matrix = check_numbers(self.matrix, "matrix", accept_sparse="csr")
        matrix = sparse.csr_array(matrix, dtype=np.float64)
        if matrix.shape[1] != n_features:
            raise ValueError(
                f"matrix must have a column for each of {n_features} features; it has "
                f"{matrix.shape[1]}. Make it for rows as the estimator was fitted on."
            )
        return _Target(matrix, _targets(self.target, n_samples, len(matrix.indptr) - 1), self)


class MaskGuide(Guide):
    """Samples of which some features are known: the others are completed.

    Options are drawn by the mean squared error of their candidates at the features known.

    Parameters
    ----------
    target : array-like of shape (n_features,) or (n_samples, n_features)
        The row that all samples, or each, are to be like. Features that are not known are not
        read: they may be NaN.
    mask : array-like of shape (n_features,), dtype bool
        True where features are known.
    temperature : float, default=0.1
        An error that is larger by this share of the mean error of all candidates makes an option
        e times less likely. 0 takes the best, so that with nothing unknown and a `round_beam_size`
        of 1 codes are those of ``encode``; 0.02 to 0.3 are useful, and more is more diverse.
    beam_size : int, default=1
        Codes of each sample that are kept from stage to stage. 4 to 16 come nearer to the target,
        at so many times the cost; samples of one target become more alike.

    See Also
    --------
    LinearGuide : Where sums of features are known.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw import load_pretrained
    >>> from skvqdraw.guides import MaskGuide
    >>> vq = load_pretrained("mnist-60bit")
    >>> digit, upper = vq.sample(random_state=0)[0], np.arange(784) < 392
    >>> eight = vq.sample(8, guide=MaskGuide(digit, upper), random_state=0)
    """

    _parameter_constraints: dict = {
        **Guide._parameter_constraints,
        "target": ["array-like"],
        "mask": ["array-like"],
    }

    def __init__(self, target, mask, *, temperature=0.1, beam_size=1):
        self.target = target
        self.mask = mask
        self.temperature = temperature
        self.beam_size = beam_size

    def prepared(self, n_samples, n_features):
        validate_params(self)
        mask = read_array(self.mask, "mask")
        if mask.shape != (n_features,) or mask.dtype != bool or not mask.any():
            raise ValueError(
                f"mask must be {n_features} booleans, one for each feature and one at least True; "
                f"got dtype {mask.dtype} and shape {mask.shape}, {np.count_nonzero(mask)} of them "
                "True. Say True where features are known."
            )
        known, target = np.flatnonzero(mask), read_array(self.target, "target")
        if target.ndim not in (1, 2) or target.shape[-1] != n_features:
            raise ValueError(
                f"target must be a row of {n_features} features, or one for each sample; got an "
                f"array of shape {target.shape}. Give whole rows: what mask leaves out is not read."
            )
        matrix = sparse.eye_array(n_features, format="csr")[known]
        return _Target(matrix, _targets(target[..., known], n_samples, len(known)), self)


class ClassGuide(Guide):
    """Samples that a classifier takes for what they are asked to be.

    Options are drawn by the probability that the classifier gives their candidates. It is a black
    box: any fitted classifier with ``predict_proba``.

    Parameters
    ----------
    classifier : estimator
        A fitted classifier of rows as the estimator was fitted on, with ``predict_proba``. One that
        was fitted on a frame reads candidates under the names of its columns, in their order, and
        each call warns of that once.
    y : label or array-like of shape (n_samples,)
        The class of all samples, or of each.
    temperature : float, default=1.0
        Divides log probabilities: below 1 the classifier becomes surer and samples less diverse. 0
        takes the best; 0.2 to 1 are useful.
    beam_size : int, default=1
        Codes of each sample that are kept from stage to stage: 2 to 4 please the classifier more,
        at so many times the cost.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skvqdraw import VQDRAW
    >>> from skvqdraw.datasets import load_digits_images
    >>> from skvqdraw.guides import ClassGuide
    >>> digits = load_digits_images()
    >>> classifier = LogisticRegression(max_iter=1000).fit(digits.data, digits.target)
    >>> vq = VQDRAW(n_stages=4, max_steps=50, random_state=0).fit(digits.data)
    >>> threes = vq.sample(5, guide=ClassGuide(classifier, 3, temperature=0.3), random_state=0)
    >>> classifier.predict(threes)
    array([3, 3, 3, 3, 3])
    """

    _parameter_constraints: dict = {
        **Guide._parameter_constraints,
        "classifier": [HasMethods("predict_proba")],
        "y": "no_validation",
    }

    def __init__(self, classifier, y, *, temperature=1.0, beam_size=1):
        self.classifier = classifier
        self.y = y
        self.temperature = temperature
        self.beam_size = beam_size

    def prepared(self, n_samples, n_features):
        validate_params(self)
        if not hasattr(self.classifier, "classes_"):
            raise NotFittedError(
                f"classifier must be fitted; this {type(self.classifier).__name__} has no "
                "classes_. Fit it on rows and their labels first."
            )
        n_seen = getattr(self.classifier, "n_features_in_", n_features)
        if n_seen != n_features:
            raise ValueError(
                f"classifier must be fitted on rows of {n_features} features, as the estimator "
                f"has them; it was fitted on {n_seen}. Fit it on such rows."
            )
        y = np.asarray(self.y)
        if y.shape not in ((), (n_samples,)):
            raise ValueError(
                f"y must be one label or n_samples={n_samples} of them; got an array of shape "
                f"{y.shape}. Give one label for each sample."
            )
        known = self.classifier.classes_.tolist()
        if unknown := set(y.ravel().tolist()) - set(known):
            raise ValueError(
                f"y must hold classes of the classifier, {known}; got {unknown.pop()!r}. Ask for "
                "one of these."
            )
        places = [known.index(label) for label in np.broadcast_to(y, n_samples).tolist()]
        return _Wish(np.array(places), self, self._framing())

    def _framing(self):
        """Return what makes frames of candidates for a classifier that was fitted on one, or None.

        Given arrays, it would warn at each stage, or could not read them at all.
        """
        names = getattr(self.classifier, "feature_names_in_", None)
        if names is None:
            return None
        warn(
            f"candidates have no valid feature names, but {type(self.classifier).__name__} was "
            "fitted with feature names. It reads their features under these names, in this order. "
            "Fit it on an array to do without names."
        )
        return _framing(names)


class _Wish(Guide):
    """Rows of which a classifier says certain classes, named by their places."""

    parallel = True

    def __init__(self, places, guide, framing):
        self.places = places
        self.framing = framing
        self.classifier = guide.classifier
        self.temperature = guide.temperature
        self.beam_size = guide.beam_size

    def scores(self, candidates, stage, samples):
        n, K, D = candidates.shape
        rows = candidates.reshape(n * K, D)
        if self.framing is not None:
            rows = self.framing.transform(rows)
        chances = np.asarray(self.classifier.predict_proba(rows))
        wanted = n * K, len(self.classifier.classes_)
        if chances.shape != wanted:
            raise ValueError(
                f"predict_proba of the classifier must return an array of shape {wanted}; got "
                f"{chances.shape}. Take a classifier of one output."
            )
        places = self.places[samples][:, None, None]
        wished = np.take_along_axis(chances.reshape(n, K, -1), places, axis=2)[:, :, 0]
        return np.log(np.maximum(wished, np.finfo(float).tiny))


def _framing(names):
    """Return a transformer of rows to frames with these names; None where there is no pandas."""
    with suppress(ImportError):
        framing = FunctionTransformer(feature_names_out=lambda _, seen: names)
        framing.set_output(transform="pandas").transform(np.zeros((1, len(names))))
        return framing
    return None


class FunctionGuide(Guide):
    """Samples that a function of candidates wants.

    Parameters
    ----------
    function : callable
        Called with candidates of shape (n, n_options, n_features), in the units of the training
        data, and with the number of the stage, it returns scores of shape (n, n_options), the
        higher the better.
    temperature : float, default=1.0
        Divides scores: 1 where they are log probabilities. 0 takes the best.
    beam_size : int, default=1
        Codes of each sample that are kept from stage to stage.

    Examples
    --------
    >>> from skvqdraw import load_pretrained
    >>> from skvqdraw.guides import FunctionGuide
    >>> vq = load_pretrained("mnist-60bit")
    >>> bold = FunctionGuide(lambda rows, stage: rows.mean(axis=2), temperature=0.01)
    >>> bool(vq.sample(9, guide=bold, random_state=0).mean() > vq.sample(9, random_state=0).mean())
    True
    """

    _parameter_constraints: dict = {**Guide._parameter_constraints, "function": [callable]}

    def __init__(self, function, *, temperature=1.0, beam_size=1):
        self.function = function
        self.temperature = temperature
        self.beam_size = beam_size

    def scores(self, candidates, stage, samples):
        return self.function(candidates, stage)


def shrinking_matrix(image_shape, factor):
    """Return what makes images smaller: each of its rows is the mean of a square of pixels.

    Parameters
    ----------
    image_shape : tuple of (height, width) or (height, width, n_channels)
        The shape of images, rows of which are flattened in C order.
    factor : int
        How many times smaller height and width become; it divides both.

    Returns
    -------
    matrix : sparse array of shape (n_small_features, n_features)
        For `LinearGuide`; ``matrix @ row`` is the smaller image.

    Examples
    --------
    >>> from skvqdraw.guides import shrinking_matrix
    >>> shrinking_matrix((2, 4), 2).toarray()
    array([[0.25, 0.25, 0.  , 0.  , 0.25, 0.25, 0.  , 0.  ],
           [0.  , 0.  , 0.25, 0.25, 0.  , 0.  , 0.25, 0.25]])
    """
    height, width, n_channels = (*image_shape, 1)[:3]
    if height % factor or width % factor:
        raise ValueError(
            f"factor must divide height and width of image_shape={image_shape}; got {factor}. Take "
            "another one, or cut images first."
        )

    def means(size):
        return sparse.kron(sparse.eye_array(size // factor), np.full((1, factor), 1 / factor))

    matrix = sparse.kron(sparse.kron(means(height), means(width)), sparse.eye_array(n_channels))
    return sparse.csr_array(matrix)


def grey_matrix(image_shape):
    """Return what makes images grey: each of its rows is the luma of a pixel.

    Parameters
    ----------
    image_shape : tuple of (height, width, 3)
        The shape of images, rows of which are flattened in C order: red, green, blue.

    Returns
    -------
    matrix : sparse array of shape (height * width, height * width * 3)
        For `LinearGuide`; ``matrix @ row`` is the grey image, by the weights of ITU-R BT.601.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw.guides import grey_matrix
    >>> grey_matrix((1, 2, 3)) @ np.array([1, 1, 1, 0, 1, 0])
    array([1.   , 0.587])
    """
    height, width, n_channels = (*image_shape, 1)[:3]
    if n_channels != 3:
        raise ValueError(
            f"image_shape must be (height, width, 3); got {image_shape}. Other images are grey."
        )
    return sparse.csr_array(
        sparse.kron(sparse.eye_array(height * width), np.array([[0.299, 0.587, 0.114]]))
    )


def _targets(target, n_samples, width):
    """Return finite targets (n_samples, width), or say what is wrong with them."""
    target = as_numbers(target, "target").astype(np.float64)
    if target.shape not in ((width,), (n_samples, width)):
        raise ValueError(
            f"target must be of shape ({width},) or (n_samples, {width}) for n_samples="
            f"{n_samples}; got {target.shape}. Give one target, or one for each sample."
        )
    if not np.isfinite(target).all():
        raise ValueError(
            "target must be finite where it is known; it has NaN or infinite values. Leave such "
            "features out with mask."
        )
    return np.broadcast_to(target, (n_samples, width))

"""Losses: what makes one reconstruction better than another, and the space that data live in.

Axes: N rows, K options, D features, P parameters of all features of a row.
"""

from numbers import Integral, Real

import numpy as np
from scipy.special import expit, logit, logsumexp
from sklearn.base import BaseEstimator, clone

from ._products import product
from ._rows import float_dtype, pieces, tiles, weighted_mean
from ._sklearn import Interval, same_specs, validate_params
from .boosting.kmeans import nearest
from .files.json import known
from .files.learned import Spec

__all__ = ["Categorical", "Gaussian", "LogLoss", "Loss", "SquaredError"]

_OUT_OF_RANGE = (
    "the variance of X is too {} for float64; rescale X, for example with "
    "sklearn.preprocessing.RobustScaler."
)
# How many times as far from the mean as rows the reconstructions of a short fit may lie.
_OVERSHOOT = 1.5
# Squares below this have lost digits.
_SMALLEST_VARIANCE = np.finfo(np.float64).tiny / np.finfo(np.float64).eps
# No step of the line search changes log odds by more than this: where a cluster's rows agree, the
# best step is infinite.
_LONGEST_STEP = 10.0
_NEWTON_STEPS = 12
_SMALLEST_CHANCE = float(np.finfo(np.float32).tiny)
# More symbols than this are more likely identifiers, and a row takes numbers for each of them.
_MOST_SYMBOLS = 2**12
# The first options are means of squares: k-means of those takes fourth powers, in float32.
_LARGEST_SQUARED = 1e8
_HALF_LOG_2_PI = float(np.log(2 * np.pi) / 2)
# Options of cluster boosting are compared together as long as they take no more values than this.
_OPTION_VALUES = 2**14


class Loss(BaseEstimator):
    """Base class of losses.

    What is coded are *parameters*, one or more for each feature: the number itself for squared
    error, log odds for chances. A loss scores them against rows of data, and leads from data to
    parameters and back.

    A subclass stores its own parameters in ``__init__``, unchanged, and implements `grid` and
    `rows`; the rest where it differs from that of squared error.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw import VQDRAW
    >>> from skvqdraw.losses import Loss
    >>> class AbsoluteError(Loss):
    ...     def grid(self, params, target):
    ...         return (params - target[:, None]).abs().mean(-1)
    ...
    ...     def rows(self, params, X):
    ...         return np.abs(params - X).mean(axis=1)
    ...
    ...     def unit(self, scale):
    ...         return scale
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> vq = VQDRAW(n_stages=2, n_options=4, loss=AbsoluteError(), max_steps=10).fit(X)
    >>> bool(np.isclose(-vq.score(X), np.abs(vq.reconstruct(X) - X).mean()))
    True
    """

    _parameter_constraints: dict = {}

    n_params = 1
    """Parameters of a feature. Those of one feature lie side by side."""
    n_statistics = 1
    """Numbers of a feature whose means are learned, see `statistics`. Those of one feature lie side
    by side."""
    centred = True
    """Whether targets are centred, and divided by one scale, before they are scored. If not, they
    are scored as they are, and parameters are counted from those of the mean."""
    quadratic = False
    """Whether the loss is the mean squared difference of parameters and targets: then candidates
    need not be written out to be scored. A subclass with a `grid` of its own is not, unless it says
    so."""
    expands = False
    """Whether it knows its gradient and its curvature: then only those candidates are written out
    that are the best to second order. A class has it with a `gradient` of its own; one with a
    `grid` of its own and no `gradient` has it not."""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        own = vars(cls)
        if "grid" in own:
            cls.quadratic = own.get("quadratic", False)
            cls.table = own.get("table", vars(Loss)["table"])
        if "grid" in own or "gradient" in own:
            cls.expands = "gradient" in own

    def grid(self, params, target):
        """Return the losses of candidates.

        Parameters
        ----------
        params : tensor of shape (n_samples, n_options, n_features * n_params)
            The candidates.
        target : tensor of shape (n_samples, n_features)
            What each row should become, centred and scaled where the loss asks for it.

        Returns
        -------
        loss : tensor of shape (n_samples, n_options)
            The mean over features: differentiable, and the less the better.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement grid(params, target).")

    def table(self, options, target):
        """Return the losses of candidates that are the same for all rows.

        Parameters
        ----------
        options : tensor of shape (n_options, n_features * n_params)
            The candidates.
        target : tensor of shape (n_samples, n_features)
            What each row should become.

        Returns
        -------
        loss : tensor of shape (n_samples, n_options)
            As that of `grid`, which it calls; a loss may know a shorter way.
        """
        return self.grid(options.expand(len(target), -1, -1), target)

    def gradient(self, params, target):
        """Return the losses of candidates, and their gradients by the parameters.

        Parameters
        ----------
        params : tensor of shape (n_samples, n_options, n_features * n_params)
            The candidates.
        target : tensor of shape (n_samples, n_features)
            What each row should become.

        Returns
        -------
        loss : tensor of shape (n_samples, n_options)
            As that of `grid`.
        gradient : tensor of shape (n_samples, n_options, n_features * n_params)
            Of each loss. Neither needs to be differentiable.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement gradient(params, target).")

    def curvature(self, params, vectors):
        """Return products of the Hessian matrix of the loss, or of what stands for it.

        It must be symmetric, must not depend on targets and should have no negative eigenvalue:
        Fisher information, which is the Hessian matrix that is expected, is like that.

        Parameters
        ----------
        params : tensor of shape (n_samples, n_features * n_params)
            Where the matrix is taken, one for each sample.
        vectors : tensor of shape (n_samples, n_features * n_params, n_vectors)
            Vectors for each sample.

        Returns
        -------
        products : tensor of shape (n_samples, n_features * n_params, n_vectors)
            The matrix of the sample times each of its vectors. It needs not be differentiable.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must implement curvature(params, vectors)."
        )

    def of_features(self, features):
        """Return the loss of some features, of which the whole one is the mean over all.

        Parameters
        ----------
        features : slice
            From one feature to another, in the order of the network.

        Returns
        -------
        loss : Loss
            Itself: a loss in which features are not all alike returns another one.
        """
        return self

    def of_regions(self, n_regions):
        """Return the loss of regions: of the equal parts that features are cut into.

        Parameters
        ----------
        n_regions : int
            Regions of a row, which are to the loss as many rows, one after another.

        Returns
        -------
        loss : Loss
            Itself: a loss in which features are not all alike returns another one.
        """
        return self

    def rows(self, params, X):
        """Return the loss of each row, in X's own units.

        Parameters
        ----------
        params : ndarray of shape (n_samples, n_features * n_params)
            Of the reconstructions.
        X : ndarray of shape (n_samples, n_features)
            Rows of data.

        Returns
        -------
        loss : ndarray of shape (n_samples,)
            The mean over features, in float64.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement rows(params, X).")

    def check(self, X):
        """Refuse rows that the loss cannot score.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Finite numbers.

        Raises
        ------
        ValueError
            If there are such rows.
        """

    def for_data(self, X):
        """Return the loss that training rows ask for.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Training rows, checked.

        Returns
        -------
        loss : Loss
            Itself, or one whose parameters say what these leave open.
        """
        return self

    def goes_on(self, fitted):
        """Whether a model that was fitted with another loss may be trained further with this one.

        Parameters
        ----------
        fitted : Loss
            The other one, as `for_data` returned it.

        Returns
        -------
        same : bool
            Whether they are the same but for what this one leaves open.
        """
        return same_specs(self, fitted)

    def statistics(self, X):
        """Return the numbers of rows whose means say which parameters a group of rows has.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Rows of data.

        Returns
        -------
        statistics : ndarray of shape (n_samples, n_features * n_statistics)
            For squared error, X itself.
        """
        return X

    def mean(self, X, sample_weight):
        """Return the mean from which parameters are counted.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Training rows. It may be a memory map, and is never copied whole.
        sample_weight : ndarray of shape (n_samples,)
            Weight of each row.

        Returns
        -------
        mean : ndarray of shape (n_features * n_statistics,)
            The weighted mean of the statistics, in float64.
        """
        return weighted_mean(X, sample_weight)

    def mean_and_scale(self, X, sample_weight):
        """Return what a model learns of the data before it is trained.

        Parameters
        ----------
        X : ndarray of shape (n_samples, n_features)
            Training rows. It may be a memory map, and is never copied whole.
        sample_weight : ndarray of shape (n_samples,)
            Weight of each row.

        Returns
        -------
        mean : ndarray of shape (n_features * n_statistics,)
            The weighted mean of the statistics. Its dtype is that of reconstructions.
        scale : float
            The root of the mean variance, 0 of constant data; 1 where targets are not centred.

        Raises
        ------
        ValueError
            If the variance is out of the range of float64, or reconstructions may be out of that
            of their dtype.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # the scale tells
            mean_D = self.mean(X, sample_weight)
        scale = _scale(X, mean_D, sample_weight) if self.centred else 1.0
        return mean_D.astype(float_dtype(X.dtype)), scale

    def link(self, X):
        """Return the parameters of rows with these means of the statistics.

        Parameters
        ----------
        X : ndarray of shape (..., n_features * n_statistics)
            Means, or the statistics of one row, from which `inverse_link` leads back to the row.

        Returns
        -------
        params : ndarray of shape (..., n_features * n_params)
            For squared error, X itself.
        """
        return X

    def inverse_link(self, params):
        """Return the data that parameters stand for.

        Parameters
        ----------
        params : ndarray of shape (n_samples, n_features * n_params)
            Of the reconstructions.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            For squared error, the parameters themselves.
        """
        return params

    def unit(self, scale):
        """Return what the loss of centred and scaled rows is to be multiplied by.

        Parameters
        ----------
        scale : float
            As `mean_and_scale` returns it.

        Returns
        -------
        unit : float
            So that the loss is in X's own units: 1 where targets are not scaled.
        """
        return 1.0


@known
class SquaredError(Loss):
    """The mean over features of the squared error: for numbers of any kind.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw.losses import SquaredError
    >>> SquaredError().rows(np.zeros((1, 2)), np.array([[1.0, 3.0]]))
    array([5.])
    """

    quadratic = True

    def grid(self, params, target):
        return (params - target[:, None]).square().mean(-1)

    def rows(self, params, X):
        return np.square(params.astype(np.float64) - X).mean(axis=1)

    def unit(self, scale):
        return scale**2

    # For cluster boosting: the state of a row is what is left of it.

    def _state(self, target_ND, start_D):
        """Return the state of rows before the first stage, a new array with the rows first."""
        return np.subtract(target_ND, start_D, dtype=start_D.dtype)

    def _descent(self, state):
        """Return minus the gradient of the loss by the parameters: what is clustered."""
        return state

    def _steps(self, state, centres_KD, sample_weight):
        """Return the best multiple of each centre for the rows that are nearest to it.

        A centre is the mean of its rows: it is the best itself.
        """
        return centres_KD

    def _choose(self, state, steps_KD):
        """Return for each row the option with the least loss."""
        return nearest(state, steps_KD)

    def _options(self, state, steps_KD):
        """Return the loss of each option for each row, (N, K)."""
        losses_NK = product(state, -2 * steps_KD.T)
        losses_NK += np.einsum("nd,nd->n", state, state)[:, None]
        losses_NK += np.einsum("kd,kd->k", steps_KD, steps_KD)
        return losses_NK / state.shape[1]

    def _move(self, state, steps_ND):
        """Add steps to the parameters, in place."""
        state -= steps_ND

    def _losses(self, state):
        """Return the loss of each row."""
        return np.einsum("nd,nd->n", state, state) / state.shape[1]


@known
class LogLoss(Loss):
    """Minus the log likelihood of values in [0, 1] as chances, in nats: for black and white.

    Parameters are log odds, and reconstructions are chances.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw.losses import LogLoss
    >>> LogLoss().rows(np.array([[0.0, 100.0]]), np.array([[1, 1]])).round(3)
    array([0.347])
    """

    centred = False

    def grid(self, params, target):
        return _mean_softplus(params) - (params @ target[:, :, None])[:, :, 0] / target.shape[1]

    def table(self, options, target):
        return _mean_softplus(options) - target @ options.T / target.shape[1]

    def gradient(self, params, target):
        chances = params.sigmoid()
        loss_NC = params.clamp(min=0).sub_((1 - chances).maximum(chances).log_()).mean(-1)
        loss_NC -= (params @ target[:, :, None])[:, :, 0] / target.shape[1]
        return loss_NC, chances.sub_(target[:, None]).div_(target.shape[1])

    def curvature(self, params, vectors):
        chances = params.sigmoid()
        return vectors * (chances * (1 - chances) / params.shape[1])[:, :, None]

    def rows(self, params, X):
        params = params.astype(np.float64)
        return (_softplus(params) - X * params).mean(axis=1)

    def check(self, X):
        low, high = X.min(), X.max()
        if not (low >= 0 and high <= 1):
            raise ValueError(
                f"loss='log_loss' needs values in [0, 1]; X has values from {low:.6g} to "
                f"{high:.6g}. Scale X, for example with "
                "sklearn.preprocessing.MinMaxScaler(clip=True), or set loss='squared_error'."
            )

    def mean(self, X, sample_weight):
        # Half a row of 1 and half a row of 0 are counted in.
        n_rows = np.count_nonzero(sample_weight)
        mean_D = (weighted_mean(X, sample_weight) * n_rows + 0.5) / (n_rows + 1)
        # In float32 a chance may be as good as 1, but its log odds must be finite.
        return np.minimum(mean_D, 1 - float(np.finfo(float_dtype(X.dtype)).epsneg))

    def link(self, X):
        about = np.finfo(X.dtype)  # also of a mean of ones that was rounded
        return logit(np.clip(X, about.tiny, 1 - about.epsneg))

    def inverse_link(self, params):
        return expit(params)

    # For cluster boosting: the state is (N, 2, D), targets and log odds.

    def _state(self, target_ND, start_D):
        state = np.empty((len(target_ND), 2, len(start_D)), dtype=start_D.dtype)
        state[:, 0], state[:, 1] = target_ND, start_D
        return state

    def _descent(self, state):
        return state[:, 0] - expit(state[:, 1])

    def _steps(self, state, centres_KD, sample_weight):
        """Newton's method, for all centres at once, kept between bounds that close in.

        The loss along a centre is convex and falls at 0: its minimum is where the slope
        changes its sign, or at the longest step.
        """
        largest_K = np.abs(centres_KD).max(axis=1)
        tiny = _LONGEST_STEP * np.finfo(centres_KD.dtype).tiny
        high_K = _LONGEST_STEP / np.maximum(largest_K, tiny)
        low_K, factor_K = np.zeros_like(high_K), np.minimum(4, high_K)
        labels = np.concatenate(
            [nearest(self._descent(state[tile]), centres_KD) for tile in tiles(len(state))]
        )
        for _ in range(_NEWTON_STEPS):
            slope_K, curvature_K = np.zeros((2, len(centres_KD)))
            for tile in tiles(len(state)):
                of_row = labels[tile]
                direction_ND = centres_KD[of_row]
                chance_ND = expit(state[tile, 1] + factor_K[of_row, None] * direction_ND)
                weight = sample_weight[tile, None]
                slope = weight * direction_ND * (chance_ND - state[tile, 0])
                curvature = weight * direction_ND**2 * chance_ND * (1 - chance_ND)
                slope_K += np.bincount(of_row, slope.sum(axis=1), len(slope_K))
                curvature_K += np.bincount(of_row, curvature.sum(axis=1), len(slope_K))
            low_K = np.where(slope_K < 0, factor_K, low_K)
            high_K = np.where(slope_K > 0, factor_K, high_K)
            with np.errstate(divide="ignore", invalid="ignore"):
                newton_K = factor_K - slope_K / curvature_K
            inside = (newton_K >= low_K) & (newton_K <= high_K)
            factor_K = np.where(inside, newton_K, (low_K + high_K) / 2)
        return (factor_K[:, None] * centres_KD).astype(centres_KD.dtype)

    def _choose(self, state, steps_KD):
        return self._options(state, steps_KD).argmin(axis=1)

    def _options(self, state, steps_KD):
        target_ND, output_ND = state[:, 0], state[:, 1]
        losses_NK = -product(target_ND, steps_KD.T)
        losses_NK -= np.einsum("nd,nd->n", target_ND, output_ND)[:, None]
        n_together = max(1, _OPTION_VALUES // output_ND.size)
        for start in range(0, len(steps_KD), n_together):
            some = slice(start, start + n_together)
            losses_NK[:, some] += _softplus(output_ND[:, None] + steps_KD[some]).sum(axis=2)
        return losses_NK / target_ND.shape[1]

    def _move(self, state, steps_ND):
        state[:, 1] += steps_ND

    def _losses(self, state):
        target_ND, output_ND = state[:, 0], state[:, 1]
        return (_softplus(output_ND) - target_ND * output_ND).mean(axis=1)


@known
class Categorical(Loss):
    """Minus the log likelihood of symbols, in nats: for text, codes and other integers.

    X holds symbols, integers from 0 to ``n_symbols - 1`` that have no order. Parameters are log
    odds of all symbols for each feature, and the reconstruction is the most likely symbol.

    Parameters
    ----------
    n_symbols : int or None, default=None
        Number of different symbols, at least 2. None for the largest in the training data plus
        one; a `loss_` that was fitted says how many these were. A row takes ``n_features *
        n_symbols`` numbers in a network: up to some hundred symbols.

    See Also
    --------
    skvqdraw.preprocessing.CharacterTokenizer : Strings as rows of symbols.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw.losses import Categorical
    >>> log_odds = np.log([[0.5, 0.25, 0.25, 0.1, 0.1, 0.8]])
    >>> Categorical(3).inverse_link(log_odds)
    array([[0., 2.]])
    >>> Categorical(3).rows(log_odds, np.array([[0, 2]])).round(3)
    array([0.458])
    """

    _parameter_constraints: dict = {
        "n_symbols": [Interval(Integral, 2, None, closed="left"), None],
    }
    centred = False

    def __init__(self, n_symbols=None):
        self.n_symbols = n_symbols

    @property
    def n_params(self):
        """Log odds of a feature."""
        return self.n_symbols

    n_statistics = n_params

    def grid(self, params, target):
        log_chances = self._by_symbol(params).log_softmax(-1)
        return -log_chances.gather(-1, _places(log_chances, target)).flatten(2).mean(-1)

    def table(self, options, target):
        log_chances = self._by_symbol(options).log_softmax(-1).flatten(1)
        is_symbol = log_chances.new_zeros(*target.shape, self.n_symbols)
        is_symbol.scatter_(-1, target.long()[:, :, None], 1)
        return is_symbol.flatten(1) @ log_chances.T / -target.shape[1]

    def gradient(self, params, target):
        chances = self._by_symbol(params).softmax(-1)
        places = _places(chances, target)
        of_targets = chances.gather(-1, places)
        # Of chances that are 0 in float32 the gradient is right, and the loss 87 nats.
        loss = -of_targets.clamp(min=_SMALLEST_CHANCE).log_().flatten(2).mean(-1)
        slopes = chances.scatter_(-1, places, of_targets - 1).div_(target.shape[1])
        return loss, slopes.flatten(2)

    def curvature(self, params, vectors):
        # diag(p) - p p^T for each feature.
        chances = self._by_symbol(params).softmax(-1)
        by_symbol = vectors.unflatten(1, (-1, self.n_symbols))
        means = chances[:, :, None] @ by_symbol
        weights = chances / chances.shape[1]
        return (by_symbol - means).mul_(weights[:, :, :, None]).flatten(1, 2)

    def rows(self, params, X):
        log_odds = self._by_symbol(params.astype(np.float64))
        symbols = X.astype(np.intp)[:, :, None]
        of_rows = np.take_along_axis(log_odds, symbols, axis=2)[:, :, 0]
        return (logsumexp(log_odds, axis=2) - of_rows).mean(axis=1)

    def check(self, X):
        most = np.inf if self.n_symbols is None else self.n_symbols - 1
        low, high = X.min(), X.max()
        whole = all(
            np.array_equal(X[piece], np.floor(X[piece]))
            for piece in pieces(*X.shape, whole_tiles=False)
        )
        if low < 0 or high > most or not whole:
            allowed = "0 or more" if self.n_symbols is None else f"0 to {most}"
            found = f"values from {low:.6g} to {high:.6g}" if whole else "numbers between integers"
            raise ValueError(
                f"loss={self} needs symbols, integers of {allowed}; X has {found}. Number the "
                "symbols from 0, for example with sklearn.preprocessing.OrdinalEncoder or "
                "skvqdraw.preprocessing.CharacterTokenizer."
            )

    def for_data(self, X):
        if self.n_symbols:
            return self
        if (most := int(X.max())) >= _MOST_SYMBOLS:
            raise ValueError(
                f"loss=Categorical() takes up to {_MOST_SYMBOLS} symbols, numbered from 0; X has "
                f"values up to {most}. Number those that occur, for example with "
                "sklearn.preprocessing.OrdinalEncoder, or set n_symbols."
            )
        return Categorical(max(most + 1, 2))

    def goes_on(self, fitted):
        return same_specs(self, fitted) or (type(self) is type(fitted) and not self.n_symbols)

    def statistics(self, X):
        is_symbol = np.zeros((*X.shape, self.n_symbols), dtype=np.float32)
        np.put_along_axis(is_symbol, X.astype(np.intp)[:, :, None], 1, axis=2)
        return is_symbol.reshape(len(X), -1)

    def mean(self, X, sample_weight):
        # A row in which all symbols are alike is counted in.
        n_rows, width = np.count_nonzero(sample_weight), X.shape[1] * self.n_symbols
        starts_D = self.n_symbols * np.arange(X.shape[1])
        total_P = np.zeros(width)
        for piece in pieces(*X.shape, whole_tiles=False):
            cells = X[piece].astype(np.intp) + starts_D
            weights = np.broadcast_to(sample_weight[piece, None], cells.shape)
            total_P += np.bincount(cells.ravel(), weights.ravel(), width)
        share_P = total_P * (n_rows / sample_weight.sum())
        return (share_P + 1 / self.n_symbols) / (n_rows + 1)

    def link(self, X):
        return np.log(np.maximum(X, np.finfo(X.dtype).tiny))

    def inverse_link(self, params):
        return self._by_symbol(params).argmax(axis=2).astype(params.dtype)

    def _by_symbol(self, params):
        return params.reshape(*params.shape[:-1], -1, self.n_symbols)


@known
class Gaussian(Loss):
    """Minus the log likelihood of normal numbers, in nats: for data whose noise differs.

    Parameters are a mean and a log scale for each feature, and the reconstruction is the mean.
    A network learns these in the units of X: standardise it first.

    Parameters
    ----------
    min_scale : float, default=1e-3
        The least standard deviation, in the units of X: where it is reached, the likelihood no
        longer grows with precision. About what X is rounded to, 1e-15 or more.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw.losses import Gaussian
    >>> Gaussian().rows(np.array([[0.0, np.log(2)]]), np.array([[2.0]])).round(3)
    array([2.112])
    """

    # Its inverse square must be a number in float32.
    _parameter_constraints: dict = {"min_scale": [Interval(Real, 1e-15, None, closed="left")]}
    centred = False
    n_params = 2
    n_statistics = 2

    def __init__(self, min_scale=1e-3):
        self.min_scale = min_scale

    def grid(self, params, target):
        _, log_scale, z = self._parts(params, target[:, None])
        return _minus_log_normal(z, log_scale)

    def gradient(self, params, target):
        free, log_scale, z = self._parts(params, target[:, None])
        slopes = params.new_empty(*z.shape, 2)
        slopes[..., 0] = -z * (-log_scale).exp()
        slopes[..., 1] = (1 - z * z) * free
        return _minus_log_normal(z, log_scale), slopes.flatten(2) / z.shape[-1]

    def curvature(self, params, vectors):
        # Fisher information; that of the log scale is 2.
        _, log_scale, _ = self._parts(params, 0.0)
        weights = params.new_full((*log_scale.shape, 2), 2.0)
        weights[..., 0] = (-2 * log_scale).exp()
        return vectors * (weights.flatten(1) / log_scale.shape[1])[:, :, None]

    def rows(self, params, X):
        mean, log_scale = params[:, ::2].astype(np.float64), params[:, 1::2].astype(np.float64)
        log_scale = np.maximum(log_scale, np.log(self.min_scale))
        z = (X - mean) * np.exp(-log_scale)
        return _minus_log_normal(z, log_scale)

    def check(self, X):
        low, high = X.min(), X.max()
        if max(-low, high) > _LARGEST_SQUARED:
            raise ValueError(
                f"loss={self} needs values of up to {_LARGEST_SQUARED:g} in size; X has values "
                f"from {low:.6g} to {high:.6g}. Standardise X, for example "
                "with sklearn.preprocessing.StandardScaler."
            )

    def statistics(self, X):
        return np.stack([X, np.square(X, dtype=np.float64)], axis=2).reshape(len(X), -1)

    def mean(self, X, sample_weight):
        mean_D = weighted_mean(X, sample_weight)
        squares_D = np.zeros(X.shape[1])
        for piece in pieces(*X.shape, whole_tiles=False):
            squares_D += sample_weight[piece] @ np.square(X[piece] - mean_D)
        squares_D = squares_D / sample_weight.sum() + np.square(mean_D)
        return np.stack([mean_D, squares_D], axis=1).ravel()

    def link(self, X):
        mean, squares = X[..., ::2], X[..., 1::2]
        variance = np.maximum(squares - np.square(mean), self.min_scale**2)
        return np.stack([mean, np.log(variance) / 2], axis=-1).reshape(X.shape)

    def inverse_link(self, params):
        return params[:, ::2]

    def _parts(self, params, target):
        """Return whether scales are above the least, their logarithms, and standard scores."""
        mean, log_scale = params.unflatten(-1, (-1, 2)).unbind(-1)
        least = float(np.log(self.min_scale))
        free, log_scale = log_scale > least, log_scale.clamp(min=least)
        return free, log_scale, (target - mean) * (-log_scale).exp()


NAMES = {"log_loss": LogLoss, "squared_error": SquaredError}


def find(loss):
    """Return the loss that a name stands for, or a copy of one."""
    if isinstance(loss, type):
        raise TypeError(f"loss must be an object, not a class; got {loss}. Set {loss.__name__}().")
    if isinstance(loss, Loss):
        validate_params(loss)
    return NAMES[loss]() if isinstance(loss, str) else clone(loss)


class LearnedLoss(Spec):
    """The loss of a fit, in a file where the parameter `loss` says another one by now."""

    in_text = None

    def _take_apart(self, name, estimator):
        loss, parameter = getattr(estimator, name), estimator.loss
        if isinstance(parameter, str):
            same = type(loss) is NAMES.get(parameter)
        else:
            same = same_specs(loss, parameter)
        return (None, {}) if same else super()._take_apart(name, estimator)

    def _check(self, name, reading):
        if name in reading.fitted:
            return super()._check(name, reading)
        loss = find(reading.estimator.loss)
        self._check_methods(name, loss)
        setattr(reading.estimator, name, loss)
        return []


def _scale(X, mean_D, sample_weight):
    """Return the root of the mean variance, in float64."""
    variance, largest = 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for piece in pieces(*X.shape, whole_tiles=False):
            left, weight_N = np.asarray(X[piece] - mean_D, dtype=np.float64), sample_weight[piece]
            squares_ND = np.square(left, out=left)
            variance += weight_N @ squares_ND.mean(axis=1)
            largest = max(largest, squares_ND.max(axis=1)[weight_N > 0].max(initial=0.0))
    variance /= sample_weight.sum()
    if not np.isfinite(variance):
        raise ValueError(_OUT_OF_RANGE.format("large"))
    _refuse_overflow(np.abs(mean_D).max(), np.sqrt(largest), float_dtype(X.dtype))
    if variance > _SMALLEST_VARIANCE:
        return float(np.sqrt(variance))
    if any(
        np.any(X[piece][sample_weight[piece] > 0] != mean_D)
        for piece in pieces(*X.shape, whole_tiles=False)
    ):
        raise ValueError(_OUT_OF_RANGE.format("small"))
    return 0.0


def _refuse_overflow(mean, farthest, dtype):
    """Refuse rows whose reconstructions their dtype may be too small for."""
    if farthest > (np.finfo(dtype).max - mean) / _OVERSHOOT:
        raise ValueError(
            f"X has values that are as far as {farthest:.3g} from their mean, whose "
            f"reconstructions may be too large for {dtype}; rescale X, for example with "
            "sklearn.preprocessing.RobustScaler, or give float64."
        )


def _places(log_chances, target):
    """Return where the symbols of targets are among the chances of candidates."""
    n_samples, n_options, n_features, _ = log_chances.shape
    return target.long()[:, None, :, None].expand(n_samples, n_options, n_features, 1)


def _minus_log_normal(z, log_scale):
    """Return the mean over features of minus the log likelihood of standard scores."""
    return (z * z / 2 + log_scale).mean(-1) + _HALF_LOG_2_PI


def _mean_softplus(params):
    """Return the mean over features of log(1 + exp(x)), with the methods of tensors."""
    return (params.clamp(min=0) + (-params.abs()).exp().log1p()).mean(-1)


def _softplus(x):
    """Return log(1 + exp(x)). numpy's logaddexp is several times slower."""
    return np.maximum(x, 0) + np.log(1 + np.exp(-np.abs(x)))

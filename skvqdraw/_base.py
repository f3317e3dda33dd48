"""What all estimators of codes share."""

import json
import math
from contextlib import contextmanager, suppress
from itertools import zip_longest
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ._codes import (
    check_codes,
    check_n_samples,
    check_prefix,
    codes_dtype,
    feature_names,
    from_one_hot,
    from_soft,
    one_hot,
    room_for_codes,
    soft_assignments,
)
from ._guided import Drawing, PrefixWalk, check_guide, slices
from ._numbers import check_numbers, validate_numbers
from ._rows import TILE_ROWS, dtype_name, pieces, range_of, take_rows
from ._sklearn import (
    Interval,
    StrOptions,
    align_sparse_interface,
    dense_output_wanted,
    validate_params,
)
from ._version import __version__
from ._warn import warn
from .exceptions import InconsistentVersionWarning
from .files.container import digest_of
from .files.json import to_json
from .files.learned import Array, DataType, Names, Number, Range, RowShape
from .files.model import save


@contextmanager
def unchanged_on_failure(estimator):
    """Give the estimator its old attributes back if the block raises."""
    before = vars(estimator).copy()
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def _told_apart(spec):
    """Return the class and parameters of a specification, as JSON can hold them.

    Parameters that came later, named in `_later_params` with what was done before, are only told
    where they say something else.
    """
    later = getattr(spec, "_later_params", {})
    params = {
        name: value
        for name, value in spec.get_params(deep=False).items()
        if name not in later or value != later[name]
    }
    return [type(spec).__name__, {name: to_json(name, value) for name, value in params.items()}]


def _n_axes(row):
    """Return the number of axes of a row, 0 of what is no array."""
    with suppress(TypeError, ValueError):
        return np.ndim(row)
    return 0


# What a class declares beside what its bases do.
_MERGED = ("_learned", "_parameter_constraints")


class Storable(BaseEstimator):
    """Base class of estimators that can be saved and pickled, by what they declare."""

    _learned: dict = {}
    """The kinds of learned attributes by name: those of the class, and with them its bases'."""
    _specs_advice: dict = {}
    """What to set, by the names of parameters that may be specifications or names of such."""

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        cls._declared = {name: vars(cls).get(name, {}) for name in _MERGED}
        for name in _MERGED:
            merged = {}
            for base in reversed(cls.__mro__):
                merged |= vars(base).get("_declared", vars(base)).get(name, {})
            setattr(cls, name, merged)
        cls._learned = dict(sorted(cls._learned.items(), key=lambda item: item[1].rank))

    def set_params(self, **params):
        """Set parameters of this estimator, and of the specifications among them.

        Parameters
        ----------
        **params : dict
            Parameters by name; those of a specification as ``refiner__hidden_size``.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If there is no such parameter, or no specification that could have it.
        """
        for name in params:
            owner = name.partition("__")[0]
            value = params.get(owner, getattr(self, owner, None))
            if "__" in name and owner in self._specs_advice and not hasattr(value, "set_params"):
                raise ValueError(
                    f"{name} cannot be set: {owner}={value!r} has no parameters of its own. Set "
                    f"{self._specs_advice[owner]}."
                )
        return super().set_params(**params)

    def _saved_params(self):
        """Return the parameters that a file holds."""
        return self.get_params(deep=False)

    def _check_learned(self):
        """Refuse learned attributes of a file that do not go together."""

    def save(self, path):
        """Write the fitted model to one ``.safetensors`` file, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            Where to; an existing file is replaced, and its permissions are kept.

        See Also
        --------
        skvqdraw.load : Reads it, on any machine.
        """
        check_is_fitted(self)
        save(self, path)

    def __getstate__(self):
        state = {**super().__getstate__(), "_skvqdraw_version": __version__}
        for name in self._learned.keys() & state.keys():
            state[name] = self._learned[name]._pickled(state[name])
        return state

    def __setstate__(self, state):
        state = dict(state)
        written_by = state.pop("_skvqdraw_version", "pre-0.1")
        if written_by != __version__:
            warn(
                InconsistentVersionWarning(
                    estimator_name=type(self).__name__,
                    current_version=__version__,
                    original_version=written_by,
                ),
            )
        super().__setstate__(state)
        for name in self._learned.keys() & state.keys():
            setattr(self, name, self._learned[name]._unpickled(state[name], self))


def same_row_shape(shape, other):
    """Whether two shapes of rows are the same: one channel may have an axis or none."""
    return all(a == b for a, b in zip_longest(shape, other, fillvalue=1))


# How many times as far from the mean as the training data rows are that lead to a warning.
_FAR_OUTSIDE = 10


class CodeTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Storable):
    """Base class of estimators that turn each row into a sequence of integers.

    A subclass implements `fit`, `_encode` and `_decode`, has the parameter `encoding`, and sets
    `code_usage_` when it is fitted: that says how many stages and options there are.
    """

    _parameter_constraints: dict = {
        "encoding": [StrOptions({"onehot", "onehot-dense", "ordinal", "soft"})],
    }
    _learned: dict = {
        "n_features_in_": Number(Interval(Integral, 1, None, closed="left")),
        "feature_names_in_": Names(),
        "code_usage_": Array(
            "SK", "float64", within=(0, 1), sizes={"S": (1, 2**16), "K": (2, np.inf)}
        ),
        "data_dtype_": DataType(),
        "data_range_": Range(),
        "row_shape_": RowShape(),
    }

    # What an option loses by this share of the mean over options divides its soft assignment by e.
    # Where an option means the same after any prefix, only the nearest matter; where it does not,
    # classifiers read more from all of them.
    _softness = 0.4

    def _encode(self, X, codes):
        """Write the codes of valid rows into an array (n_samples, n_stages), in bounded memory."""
        raise NotImplementedError

    def _decode(self, codes):
        """Return the reconstructions (n_samples, n_features) of valid codes or prefixes."""
        raise NotImplementedError

    def _propose(self, codes):
        """Return proposals (n_samples, n_options, n_features) of valid prefixes."""
        X = None
        for option in range(self._code_shape[1]):
            rows = self._decode(np.insert(codes, codes.shape[1], option, axis=1))
            if X is None:
                X = np.empty((len(rows), self._code_shape[1], *rows.shape[1:]), rows.dtype)
            X[:, option] = rows
        return X

    def _draw(self, drawing, codes):
        """Write the codes of samples that are drawn by a guide into an array (n_samples, S)."""
        n_values = self._code_shape[1] * self.n_features_in_ * drawing.guide.beam_size
        for some in slices(len(codes), n_values):
            samples = np.arange(some.start, some.stop)
            codes[some] = drawing.codes(PrefixWalk(self, len(samples), codes.dtype), samples)

    def _decoder(self):
        """Return what decoding depends on: specifications, and arrays; those that were learned."""
        specs, arrays = {}, {}
        for name in self._learned.keys() - CodeTransformer._learned.keys():
            kind = self._learned[name]
            if kind.decodes and kind.in_text:
                specs[name] = getattr(self, name)
            elif kind.decodes:
                arrays |= kind._take_apart(name, self)[1]
        for name in vars(self).keys() - self._learned.keys():
            if name.endswith("_") and isinstance(getattr(self, name), np.ndarray):
                arrays[name] = getattr(self, name)
        return specs, arrays

    def _reconstructions(self, X):
        """Yield (slice, reconstructed rows) of valid rows; a subclass may know a shorter way."""
        for piece in pieces(*X.shape):
            yield piece, self._decode(self._codes_of(X[piece]))

    def _option_losses(self, X):
        """Yield (slice, codes (n, S), losses (n, S, K)) of valid rows.

        The losses are those that each option would have left, after the choices before it. A
        subclass may know a shorter way, and other losses than squared errors.
        """
        n_stages, n_options = self._code_shape
        for piece in pieces(len(X), n_options * X.shape[1]):
            codes, rows = self._codes_of(X[piece]), X[piece].astype(np.float64)
            losses_NSK = np.empty((len(rows), n_stages, n_options))
            for s in range(n_stages):
                left_NKD = self._propose(codes[:, :s]) - rows[:, None]
                losses_NSK[:, s] = np.square(left_NKD).mean(axis=2)
            yield piece, codes, losses_NSK

    def _soft(self, X):
        """Return the soft assignments of valid rows."""
        n_stages, n_options = self._code_shape
        Z = np.empty((len(X), n_stages * n_options), dtype=np.float32)
        for piece, codes, losses_NSK in self._option_losses(X):
            Z[piece] = soft_assignments(losses_NSK, codes, self._softness)
        return Z

    def _codes_of(self, X, out=None):
        """Return the codes of valid rows, in `out` if it is given."""
        codes = room_for_codes(len(X), *self._code_shape, out)
        self._encode(X, codes)
        return codes

    def _row_losses(self, X):
        """Yield (slice, losses in float64) of valid rows; a subclass may know a shorter way."""
        for piece in pieces(*X.shape):
            yield piece, self._losses_of(self._codes_of(X[piece]), X[piece])

    def _losses_of(self, codes, X):
        """Return the losses of valid rows with these codes; a subclass may know other ones."""
        return np.square(self._decode(codes).astype(np.float64) - X).mean(axis=1)

    def _fitted_on(self):
        """Return the mean of the training data and the mean variance of features, or None."""
        return

    @property
    def _code_shape(self):
        """Stages and options of the fitted model, whatever the parameters say by now."""
        return self.code_usage_.shape

    @property
    def _prefix_lengths(self):
        """How long prefixes are that can be decoded, in order; by default any length will do.

        A subclass whose integers only tell something together leaves out what is between. Its
        `_decode` then takes prefixes of other lengths as the next shorter one of these.
        """
        return range(self._code_shape[0] + 1)

    def _refuse_parts(self, what, n_columns):
        """Refuse prefixes that cannot be decoded."""
        if n_columns not in self._prefix_lengths:
            lengths = [*self._prefix_lengths]
            raise ValueError(
                f"{what} must have {', '.join(map(str, lengths[:-1]))} or {lengths[-1]} columns: "
                f"integers of {type(self).__name__} are places of a level, not refinements, and "
                f"only whole levels decode; got {n_columns}. Give whole levels."
            )

    def _refuse_proposals(self, what):
        """Refuse what looks at the options of each stage, where these tell nothing one by one."""
        if len(self._prefix_lengths) <= self._code_shape[0]:
            raise ValueError(
                f"{what} are not to be had: integers of {type(self).__name__} are places of a "
                "level, not refinements, so an option leads to no row before its level is whole. "
                "Use a prior, or an estimator that refines, such as skvqdraw.VQDRAW."
            )

    @property
    def row_shape_(self):
        """Shape of the images or volumes that rows are; None where nothing says one."""
        spec = getattr(self, "refiner_", None) or getattr(self, "autoencoder_", None)
        for name in ("image_shape", "volume_shape"):
            with suppress(TypeError, ValueError):  # a class of the user's may mean anything by it
                shape = tuple(map(int, getattr(spec, name, None)))
                if math.prod(shape) == self.n_features_in_:
                    return shape
        return getattr(self, "_row_shape", None)

    def _keep_row_shape(self, shape):
        """Keep the shape that the training rows had, where the network knows none."""
        self._check_row_shape(shape, "rows")
        if self.row_shape_ is None:
            self._row_shape = tuple(shape)

    def _check_row_shape(self, shape, what):
        """Refuse a shape of rows other than the training rows' own."""
        own = self.row_shape_
        if math.prod(shape) != self.n_features_in_:
            raise ValueError(
                f"{what} must have the {self.n_features_in_} numbers of a row; got rows of shape "
                f"{tuple(shape)}."
            )
        if own is not None and not same_row_shape(shape, own):
            raise ValueError(
                f"{what} must have rows of shape {own}, as this {type(self).__name__} was fitted "
                f"on; got rows of shape {tuple(shape)}. Give rows of that size, with their axes in "
                "that order: numpy.moveaxis moves them."
            )

    def _validate_X(self, X, *, reset):
        """Return X as a 2-D array of finite numbers, uncopied and in its own dtype."""
        if getattr(X, "ndim", 2) > 2:
            raise ValueError(
                f"X must be a 2-D array; got an array of shape {tuple(X.shape)}. Flatten images "
                "first: X.reshape(len(X), -1)."
            )
        if isinstance(X, (list, tuple)) and X and _n_axes(X[0]) > 1:
            raise ValueError(
                f"X must be a 2-D array; got a {type(X).__name__} of images, or of other arrays of "
                "two axes or more. Flatten them first: numpy.stack(X).reshape(len(X), -1)."
            )
        X = validate_numbers(self, X, reset=reset)
        if reset:
            self.data_dtype_, self.data_range_ = dtype_name(X.dtype), range_of(X)
            vars(self).pop("_row_shape", None)
        if not reset and (known := self._fitted_on()):
            some = min(TILE_ROWS, pieces(*X.shape, whole_tiles=False)[0].stop, len(X))
            self._warn_of_other_units(
                take_rows(X, np.linspace(0, len(X) - 1, some).astype(np.intp)), *known
            )
        return X

    def _widen_range(self, X):
        """Take valid rows that training goes on with into what is kept of the training rows."""
        known = getattr(self, "data_range_", None)
        if known is not None:  # files of older versions lack it
            (least, largest), dtype = range_of(X), np.result_type(self.data_dtype_, X.dtype)
            self.data_range_ = min(known[0], least), max(known[1], largest)
            self.data_dtype_ = dtype_name(dtype)

    def _warn_of_other_units(self, rows, mean_D, variance):
        """Warn where most rows are much farther from the mean than the training data were."""
        with np.errstate(over="ignore"):
            left_ND = rows.astype(mean_D.dtype) - mean_D
            spread = np.median(np.square(left_ND, dtype=np.float64).mean(axis=1))
        if spread > _FAR_OUTSIDE**2 * variance:
            warn(
                f"X lies far outside what this {type(self).__name__} was fitted on: most of its "
                f"rows are more than {_FAR_OUTSIDE} times as far from the mean of the training "
                "data as these were on average. Codes of such rows tell little; give X in the "
                "units and the scaling of the training data."
            )

    def encode(self, X, out=None):
        """Return the code of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to encode, booleans, integers or floats; a memory map is read piece by piece.
            Python objects that are numbers, such as ``decimal.Decimal``, count as float64.
        out : ndarray of shape (n_samples, n_stages), default=None
            Where to write the codes, piece by piece: an array or a writeable memory map of any
            integer dtype that holds ``n_options - 1``. It is checked before the first row is
            encoded; an error or an interrupt after that leaves it half written. It must not share
            memory with X, whose rows are read as codes are written. None makes a new array.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_stages)
            Integers in ``[0, n_options)``, in the smallest unsigned dtype that holds them, or
            `out`. They do not depend on which other rows are encoded in the same call.

        Raises
        ------
        TypeError
            If `out` is not an array.
        ValueError
            If `out` has another shape, a dtype that does not hold the codes, or is read-only.
        """
        check_is_fitted(self)
        return self._codes_of(self._validate_X(X, reset=False), out)

    def decode(self, codes):
        """Return the reconstruction of each code, or of a prefix of it.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_prefix)
            The first ``n_prefix <= n_stages`` integers of each code: the more, the finer. No
            column at all gives the mean of the training data.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the units of the training data; float64 if these were float64 or integers of 32
            bits or more, else float32.

        Raises
        ------
        ValueError
            If `codes` is not a 2-D array of integers in ``[0, n_options)`` of at most
            ``n_stages`` columns; of :class:`~skvqdraw.VQVAE`, of whole levels.
        """
        check_is_fitted(self)
        n_stages, n_options = self._code_shape
        codes = check_codes(codes, n_options, max_stages=n_stages)
        self._refuse_parts("codes", codes.shape[1])
        return self._decode(codes)

    def proposals(self, codes):
        """Return what each option of the next stage would lead to.

        Parameters
        ----------
        codes : array-like of shape (n_samples, n_prefix)
            The first ``n_prefix < n_stages`` integers of each code, maybe none.

        Returns
        -------
        X : ndarray of shape (n_samples, n_options, n_features)
            In the units of the training data: ``X[i, k]`` is ``decode`` of row i of `codes` with k
            after it.

        Raises
        ------
        ValueError
            If `codes` is not a 2-D array of integers in ``[0, n_options)`` of fewer than
            ``n_stages`` columns.
        """
        check_is_fitted(self)
        n_stages, n_options = self._code_shape
        self._refuse_proposals("proposals")
        return self._propose(check_codes(codes, n_options, max_stages=n_stages - 1))

    def fingerprint(self):
        """Return what tells apart models that decode codes to something else.

        Codes are worth little without the model that made them: keep its fingerprint with them. It
        is the same after `save` and `load`, on any machine; it does not depend on what may be set
        after a fit, nor on what only `encode` reads.

        Returns
        -------
        fingerprint : str
            64 hexadecimal digits: SHA-256 of the class, the number of stages and of options, the
            loss or what else is specified, and all arrays that `decode` reads.
        """
        check_is_fitted(self)
        specs, arrays = self._decoder()
        n_stages, n_options = self._code_shape
        text = {"class": type(self).__name__, "n_stages": n_stages, "n_options": n_options}
        text |= {name: _told_apart(spec) for name, spec in specs.items()}
        return digest_of(json.dumps(text, sort_keys=True), arrays)

    def transform(self, X):
        """Return the codes of rows as features.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to encode.

        Returns
        -------
        Z : sparse or dense array
            With ``encoding="onehot"`` a CSR matrix of shape (n_samples, n_stages * n_options) of
            float32, a single 1 in each block of `n_options` columns; with ``"onehot-dense"`` the
            same as an ndarray; with ``"ordinal"`` the integers themselves, shape
            (n_samples, n_stages). With ``"soft"`` an ndarray of shape
            (n_samples, n_stages * n_options) of float32: in each block of `n_options` columns
            numbers that are the larger the less loss the option would have left at this stage,
            after the choices before it; the largest is the code's. With ``l`` the losses of the
            options, they are ``exp(-(l - min(l)) / (a * mean(l - min(l))))`` less their mean,
            divided by their Euclidean length; ``a`` is 2 for `VQDRAW` and 0.4 for others. In place
            of losses, `VQVAE` has squared distances from the latent to the vectors.
        """
        check_is_fitted(self)
        validate_params(self, "encoding")
        wanted = dense_output_wanted(self)
        if wanted and self.encoding == "onehot":
            raise ValueError(
                f"{wanted} output does not support sparse data. Set encoding='onehot-dense', "
                f"'soft' or 'ordinal' to output {wanted} data frames, or go back to arrays with "
                "set_output(transform='default')."
            )
        X = self._validate_X(X, reset=False)
        if self.encoding == "soft":
            return self._soft(X)
        codes = self._codes_of(X)
        if self.encoding == "ordinal":
            return codes
        Z = one_hot(codes, self._code_shape[1])
        return Z.toarray() if self.encoding == "onehot-dense" else align_sparse_interface(Z)

    def inverse_transform(self, X):
        """Return the reconstructions of transformed rows.

        Parameters
        ----------
        X : {array-like, sparse matrix}
            Codes as features, what `transform` returns under the present `encoding`.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            In the units of the training data.

        Raises
        ------
        ValueError
            If `X` has another width, or a row that is not one-hot. Of soft assignments, in each
            stage the largest counts.
        """
        check_is_fitted(self)
        validate_params(self, "encoding")
        n_stages, n_options = self._code_shape
        if self.encoding == "ordinal":
            return self._decode(check_codes(X, n_options, n_stages=n_stages))
        if self.encoding == "soft":
            return self._decode(from_soft(check_numbers(X, "X"), n_stages, n_options))
        X = check_numbers(X, "X", accept_sparse="csr")
        return self._decode(from_one_hot(X, n_stages, n_options))

    def reconstruct(self, X):
        """Return what is left of rows after encoding and decoding.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to encode.

        Returns
        -------
        X_reconstructed : ndarray of shape (n_samples, n_features)
            ``decode(encode(X))``.
        """
        check_is_fitted(self)
        X = self._validate_X(X, reset=False)
        Xr = None
        for piece, rows in self._reconstructions(X):
            if Xr is None:
                Xr = np.empty(X.shape, dtype=rows.dtype)
            Xr[piece] = rows
        return Xr

    def score_samples(self, X):
        """Return minus the loss of each row's reconstruction.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to encode.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Minus the mean over features of the squared error, in the squared units of X; an
            estimator with another `loss` gives minus the mean of that.
        """
        check_is_fitted(self)
        X = self._validate_X(X, reset=False)
        scores = np.empty(len(X))
        for piece, losses in self._row_losses(X):
            scores[piece] = -losses
        return scores

    def score(self, X, y=None):
        """Return minus the mean loss of the reconstructions: higher is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to encode.
        y : None
            Ignored.

        Returns
        -------
        score : float
            The mean of `score_samples`.
        """
        return float(self.score_samples(X).mean())

    def sample_codes(
        self,
        n_samples=1,
        *,
        prior=None,
        y=None,
        prefix=None,
        temperature=1.0,
        guide=None,
        random_state=None,
    ):
        """Draw codes: at random, from a distribution that was fitted to some, or by a guide.

        Parameters
        ----------
        n_samples : int, default=1
            Number of codes.
        prior : prior or None, default=None
            What tells how likely codes are, see :mod:`skvqdraw.priors`, fitted to codes of this
            estimator. None for codes in which every option is as likely as any other.
        y : label or array-like of shape (n_samples,), default=None
            The class of all samples, or of each, for a prior that was fitted with labels.
        prefix : array-like of shape (n_prefix,) or (n_samples, n_prefix), default=None
            What all codes, or each, begin with: ``encode(X)[:, :3]`` for variations of rows.
        temperature : float, default=1.0
            Divides the log probabilities of the prior: below 1 samples are likelier and less
            diverse. 0.5 to 1 are useful.
        guide : Guide or None, default=None
            What samples are to be, see :mod:`skvqdraw.guides`: it scores the candidates of each
            stage. With a prior, options are drawn by what both say of them.
        random_state : int, RandomState instance or None, default=None
            The seed belongs to the call: the same int gives the same codes.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_stages)
            Integers in ``[0, n_options)``.

        Raises
        ------
        ValueError
            If the prior is of other codes, if `prefix` does not fit, if there are labels and no
            prior that knows them, or if the guide does not fit or scores candidates by NaN.
        """
        check_is_fitted(self)
        n_samples = check_n_samples(n_samples)
        n_stages, n_options = self._code_shape
        if prior is not None:
            self._check_prior(prior, guided=guide is not None)
        elif y is not None:
            raise ValueError(
                "y needs a prior that was fitted with labels. Pass one, such as "
                "skvqdraw.priors.MarkovPrior().fit(codes, labels), or leave y out."
            )
        prefix_NT = check_prefix(prefix, n_samples, n_options, max_stages=n_stages)
        self._refuse_parts("prefix", prefix_NT.shape[1])
        if guide is None and prior is not None:
            how = {"y": y, "prefix": prefix, "temperature": temperature}
            return prior.sample(n_samples, **how, random_state=random_state)
        rng = check_random_state(random_state)
        if guide is not None:
            self._refuse_proposals("guided samples")
            guide = check_guide(guide, n_samples, self.n_features_in_)
            log_chances = None
            if prior is not None:
                log_chances = prior._guiding(prefix_NT, y, temperature, rng)
            seed = rng.randint(np.iinfo(np.int32).max)
            codes = np.empty((n_samples, n_stages), dtype=codes_dtype(n_options))
            self._draw(Drawing(guide, prefix_NT, n_stages, seed, log_chances), codes)
            return codes
        codes = rng.randint(n_options, size=(n_samples, n_stages))
        codes[:, : prefix_NT.shape[1]] = prefix_NT
        return codes.astype(codes_dtype(n_options))

    def _check_prior(self, prior, *, guided):
        """Refuse a prior of codes of another shape, or one that cannot go with a guide."""
        needed = ("sample", "n_stages_", "n_options_", *(["_guiding"] if guided else []))
        if not all(hasattr(prior, name) for name in needed):
            raise TypeError(
                "prior must be a fitted prior, such as skvqdraw.priors.MarkovPrior().fit(codes); "
                f"got {prior!r}."
            )
        found = prior.n_stages_, prior.n_options_
        if found != self._code_shape:
            name = type(self).__name__
            raise ValueError(
                f"prior must be one of codes of {self._code_shape[0]} stages of "
                f"{self._code_shape[1]} options, as this {name} has them; it was fitted on "
                f"{found[0]} of {found[1]}. Fit it with n_options={self._code_shape[1]} on what "
                "encode returns."
            )

    def sample(
        self,
        n_samples=1,
        *,
        prior=None,
        y=None,
        prefix=None,
        temperature=1.0,
        guide=None,
        random_state=None,
    ):
        """Generate rows by decoding codes that are drawn.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        prior : prior or None, default=None
            What tells how likely codes are, see :mod:`skvqdraw.priors`; None for codes that are all
            as likely.
        y : label or array-like of shape (n_samples,), default=None
            The class of all samples, or of each, for a prior that was fitted with labels.
        prefix : array-like of shape (n_prefix,) or (n_samples, n_prefix), default=None
            What all codes, or each, begin with.
        temperature : float, default=1.0
            Divides the log probabilities of the prior, see `sample_codes`.
        guide : Guide or None, default=None
            What samples are to be, see :mod:`skvqdraw.guides`.
        random_state : int, RandomState instance or None, default=None
            The seed belongs to the call: the same int gives the same rows.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the units of the training data.
        """
        how = {"y": y, "prefix": prefix, "temperature": temperature, "guide": guide}
        return self._decode(
            self.sample_codes(n_samples, prior=prior, **how, random_state=random_state)
        )

    @property
    def _n_features_out(self):
        n_stages, n_options = self._code_shape
        return n_stages if self.encoding == "ordinal" else n_stages * n_options

    def get_feature_names_out(self, input_features=None):
        """Return the names of the features that `transform` makes.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Only checked against the names seen in `fit`.

        Returns
        -------
        names : ndarray of str
            ``vqdraw_s{stage}_o{option}``, or ``vqdraw_s{stage}`` with ``encoding="ordinal"``,
            counted from 0; the name of the class comes first.
        """
        check_is_fitted(self)
        validate_params(self, "encoding")
        super().get_feature_names_out(input_features)
        n_stages, n_options = self._code_shape
        return feature_names(
            type(self).__name__.lower(),
            n_stages,
            None if self.encoding == "ordinal" else n_options,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Codes are integers and one-hot features float32, whatever X was.
        tags.transformer_tags.preserves_dtype = []
        return tags

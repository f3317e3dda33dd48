"""What X and y may be made of: numbers and labels, in whatever container they come."""

import datetime
import reprlib
from contextlib import suppress
from numbers import Number, Real

import numpy as np
from scipy import sparse
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from ._codes import read_array
from ._rows import pieces, unit_weights
from ._sklearn import check_sample_weight, is_pandas_na

_ALLOWED = "must hold booleans, integers or floats"
# Objects that are no numbers, though numpy makes floats of some, by numpy's letters for their kind.
_KINDS = {
    "m": (np.timedelta64, datetime.timedelta),
    "M": (np.datetime64, datetime.date, datetime.time),
    "c": (complex, np.complexfloating),
}
_NO_FLOATS = sum(_KINDS.values(), ())
_ADVICE = {
    "M": "Subtract an epoch and divide: ({name} - numpy.datetime64('2000-01-01')) / "
    "numpy.timedelta64(1, 'D').",
    "m": "Divide by a unit of time: {name} / numpy.timedelta64(1, 'D').",
    "c": "Complex data not supported. Take the real and the imaginary part as features.",
}
_ELSE = "This is not dtype='numeric': convert it first, strings with {name}.astype(float)."


def validate_numbers(estimator, X, *, reset):
    """Return X as a 2-D array of finite numbers, uncopied and in its own dtype where it has one.

    The names and the number of features are learned to `reset`, else compared.
    """
    given, how = _array_or_frame(X, "X"), {"dtype": None, "ensure_all_finite": False}
    checked = _numbers(validate_data(estimator, given, reset=reset, **how), "X")
    _refuse_missing(checked, type(estimator).__name__, "X")
    return checked


def check_numbers(X, name, *, estimator=None, finite=True, **how):
    """Return a parameter as a 2-D array of numbers, as `validate_numbers` returns X."""
    given, how = _array_or_frame(X, name), {"dtype": None, "ensure_all_finite": False, **how}
    checked = check_array(given, input_name=name, estimator=estimator, **how)
    checked = checked if sparse.issparse(checked) else _numbers(checked, name)
    if finite:
        _refuse_missing(checked, estimator and type(estimator).__name__, name)
    return checked


def as_numbers(X, name):
    """Return a parameter as an array of numbers of any shape, which need not be finite."""
    return _numbers(np.asarray(_array_or_frame(X, name)), name)


def check_weights(sample_weight, X):
    """Return the weights of rows, 1 on average where they are not 0; by default all are alike."""
    if not isinstance(sample_weight, (Real, type(None))):
        sample_weight = as_numbers(sample_weight, "sample_weight")
    return unit_weights(check_sample_weight(sample_weight, X, ensure_non_negative=True))


def check_labels(y, name="y"):
    """Return the labels of rows as an array of one axis, or say what is no label."""
    if isinstance(y, (list, tuple)):  # numpy makes the string "nan" of NaN among strings
        _refuse_missing_labels(y, name)
    y = column_or_1d(y, warn=True)
    if y.dtype.kind in "OMm":
        _refuse_missing_labels(y, name)
        try:
            np.unique(y)
        except TypeError as error:
            kinds = " and ".join(sorted({type(label).__name__ for label in y}))
            raise ValueError(
                f"{name} must hold labels of one kind, which have an order; got {kinds}. Convert "
                "them to one kind, such as str."
            ) from error
    check_classification_targets(y)
    return y


def _refuse_missing_labels(y, name):
    for row, label in enumerate(y):
        has_nan = isinstance(label, (Number, np.generic, datetime.date))
        if label is None or is_pandas_na(label) or (has_nan and label != label):
            raise ValueError(
                f"{name} must have no missing labels; got {label!r} at row {row}. Leave out such "
                "rows, or give them a label of their own."
            )


def _array_or_frame(X, name):
    """Return X as an array of numbers, or as it is where scikit-learn reads more than numbers."""
    if isinstance(X, np.ma.MaskedArray) and np.ma.is_masked(X):
        raise ValueError(
            f"{name} must have no masked values; got {np.ma.count_masked(X)} of them. Leave out "
            f"their rows, or fill them in with {name}.filled."
        )
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        _refuse_columns_of_dates(X, name)
        return X
    if sparse.issparse(X) or hasattr(X, "iloc") or hasattr(X, "to_frame"):
        return X
    if isinstance(X, (list, tuple)) or (hasattr(X, "__array__") and not isinstance(X, np.ndarray)):
        X = read_array(X, name)
    return _numbers(X, name) if isinstance(X, np.ndarray) else X


def _refuse_columns_of_dates(X, name):
    """Refuse dates in a frame: some libraries make numbers of them, in a unit that is theirs."""
    for column, dtype in zip(X.columns, X.dtypes, strict=False):
        kind = getattr(dtype, "kind", "")
        if kind in ("M", "m") or getattr(dtype, "is_temporal", bool)():
            kind = "m" if kind == "m" or "Duration" in str(dtype) else "M"
            todo = _ADVICE[kind].format(name=f"{name}[{column!r}]")
            raise ValueError(f"{name} {_ALLOWED}; got {dtype} in column {column!r}. {todo}")


def _numbers(array, name):
    """Return an array as one of numbers, objects as float64, or say what is no number."""
    kind = array.dtype.kind
    if kind == "O":
        return _floats(array, name)
    if kind not in "biuf":
        todo = _ADVICE.get(kind, _ELSE).format(name=name)
        raise ValueError(f"{name} {_ALLOWED}; got dtype {array.dtype}. {todo}")
    return array


def _floats(objects, name):
    """Return an array of Python objects in float64."""
    if not any(issubclass(kind, _NO_FLOATS) for kind in set(map(type, objects.flat))):
        with suppress(TypeError, ValueError, OverflowError):
            return objects.astype(np.float64)
    floats = np.empty(objects.shape)
    for index, value in np.ndenumerate(objects):
        floats[index] = _float(value, index, name)
    return floats


def _float(value, index, name):
    """Return an object as a float, NaN for what is missing, or say why it has none."""
    if value is None or is_pandas_na(value):
        return np.nan
    if isinstance(value, _NO_FLOATS):  # numpy makes floats of its own dates, whatever their unit
        todo = _ADVICE[next(kind for kind, types in _KINDS.items() if isinstance(value, types))]
        raise ValueError(_of_object(value, index, name, todo.format(name=name)))
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        todo = f"Make a number of it first ({error})."
        raise kind(_of_object(value, index, name, todo)) from error


def _of_object(value, index, name, todo):
    where = f" at row {index[0]}, column {index[1]}" if len(index) == 2 else ""
    return (
        f"{name} {_ALLOWED}; got {reprlib.repr(value)} of type {type(value).__name__}{where}. "
        f"{todo}"
    )


def _refuse_missing(array, estimator_name, name):
    """Refuse NaN and infinity, and tell which it is."""
    if sparse.issparse(array):
        array = array.data.reshape(-1, 1)
    # In pieces: of a whole array of float16, scikit-learn makes one of bools. The sum that it looks
    # at first may be of infinities with both signs.
    with np.errstate(invalid="ignore"):
        for piece in pieces(*array.shape, whole_tiles=False):
            assert_all_finite(array[piece], estimator_name=estimator_name, input_name=name)

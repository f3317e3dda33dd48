"""Kinds of learned attributes: what a file holds of each, and how it is read with suspicion.

An estimator declares its own in `_learned`, by name. Each becomes a part of the text of a file,
which is JSON, or named arrays, or both.
"""

import codecs
import math
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real

import numpy as np

from ..exceptions import FormatError
from .json import from_json, to_json

# More could cost memory out of proportion to the file before it is seen to be wrong.
_MOST_RECORDS = 2**20
_MOST_AXES = 32
_DTYPES = {np.dtype(char).name for char in "?bBhHiIlLqQefd"}


@dataclass
class Reading:
    """What is known of a file before its arrays are read."""

    estimator: object
    fitted: dict
    entries: dict
    specs: dict
    sizes: dict


class Learned:
    """Base class of kinds of learned attributes."""

    in_text = False
    """Whether there is a part of the text; None if there may be."""
    decodes = False
    """Whether `decode` is taken to depend on it, if the estimator does not say otherwise."""
    rank = 0
    """When it is read. Those of 1 are checked against others. Those of 2 take much more memory than
    their bytes: they are made when little can be refused any more."""

    def _take_apart(self, name, estimator):
        """Return the part of the text, None where there is none, and arrays by name."""
        return None, {}

    def _check(self, name, reading):
        """Check what a file says before its arrays, and return their names.

        The estimator is given what others need to be checked against.
        """
        return []

    def _check_numbers(self, name, reading, arrays):
        """Check what is in its arrays, of which the header has been checked."""

    def _put_together(self, name, reading, arrays):
        """Give the estimator the attribute, if it has not got it yet."""

    def _pickled(self, value):
        """Return the attribute as it is to be pickled."""
        return value

    def _unpickled(self, value, estimator):
        """Return the attribute of an estimator that has the others."""
        return value


class Number(Learned):
    """A number in an interval.

    Parameters
    ----------
    allowed : Interval
        As scikit-learn has them for parameters, of integers or of real numbers.
    """

    in_text = True

    def __init__(self, allowed):
        self.allowed = allowed

    def _take_apart(self, name, estimator):
        return to_json(name, getattr(estimator, name)), {}

    def _check(self, name, reading):
        value = reading.fitted[name]
        kind = float if self.allowed.type is Real else int  # no int that is too large for a float
        if type(value) is not kind or not self.allowed.is_satisfied_by(value):
            raise FormatError(f"{name} must be {self.allowed}; it is {value!r}")
        setattr(reading.estimator, name, value)
        return []


class Remark(Learned):
    """A few plain values that files of older versions lack; None, or nothing, where there are none.

    A subclass says in `wanted` what they are, in `_parsed` which ones may be, and in `kept_as`
    which attribute holds them if it has another name.
    """

    in_text, rank = None, 1
    wanted, kept_as = "", None

    def _parsed(self, value, estimator):
        """Return the attribute that a value out of JSON stands for, or None if there is none."""
        raise NotImplementedError

    def _take_apart(self, name, estimator):
        value = getattr(estimator, self.kept_as or name, None)
        return None if value is None else to_json(name, value), {}

    def _check(self, name, reading):
        if name in reading.fitted:
            value = self._parsed(reading.fitted[name], reading.estimator)
            if value is None:
                raise FormatError(f"{name} must be {self.wanted}; it is {reading.fitted[name]!r}")
            setattr(reading.estimator, self.kept_as or name, value)
        return []


class DataType(Remark):
    """The name of the dtype of training rows."""

    wanted = "the name of a dtype of numbers"

    def _parsed(self, value, estimator):
        return value if isinstance(value, str) and value in _DTYPES else None


class Range(Remark):
    """The least and the largest number of training rows."""

    wanted = "two finite numbers in order"

    def _parsed(self, value, estimator):
        if not isinstance(value, list) or [*map(type, value)] != [float, float]:
            return None
        return tuple(value) if -math.inf < value[0] <= value[1] < math.inf else None


class RowShape(Remark):
    """The shape of the images, volumes and so on that rows are, where no network knows it."""

    kept_as = "_row_shape"
    wanted = "the sizes of two axes or more, whose product is the number of features"

    def _parsed(self, value, estimator):
        if not isinstance(value, list) or not 2 <= len(value) <= _MOST_AXES:
            return None
        if any(type(size) is not int or size < 1 for size in value):
            return None
        return tuple(value) if math.prod(value) == estimator.n_features_in_ else None


class Spec(Learned):
    """A specification that has certain methods, such as a refiner.

    Parameters
    ----------
    *methods : str
        Their names.
    """

    in_text, decodes = True, True

    def __init__(self, *methods):
        self.methods = methods

    def _take_apart(self, name, estimator):
        return to_json(name, getattr(estimator, name)), {}

    def _check(self, name, reading):
        spec = from_json(reading.fitted[name], reading.specs)
        self._check_methods(name, spec)
        setattr(reading.estimator, name, spec)
        return []

    def _check_methods(self, name, spec):
        missing = [method for method in self.methods if not hasattr(spec, method)]
        if missing:
            raise FormatError(f"{name} must have the method {missing[0]}; it is {spec!r}")


class Array(Learned):
    """An array of finite numbers.

    Parameters
    ----------
    axes : str
        A letter for each axis. D is the number of features, S of stages, K of options; an axis has
        one size in all arrays of an estimator.
    *dtypes : str
        Those that it may have; or the name of an attribute that has the same one.
    within : tuple of float or None, default=None
        The least and the largest number that it may hold.
    sizes : dict or None, default=None
        The least and the largest size of some axes.
    """

    decodes = True

    def __init__(self, axes, *dtypes, within=None, sizes=None):
        self.axes, self.dtypes, self.within, self.sizes = axes, dtypes, within, sizes or {}

    def _take_apart(self, name, estimator):
        return None, {name: getattr(estimator, name)}

    def _check(self, name, reading):
        if name not in reading.entries:
            raise FormatError(f"{name} is missing")
        dtype, shape = reading.entries[name][:2]
        allowed = [getattr(vars(reading.estimator).get(d), "dtype", d) for d in self.dtypes]
        if dtype.name not in map(str, allowed):
            allowed = " or ".join(map(str, allowed))
            raise FormatError(f"{name} must be of dtype {allowed}; it is {dtype.name}")
        sizes = reading.sizes
        if len(shape) != len(self.axes) or any(
            sizes.setdefault(axis, size) != size
            for axis, size in zip(self.axes, shape, strict=True)
        ):
            raise FormatError(f"{name} must be {tuple(self.axes)}, with {sizes}; it is {shape}")
        for axis, (least, most) in self.sizes.items():
            if not least <= sizes[axis] <= most:
                raise FormatError(f"{axis} of {name} must be {least} to {most}; it is {shape}")
        # In its place, and without memory: something of its shape.
        setattr(reading.estimator, name, np.broadcast_to(np.zeros((), dtype), shape))
        return [name]

    def _check_numbers(self, name, reading, arrays):
        array = arrays[name]
        check_finite(name, array)
        if self.within and not (self.within[0] <= array.min() and array.max() <= self.within[1]):
            raise FormatError(f"{name} must be from {self.within[0]} to {self.within[1]}")

    def _put_together(self, name, reading, arrays):
        setattr(reading.estimator, name, arrays[name])


class Records(Learned):
    """A list of dicts of numbers, of which each has an integer `step`.

    The keys are in the text, the numbers in an array (records, keys), and in another one whether a
    record has the key.
    """

    in_text, rank = True, 2

    def _take_apart(self, name, estimator):
        keys, values_RC, known_RC = records_to_arrays(getattr(estimator, name))
        return keys, {name: values_RC, f"{name}.known": known_RC}

    def _check(self, name, reading):
        keys = reading.fitted[name]
        texts = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
        if not texts or len(set(keys)) < len(keys) or "step" not in keys:
            raise FormatError(f"{name} must be different keys, step being one; it is {keys!r}")
        n_records = None
        for part, dtype in ((name, "float64"), (f"{name}.known", "uint8")):
            if part not in reading.entries:
                raise FormatError(f"{part} is missing")
            found, shape = reading.entries[part][:2]
            n_records = shape[0] if n_records is None and shape else n_records
            if found != dtype or shape != (n_records, len(keys)):
                raise FormatError(f"{part} must be {dtype} of {len(keys)} columns; it is {shape}")
        if n_records > _MOST_RECORDS:
            raise FormatError(f"{name} may have {_MOST_RECORDS} records; it has {n_records}")
        return [name, f"{name}.known"]

    def _check_numbers(self, name, reading, arrays):
        keys, values_RC = reading.fitted[name], arrays[name]
        known_RC = arrays[f"{name}.known"]
        step_R = values_RC[:, keys.index("step")]
        if not (np.isfinite(step_R).all() and (step_R == np.floor(step_R)).all()):
            raise FormatError(f"the steps of {name} must be integers")
        if known_RC.max(initial=0) > 1 or not known_RC[:, keys.index("step")].all():
            raise FormatError(f"{name}.known must be 0 or 1, and 1 for each step")

    def _put_together(self, name, reading, arrays):
        parts = reading.fitted[name], arrays[name], arrays[f"{name}.known"]
        setattr(reading.estimator, name, records_from_arrays(*parts))


class Names(Learned):
    """The names of features, where there are any: UTF-8, a zero byte between one and the next."""

    rank = 2

    def _take_apart(self, name, estimator):
        if not hasattr(estimator, name):
            return None, {}
        names = getattr(estimator, name)
        if any("\0" in name for name in names):
            raise ValueError("names of features must not hold the character '\\0' to be saved.")
        return None, {name: np.frombuffer(_as_utf8("\0".join(names)), dtype=np.uint8)}

    def _check(self, name, reading):
        if name not in reading.entries:
            return []
        dtype, shape = reading.entries[name][:2]
        if dtype != np.uint8 or len(shape) != 1:
            raise FormatError(f"{name} must be uint8 of one axis; it is {dtype.name} {shape}")
        return [name]

    def _put_together(self, name, reading, arrays):
        if name not in arrays:
            return
        bytes_B, n_names = arrays[name], reading.estimator.n_features_in_
        # Counted and checked before they are made: names take much more memory than their bytes.
        n_found = np.count_nonzero(bytes_B == 0) + 1
        if n_found != n_names:
            raise FormatError(f"{name} must be {n_names} names; they are {n_found}")
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            for start in range(0, len(bytes_B), 2**20):
                decoder.decode(bytes_B[start : start + 2**20].tobytes())
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise FormatError(f"{name} must be UTF-8: {error}") from error
        names = np.array(bytes_B.tobytes().decode().split("\0"), dtype=object)
        setattr(reading.estimator, name, names)


def _as_utf8(names):
    try:
        return names.encode()
    except UnicodeEncodeError as error:
        character = names[error.start]
        wrong = next(name for name in names.split("\0") if character in name)
        raise ValueError(
            f"names of features must be Unicode to be saved; got {wrong!r}, in which {character!r} "
            "is half of a pair of surrogates. Rename this column and fit again, or use pickle."
        ) from error


class Labels(Learned):
    """An array of different labels in order, integers, numbers, bools or strings, or None.

    Parameters
    ----------
    counts : str
        The name of an array of one number for each label; of one number where there is none.
    """

    in_text, rank = None, 1

    def __init__(self, counts):
        self.counts = counts

    def _take_apart(self, name, estimator):
        labels = getattr(estimator, name)
        return None if labels is None else to_json(name, labels.tolist()), {}

    def _check(self, name, reading):
        labels, n_counts = reading.fitted.get(name), len(getattr(reading.estimator, self.counts))
        if labels is None:
            if n_counts != 1:
                raise FormatError(f"{name} must be {n_counts} labels; there are none")
            setattr(reading.estimator, name, None)
            return []
        kinds = {type(label) for label in labels} if isinstance(labels, list) else set()
        if len(kinds) != 1 or not kinds <= {int, float, bool, str} or len(labels) != n_counts:
            raise FormatError(f"{name} must be {n_counts} labels of one kind; they are {labels!r}")
        if any(one >= other for one, other in pairwise(labels)):
            raise FormatError(f"{name} must be in order; they are {labels!r}")
        if kinds == {int} and max(map(abs, labels)) >= 2**63:
            raise FormatError(f"{name} must be integers of 64 bits; they are {labels!r}")
        setattr(reading.estimator, name, np.array(labels))
        return []


def check_finite(name, array):
    """Refuse an array with numbers that are infinite or NaN."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise FormatError(f"{name!r} has numbers that are infinite or NaN")


def records_to_arrays(records):
    """Return the keys of a list of records, their values (R, C) and whether they have them."""
    keys = list(dict.fromkeys(["step", *(key for record in records for key in record)]))
    shape = (len(records), len(keys))
    values = [[record.get(key, 0) for key in keys] for record in records]
    known = [[key in record for key in keys] for record in records]
    values_RC = np.array(values, dtype=np.float64).reshape(shape)
    return keys, values_RC, np.array(known, dtype=np.uint8).reshape(shape)


def records_from_arrays(keys, values_RC, known_RC):
    """Return the records that `records_to_arrays` took apart."""
    return [
        {
            key: int(value) if key == "step" else value
            for key, value, known in zip(keys, *row, strict=True)
            if known
        }
        for row in zip(values_RC.tolist(), known_RC.tolist(), strict=True)
    ]

"""From text to rows of integers and back.

Axes: N samples, D characters of a row.
"""

from collections import Counter
from numbers import Integral
from reprlib import repr as short_repr

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from .._codes import codes_dtype
from .._numbers import check_numbers
from .._rows import pieces
from .._sklearn import Interval, validate_params

__all__ = ["CharacterTokenizer"]

# The symbols before those of the alphabet, and how the inverse shows them.
_PADDING, _UNKNOWN = 0, 1
_SHOWN = "\N{SYMBOL FOR NULL}\N{REPLACEMENT CHARACTER}"


def _code_points(text):
    # Half of a surrogate pair is no character, but a str may hold it.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _array(X):
    """Return X as an array, or refuse it."""
    if np.ma.is_masked(X):
        raise ValueError(
            "X must have no masked values; got some. Leave out their rows, or fill them in with "
            "X.filled('')."
        )
    try:
        return np.asarray(X)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError is PyTorch's
        raise TypeError(
            f"X must hold nothing but str; got {type(X).__name__}, which numpy cannot convert "
            f"({error}). Pass a list of str."
        ) from error


def _strings(X):
    """Return X as a list of str, or say what is wrong with it."""
    if isinstance(X, (str, bytes)):
        raise TypeError(
            "X must be a list or another 1-D array-like of str, one for each row; got a single "
            f"{type(X).__name__}. Pass [X], or cut a long text with "
            "skvqdraw.datasets.text_windows."
        )
    if not isinstance(X, (list, tuple)):
        if not hasattr(X, "__array__"):
            raise TypeError(
                "X must be a list or another 1-D array-like of str, one for each row; got "
                f"{type(X).__name__}. Pass list(X)."
            )
        X = _array(X)
        if X.ndim != 1:
            raise ValueError(
                f"X must be a 1-D array-like of str, one for each row; got shape {X.shape}. Pass "
                "one column, such as X[:, 0], or X['name'] of a frame."
            )
        X = X.tolist()
    if not X:
        raise ValueError("X must hold at least one string; got none. Pass some rows.")
    wrong = next((row for row, string in enumerate(X) if not isinstance(string, str)), None)
    if wrong is not None:
        raise TypeError(
            f"X must hold nothing but str; got {short_repr(X[wrong])} of type "
            f"{type(X[wrong]).__name__} at row {wrong}. Decode bytes, put '' for what is missing, "
            "and pass one string for each row."
        )
    return X


class CharacterTokenizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn strings into rows of integers, one for each character, and back.

    Symbol 0 is padding, after the end of strings that are shorter than a row; symbol 1 stands for
    all characters outside the alphabet, and those of the alphabet follow from 2.

    Parameters
    ----------
    sequence_length : int, default=128
        Number of columns, and of characters that a string may have at most: 16 to 512 are useful.
        Twice as many make rows twice as wide.
    alphabet : str or None, default=None
        The characters that get a symbol each, in this order. None takes those that `fit` sees,
        sorted; name them where symbols must not depend on the training data.

    Attributes
    ----------
    alphabet_ : str
        The characters in the order of their symbols.
    n_symbols_ : int
        Number of symbols, ``2 + len(alphabet_)``.

    See Also
    --------
    skvqdraw.datasets.text_windows : Cuts a long text into strings of one length.

    Notes
    -----
    A character is a code point: an accent that is one of its own takes a column. NUL is a character
    like any other. NumPy's arrays of fixed width drop it at the end of strings: pass a list.

    Examples
    --------
    >>> from skvqdraw.preprocessing import CharacterTokenizer
    >>> tokenizer = CharacterTokenizer(sequence_length=4).fit(["abba", "cab"])
    >>> tokenizer.alphabet_, tokenizer.n_symbols_
    ('abc', 5)
    >>> Z = tokenizer.transform(["cab", "bad"])
    >>> Z
    array([[4, 2, 3, 0],
           [3, 2, 1, 0]], dtype=uint8)
    >>> tokenizer.inverse_transform(Z)
    array(['cab', 'ba�'], dtype=object)
    """

    _parameter_constraints: dict = {
        "sequence_length": [Interval(Integral, 1, None, closed="left")],
        "alphabet": [str, None],
    }

    def __init__(self, sequence_length=128, alphabet=None):
        self.sequence_length = sequence_length
        self.alphabet = alphabet

    def fit(self, X, y=None):
        """Learn the alphabet.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,)
            Strings of any length: one long text in a list will do.
        y : None
            Ignored.

        Returns
        -------
        self : CharacterTokenizer
            The fitted tokenizer.

        Raises
        ------
        TypeError
            If X is a single string, no array-like, or holds anything but str.
        ValueError
            If X is empty, masked or not 1-D, or `alphabet` is empty or has a character twice.
        """
        validate_params(self)
        strings = _strings(X)
        alphabet = self.alphabet
        if alphabet is None:
            alphabet = sorted(set().union(*strings))
        elif not alphabet:
            raise ValueError(
                "alphabet must have at least one character; got an empty string. Set "
                "alphabet=None to take the characters of X."
            )
        elif len(set(alphabet)) < len(alphabet):
            [(character, times)] = Counter(alphabet).most_common(1)
            raise ValueError(
                f"alphabet must have each character once; got {character!r} {times} times. Set "
                "''.join(dict.fromkeys(alphabet)) to drop what is there twice."
            )
        self._n_features_out = int(self.sequence_length)
        self.n_symbols_ = 2 + len(alphabet)
        self.alphabet_ = "".join(alphabet)
        return self

    def transform(self, X):
        """Return the symbols of the characters of each string.

        Parameters
        ----------
        X : array-like of str of shape (n_samples,)
            Strings of at most `sequence_length` characters, maybe none.

        Returns
        -------
        Z : ndarray of shape (n_samples, sequence_length)
            Integers in ``[0, n_symbols_)``, in the smallest unsigned dtype that holds them.

        Raises
        ------
        TypeError
            If X is a single string, no array-like, or holds anything but str.
        ValueError
            If X is empty, masked or not 1-D, or a string is longer than `sequence_length` was in
            `fit`.
        """
        check_is_fitted(self)
        strings, D = _strings(X), self._n_features_out
        lengths_N = np.fromiter(map(len, strings), np.intp, len(strings))
        if lengths_N.max() > D:
            row = np.argmax(lengths_N > D)
            raise ValueError(
                f"X must hold strings of at most sequence_length={D} characters; the one at row "
                f"{row} has {lengths_N[row]}. Fit with a larger sequence_length, or cut strings "
                "with skvqdraw.datasets.text_windows."
            )
        points = _code_points(self.alphabet_)
        # One entry more than the largest: all characters beyond are looked up there.
        table = np.full(int(points.max(initial=0)) + 2, _UNKNOWN, codes_dtype(self.n_symbols_))
        table[points] = np.arange(2, self.n_symbols_)
        Z_ND = np.full((len(strings), D), _PADDING, table.dtype)
        for piece in pieces(*Z_ND.shape, whole_tiles=False):
            points = _code_points("".join(strings[piece]))
            inside_ND = np.arange(D) < lengths_N[piece, None]
            Z_ND[piece][inside_ND] = table[np.minimum(points, len(table) - 1)]
        return Z_ND

    def inverse_transform(self, X):
        """Return the strings that symbols stand for.

        Parameters
        ----------
        X : array-like of shape (n_samples, sequence_length)
            Integers in ``[0, n_symbols_)``, of any dtype: floats that hold integers will do.

        Returns
        -------
        strings : ndarray of shape (n_samples,), dtype object
            Without the padding at the end; padding before it is shown as ``"\\u2400"``, the symbol
            for null, and unknown characters as ``"\\ufffd"``, the replacement character.

        Raises
        ------
        ValueError
            If X is not 2-D, has another number of columns, or holds anything but such integers.
        """
        check_is_fitted(self)
        X, D = self._check_symbols(X), self._n_features_out
        points = _code_points(_SHOWN + self.alphabet_)
        strings = np.empty(len(X), dtype=object)
        for piece in pieces(*X.shape, whole_tiles=False):
            symbols_ND = X[piece].astype(np.intp)
            # How many there are up to the last one that is no padding.
            places_ND = np.where(symbols_ND != _PADDING, np.arange(1, D + 1), 0)
            text = points[symbols_ND].tobytes().decode("utf-32-le", "surrogatepass")
            strings[piece] = [
                text[start : start + length]
                for start, length in zip(
                    range(0, len(text), D), places_ND.max(axis=1).tolist(), strict=True
                )
            ]
        return strings

    def _check_symbols(self, X):
        """Return X as a 2-D array of integers below `n_symbols_`, in whatever dtype they come."""
        X = check_numbers(X, "X", finite=False)
        allowed = f"integers in [0, {self.n_symbols_})"
        todo = (
            "Take what transform returns, or round what a model gives with numpy.rint and "
            "numpy.clip."
        )
        if X.dtype.kind not in "iuf":
            raise ValueError(f"X must hold {allowed}; got dtype {X.dtype}. {todo}")
        if X.shape[1] != self._n_features_out:
            raise ValueError(
                f"X must have {self._n_features_out} columns, sequence_length in fit; got "
                f"{X.shape[1]}. {todo}"
            )
        for piece in pieces(*X.shape, whole_tiles=False):
            # Put so that NaN is wrong, too; float16 cannot hold every limit.
            right_ND = (X[piece] >= 0) & (X[piece] < np.float64(self.n_symbols_))
            right_ND &= X[piece] == np.floor(X[piece])
            if not right_ND.all():
                row, column = np.argwhere(~right_ND)[0]
                raise ValueError(
                    f"X must hold {allowed}; got {X[piece][row, column]} at row "
                    f"{piece.start + row}, column {column}. {todo}"
                )
        return X

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        # Symbols are integers, whatever X was.
        tags.transformer_tags.preserves_dtype = []
        return tags

"""Symbols as bytes: in as many bits as they need, or by a range coder and tables of integers.

Writers take blocks of symbols, and readers give them back block by block. Axes: N symbols, X
contexts, K options.
"""

import functools
import importlib
import importlib.metadata
import math

import numpy as np

from .._codes import codes_dtype, pack_codes, unpack_codes
from ..exceptions import FormatError
from .container import BITS, CODERS, RANGES

# Of this many, a symbol has at least the chance of one uniform symbol: without such a floor a few
# bytes could hold more of the likeliest symbol than any memory does. It costs 0.0014 bits a symbol.
_FLOOR = 2**10


class BitWriter:
    """Writes symbols as they are; each block is padded with zeros to whole bytes."""

    coder = BITS

    def __init__(self, n_options, tables_XK=None):
        self.n_options = n_options
        self.pieces = []

    def write(self, symbols_N, contexts_N):
        """Add a block of symbols."""
        packed = pack_codes(symbols_N.reshape(1, -1), self.n_options)
        self.pieces.append(packed.tobytes())

    def finish(self):
        """Return the bytes of all blocks."""
        return b"".join(self.pieces)


class BitReader:
    """Reads what `BitWriter` wrote."""

    def __init__(self, data, n_options, tables_XK=None):
        self.data, self.position = np.frombuffer(data, np.uint8), 0
        self.n_options, self.n_bits = n_options, (n_options - 1).bit_length()

    @property
    def most(self):
        """How many symbols the bytes can hold."""
        return 8 * self.data.size // self.n_bits

    def read(self, n_symbols, contexts_N):
        """Return the next block."""
        end = self.position + -(-n_symbols * self.n_bits // 8)
        packed = self.data[self.position : end]
        if len(packed) < end - self.position:
            raise FormatError("a section is shorter than what it is said to hold")
        padding = -n_symbols * self.n_bits % 8
        if padding and packed[-1] & ((1 << padding) - 1):
            raise FormatError("a section has ones where nothing should be")
        self.position = end
        try:
            return unpack_codes(packed.reshape(1, -1), n_symbols, self.n_options)[0]
        except ValueError as error:
            raise FormatError(f"a section holds what is no option: {error}") from error

    def finish(self):
        """Refuse bytes that are left over."""
        if self.position < self.data.size:
            raise FormatError("a section is longer than what it is said to hold")


class RangeWriter:
    """Writes symbols by the chances that they have in their contexts.

    In each block the symbols of a context follow each other, and contexts are in ascending order:
    so a table is prepared once for many symbols.
    """

    coder = RANGES

    def __init__(self, n_options, tables_XK):
        self.stream, self.tables_XK = _constriction().stream, floored(tables_XK)
        self.encoder = self.stream.queue.RangeEncoder()

    def write(self, symbols_N, contexts_N):
        """Add a block of symbols."""
        symbols_N = symbols_N.astype(np.int32)
        for context, group in _groups(contexts_N):
            model = _model(self.stream, self.tables_XK[context])
            self.encoder.encode(symbols_N[group], model)

    def finish(self):
        """Return the bytes of all blocks."""
        return self.encoder.get_compressed().astype("<u4").tobytes()


class RangeReader:
    """Reads what `RangeWriter` wrote."""

    def __init__(self, data, n_options, tables_XK):
        if len(data) % 4:
            raise FormatError("a section of a range coder must have whole words of 4 bytes")
        self.stream, self.tables_XK = _constriction().stream, floored(tables_XK)
        self.n_options, self.n_words = n_options, len(data) // 4
        words = np.frombuffer(data, "<u4").astype(np.uint32)
        self.decoder = self.stream.queue.RangeDecoder(words)

    @property
    def most(self):
        """How many symbols the bytes can hold."""
        share = (self.tables_XK.max(axis=1) / self.tables_XK.sum(axis=1)).max()
        likeliest = min(share + 2 / 2**24, 1 - 2**-24)  # as chances of 24 bits are rounded
        return math.floor((32 * self.n_words + 64) / -math.log2(likeliest))

    def read(self, n_symbols, contexts_N):
        """Return the next block."""
        symbols_N = np.empty(n_symbols, codes_dtype(self.n_options))
        for context, group in _groups(contexts_N):
            model = _model(self.stream, self.tables_XK[context])
            try:
                symbols_N[group] = self.decoder.decode(model, len(group))
            except AssertionError as error:  # constriction's way to say it
                raise FormatError("a section is not what a range coder wrote") from error
        return symbols_N

    def finish(self):
        """Refuse bytes that are left over."""
        if not self.decoder.maybe_exhausted():
            raise FormatError("a section is longer than what it is said to hold")


READERS = {BITS: BitReader, RANGES: RangeReader}


def floored(tables_XK):
    """Return tables of integers in which no symbol has less than its share of the floor."""
    share = 1 + tables_XK.sum(axis=1, keepdims=True) // (_FLOOR * tables_XK.shape[1])
    return tables_XK + share


def _model(stream, counts_K):
    """Return constriction's model of counts.

    With these options it divides the range in proportion to sums of the counts. These are integers
    below 2**53, and so exact in any order, and one division and one multiplication follow, which
    round alike everywhere: so the same counts give the same bytes on every machine.
    """
    counts_K = counts_K.astype(np.float64)
    return stream.model.Categorical(counts_K, perfect=False, lazy=False)


def _groups(contexts_N):
    """Yield each context that occurs and where, in ascending order."""
    order_N = np.argsort(contexts_N, kind="stable")
    contexts, starts = np.unique(contexts_N[order_N], return_index=True)
    yield from zip(contexts.tolist(), np.split(order_N, starts[1:]), strict=False)


@functools.cache
def _constriction():
    """Return the package that has the range coder, if its version is one that writes alike."""
    major, minor = CODERS[RANGES]
    wanted = f"constriction>={major}.{minor},<{major}.{minor + 1}"
    advice = f"priors in compressed rows need {wanted}. Install it with: pip install '{wanted}'"
    try:
        version = importlib.metadata.version("constriction")
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError(f"{advice}; or compress without a prior.") from error
    if version.split(".")[:2] != [str(major), str(minor)]:
        raise ImportError(f"{advice}; version {version} is installed.")
    return importlib.import_module("constriction")

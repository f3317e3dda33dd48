"""Codes, block by block, to the sections of a stream and back.

Each stage has a section of its own, so that the first part of a stream holds the first stages of
all rows. Axes: N rows, S stages of the stream, T of them that are read.
"""

import numpy as np

from .._codes import codes_dtype
from ..exceptions import FormatError
from . import tables
from .container import RANGES
from .symbols import READERS, BitWriter, RangeWriter

# Rows of a block, which the format knows: bits of a block end with a whole byte, and a range coder
# takes contexts in order within a block.
BLOCK_ROWS = 2**16
_COUNTS = np.dtype("<u8")


def blocks(n_rows):
    """Return the slices of blocks."""
    return [slice(start, start + BLOCK_ROWS) for start in range(0, n_rows, BLOCK_ROWS)]


class CodesWriter:
    """Takes blocks of codes, and returns the sections of a stream."""

    def __init__(self, n_stages, n_options, prior=None, has_lengths=False):
        self.prior, self.n_options = prior, n_options
        self.writer = BitWriter if prior is None else RangeWriter
        self.stages = [
            self.writer(n_options, prior and prior._table(s)[0]) for s in range(n_stages)
        ]
        self.tables = [] if prior is None else [tables.pack(prior, n_stages)]
        self.lengths = [] if has_lengths else None

    def write(self, codes_NS, lengths_N=None):
        """Add a block; of codes with lengths, what is beyond them is left out."""
        if lengths_N is not None:
            self.lengths.append(lengths_N)
        for s, stage in enumerate(self.stages):
            known_NS = codes_NS if lengths_N is None else codes_NS[lengths_N > s]
            stage.write(known_NS[:, s], _contexts(self.prior, known_NS[:, :s]))

    def finish(self):
        """Return the sections of the stream."""
        stages = [stage.finish() for stage in self.stages]
        return self.tables + ([] if self.lengths is None else [self._lengths()]) + stages

    def _lengths(self):
        """Return the section of lengths: with a prior, how often each occurs, and then each."""
        counts_K = _occurrences(self.lengths, len(self.stages) + 1)
        writer = self.writer(len(counts_K), counts_K[None])
        for lengths_N in self.lengths:
            writer.write(lengths_N, _contexts(None, lengths_N))
        head = b"" if self.prior is None else counts_K.astype(_COUNTS).tobytes()
        return head + writer.finish()


class CodesReader:
    """Gives back the codes of the stages that are there, of T at most.

    Whatever the header says is compared with what the sections can hold before it costs memory.
    """

    def __init__(self, header, sections, n_stages):
        self.header, sections = header, list(sections)
        self.prior = None
        if header.coder == RANGES:
            if not sections:
                raise FormatError("the stream ends before the first stage")
            self.prior = tables.unpack(sections.pop(0), header.n_stages, header.n_options)
        lengths = sections.pop(0) if header.has_lengths and sections else None
        if not sections:
            raise FormatError("the stream ends before the end of the first stage")
        self.reader, sections = READERS[header.coder], sections[:n_stages]
        self.lengths_N = None if lengths is None else self._lengths(lengths)
        self.stages = [
            self.reader(section, header.n_options, self.prior and self.prior._table(s)[0])
            for s, section in enumerate(sections)
        ]
        n_codes_S = np.full(header.n_stages, header.n_samples)
        if self.lengths_N is not None:
            some = (self.lengths_N[block] for block in blocks(header.n_samples))
            n_codes_S -= _occurrences(some, header.n_stages + 1).cumsum()[:-1]
        for stage, n_codes in zip(self.stages, n_codes_S, strict=False):
            self._check_room(stage, n_codes)

    def blocks(self):
        """Yield (slice, codes (N, T), lengths (N,) or None) of blocks of rows."""
        n_stages, dtype = len(self.stages), codes_dtype(self.header.n_options)
        for block in blocks(self.header.n_samples):
            n_rows = min(block.stop, self.header.n_samples) - block.start
            lengths_N = None if self.lengths_N is None else self.lengths_N[block]
            codes_NT = np.zeros((n_rows, n_stages), dtype)
            for s, stage in enumerate(self.stages):
                known = slice(None) if lengths_N is None else lengths_N > s
                prefix_NS = codes_NT[known, :s]
                contexts_N = _contexts(self.prior, prefix_NS)
                codes_NT[known, s] = stage.read(len(prefix_NS), contexts_N)
            yield block, codes_NT, None if lengths_N is None else np.minimum(lengths_N, n_stages)
        for stage in self.stages:
            stage.finish()

    def _check_room(self, reader, n_symbols):
        if n_symbols > reader.most:
            raise FormatError(
                f"a section that is said to hold {n_symbols} symbols can hold {reader.most}"
            )

    def _lengths(self, section):
        """Return the lengths of all codes."""
        n_rows, n_values, table = self.header.n_samples, self.header.n_stages + 1, None
        if self.prior is not None:
            size = n_values * _COUNTS.itemsize
            if len(section) < size:
                raise FormatError("the section of lengths ends too early")
            counts_K = np.frombuffer(section[:size], _COUNTS)
            if counts_K.max() > n_rows or counts_K.sum() != n_rows:
                raise FormatError(f"lengths must be those of {n_rows} rows")
            table, section = counts_K.astype(np.int64)[None], section[size:]
        reader = self.reader(section, n_values, table)
        self._check_room(reader, n_rows)
        lengths_N = np.empty(n_rows, codes_dtype(n_values))
        for block in blocks(n_rows):
            n_some = len(lengths_N[block])
            lengths_N[block] = reader.read(n_some, np.zeros(n_some, np.intp))
        reader.finish()
        return lengths_N


def _occurrences(blocks_of_values, n_values):
    """Return how often each value occurs in some blocks."""
    counts_K = np.zeros(n_values, np.int64)
    for values_N in blocks_of_values:
        counts_K += np.bincount(values_N, minlength=n_values)
    return counts_K


def _contexts(prior, prefix):
    """Return the number of the context of each prefix; without a prior there is one."""
    if prior is None:
        return np.zeros(len(prefix), np.intp)
    return prior._contexts(prefix, prior.n_options_)

"""Priors that are made of counts, as bytes.

One byte for the order, one for the size of an integer; the weights, 4 bytes each; and the counts of
all stages, contexts and options, compressed by zlib. Axes: S stages, L levels, X contexts, K
options.
"""

import zlib

import numpy as np

from ..exceptions import FormatError
from ..priors._counts import (
    HIGHEST_ORDER,
    MOST_CODES,
    MOST_WEIGHT,
    MarginalPrior,
    MarkovPrior,
)

# Counts that a stream may hold, and those of one stage: 16 MiB, and arithmetic with 8.
_MOST_COUNTS, _MOST_OF_A_STAGE = 2**21, 2**20
_SIZES = (1, 2, 4, 8)


def pack(prior, n_stages):
    """Return the bytes of the first stages of a prior without classes."""
    counts_SXK, weights_SL = prior.counts_[:n_stages, 0], prior.weights_[:n_stages]
    if counts_SXK.size > _MOST_COUNTS or counts_SXK[0].size > _MOST_OF_A_STAGE:
        raise ValueError(
            f"prior must have at most {_MOST_COUNTS} counts, {_MOST_OF_A_STAGE} for a stage, to be "
            f"stored with codes; {prior} has {counts_SXK.size}, {counts_SXK[0].size} for a stage. "
            "Take one of lower order."
        )
    size = np.min_scalar_type(counts_SXK.max()).itemsize
    counts = counts_SXK.astype(f"<u{size}").tobytes()
    head = bytes([prior.order_, size])
    return head + weights_SL.astype("<u4").tobytes() + zlib.compress(counts, 9)


def unpack(data, n_stages, n_options):
    """Return the prior, or say what is wrong with its bytes."""
    order, size = bytes(data[:2]) if len(data) > 1 else (0, 0)
    n_counts = n_stages * n_options ** (order + 1)
    is_large = n_counts > _MOST_COUNTS or n_counts // n_stages > _MOST_OF_A_STAGE
    if order > HIGHEST_ORDER or size not in _SIZES or is_large:
        raise FormatError(
            f"the prior must be of order {HIGHEST_ORDER} at most, with {_MOST_COUNTS} integers of "
            f"{_SIZES} bytes at most; it is of order {order}, with {n_counts} of {size}"
        )
    end = 2 + 4 * n_stages * (1 + order)
    if len(data) < end:
        raise FormatError("the prior ends too early")
    counts = np.frombuffer(_unzipped(data[end:], size * n_counts), f"<u{size}")
    if counts.max() > MOST_CODES:
        raise FormatError(f"the counts of the prior must be at most {MOST_CODES}")
    prior = MarkovPrior(order, n_options=n_options) if order else MarginalPrior(n_options)
    prior.counts_ = counts.astype(np.int64).reshape(n_stages, 1, n_options**order, n_options)
    prior.weights_ = np.frombuffer(data[2:end], "<u4").astype(np.int64).reshape(n_stages, -1)
    prior.order_, prior.classes_ = order, None
    n_codes_S = prior.counts_.sum(axis=(1, 2, 3))
    prior.class_counts_ = n_codes_S[:1]
    weights = prior.weights_
    if n_codes_S.max() > MOST_CODES or weights.min() < 1 or weights.max() > MOST_WEIGHT:
        raise FormatError(
            f"the prior must be of {MOST_CODES} codes at most, with weights from 1 to {MOST_WEIGHT}"
        )
    return prior


def _unzipped(data, n_bytes):
    """Return what zlib compressed, if it has so many bytes."""
    unzip = zlib.decompressobj()
    try:
        counts = unzip.decompress(data, n_bytes + 1)
    except zlib.error as error:
        raise FormatError(f"the counts of the prior cannot be read: {error}") from error
    if len(counts) != n_bytes or not unzip.eof or unzip.unused_data:
        raise FormatError(f"the counts of the prior must have {n_bytes} bytes")
    return counts

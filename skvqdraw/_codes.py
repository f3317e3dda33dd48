"""Integer codes, and everything that can be said of them without a network.

Axes: N samples, S stages, K options.
"""

from numbers import Integral
from operator import index

import numpy as np
from scipy import sparse

__all__ = ["pack_codes", "unpack_codes"]


def codes_dtype(n_options):
    """Return the smallest unsigned integer dtype that holds codes below `n_options`."""
    return np.min_scalar_type(n_options - 1)


def read_array(value, name):
    """Return something array-like as an array, or say that numpy cannot read it."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(
            f"{name} must be an array, or what numpy makes one of; got a {type(value).__name__} "
            f"that numpy cannot read ({str(error).rstrip('.')}). Make an array of {name} first."
        ) from error


def _dense(codes, name, source="encode"):
    """Return integers as an array, or say that what came is none."""
    allowed = f"{name} must be an array of integers, as {source} returns them"
    if sparse.issparse(codes):
        raise ValueError(
            f"{allowed}; got a sparse matrix of shape {codes.shape}. Pass what {source} returns. "
            "Sparse features, as transform returns them, go to inverse_transform under "
            "encoding='onehot'."
        )
    array = read_array(codes, name)
    if array.ndim == 0:
        raise ValueError(
            f"{allowed}; got a single {type(codes).__name__}. Pass what {source} returns."
        )
    return array


def check_codes(codes, n_options, *, n_stages=None, max_stages=None):
    """Return `codes` as an (N, S) array of the smallest dtype, or say what is wrong with it.

    `n_stages` asks for exactly that many columns, `max_stages` for a prefix of that many. Without
    `n_options`, integers may be as large as they like.
    """
    codes = _dense(codes, "codes")
    allowed = "integers of at least 0" if n_options is None else f"integers in [0, {n_options})"
    if codes.ndim != 2:
        raise ValueError(
            "codes must be a 2-D array of shape (n_samples, n_stages); got an array of shape "
            f"{codes.shape}. A single code is codes.reshape(1, -1)."
        )
    if not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(
            f"codes must be {allowed}; got dtype {codes.dtype}. Codes come from encode, or from "
            "codes.astype(int)."
        )
    if n_stages is not None and codes.shape[1] != n_stages:
        raise ValueError(f"codes must have {n_stages} columns; got {codes.shape[1]}.")
    if max_stages is not None and codes.shape[1] > max_stages:
        raise ValueError(
            f"codes must have at most {max_stages} columns, one for each stage; "
            f"got {codes.shape[1]}."
        )
    if n_options is None:
        n_options = int(codes.max(initial=0)) + 1
    wrong = (codes < 0) | (codes >= n_options)
    if wrong.any():
        row, stage = np.argwhere(wrong)[0]
        raise ValueError(
            f"codes must be {allowed}; got {codes[row, stage]} at row {row}, stage {stage}."
        )
    return codes.astype(codes_dtype(n_options), copy=False)


def check_n_samples(n_samples):
    """Return how many samples to draw, or say what is wrong with it."""
    try:
        n_samples = index(n_samples)
    except TypeError as error:
        raise TypeError(
            f"n_samples must be an integer of at least 1; got {n_samples!r} of type "
            f"{type(n_samples).__name__}. Pass the number of samples as an int."
        ) from error
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1; got {n_samples}.")
    return n_samples


def check_prefix(prefix, n_samples, n_options, *, max_stages):
    """Return what so many codes begin with, (N, T): one prefix for all, one for each, or none."""
    if prefix is None:
        return np.empty((n_samples, 0), dtype=codes_dtype(n_options))
    prefix = _dense(prefix, "prefix")
    if prefix.ndim == 1 and prefix.size:
        prefix = np.broadcast_to(prefix, (n_samples, len(prefix)))
    if prefix.ndim != 2 or len(prefix) != n_samples:
        raise ValueError(
            f"prefix must be one for all samples or have a row for each of n_samples={n_samples}; "
            f"got an array of shape {prefix.shape}. Give one row for each sample."
        )
    return check_codes(prefix, n_options, max_stages=max_stages)


def room_for_codes(n_samples, n_stages, n_options, out=None):
    """Return an array for codes: a new one, or `out`, or say why `out` cannot hold them."""
    shape, smallest = (n_samples, n_stages), codes_dtype(n_options)
    if out is None:
        return np.empty(shape, dtype=smallest)
    if not isinstance(out, np.ndarray):
        raise TypeError(
            f"out must be a numpy array or memory map; got {type(out).__name__}. Make one with "
            f"numpy.empty({shape}, {str(smallest)!r}) or numpy.lib.format.open_memmap."
        )
    if out.shape != shape:
        raise ValueError(
            f"out must have shape {shape}, a row for each row of X and a column for each stage; "
            f"got {out.shape}."
        )
    if not np.issubdtype(out.dtype, np.integer) or np.iinfo(out.dtype).max < n_options - 1:
        raise ValueError(
            f"out must have an integer dtype that holds {n_options - 1}, such as {smallest}; got "
            f"{out.dtype}."
        )
    if not out.flags.writeable:
        raise ValueError(
            "out must be writeable; got a read-only array. Open a memory map with mode='r+'."
        )
    return out


def one_hot(codes, n_options):
    """Return codes (N, S) as a CSR array (N, S * K) of float32 ones."""
    n_samples, n_stages = codes.shape
    n_ones = codes.size
    index_dtype = np.int32 if max(n_ones, n_stages * n_options) < 2**31 else np.int64
    columns = codes + n_options * np.arange(n_stages, dtype=index_dtype)
    return sparse.csr_array(
        (
            np.ones(n_ones, dtype=np.float32),
            columns.astype(index_dtype, copy=False).ravel(),
            np.arange(0, n_ones + 1, n_stages, dtype=index_dtype),
        ),
        shape=(n_samples, n_stages * n_options),
    )


def soft_assignments(losses_NSK, codes_NS, softness):
    """Return how well each option would have served, (N, S * K) in float32.

    In each stage it is the exponential of minus the losses above the best option's, divided by
    `softness` times their mean. The mean over the options is then taken off, and what is left is
    scaled to length 1: neither units nor the number of the stage matter. The option that was
    chosen has the largest: where a search chose another than the best, for the sake of later
    stages, these two change places. Options whose losses are beyond all numbers count as the
    worst, and those that are all as good have zeros.
    """
    losses_NSK = np.where(np.isfinite(losses_NSK), losses_NSK, np.inf)
    least_NS1 = losses_NSK.min(axis=2, keepdims=True)
    above_NSK = losses_NSK - np.where(np.isfinite(least_NS1), least_NS1, 0)
    above_NSK[~np.isfinite(least_NS1[:, :, 0])] = 0
    known_NSK = np.isfinite(above_NSK)
    scale_NS1 = softness * above_NSK.mean(axis=2, keepdims=True, where=known_NSK)
    above_NSK /= np.where(scale_NS1 > 0, scale_NS1, 1)
    Z_NSK = np.exp(-above_NSK)
    Z_NSK -= Z_NSK.mean(axis=2, keepdims=True)
    length_NS1 = np.linalg.norm(Z_NSK, axis=2, keepdims=True)
    Z_NSK = (Z_NSK / np.where(length_NS1 > 0, length_NS1, 1)).astype(np.float32)
    best_NS1, codes_NS1 = Z_NSK.argmax(axis=2)[:, :, None], codes_NS.astype(np.intp)[:, :, None]
    largest_NS1 = np.take_along_axis(Z_NSK, best_NS1, 2)
    np.put_along_axis(Z_NSK, best_NS1, np.take_along_axis(Z_NSK, codes_NS1, 2), 2)
    # By a last bit, where others are as good; of zeros not by a denormal number, which some flush.
    largest_NS1 = np.maximum(largest_NS1, np.finfo(np.float32).eps)
    np.put_along_axis(Z_NSK, codes_NS1, np.nextafter(largest_NS1, np.float32(2)), 2)
    return Z_NSK.reshape(len(Z_NSK), -1)


def from_soft(Z, n_stages, n_options):
    """Return the codes of soft assignments Z (N, S * K): in each stage the largest."""
    _check_width(Z, n_stages, n_options)
    return Z.reshape(len(Z), n_stages, n_options).argmax(axis=2).astype(codes_dtype(n_options))


def _check_width(Z, n_stages, n_options):
    if Z.shape[1] != n_stages * n_options:
        raise ValueError(
            f"X must have n_stages * n_options = {n_stages * n_options} columns; got {Z.shape[1]}."
        )


def from_one_hot(Z, n_stages, n_options):
    """Return the codes of one-hot rows Z (N, S * K), sparse or dense."""
    if not sparse.issparse(Z):  # of some dtypes scipy has no sparse arrays
        Z = Z.astype(np.result_type(Z.dtype, np.float32))
    Z = sparse.csr_array(Z, copy=True)  # it is put in order in place
    _check_width(Z, n_stages, n_options)
    Z.eliminate_zeros()
    Z.sort_indices()
    expected = np.arange(n_stages, dtype=Z.indices.dtype)
    wrong = np.diff(Z.indptr) != n_stages
    if not wrong.any():
        stages, codes = np.divmod(Z.indices.reshape(-1, n_stages), n_options)
        wrong = ((stages != expected) | (Z.data.reshape(-1, n_stages) != 1)).any(axis=1)
    if wrong.any():
        raise ValueError(
            f"each row of X must be one-hot: a single 1 in each of {n_stages} blocks of "
            f"{n_options} columns, as transform returns it; row {np.argmax(wrong)} is not."
        )
    return codes.astype(codes_dtype(n_options))


def _bits_per_stage(n_options):
    if not isinstance(n_options, Integral) or n_options < 2:
        raise ValueError(f"n_options must be an integer of at least 2; got {n_options!r}.")
    return (int(n_options) - 1).bit_length()


def pack_codes(codes, n_options):
    """Pack integer codes into bytes, without a gap between stages.

    Each stage takes ``ceil(log2(n_options))`` bits, most significant bit first; each row is
    padded with zeros to whole bytes. Ten stages of 64 options take 8 bytes a row.

    Parameters
    ----------
    codes : array-like of shape (n_samples, n_stages)
        Integers in ``[0, n_options)``, as ``encode`` returns them.
    n_options : int
        Number of options per stage, at least 2.

    Returns
    -------
    packed : ndarray of shape (n_samples, n_bytes), dtype uint8
        ``n_bytes = ceil(n_stages * ceil(log2(n_options)) / 8)``.

    Raises
    ------
    ValueError
        If `codes` is not a 2-D array of integers in ``[0, n_options)``.

    See Also
    --------
    unpack_codes : The inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw import pack_codes
    >>> pack_codes(np.array([[1, 2, 3], [63, 0, 63]]), n_options=64)
    array([[  4,  32, 192],
           [252,  15, 192]], dtype=uint8)
    """
    n_bits = _bits_per_stage(n_options)
    codes = check_codes(codes, n_options)
    shifts = np.arange(n_bits - 1, -1, -1, dtype=codes.dtype)
    bits = (codes[:, :, None] >> shifts) & codes.dtype.type(1)
    return np.packbits(bits.reshape(len(codes), -1).astype(bool), axis=1)


def unpack_codes(packed, n_stages, n_options):
    """Unpack bytes written by `pack_codes` into integer codes.

    Parameters
    ----------
    packed : array-like of shape (n_samples, n_bytes), dtype uint8
        Rows as `pack_codes` returns them.
    n_stages : int
        Number of stages of each code.
    n_options : int
        Number of options per stage, at least 2.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_stages)
        Integers in ``[0, n_options)``, in the smallest unsigned dtype that holds them.

    Raises
    ------
    ValueError
        If the width of `packed` does not fit `n_stages` and `n_options`, if it is not uint8, or
        if it holds an integer that is not below `n_options`.

    See Also
    --------
    pack_codes : The inverse.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw import unpack_codes
    >>> packed = np.array([[4, 32, 192], [252, 15, 192]], dtype=np.uint8)
    >>> unpack_codes(packed, n_stages=3, n_options=64)
    array([[ 1,  2,  3],
           [63,  0, 63]], dtype=uint8)
    """
    n_bits = _bits_per_stage(n_options)
    if not isinstance(n_stages, Integral) or n_stages < 0:
        raise ValueError(f"n_stages must be an integer of at least 0; got {n_stages!r}.")
    n_stages, packed = int(n_stages), _dense(packed, "packed", "pack_codes")
    n_bytes = -(-n_stages * n_bits // 8)
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != n_bytes:
        raise ValueError(
            f"packed must be a uint8 array of shape (n_samples, {n_bytes}) for {n_stages} stages "
            f"of {n_options} options; got shape {packed.shape}, dtype {packed.dtype}."
        )
    bits = np.unpackbits(packed, axis=1, count=n_stages * n_bits).reshape(
        len(packed), n_stages, n_bits
    )
    place_values = 1 << np.arange(n_bits - 1, -1, -1, dtype=np.uint64)
    return check_codes((bits * place_values).sum(axis=2, dtype=np.uint64), n_options)


def option_counts(codes, n_options):
    """Return how many rows use each option, (S, K)."""
    n_stages, n_options = codes.shape[1], int(n_options)
    cells = codes + n_options * np.arange(n_stages)
    counts = np.bincount(cells.ravel(), minlength=n_stages * n_options)
    return counts.reshape(n_stages, n_options)


def option_frequencies(codes, n_options):
    """Return the share of rows that use each option, (S, K); each stage sums to 1."""
    return option_counts(codes, n_options) / len(codes)


def entropy_bits(frequencies_SK):
    """Return the sum over stages of the marginal entropy of the options, in bits."""
    p = np.asarray(frequencies_SK, dtype=np.float64)
    return float((p * np.log2(1 / np.where(p > 0, p, 1))).sum())


def feature_names(prefix, n_stages, n_options=None):
    """Return names of one-hot columns, or of stages when `n_options` is None."""
    if n_options is None:
        names = [f"{prefix}_s{stage}" for stage in range(n_stages)]
    else:
        names = [f"{prefix}_s{s}_o{k}" for s in range(n_stages) for k in range(n_options)]
    return np.asarray(names, dtype=object)

"""Rows as few bytes: compressed with a fitted model, and decompressed with it, here or elsewhere.

A stream holds codes stage by stage, each with a checksum: the first part of it is a coarse version
of all rows. It does not hold the model, only its fingerprint. :doc:`/compression` tells more, and
the format byte by byte.
"""

import io
import math
import mmap
import os
from numbers import Integral, Real

import numpy as np
from sklearn.utils import Bunch, check_scalar
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from ._base import CodeTransformer
from ._codes import codes_dtype, room_for_codes
from ._rows import pieces
from ._warn import warn
from .exceptions import FormatError
from .files.atomic import file_name, open_regular, write_atomically
from .priors._counts import MarginalPrior, MarkovPrior
from .streams import container
from .streams.blocks import CodesReader, CodesWriter, blocks
from .streams.container import BITS, RANGES, Header

__all__ = [
    "compress",
    "compress_file",
    "decode_codes",
    "decompress",
    "decompress_file",
    "inspect",
]

_NAMES = {BITS: "bits", RANGES: "constriction {}.{}"}
# Rows that are encoded between two steps of a progress bar: 64 tiles, for as many threads.
_ENCODED_ROWS = 2**14


def compress(estimator, X, *, prior=None, n_stages=None, max_error=None):
    """Return rows as bytes.

    Parameters
    ----------
    estimator : VQDRAW, VQVAE, ClusterBoosting or another CodeTransformer
        The fitted model. It decides the error, by its `beam_size` and so on, and is needed again to
        decompress.
    X : array-like of shape (n_samples, n_features)
        Rows, as `encode` takes them. Their dtype is that of what `decompress` returns.
    prior : MarginalPrior, MarkovPrior or None, default=None
        How likely codes are, fitted on codes of other rows, without labels. It is stored (at most
        2**21 counts, 2**20 for a stage), and codes take as many bits as it says, and 0.0014 of a
        bit for each option. None, the default, takes ``ceil(log2(n_options))`` bits for each
        option: nearly as few for codes of `VQDRAW`, and needs no other package. With a prior,
        constriction (``pip install 'skvqdraw[codec]'``) must be there, here and where rows are
        decompressed.
    n_stages : int or None, default=None
        How many stages of each code to keep, from 1 to those of the model; of `VQVAE`, whole
        levels. None keeps all.
    max_error : float or None, default=None
        A code ends with the first stage, of `VQVAE` the first level, whose reconstruction has a
        loss of at most this, in the units of ``-estimator.score_samples(X)``: squared units of X if
        the loss is the squared error. Rows that never get there keep all stages. Lengths are
        stored, too:
        ``ceil(log2(n_stages + 1))`` bits for each row, or with a prior as few as they need. None
        gives all codes the same length.

    Returns
    -------
    data : bytes
        A head of 76 bytes, 12 bytes for each stage, and the codes.

    Raises
    ------
    TypeError
        If `prior` is one whose chances are floats, which differ between machines.
    ValueError
        If `prior` was fitted on other codes or with labels, or a parameter is out of its range.
    ImportError
        If `prior` is given and constriction is not installed.

    See Also
    --------
    compress_file : Writes a file, a part at a time.
    skvqdraw.pack_codes : Codes as bytes without anything else.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw import ClusterBoosting
    >>> from skvqdraw.codec import compress, decompress
    >>> X = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    >>> model = ClusterBoosting(n_stages=4, n_options=16, random_state=0).fit(X)
    >>> data = compress(model, X)
    >>> len(data)  # 32,000 as floats
    2124
    >>> bool((decompress(model, data) == model.reconstruct(X)).all())
    True
    """
    return b"".join(_compressed(estimator, X, prior, n_stages, max_error, False))


def compress_file(estimator, X, path, *, prior=None, n_stages=None, max_error=None, verbose=False):
    """Write rows to a file, compressed.

    X may be a memory map: it is read a part at a time, and what is held in memory is a few times
    what will be in the file. The file is written whole or not at all.

    Parameters
    ----------
    estimator : VQDRAW, VQVAE, ClusterBoosting or another CodeTransformer
        The fitted model, see `compress`.
    X : array-like of shape (n_samples, n_features)
        Rows; ``numpy.load(path, mmap_mode="r")`` for those of a large file.
    path : str or path-like
        Where to; an existing file is replaced.
    prior : MarginalPrior, MarkovPrior or None, default=None
        How likely codes are, see `compress`.
    n_stages : int or None, default=None
        How many stages of each code to keep, see `compress`.
    max_error : float or None, default=None
        At which loss a code ends, see `compress`.
    verbose : bool, default=False
        Whether to show a progress bar.

    See Also
    --------
    decompress_file : The inverse.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from skvqdraw import ClusterBoosting
    >>> from skvqdraw.codec import compress_file, inspect
    >>> X = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    >>> model = ClusterBoosting(n_stages=4, n_options=16, random_state=0).fit(X)
    >>> path = os.path.join(tempfile.mkdtemp(), "rows.skvq")
    >>> compress_file(model, X, path)
    >>> inspect(path).n_samples
    1000
    """
    sections = _compressed(estimator, X, prior, n_stages, max_error, verbose)
    write_atomically(path, sections)


def decompress(estimator, data, *, n_stages=None, allow_truncated=False):
    """Return the rows that `compress` made bytes of, as their codes tell them.

    Parameters
    ----------
    estimator : VQDRAW, VQVAE, ClusterBoosting or another CodeTransformer
        The model that compressed them: the same one, or one with its fingerprint.
    data : bytes-like, str or path-like
        The stream, or the name of a file that holds it.
    n_stages : int or None, default=None
        How many stages to decode at most; of `VQVAE`, whole levels. None decodes all; fewer are
        faster, and coarser.
    allow_truncated : bool, default=False
        Whether to decode the stages that are whole, and warn, where the end is missing or damaged.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        ``estimator.decode(codes)`` in the dtype of the rows that were compressed. Integers are
        rounded, and no number is beyond the least or the largest of its dtype.

    Raises
    ------
    FormatError
        If the stream is damaged, its end is missing, or it is none.
    ValueError
        If it was made with another model.
    ImportError
        If it was made with a prior and constriction is not installed.
    MemoryError
        If there is no room for what it holds; `inspect` tells how many rows these are.
    OSError
        If there is no such file, or it cannot be read.

    See Also
    --------
    decode_codes : The codes alone, without the model.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw import ClusterBoosting
    >>> from skvqdraw.codec import compress, decompress
    >>> X = np.random.default_rng(0).integers(256, size=(1000, 8), dtype=np.uint8)
    >>> model = ClusterBoosting(n_stages=4, n_options=16, random_state=0).fit(X)
    >>> data = compress(model, X)
    >>> decompress(model, data, n_stages=2).dtype
    dtype('uint8')
    """
    header, reader = _reader_of_rows(estimator, _view(data), n_stages, allow_truncated)
    X = np.empty((header.n_samples, header.n_features), header.dtype)
    for some, rows in _rows(estimator, header, reader):
        X[some] = rows
    return X


def decompress_file(
    estimator,
    path,
    target,
    *,
    n_stages=None,
    allow_truncated=False,
    row_shape=None,
    verbose=False,
):
    """Write the rows of a compressed file to an ``.npy`` file.

    A part of them is held in memory at a time. The file is written whole or not at all.

    Parameters
    ----------
    estimator : VQDRAW, VQVAE, ClusterBoosting or another CodeTransformer
        The model that compressed them, see `decompress`.
    path : str or path-like
        What `compress_file` wrote.
    target : str or path-like
        Where to; an existing file is replaced. ``numpy.load(target, mmap_mode="r")`` reads it a
        part at a time.
    n_stages : int or None, default=None
        How many stages to decode at most, see `decompress`.
    allow_truncated : bool, default=False
        Whether to decode the stages that are whole, see `decompress`.
    row_shape : tuple of int or None, default=None
        The shape of each row in the new file, such as that of an image. None leaves rows flat.
    verbose : bool, default=False
        Whether to show a progress bar.

    See Also
    --------
    compress_file : The inverse.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from skvqdraw import ClusterBoosting
    >>> from skvqdraw.codec import compress_file, decompress_file
    >>> X = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    >>> model = ClusterBoosting(n_stages=4, n_options=16, random_state=0).fit(X)
    >>> path = os.path.join(tempfile.mkdtemp(), "rows")
    >>> compress_file(model, X, path + ".skvq")
    >>> decompress_file(model, path + ".skvq", path + ".npy")
    >>> np.load(path + ".npy", mmap_mode="r").shape
    (1000, 8)
    """
    target, view = file_name(target, "target"), _view(file_name(path))
    header, reader = _reader_of_rows(estimator, view, n_stages, allow_truncated)
    row_shape = (header.n_features,) if row_shape is None else tuple(map(int, row_shape))
    if min(row_shape, default=1) < 1 or math.prod(row_shape) != header.n_features:
        raise ValueError(
            f"row_shape must have {header.n_features} numbers, as rows do; got {row_shape}."
        )
    head = _npy_head(header, (header.n_samples, *row_shape))
    write_atomically(target, _npy(head, estimator, header, reader, verbose))


def decode_codes(data, *, allow_truncated=False):
    """Return the codes that a stream holds; the model is not needed.

    Parameters
    ----------
    data : bytes-like, str or path-like
        What `compress` returned, or the name of a file that holds it.
    allow_truncated : bool, default=False
        Whether to return the stages that are whole, and warn, where the end is missing or damaged.

    Returns
    -------
    codes : ndarray of shape (n_samples, n_stages)
        Integers in ``[0, n_options)``, the same on every machine. What is beyond the length of a
        code is 0.
    lengths : ndarray of shape (n_samples,)
        How many stages of each code are there: all, but for streams with a `max_error`.

    Raises
    ------
    FormatError
        If the stream is damaged, its end is missing, or it is none.
    ImportError
        If it was made with a prior and constriction is not installed.
    MemoryError
        If there is no room for what it holds; `inspect` tells how many rows these are.
    OSError
        If there is no such file, or it cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw import ClusterBoosting
    >>> from skvqdraw.codec import compress, decode_codes
    >>> X = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    >>> model = ClusterBoosting(n_stages=4, n_options=16, random_state=0).fit(X)
    >>> codes, lengths = decode_codes(compress(model, X))
    >>> bool((codes == model.encode(X)).all()), set(lengths.tolist())
    (True, {4})
    """
    header, reader = _reader(_view(data), None, allow_truncated)
    n_stages = len(reader.stages)
    codes = np.empty((header.n_samples, n_stages), codes_dtype(header.n_options))
    lengths = np.full(header.n_samples, n_stages, codes_dtype(header.n_stages + 1))
    for block, some, lengths_of_some in reader.blocks():
        codes[block] = some
        if lengths_of_some is not None:
            lengths[block] = lengths_of_some
    return codes, lengths


def inspect(data):
    """Return what a stream says of itself, and how much of it is whole; the model is not needed.

    Parameters
    ----------
    data : bytes-like, str or path-like
        What `compress` returned, or the name of a file that holds it.

    Returns
    -------
    about : Bunch
        `format_version`; `n_samples`, `n_features` and `dtype` of the rows; `n_stages` and
        `n_options` of the codes; `n_whole_stages`, those that can be decoded; `has_lengths`,
        whether codes end at different stages; `coder`, "bits" or the range coder and its version;
        `fingerprint` of the model; `n_bytes`, and `bits_per_row`, with everything counted;
        `problem`, what is wrong, or an empty text.

    Raises
    ------
    FormatError
        If not even the head of the stream is there and undamaged.
    OSError
        If there is no such file, or it cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw import ClusterBoosting
    >>> from skvqdraw.codec import compress, inspect
    >>> X = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    >>> model = ClusterBoosting(n_stages=4, n_options=16, random_state=0).fit(X)
    >>> data = compress(model, X)
    >>> inspect(data[: len(data) // 2]).n_whole_stages
    1
    """
    view = _view(data)
    header, sections, problem = container.unpack(view)
    n_before = (header.coder != BITS) + header.has_lengths
    return Bunch(
        format_version=container.VERSION,
        n_samples=header.n_samples,
        n_features=header.n_features,
        dtype=header.dtype,
        n_stages=header.n_stages,
        n_options=header.n_options,
        n_whole_stages=max(len(sections) - n_before, 0),
        has_lengths=bool(header.has_lengths),
        coder=_NAMES[header.coder].format(*container.CODERS[header.coder]),
        fingerprint=header.fingerprint,
        n_bytes=view.nbytes,
        bits_per_row=8 * view.nbytes / header.n_samples,
        problem=problem,
    )


# ---- Compressing ---------------------------------------------------------------------------------


def _compressed(estimator, X, prior, n_stages, max_error, verbose):
    """Return an iterator over the bytes of a stream, when all that can be checked has been."""
    _check_estimator(estimator)
    most, n_options = estimator._code_shape
    n_stages = most if n_stages is None else n_stages
    check_scalar(n_stages, "n_stages", Integral, min_val=1, max_val=most)
    estimator._refuse_parts("codes of n_stages", n_stages)
    if max_error is not None and not check_scalar(max_error, "max_error", Real) >= 0:
        raise ValueError(f"max_error must be at least 0; got {max_error}.")
    _check_prior(prior, n_stages, n_options)
    X = estimator._validate_X(X, reset=False)
    writer = CodesWriter(n_stages, n_options, prior, max_error is not None)
    header = Header(
        writer.writer.coder,
        max_error is not None,
        container.stored_dtype(X.dtype),
        n_stages,
        n_options,
        *X.shape,
        estimator.fingerprint(),
    )
    if wrong := container.check_numbers(**{n: getattr(header, n) for n in container.MOST}):
        raise ValueError(f"{wrong}. Compress a part of it at a time.")
    return _pieces_of(estimator, X, header, writer, max_error, verbose)


def _pieces_of(estimator, X, header, writer, max_error, verbose):
    """Yield the bytes of a stream; rows are encoded when the first are asked for."""
    with _bar(len(X), verbose) as bar:
        for block in blocks(len(X)):
            codes_and_lengths = _codes_and_lengths(
                estimator, X[block], header.n_stages, max_error, bar
            )
            writer.write(*codes_and_lengths)
    yield from container.pack(header, writer.finish())


def _codes_and_lengths(estimator, X, n_stages, max_error, bar):
    """Return the codes of a block of rows, and where they end, or None."""
    codes = room_for_codes(len(X), *estimator._code_shape)
    lengths = None if max_error is None else np.empty(len(X), codes_dtype(n_stages + 1))
    for start in range(0, len(X), _ENCODED_ROWS):
        part = slice(start, start + _ENCODED_ROWS)
        estimator._encode(X[part], codes[part])
        if lengths is not None:
            lengths[part] = _lengths(estimator, codes[part, :n_stages], X[part], max_error)
        bar.update(len(X[part]))
    return codes[:, :n_stages], lengths


def _lengths(estimator, codes, X, max_error):
    """Return the first prefix of each code that is good enough, or the whole code."""
    lengths = np.full(len(codes), codes.shape[1])
    for piece in pieces(*X.shape):
        left = np.arange(len(X))[piece]
        for length in (n for n in estimator._prefix_lengths if n < codes.shape[1]):
            good = estimator._losses_of(codes[left, :length], X[left]) <= max_error
            lengths[left[good]] = length
            left = left[~good]
            if not len(left):
                break
    return lengths


def _check_estimator(estimator):
    if not isinstance(estimator, CodeTransformer):
        raise TypeError(
            f"estimator must be a model of skvqdraw, such as VQDRAW; got "
            f"{type(estimator).__name__}. Give the fitted model itself."
        )
    check_is_fitted(estimator)


def _check_prior(prior, n_stages, n_options):
    """Refuse priors that cannot be stored, or are not of such codes."""
    if prior is None:
        return
    name = type(prior).__name__
    if not isinstance(prior, (MarginalPrior, MarkovPrior)):
        raise TypeError(
            f"prior must be a MarginalPrior or a MarkovPrior, whose chances are integers; got "
            f"{name}. Floats differ between machines in their last bits, and a decoder that is off "
            "by one bit reads something else: bits of such a prior are lengths of codes, no files."
        )
    check_is_fitted(prior)
    if prior.classes_ is not None:
        raise ValueError(
            f"prior must know no classes: the stream has no labels; this {name} was fitted with "
            "some. Fit it with fit(codes)."
        )
    if prior.n_stages_ < n_stages or prior.n_options_ != n_options:
        raise ValueError(
            f"prior must be of {n_stages} stages or more of {n_options} options, as the codes are; "
            f"this {name} has {prior.n_stages_} of {prior.n_options_}. Fit it on codes of this "
            f"model, with n_options={n_options}."
        )


# ---- Decompressing -------------------------------------------------------------------------------


def _view(data):
    """Return a view of bytes, or of the bytes of a file."""
    if not isinstance(data, (str, os.PathLike)):
        try:
            view = memoryview(data)
        except TypeError as error:
            raise TypeError(
                "data must be bytes, as compress returns them, or the name of a file that holds "
                f"them; got {type(data).__name__}. Pass one of these."
            ) from error
        return view if view.c_contiguous else memoryview(view.tobytes())
    with open_regular(file_name(data, "data")) as file:
        if not os.fstat(file.fileno()).st_size:
            return memoryview(b"")  # of nothing there is no map
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _reader(view, n_stages, allow_truncated):
    """Return the header of a stream and a reader of its codes."""
    header, sections, problem = container.unpack(view)
    if n_stages is not None:
        check_scalar(n_stages, "n_stages", Integral, min_val=1, max_val=header.n_stages)
    if problem and not allow_truncated:
        raise FormatError(
            f"{problem}. The stages before that can be decoded with allow_truncated=True; inspect "
            "tells how many these are."
        )
    reader = CodesReader(header, sections, n_stages or header.n_stages)
    if problem:
        warn(f"{len(reader.stages)} of {header.n_stages} stages are decoded: {problem}.")
    return header, reader


def _reader_of_rows(estimator, view, n_stages, allow_truncated):
    """Return the header of a stream and a reader of codes that its model decodes."""
    header, reader = _reader(view, n_stages, allow_truncated)
    _check_model(estimator, header)
    if n_stages is not None:
        estimator._refuse_parts("codes of n_stages", n_stages)
    n_whole = len(reader.stages)
    n_decoded = max(n for n in estimator._prefix_lengths if n <= n_whole)
    if n_decoded < n_whole:
        warn(
            f"{n_decoded} of {n_whole} stages tell what rows are: integers of "
            f"{type(estimator).__name__} decode level by level."
        )
    return header, reader


def _check_model(estimator, header):
    """Refuse a model that did not make a stream."""
    _check_estimator(estimator)
    fingerprint, shape = estimator.fingerprint(), estimator._code_shape
    if fingerprint != header.fingerprint:
        raise ValueError(
            f"estimator must be the model that compressed the rows, with the fingerprint "
            f"{header.fingerprint}; this {type(estimator).__name__} has {fingerprint}. Give the "
            "model that was saved when they were."
        )
    # Who wrote the right fingerprint may have written the rest wrong.
    n_stages, n_options, n_features = (
        getattr(header, name) for name in ("n_stages", "n_options", "n_features")
    )
    if (n_options, n_features) != (shape[1], estimator.n_features_in_) or n_stages > shape[0]:
        raise FormatError(
            f"the stream says {n_stages} stages of {n_options} options for {n_features} features, "
            f"and its model has {shape[0]} of {shape[1]} for {estimator.n_features_in_}"
        )


def _rows(estimator, header, reader, wanted=None):
    """Yield (indices, rows in their dtype), a piece at a time: of all rows, or of some in order."""
    for block, codes, lengths in reader.blocks():
        rows = np.arange(block.start, block.start + len(codes))
        if wanted is not None:
            rows = np.intersect1d(rows, wanted, assume_unique=True)
        for piece in pieces(len(rows), header.n_features):
            places = rows[piece] - block.start
            decoded = _decoded(
                estimator, codes[places], None if lengths is None else lengths[places]
            )
            yield rows[piece], _as_dtype(decoded, header.dtype)


def decompressed_rows(estimator, data, wanted, X):
    """Write some rows of a stream into an array that has room for all; `wanted` are in order."""
    header, reader = _reader_of_rows(estimator, _view(data), None, False)
    dtype = container.stored_dtype(X.dtype)
    if header.dtype != dtype or header.n_features != X.shape[1] or header.n_samples > len(X):
        raise FormatError(
            f"a stream of rows of shape {X.shape} at most and dtype {X.dtype} is expected; this "
            f"one says {header.n_samples} rows of {header.n_features} of dtype {header.dtype}"
        )
    for some, rows in _rows(estimator, header, reader, wanted):
        X[some] = rows


def _decoded(estimator, codes, lengths):
    """Return the reconstructions of codes that end somewhere."""
    if lengths is None:
        return estimator._decode(codes)
    X = None
    for length in np.unique(lengths):
        these = lengths == length
        rows = estimator._decode(codes[these, :length])
        X = np.empty((len(codes), *rows.shape[1:]), rows.dtype) if X is None else X
        X[these] = rows
    return X


def _as_dtype(X, dtype):
    """Return rows in the dtype that they had: integers rounded, and within what these can be."""
    if dtype.kind == "f":
        if dtype.itemsize < X.itemsize:
            X = X.clip(np.finfo(dtype).min, np.finfo(dtype).max)
        return X.astype(dtype, copy=False)
    if dtype.kind == "b":
        return X >= 0.5
    # The largest integers of 64 bits are no floats: the float that they become is beyond them.
    least, largest = np.iinfo(dtype).min, np.iinfo(dtype).max
    X, rounded = np.rint(X).astype(np.float64), np.full(X.shape, largest, dtype)
    smaller = float(largest) > X
    rounded[smaller] = X[smaller].clip(least)
    return rounded


def _npy_head(header, shape):
    """Return the bytes before the numbers of an .npy file."""
    head = io.BytesIO()
    about = {"descr": header.dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, about)
    return head.getvalue()


def _npy(head, estimator, header, reader, verbose):
    """Yield the bytes of an .npy file of the rows, a piece at a time."""
    yield head
    with _bar(header.n_samples, verbose) as bar:
        for _, rows in _rows(estimator, header, reader):
            yield np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
            bar.update(len(rows))


def _bar(n_rows, verbose):
    return tqdm(total=n_rows, unit="row", unit_scale=True, disable=not verbose)

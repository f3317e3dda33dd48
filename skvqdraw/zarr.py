"""Arrays of zarr (version 3) whose chunks are codes.

Needs zarr (``pip install 'skvqdraw[zarr]'``), which finds `CodesCodec` by itself where skvqdraw is
installed: arrays are opened without importing it. See :doc:`/compression`.
"""

import asyncio
import copy
import operator
import os
import re
import shutil
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np
import zarr
from scipy.sparse import issparse
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted
from zarr.abc.codec import ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore, StorePath
from zarr.storage._common import ensure_no_existing_node, make_store_path

from ._base import CodeTransformer
from ._numbers import as_numbers
from .codec import compress, decompressed_rows
from .exceptions import FormatError
from .io import load
from .pretrained import MODELS, load_pretrained

__all__ = ["CodesCodec", "create_array", "register"]

# What `create_array` gives to zarr itself.
_CHOSEN = {"chunks", "compressors", "data", "filters", "serializer"}
# Models of this process, by fingerprint.
_REGISTERED = {}
# A model is loaded once; and a chunk is coded in as many threads as there are, several at a time
# would wait for each other.
_LOADING, _CODING = threading.Lock(), threading.Lock()


def register(model):
    """Let arrays find a model by its fingerprint, in this process.

    Not needed for models beside an array, where `create_array` puts them, nor for those of
    `load_pretrained`.

    Parameters
    ----------
    model : VQDRAW, ClusterBoosting, another CodeTransformer, str or path-like
        The fitted model, or the name of a file that holds it. It is copied: arrays are coded as it
        is now, with the `beam_size` and so on that it has now.

    Returns
    -------
    fingerprint : str
        That of the model.

    Examples
    --------
    >>> import numpy as np
    >>> from skvqdraw import ClusterBoosting
    >>> from skvqdraw.zarr import register
    >>> X = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    >>> len(register(ClusterBoosting(n_stages=4, n_options=16).fit(X)))
    64
    """
    if isinstance(model, (str, os.PathLike)):
        model = load(model)
    if not isinstance(model, CodeTransformer):
        raise TypeError(
            f"model must be a fitted model of skvqdraw or the name of its file; got "
            f"{type(model).__name__}."
        )
    fingerprint = model.fingerprint()
    # A copy: another fit would make another model of it, whose chunks nobody could read.
    _REGISTERED[fingerprint] = copy.deepcopy(model)
    return fingerprint


def create_array(store, model, X=None, *, shape=None, dtype=None, chunk_rows=10_000, **options):
    """Create an array of zarr whose chunks are codes, and put the model beside it.

    Parameters
    ----------
    store : store, str or path-like
        Where to, as `zarr.create_array` takes it.
    model : VQDRAW, ClusterBoosting or another CodeTransformer
        The fitted model. Its file is put into the store, into the folder of the array.
    X : ndarray of shape (n_samples, ...), default=None
        Rows to write, flat or with axes of their own, such as those of images. None writes nothing
        yet: give `shape` and `dtype`.
    shape : tuple of int, default=None
        That of the array; None for that of X.
    dtype : dtype, default=None
        That of its numbers; None for that of X. Integers are rounded when they are read.
    chunk_rows : int, default=10000
        Rows of a chunk. Each takes 76 bytes, 12 for each stage, and its codes; the smaller, the
        more files.
    **options : object
        What else `zarr.create_array` takes: `name`, `overwrite`, `attributes`. Codes cannot be
        compressed further, so there are no compressors.

    Returns
    -------
    array : zarr.Array
        The array; what is read from it is ``model.decode(model.encode(X))``.

    Raises
    ------
    TypeError
        If `model` is none, or an option is given that is chosen here.
    ValueError
        If rows do not have as many numbers as the model's, or axes of another shape than its
        `row_shape_`; if they are not finite real numbers; or if neither rows nor both of `shape`
        and `dtype` are given.

    Notes
    -----
    Rows are checked and coded in a temporary folder before the store is touched. If writing to the
    store fails, the store is as it was before: with ``overwrite=True``, what was there is put back.

    Rows at the end of a chunk that hold the fill value and nothing else are not coded, but counted:
    they are read as they were. So a last chunk that is not full takes no more than its rows.
    Writing a part of a chunk codes its other rows anew, from their reconstructions.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import zarr
    >>> from skvqdraw import ClusterBoosting
    >>> from skvqdraw.zarr import create_array
    >>> X = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    >>> model = ClusterBoosting(n_stages=4, n_options=16).fit(X)
    >>> path = os.path.join(tempfile.mkdtemp(), "rows.zarr")
    >>> _ = create_array(path, model, X)
    >>> bool((zarr.open_array(path)[:] == model.reconstruct(X)).all())
    True
    """
    _check_model(model)
    if given := _CHOSEN & options.keys():
        raise TypeError(f"{min(given)} must be left out: create_array chooses it.")
    X, shape, dtype = _checked_rows(model, X, shape, dtype)
    check_scalar(chunk_rows, "chunk_rows", Integral, min_val=1)
    where = {key: options.pop(key, None) for key in ("name", "storage_options")}
    overwrite = options.pop("overwrite", False)
    if not _is_new(store):
        _place(store, overwrite, **where)  # refuses before rows are coded
    options |= {
        "shape": shape,
        "dtype": dtype,
        "chunks": (min(chunk_rows, max(shape[0], 1)), *shape[1:]),
        "serializer": CodesCodec(model),
        "filters": None,
        "compressors": None,
    }
    # What can fail with these rows fails in a folder of our own, before the store is touched.
    with tempfile.TemporaryDirectory() as folder:
        draft = zarr.create_array(folder, **options)
        if X is not None:
            _check_range(X, draft.dtype)
            draft[...] = X
        model.save(Path(folder, _file_of(model.fingerprint())))
        Path(folder, "zarr.json").unlink()  # zarr writes it, and that of each group above
        place = _place(store, overwrite, **where)
        with _kept_on_failure(place, overwrite):
            sync(_copy_all(draft.store_path, place))
            return zarr.create_array(place, **options)


@dataclass(frozen=True)
class CodesCodec(ArrayBytesCodec, ArrayBytesCodecPartialDecodeMixin):
    """Chunks as streams of codes: a serializer for arrays of zarr.

    It is given to zarr as ``serializer=``, with ``compressors=None``: codes cannot be compressed
    further, and only without compressors is the model that lies beside an array found. The metadata
    of an array hold the fingerprint of the model, and no path.

    Parameters
    ----------
    model : VQDRAW, ClusterBoosting, another CodeTransformer or str
        The fitted model, which is registered; or its fingerprint.

    See Also
    --------
    create_array : Creates an array with this, and puts the model beside it.

    Examples
    --------
    >>> import numpy as np
    >>> import zarr
    >>> from skvqdraw import ClusterBoosting
    >>> from skvqdraw.zarr import CodesCodec
    >>> X = np.random.default_rng(0).normal(size=(1000, 8)).astype(np.float32)
    >>> codec = CodesCodec(ClusterBoosting(n_stages=4, n_options=16).fit(X))
    >>> array = zarr.create_array(
    ...     {}, data=X, chunks=(500, 8), serializer=codec, filters=None, compressors=None
    ... )
    >>> array[:2].shape
    (2, 8)
    """

    fingerprint: str
    is_fixed_size = False

    def __init__(self, model):
        fingerprint = model if isinstance(model, str) else register(model)
        if not re.fullmatch("[0-9a-f]{64}", fingerprint):
            raise ValueError(
                f"fingerprint must be 64 hexadecimal digits, what model.fingerprint() tells; got "
                f"{fingerprint!r}."
            )
        object.__setattr__(self, "fingerprint", fingerprint)

    @classmethod
    def from_dict(cls, data):
        """Return the codec that metadata describe.

        Parameters
        ----------
        data : dict
            ``{"name": "skvqdraw.codes", "configuration": {"fingerprint": ...}}``.

        Returns
        -------
        codec : CodesCodec
            It looks for the model when it is first needed.
        """
        configuration = data.get("configuration")
        keys = configuration.keys() if isinstance(configuration, dict) else None
        if keys != {"fingerprint"} or not isinstance(configuration["fingerprint"], str):
            raise ValueError(
                "configuration of skvqdraw.codes must hold a fingerprint, and no more; got "
                f"{configuration}."
            )
        return cls(configuration["fingerprint"])

    def to_dict(self):
        """Return what metadata say of the codec.

        Returns
        -------
        data : dict
            As `from_dict` takes it.
        """
        return {"name": "skvqdraw.codes", "configuration": {"fingerprint": self.fingerprint}}

    def validate(self, *, shape, dtype, chunk_grid):
        """Refuse arrays whose chunks are not whole rows of numbers.

        Parameters
        ----------
        shape : tuple of int
            That of the array.
        dtype : ZDType
            That of its numbers, as zarr has it.
        chunk_grid : ChunkGrid
            Its chunks.

        Raises
        ------
        ValueError
            If a chunk holds parts of rows, or what is in it is no number; if rows are not of the
            model's size, where the model is known already.
        """
        chunk = getattr(chunk_grid, "chunk_shape", shape)
        if len(shape) < 2 or tuple(chunk[1:]) != tuple(shape[1:]):
            raise ValueError(
                f"chunks must hold whole rows: {(chunk[0], *shape[1:])} for an array of shape "
                f"{shape} of two axes or more; got {tuple(chunk)}."
            )
        if dtype.to_native_dtype().kind not in "biuf":
            raise ValueError(f"dtype must be one of real numbers; got {dtype.to_native_dtype()}.")
        model = _REGISTERED.get(self.fingerprint)
        if model is not None and np.prod(shape[1:]) != model.n_features_in_:
            raise ValueError(
                f"rows must have {model.n_features_in_} numbers, as the model's have; those of "
                f"shape {shape[1:]} do not."
            )

    def compute_encoded_size(self, input_byte_length, chunk_spec):
        """Refuse to tell how many bytes a chunk takes: that depends on its rows.

        Parameters
        ----------
        input_byte_length : int
            Bytes of the chunk.
        chunk_spec : ArraySpec
            What zarr knows of it.
        """
        raise NotImplementedError("how many bytes codes take depends on the rows of a chunk")

    def _encode_sync(self, chunk_array, chunk_spec):
        return _encoded(_model(self.fingerprint), chunk_array, chunk_spec)

    async def _encode_single(self, chunk_array, chunk_spec):
        return await asyncio.to_thread(self._encode_sync, chunk_array, chunk_spec)

    def _decode_sync(self, chunk_bytes, chunk_spec):
        model = _model(self.fingerprint)
        return _decoded(model, chunk_bytes, chunk_spec, np.arange(chunk_spec.shape[0]))

    async def _decode_single(self, chunk_bytes, chunk_spec):
        return await asyncio.to_thread(self._decode_sync, chunk_bytes, chunk_spec)

    async def _decode_partial_single(self, byte_getter, selection, chunk_spec):
        """Return some of a chunk; only rows that are asked for are decoded."""
        chunk_bytes = await byte_getter.get(prototype=chunk_spec.prototype)
        if chunk_bytes is None:
            return None
        rows = np.arange(chunk_spec.shape[0])
        if isinstance(selection, tuple) and selection:
            rows = np.unique(rows[selection[0]])
        model = await _found(self.fingerprint, byte_getter)
        chunk = await asyncio.to_thread(_decoded, model, chunk_bytes, chunk_spec, rows)
        return chunk[selection]


def _check_model(model):
    """Refuse what is no fitted model."""
    if not isinstance(model, CodeTransformer):
        raise TypeError(
            f"model must be a fitted model of skvqdraw; got {type(model).__name__}. Read one from "
            "its file with skvqdraw.load."
        )
    check_is_fitted(model)


def _checked_rows(model, X, shape, dtype):
    """Return rows as an array, or None, and the shape and the dtype of the array of zarr."""
    if X is None and (shape is None or dtype is None):
        raise ValueError("X must be given, or else both shape and dtype of the rows to come.")
    X = None if X is None else _as_array(model, X)
    shape = X.shape if shape is None else _as_shape(shape)
    if X is not None and X.shape != shape:
        raise ValueError(
            f"shape must be that of X, {X.shape}; got {shape}. Leave it out, or leave out X and "
            "write rows later."
        )
    if len(shape) > 2:
        model._check_row_shape(shape[1:], "shape" if X is None else "X")
    return X, shape, X.dtype if dtype is None else dtype


def _as_array(model, X):
    """Return rows as an array of numbers; the names of a frame's columns are compared."""
    if hasattr(X, "columns") or issparse(X):
        return model._validate_X(X, reset=False)
    rows = as_numbers(X, "X")
    if rows.ndim < 2:
        raise ValueError(
            f"X must have two axes or more, the first of rows; got an array of shape {rows.shape}. "
            "Reshape a single row with X.reshape(1, -1)."
        )
    return rows


def _as_shape(shape):
    """Return the shape of an array as a tuple."""
    try:
        sizes = tuple(map(operator.index, shape))
    except TypeError as error:
        raise TypeError(f"shape must be a tuple of integers; got {shape!r}.") from error
    if len(sizes) < 2 or min(sizes) < 0:
        raise ValueError(
            f"shape must have two axes or more, the first of rows, and no negative size; got "
            f"{sizes}."
        )
    return sizes


def _check_range(X, dtype):
    """Refuse rows that integers of a dtype cannot hold: they would become others in silence."""
    if dtype.kind not in "iu" or X.dtype == dtype or not X.size:
        return
    least, largest, allowed = X.min(), X.max(), np.iinfo(dtype)
    if not (allowed.min <= least and largest <= allowed.max):
        raise ValueError(
            f"X must be from {allowed.min} to {allowed.max} to be stored as dtype={dtype}; it is "
            f"from {least} to {largest}. Choose another dtype."
        )


def _is_new(store):
    """Whether a store is a folder that is not there yet: to open it would make it."""
    return isinstance(store, (str, os.PathLike)) and not os.path.exists(store)


def _place(store, overwrite, name, storage_options):
    """Return where in a store an array goes, and refuse to go where something is."""
    how = {"path": name, "mode": "a", "storage_options": storage_options}
    place = sync(make_store_path(store, **how))
    if not (overwrite and place.store.supports_deletes):
        sync(ensure_no_existing_node(place, zarr_format=3))
    return place


@contextmanager
def _kept_on_failure(place, overwrite):
    """Clear a place to be overwritten; if the block raises, the store is as it was before."""
    # zarr makes groups of what lies above an array.
    parts = place.path.split("/") if place.path else []
    above = ["/".join([*parts[:depth], "zarr.json"]) for depth in range(len(parts))]
    absent = [key for key in above if not sync(place.store.exists(key))]
    kept = _folder_kept if isinstance(place.store, LocalStore) else _keys_kept
    try:
        with kept(place, overwrite):
            yield
    except BaseException:
        _delete(place.store, absent)
        raise


@contextmanager
def _folder_kept(place, overwrite):
    """Keep what is in a folder aside, where a killed process leaves it, until all is written."""
    folder = place.store.root / place.path
    folder.mkdir(parents=True, exist_ok=True)
    before = {path.name for path in folder.iterdir()}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".before.") as aside:
        aside = Path(aside)
        try:
            for name in before if overwrite else ():
                os.replace(folder / name, aside / name)
            yield
        except BaseException:
            moved = {path.name for path in aside.iterdir()}
            for path in [*folder.iterdir()]:
                if path != aside and (path.name in moved or path.name not in before):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            for name in moved:
                os.replace(aside / name, folder / name)
            raise


@contextmanager
def _keys_kept(place, overwrite):
    """Keep copies of what is below a place of a store until all is written."""
    with tempfile.TemporaryDirectory() as folder:
        before, copies = sync(_keys_below(place)), StorePath(LocalStore(folder))
        if overwrite:
            sync(_copy_all(place, copies))
        try:
            if overwrite:
                _delete(place.store, before)
            yield
        except BaseException:
            stay = set() if overwrite else set(before)
            _delete(place.store, set(sync(_keys_below(place))) - stay)
            sync(_copy_all(copies, place))
            raise


async def _keys_below(place):
    prefix = f"{place.path}/" if place.path else ""
    return [key async for key in place.store.list_prefix(prefix)]


async def _copy_all(source, target):
    """Copy what is below a place of a store to another; metadata come last."""
    n_before = len(f"{source.path}/") if source.path else 0
    for key in sorted(await _keys_below(source), key=lambda key: (key.endswith("zarr.json"), key)):
        data = await source.store.get(key, default_buffer_prototype())
        await (target / key[n_before:]).set(data)


def _delete(store, keys):
    if store.supports_deletes:
        for key in keys:
            sync(store.delete(key))


def _file_of(fingerprint):
    return f"{fingerprint}.safetensors"


def _model(fingerprint, looked_at=()):
    """Return a model that is registered or comes with the package, or say where it is not."""
    _register_packaged(fingerprint)
    if fingerprint in _REGISTERED:
        return _REGISTERED[fingerprint]
    where = [f"those registered in this process ({len(_REGISTERED)})", *looked_at]
    if not looked_at:
        where.append("no store: zarr tells a codec of one only when it reads, without compressors")
    raise ValueError(
        f"the model with fingerprint {fingerprint} is needed, and was not found among "
        f"{'; '.join(where)}. Call skvqdraw.zarr.register with it, or with the name of its file."
    )


def _register_packaged(fingerprint):
    """Register the models that come with the package, if one with that fingerprint is wanted."""
    with _LOADING:
        for name in MODELS:
            if fingerprint not in _REGISTERED:
                register(load_pretrained(name))


async def _found(fingerprint, byte_getter):
    """Return a model that is known already, or lies in the store beside a chunk or above it."""
    await asyncio.to_thread(_register_packaged, fingerprint)
    store, path = getattr(byte_getter, "store", None), getattr(byte_getter, "path", "")
    folders, looked_at = path.split("/")[:-1], []
    while store is not None and fingerprint not in _REGISTERED:
        place = "/".join([*folders, _file_of(fingerprint)])
        looked_at.append(f"{store}/{place}")
        data = await store.get(place, default_buffer_prototype())
        if data is not None:
            await asyncio.to_thread(_register_bytes, fingerprint, data.to_bytes(), looked_at[-1])
        if not folders:
            break
        folders.pop()
    return _model(fingerprint, looked_at)


def _register_bytes(fingerprint, data, place):
    """Register the model of a file, if it is the one that it is called after."""
    with _LOADING, tempfile.TemporaryDirectory() as folder:
        if fingerprint in _REGISTERED:
            return
        path = Path(folder, "model")
        path.write_bytes(data)
        model = load(path)
        if model.fingerprint() != fingerprint:
            raise FormatError(
                f"{place} is not the model that it is called after: its fingerprint is "
                f"{model.fingerprint()}"
            )
        _REGISTERED[fingerprint] = model


def _encoded(model, chunk_array, chunk_spec):
    """Return the bytes of a chunk, of its rows up to the last that is not empty, or None."""
    X = chunk_array.as_numpy_array().reshape(chunk_spec.shape[0], -1)
    fill = chunk_spec.fill_value
    empty = np.isnan(X) if np.isnan(fill) else np.equal(X, fill)
    n_rows = 1 + int(np.flatnonzero(~empty.all(axis=1)).max(initial=-1))
    if not n_rows:
        return None  # zarr stores no such chunk
    with _CODING:
        data = compress(model, np.ascontiguousarray(X[:n_rows]))
    return chunk_spec.prototype.buffer.from_bytes(data)


def _decoded(model, chunk_bytes, chunk_spec, rows):
    """Return a chunk in which some rows are decoded; the others are empty."""
    dtype = chunk_spec.dtype.to_native_dtype()
    shape = chunk_spec.shape[0], int(np.prod(chunk_spec.shape[1:]))
    X = np.full(shape, chunk_spec.fill_value, dtype)
    with _CODING:
        decompressed_rows(model, chunk_bytes.as_numpy_array(), rows, X)
    return chunk_spec.prototype.nd_buffer.from_numpy_array(X.reshape(chunk_spec.shape))

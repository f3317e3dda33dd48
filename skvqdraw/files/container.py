"""Named arrays and a text in one file: the container safetensors, read with suspicion.

Eight bytes, little-endian, say how long the header is. The header is JSON in UTF-8: for each array
its dtype, shape and place, and the text as metadata. The bytes of the arrays follow without gaps.
https://github.com/huggingface/safetensors#format; what is written here, its own package reads.

That package is not used here because everything that a file says is to be checked, and its bytes
hashed, before it can cost memory. The text is JSON again. It holds the SHA-256 of the whole file,
of which the digits of the hash itself are taken to be zeros.
"""

import hashlib
import json
import math
import re
from collections import namedtuple

import numpy as np

from ..exceptions import FormatError

# Longest header. Python's objects for JSON of 1 MiB take up to 40 MiB.
MAX_HEADER = 2**20
# Name of the text of a model in the metadata.
MODEL = "skvqdraw"
_MAX_AXES = 8
_METADATA = "__metadata__"
# In place of the hash, while the file is hashed.
_NO_HASH = "0" * 64
_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
_DTYPES = {name: np.dtype(dtype) for name, dtype in _DTYPES.items()}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

# What a header says of an array; `start` and `stop` count from the end of the header.
Entry = namedtuple("Entry", "dtype shape start stop")


def pack(arrays, text, key=MODEL, max_header=MAX_HEADER):
    """Return the file that holds arrays and a dict, sealed by its hash, as a list of bytes."""
    text = json.dumps({"sha256": _NO_HASH, **text})
    header, *pieces = serialise(arrays, text, key, max_header)
    digest = _sha256(header, *pieces)
    return [header.replace(_NO_HASH.encode(), digest.encode(), 1), *pieces]


def unpack(file, n_bytes, key=MODEL, max_header=MAX_HEADER):
    """Return the dict and the arrays of a file of `n_bytes`, if its hash is right."""
    header, text, entries = read_header(file, n_bytes, key, max_header)
    text = parse_json(text)
    digest = text.pop("sha256", None) if isinstance(text, dict) else None
    return text, read_arrays(file, header, digest, entries)


def digest_of(text, arrays):
    """Return the SHA-256 of a text and of names, dtypes, shapes and bytes of arrays."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"\n{name} {array.dtype.str} {list(array.shape)}\n".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def serialise(arrays, text, key=MODEL, max_header=MAX_HEADER):
    """Return the file that holds arrays and a text as a list of bytes: the header, each array."""
    # The largest items first: so each array starts at a multiple of its item's size.
    arrays = dict(sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])))
    header = {_METADATA: {key: text}}
    pieces = []
    position = 0
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("<")
        if dtype not in _NAMES:
            raise ValueError(
                f"{name!r} is of dtype {dtype}, and a file may hold {', '.join(_DTYPES)}; store it "
                "as float32, or use pickle or joblib."
            )
        piece = np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8)
        header[name] = {
            "dtype": _NAMES[dtype],
            "shape": array.shape,
            "data_offsets": [position, position + piece.size],
        }
        position += piece.size
        pieces.append(piece)
    header = json.dumps(header, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > max_header:
        raise ValueError(
            f"the names and shapes of {len(arrays)} arrays and the parameters take a header of "
            f"{len(header)} bytes, and a file may have {max_header}. Use pickle or joblib."
        )
    return [len(header).to_bytes(8, "little") + header, *pieces]


def read_header(file, n_bytes, key=MODEL, max_header=MAX_HEADER):
    """Return the bytes up to the end of the header, its text, and the place of each array.

    The file has `n_bytes`. Places are in its order, and fill it to its end.
    """
    n_bytes -= 8
    length = file.read(8)
    n_header = int.from_bytes(length, "little")
    if n_bytes < 0 or n_header > min(n_bytes, max_header):
        raise FormatError(
            f"its first 8 bytes, {length!r}, must be the length of a header that is in the file "
            f"and has at most {max_header} bytes"
        )
    data = file.read(n_header)
    header = parse_json(data)
    if not isinstance(header, dict):
        raise FormatError("its header must be a JSON object")
    metadata = header.pop(_METADATA, None)
    if not isinstance(metadata, dict) or not isinstance(metadata.get(key), str):
        raise FormatError(f"its header has no text {key!r}: something else wrote it")
    if len(metadata) > 1:
        raise FormatError(f"its metadata must be {key!r} alone")
    entries = {name: _entry(name, info, n_bytes) for name, info in header.items()}
    entries = dict(sorted(entries.items(), key=lambda item: item[1][2:]))
    position = 0
    for name, entry in entries.items():
        if entry.start != position:
            raise FormatError(f"{name!r} must start at byte {position}, not {entry.start}")
        position = entry.stop
    if position != n_bytes - n_header:
        raise FormatError(
            f"its arrays take {position} bytes, and it has {n_bytes - n_header} for them"
        )
    return length + data, metadata[key], entries


def read_arrays(file, header, digest, entries):
    """Return the arrays of a file of which the header has been read, if its hash is right."""
    if (
        not isinstance(digest, str)
        or not re.fullmatch("[0-9a-f]{64}", digest)
        or header.count(digest.encode()) != 1
    ):
        raise FormatError(f"sha256 must be 64 hexadecimal digits found only here; got {digest!r}")
    hashed = hashlib.sha256(header.replace(digest.encode(), _NO_HASH.encode()))
    arrays = {}
    for name, entry in entries.items():
        arrays[name], raw = read_array(file, name, entry)
        hashed.update(raw)
    if hashed.hexdigest() != digest:
        raise FormatError("it has changed since it was written: its SHA-256 is another")
    return arrays


def read_array(file, name, entry):
    """Return the array that begins where the file is, and its bytes as they are there."""
    # Bytes that are no truth value would make a boolean that is neither true nor false.
    stored = np.uint8 if entry.dtype == bool else entry.dtype
    array = np.empty(entry.shape, stored)
    raw = array.reshape(-1).view(np.uint8)
    if file.readinto(raw) != raw.size:
        raise FormatError(f"it ends within {name!r}")
    if entry.dtype == bool:
        if array.max(initial=0) > 1:
            raise FormatError(f"{name!r} must hold truth values, bytes 0 and 1")
        return array.view(bool), raw
    return array.astype(entry.dtype.newbyteorder("="), copy=False), raw


def parse_json(text):
    """Return what JSON says; refuse what Python would let pass, and what it chokes on."""
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        return json.loads(
            text,
            object_pairs_hook=_distinct,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise FormatError(f"its header is not JSON that can be read: {error}") from error


def _sha256(*pieces):
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _entry(name, info, n_bytes):
    """Return what the header says of one array, checked."""
    if not isinstance(info, dict) or info.keys() != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"{name!r} must have dtype, shape and data_offsets, and no more")
    dtype, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise FormatError(f"the dtype of {name!r} must be one of {', '.join(_DTYPES)}")
    for what, numbers in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(numbers, list) or len(numbers) > _MAX_AXES:
            raise FormatError(f"{what} of {name!r} must be a list of at most {_MAX_AXES} integers")
        if not all(type(n) is int and 0 <= n <= n_bytes for n in numbers):
            raise FormatError(
                f"{what} of {name!r} must be integers from 0 to {n_bytes}, what is in the file"
            )
    itemsize = _DTYPES[dtype].itemsize
    # numpy makes no array, not even an empty one, whose other dimensions are too many.
    if math.prod(n for n in shape if n) * itemsize > np.iinfo(np.intp).max:
        raise FormatError(f"shape of {name!r} is too large")
    size = math.prod(shape) * itemsize
    if len(offsets) != 2 or offsets[1] - offsets[0] != size:
        raise FormatError(f"data_offsets of {name!r} must be {size} bytes apart, for its shape")
    return Entry(_DTYPES[dtype], tuple(shape), *offsets)


def _distinct(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _finite(text):
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number

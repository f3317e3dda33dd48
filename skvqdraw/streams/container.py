"""The container of compressed rows: a header, and sections that each have a checksum.

All integers are little-endian. The header has 76 bytes: `MAGIC`, then one byte each for the version
of the format, the coder, the two numbers of the coder's version and whether codes have lengths of
their own, two characters for the dtype of rows, a zero; the numbers of stages and options (4 bytes
each), of rows and features (8 each), the fingerprint of the model (32), and a checksum. Sections
follow, each of them its length (8 bytes), so many bytes, and a checksum: the tables of the prior,
if there is one, the lengths of codes, if there are any, and one section for each stage.

A checksum is the CRC-32 of all bytes before it that are no checksums: so a section of another file,
or of another place, is found out.
"""

import struct
import zlib
from collections import namedtuple

import numpy as np

from ..exceptions import FormatError

# As in PNG: not text, and changed by whatever changes ends of lines.
MAGIC = b"\x89SKVQ\r\n\x1a"
VERSION = 1
# What codes symbols, and its version: bits as they are; the range coder of constriction, whose
# versions with one first number, if that is not 0, or one second number write and read alike.
BITS, RANGES = 0, 1
CODERS = {BITS: (0, 0), RANGES: (0, 5)}
_HEADER = struct.Struct("<8sBBBBB2sxIIQQ32s")
_LENGTH = struct.Struct("<Q")
_CHECKSUM = struct.Struct("<I")
_DTYPES = ("b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
# Numbers of stages, options, rows and features: no more than this.
MOST = {"n_stages": 2**16, "n_options": 2**24, "n_samples": 2**40, "n_features": 2**48}

Header = namedtuple(
    "Header",
    "coder has_lengths dtype n_stages n_options n_samples n_features fingerprint",
)
Header.__doc__ = "What the head of a stream says; the fingerprint as 64 hexadecimal digits."


def stored_dtype(dtype):
    """Return the dtype in which rows are given back: that of X, if a header can say it."""
    name = np.dtype(dtype).str[1:]
    return np.dtype(name if name in _DTYPES else "f8")


def check_numbers(**numbers):
    """Return what is wrong with numbers of a header, or nothing."""
    for name, number in numbers.items():
        least = 2 if name == "n_options" else 1
        if not least <= number <= MOST[name]:
            return f"{name} must be from {least} to {MOST[name]}; got {number}"
    return ""


def pack(header, sections):
    """Return the pieces of bytes of a stream."""
    head = _HEADER.pack(
        MAGIC,
        VERSION,
        header.coder,
        *CODERS[header.coder],
        header.has_lengths,
        header.dtype.str[1:].encode(),
        header.n_stages,
        header.n_options,
        header.n_samples,
        header.n_features,
        bytes.fromhex(header.fingerprint),
    )
    checksum = zlib.crc32(head)
    pieces = [head, _CHECKSUM.pack(checksum)]
    for section in sections:
        length = _LENGTH.pack(len(section))
        checksum = zlib.crc32(section, zlib.crc32(length, checksum))
        pieces += [length, section, _CHECKSUM.pack(checksum)]
    return pieces


def unpack(data):
    """Return the header, the sections that are whole, and what is wrong after these, or "".

    Sections are views of the data. A header that cannot be read is a `FormatError`.
    """
    view = memoryview(data).cast("B")
    if bytes(view[: len(MAGIC)]) != MAGIC[: len(view)] or not len(view):
        raise FormatError("this is no stream of skvqdraw: it does not begin as one")
    head = view[: _HEADER.size]
    position = _HEADER.size + _CHECKSUM.size
    if len(view) < position:
        raise FormatError(f"the stream ends within its head, which has {position} bytes")
    if view[len(MAGIC)] != VERSION:
        raise FormatError(
            f"the format version is {view[len(MAGIC)]}, and this version of skvqdraw reads "
            f"{VERSION}: if a later one wrote it, upgrade skvqdraw"
        )
    checksum = zlib.crc32(head)
    if _CHECKSUM.unpack(view[_HEADER.size : position])[0] != checksum:
        raise FormatError("the head has changed since it was written")
    header = _header(head)
    expected = (header.coder == RANGES) + header.has_lengths + header.n_stages
    sections, problem = [], ""
    while len(sections) < expected:
        end = position + _LENGTH.size
        if len(view) - position >= _LENGTH.size:
            end += _LENGTH.unpack(view[position:end])[0]
        if len(view) - _CHECKSUM.size < end:
            return header, sections, f"the stream ends, at byte {len(view)}, before its end"
        checksum = zlib.crc32(view[position:end], checksum)
        section, position = view[position + _LENGTH.size : end], end + _CHECKSUM.size
        if _CHECKSUM.unpack(view[end:position])[0] != checksum:
            return header, sections, f"bytes before byte {position} have changed"
        sections.append(section)
    if position < len(view):
        problem = f"the stream has {len(view) - position} bytes after its end"
    return header, sections, problem


def _header(head):
    """Return what the head says, checked."""
    _, _, coder, *version, has_lengths, dtype, S, K, N, D, fingerprint = _HEADER.unpack(head)
    if CODERS.get(coder) != tuple(version) or has_lengths not in (0, 1) or head[15]:
        raise FormatError(
            f"the stream needs coder {coder}, of version {version[0]}.{version[1]}, or says what "
            "this version of skvqdraw does not know"
        )
    if dtype.decode("latin-1") not in _DTYPES:
        raise FormatError(f"the dtype of the rows must be one of {_DTYPES}; got {dtype}")
    if wrong := check_numbers(n_stages=S, n_options=K, n_samples=N, n_features=D):
        raise FormatError(wrong)
    dtype = np.dtype(dtype.decode())
    return Header(coder, has_lengths, dtype, S, K, N, D, fingerprint.hex())

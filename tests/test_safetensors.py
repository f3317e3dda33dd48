"""The container: what the package safetensors reads and writes, and refusals of all else."""

import json
from io import BytesIO

import numpy as np
import pytest
import safetensors.numpy

from skvqdraw.exceptions import FormatError
from skvqdraw.files import container

RNG = np.random.default_rng(0)
ARRAYS = {
    "floats": RNG.normal(size=(3, 4)),
    "transposed": RNG.normal(size=(5, 4)).astype(np.float32).T,
    "halves": np.arange(3, dtype=np.float16),
    "number": np.array(7, dtype=np.int64),
    "none": np.zeros((0, 3), dtype=np.float32),
    "truths": np.array([True, False, True]),
    "bytes": np.arange(5, dtype=np.uint8),
    "zwölf": np.arange(12, dtype=np.int16),
}


def read(data):
    file = BytesIO(data)
    _, text, places = container.read_header(file, len(data))
    return text, {name: container.read_array(file, name, at)[0] for name, at in places.items()}


def serialised(arrays, text):
    return b"".join(bytes(piece) for piece in container.serialise(arrays, text))


def assert_same_arrays(arrays, expected):
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape


def test_round_trip():
    text, arrays = read(serialised(ARRAYS, "häder"))
    assert text == "häder"
    assert_same_arrays(arrays, ARRAYS)


def test_the_package_reads_what_we_write():
    assert_same_arrays(safetensors.numpy.load(serialised(ARRAYS, "")), ARRAYS)


def test_we_read_what_the_package_writes():
    arrays = {name: array.copy(order="C") for name, array in ARRAYS.items()}
    text, back = read(safetensors.numpy.save(arrays, {"skvqdraw": "text"}))
    assert text == "text"
    assert_same_arrays(back, ARRAYS)


def test_arrays_are_aligned():
    data = serialised(ARRAYS, "odd")
    _, _, places = container.read_header(BytesIO(data), len(data))
    first = 8 + int.from_bytes(data[:8], "little")
    assert all((first + place.start) % place.dtype.itemsize == 0 for place in places.values())


def test_a_header_that_is_too_long_is_not_written():
    with pytest.raises(ValueError, match=r"a header of \d+ bytes, and a file may have 1048576"):
        container.serialise({}, "x" * 2**20)


def test_a_dtype_that_the_format_lacks_is_not_written():
    with pytest.raises(ValueError, match="'a' is of dtype complex64, .*store it as float32"):
        container.serialise({"a": np.zeros(3, np.complex64)}, "")


def file_with(header, data=b"\0" * 8):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(header).to_bytes(8, "little") + header + data


def header(metadata=None, **arrays):
    return {"__metadata__": {"skvqdraw": "text"} if metadata is None else metadata, **arrays}


def array(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def test_the_file_that_the_bad_ones_differ_from():
    text, arrays = read(file_with(header(a=array())))
    assert text == "text"
    assert_same_arrays(arrays, {"a": np.zeros(2, dtype=np.float32)})


BAD = {
    "empty": (b"", "first 8 bytes"),
    "short": (b"\0" * 7, "first 8 bytes"),
    "header beyond the end": ((9).to_bytes(8, "little") + b"{}", "first 8 bytes"),
    "endless header": (b"\xff" * 100, "first 8 bytes"),
    "header over 1 MiB": (file_with(b" " * (2**20 + 1)), "at most 1048576 bytes"),
    "no JSON": (file_with(b"{"), "not JSON"),
    "no UTF-8": (file_with(b'{"\xff": 0}'), "not JSON"),
    "UTF-16": (file_with('{"a": 0}'.encode("utf-16")), "not JSON"),
    "a list": (file_with([]), "must be a JSON object"),
    "deep": (file_with(b"[" * 100_000), "not JSON"),
    "endless number": (file_with(b"9" * 100_000), "not JSON"),
    "NaN": (file_with(b'{"a": NaN}'), "NaN is not a finite number"),
    "infinity": (file_with(b'{"a": 1e999}'), "1e999 is not a finite number"),
    "a name twice": (file_with(b'{"a": 0, "a": 1}'), "a name is there twice"),
    "no metadata": (file_with({"a": array()}), "something else wrote it"),
    "other metadata": (file_with(header({"format": "pt"})), "something else wrote it"),
    "no text": (file_with(header({"skvqdraw": 1})), "something else wrote it"),
    "more metadata": (file_with(header({"skvqdraw": "", "b": ""})), "'skvqdraw' alone"),
    "no array": (file_with(header(a=1)), "'a' must have dtype, shape and data_offsets"),
    "more of an array": (file_with(header(a=array(b=1))), "and no more"),
    "dtype": (file_with(header(a=array("BF16"))), "dtype of 'a' must be one of F64, F32"),
    "dtype is a list": (file_with(header(a=array(["F32"]))), "dtype of 'a' must be one of"),
    "shape is a number": (file_with(header(a=array(shape=2))), "shape of 'a' must be a list"),
    "nine axes": (file_with(header(a=array(shape=[1] * 9))), "a list of at most 8 integers"),
    "negative": (file_with(header(a=array(shape=[-2]))), "shape of 'a' must be integers from 0"),
    "a float": (file_with(header(a=array(shape=[2.0]))), "shape of 'a' must be integers from 0"),
    "true": (file_with(header(a=array(shape=[True, 2]))), "shape of 'a' must be integers from 0"),
    "huge": (file_with(header(a=array(shape=[10**30]))), "shape of 'a' must be integers from 0"),
    "huge and empty": (file_with(header(a=array(shape=[0, 10**30]))), "integers from 0 to"),
    "large and empty": (
        file_with(
            header(a=array("U8", [0] + [2**10] * 7, [0, 0]), b=array("U8", [2**10], [0, 2**10])),
            b"0" * 2**10,
        ),
        "shape of 'a' is too large",
    ),
    "three offsets": (file_with(header(a=array(offsets=[0, 8, 8]))), "8 bytes apart"),
    "another size": (file_with(header(a=array(shape=[3]))), "must be 12 bytes apart"),
    "backwards": (file_with(header(a=array(offsets=[8, 0]))), "must be 8 bytes apart"),
    "beyond the end": (file_with(header(a=array(offsets=[8, 16]))), "must start at byte 0"),
    "overlap": (file_with(header(a=array(), b=array())), "'b' must start at byte 8, not 0"),
    "too many bytes": (file_with(header(a=array()), b"\0" * 9), "take 8 bytes, and it has 9"),
    "too few bytes": (file_with(header(a=array()), b"\0" * 7), "take 8 bytes, and it has 7"),
    "terminal": (file_with(header(**{"\x1b[2J\ud800": 1})), r"^'\\x1b\[2J\\ud800' must have"),
    "no truth": (file_with(header(a=array("BOOL", [8])), b"\2" * 8), "truth values"),
}


@pytest.mark.parametrize(("data", "message"), BAD.values(), ids=BAD)
def test_refusals(data, message):
    with pytest.raises(FormatError, match=message):
        read(data)


def test_a_file_that_is_cut_while_it_is_read():
    data = serialised(ARRAYS, "text")
    file = BytesIO(data[:-1])
    _, _, places = container.read_header(file, len(data))
    *whole, last = places.items()
    for name, place in whole:
        container.read_array(file, name, place)
    with pytest.raises(FormatError, match="it ends within"):
        container.read_array(file, *last)

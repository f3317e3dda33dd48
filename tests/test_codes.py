import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from skvqdraw import pack_codes, unpack_codes
from skvqdraw._codes import (
    check_codes,
    codes_dtype,
    entropy_bits,
    feature_names,
    from_one_hot,
    one_hot,
    option_frequencies,
)


@st.composite
def codes_and_options(draw):
    n_options = draw(st.integers(2, 1000))
    shape = (draw(st.integers(1, 20)), draw(st.integers(1, 12)))
    codes = draw(arrays(np.int64, shape, elements=st.integers(0, n_options - 1)))
    return codes.astype(codes_dtype(n_options)), n_options


@pytest.mark.parametrize(
    ("n_options", "dtype"),
    [(2, np.uint8), (256, np.uint8), (257, np.uint16), (65536, np.uint16), (65537, np.uint32)],
)
def test_codes_dtype_is_the_smallest_that_fits(n_options, dtype):
    assert codes_dtype(n_options) == dtype


@given(codes_and_options())
def test_one_hot_against_a_loop(case):
    codes, n_options = case
    Z = one_hot(codes, n_options)
    naive = np.zeros((len(codes), codes.shape[1] * n_options))
    for row, code in enumerate(codes):
        for stage, option in enumerate(code):
            naive[row, stage * n_options + int(option)] = 1
    np.testing.assert_array_equal(Z.toarray(), naive)
    assert Z.dtype == np.float32
    assert Z.indices.dtype == Z.indptr.dtype == np.int32
    assert Z.has_canonical_format
    for form in (Z, Z.toarray(), sparse.csc_array(Z)):
        decoded = from_one_hot(form, codes.shape[1], n_options)
        np.testing.assert_array_equal(decoded, codes)
        assert decoded.dtype == codes.dtype


@given(codes_and_options())
def test_packing_round_trip_and_size(case):
    codes, n_options = case
    packed = pack_codes(codes, n_options)
    n_bits = int(np.ceil(np.log2(n_options))) * codes.shape[1]
    assert packed.shape == (len(codes), int(np.ceil(n_bits / 8)))
    unpacked = unpack_codes(packed, codes.shape[1], n_options)
    np.testing.assert_array_equal(unpacked, codes)
    assert unpacked.dtype == codes.dtype


def test_packed_bits_against_binary_text():
    codes = np.array([[5, 0, 63], [1, 2, 3]])
    for row, packed in zip(codes, pack_codes(codes, 64), strict=True):
        text = "".join(f"{code:06b}" for code in row).ljust(24, "0")
        assert "".join(f"{byte:08b}" for byte in packed) == text


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (np.zeros((2, 3), np.uint8), r"shape \(n_samples, 2\).*got shape \(2, 3\)"),
        (np.zeros((2, 2), np.int64), "got shape .* dtype int64"),
        (np.full((1, 2), 255, np.uint8), r"integers in \[0, 5\); got 7 at row 0, stage 0"),
    ],
)
def test_unpack_refuses(packed, message):
    with pytest.raises(ValueError, match=message):
        unpack_codes(packed, n_stages=4, n_options=5)


@pytest.mark.parametrize("n_options", [8.0, "8", None, np.float32(8)])
def test_numbers_that_are_no_integers(n_options):
    with pytest.raises(
        ValueError, match="n_options must be an integer of at least 2; got .*8|None"
    ):
        pack_codes(np.zeros((1, 2), int), n_options)
    with pytest.raises(
        ValueError, match="n_options must be an integer of at least 2; got .*8|None"
    ):
        unpack_codes(np.zeros((1, 1), np.uint8), 2, n_options)
    with pytest.raises(ValueError, match="n_stages must be an integer of at least 0; got .*8|None"):
        unpack_codes(np.zeros((1, 1), np.uint8), n_options, 8)
    packed = pack_codes(np.array([[1, 2]]), np.int64(8))
    np.testing.assert_array_equal(unpack_codes(packed, np.uint8(2), np.int64(8)), [[1, 2]])


def test_pack_refuses_a_single_option():
    with pytest.raises(ValueError, match="n_options must be an integer of at least 2; got 1"):
        pack_codes(np.zeros((1, 1), int), 1)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([1, 2], r"2-D array .* got an array of shape \(2,\).*reshape\(1, -1\)"),
        ([[0.0, 1.0]], "must be integers .* got dtype float64"),
        ([["a", "b"]], "must be integers"),
        ([[0, 4]], r"integers in \[0, 4\); got 4 at row 0, stage 1"),
        ([[0, 1], [-1, 0]], r"got -1 at row 1, stage 0"),
        ([[0, 1, 2]], "at most 2 columns, one for each stage; got 3"),
    ],
)
def test_check_codes_says_what_is_wrong(codes, message):
    with pytest.raises(ValueError, match=message):
        check_codes(codes, 4, max_stages=2)


def _spoiled(row, columns, values):
    Z = one_hot(np.array([[0, 1], [2, 0], [1, 1]], dtype=np.uint8), 3).tolil()
    for column, value in zip(columns, values, strict=True):
        Z[row, column] = value
    return Z.tocsr()


def test_from_one_hot_leaves_its_argument_alone():
    Z = sparse.csr_array(
        (np.array([1.0, 0.0, 1.0]), np.array([4, 3, 0]), np.array([0, 3])), shape=(1, 6)
    )
    for array in (Z.data, Z.indices, Z.indptr):
        array.flags.writeable = False
    np.testing.assert_array_equal(from_one_hot(Z, 2, 3), [[0, 1]])
    assert list(Z.indices) == [4, 3, 0]


@pytest.mark.parametrize(
    ("columns", "values"),
    [([2], [0]), ([0], [1]), ([2], [2]), ([2, 4], [0, 1]), ([2], [-1])],
    ids=["a stage missing", "two in one stage", "not 1", "one stage twice", "negative"],
)
def test_from_one_hot_names_the_row(columns, values):
    with pytest.raises(ValueError, match="each row of X must be one-hot.*row 1 is not"):
        from_one_hot(_spoiled(1, columns, values), 2, 3)


def test_from_one_hot_refuses_another_width():
    with pytest.raises(ValueError, match="n_stages \\* n_options = 6 columns; got 5"):
        from_one_hot(np.zeros((1, 5)), 2, 3)


def test_frequencies_and_entropy():
    codes = np.array([[0, 0], [1, 0], [2, 0], [3, 1]])
    frequencies = option_frequencies(codes, 4)
    np.testing.assert_allclose(frequencies, [[0.25, 0.25, 0.25, 0.25], [0.75, 0.25, 0, 0]])
    expected = 2 + 0.75 * np.log2(4 / 3) + 0.25 * 2
    assert entropy_bits(frequencies) == pytest.approx(expected, rel=1e-12)


def test_feature_names():
    assert list(feature_names("vqdraw", 2, 2)) == [
        "vqdraw_s0_o0",
        "vqdraw_s0_o1",
        "vqdraw_s1_o0",
        "vqdraw_s1_o1",
    ]
    assert list(feature_names("vqdraw", 2)) == ["vqdraw_s0", "vqdraw_s1"]

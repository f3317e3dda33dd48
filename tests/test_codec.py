"""Rows as bytes: what streams hold, that damage is told, and that bytes mean the same everywhere."""

import math
import os
import re
import struct
import sys
import zlib
from pathlib import Path

import fuzz_streams
import numpy as np
import pytest
from fuzz_streams import put_together, take_apart

from skvqdraw import VQDRAW, ClusterBoosting, _rows, codec
from skvqdraw.codec import (
    compress,
    compress_file,
    decode_codes,
    decompress,
    decompress_file,
)
from skvqdraw.exceptions import FormatError
from skvqdraw.priors import AutoregressivePrior, MarginalPrior, MarkovPrior
from skvqdraw.refiners import MLPRefiner
from skvqdraw.streams import blocks, container, symbols
from skvqdraw.streams.container import Header

GOLDEN = sorted((Path(__file__).parent / "data" / "streams-1").glob("*.skvq"))
PRIORS = {
    "none": lambda K: None,
    "marginal": lambda K: MarginalPrior(K),
    "markov": lambda K: MarkovPrior(n_options=K),
    "order-2": lambda K: MarkovPrior(2, n_options=K),
}


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def model(X):
    return ClusterBoosting(n_stages=5, n_options=6, random_state=0).fit(X)


def formula_codes(n_rows, n_stages, n_options):
    """Codes that are the same under any version of anything, and depend on each other."""
    codes = np.empty((n_rows, n_stages), np.int64)
    codes[:, 0] = np.arange(n_rows) ** 2 // 7 % n_options
    for s in range(1, n_stages):
        codes[:, s] = (codes[:, s - 1] ** 2 + np.arange(n_rows) // 5 % 2) % n_options
    return codes


def stream_of(codes, n_options, prior=None, lengths=None, dtype="f4"):
    """Return a stream of codes of no model."""
    writer = blocks.CodesWriter(codes.shape[1], n_options, prior, lengths is not None)
    for block in blocks.blocks(len(codes)):
        writer.write(codes[block], None if lengths is None else lengths[block])
    size = codes.shape[1], n_options, len(codes), 3
    header = Header(writer.writer.coder, lengths is not None, np.dtype(dtype), *size, "ab" * 32)
    return b"".join(container.pack(header, writer.finish()))


def known(codes, lengths):
    return np.where(np.arange(codes.shape[1]) < np.reshape(lengths, (-1, 1)), codes, 0)


# ---- There and back -----------------------------------------------------------------------------


@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("n_options", [2, 3, 64, 300])
def test_codes_come_back(n_options, prior, with_lengths, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 64)  # several blocks, the last of them not full
    codes = formula_codes(203, 3, n_options)
    prior = PRIORS[prior](n_options)
    if prior is not None and n_options ** (getattr(prior, "order", 0) + 1) > 10**6:
        return  # more counts than a stream may hold
    if prior is not None:
        prior.fit(codes[::2])
    lengths = np.arange(203) * 7 % 4 if with_lengths else None
    found, found_lengths = decode_codes(stream_of(codes, n_options, prior, lengths))
    assert found.dtype == np.min_scalar_type(n_options - 1)
    np.testing.assert_array_equal(found_lengths, np.full(203, 3) if lengths is None else lengths)
    np.testing.assert_array_equal(found, known(codes, found_lengths))


@pytest.mark.parametrize("cls", [ClusterBoosting, VQDRAW])
def test_rows_are_those_of_their_codes(cls, X):
    own = {"refiner": MLPRefiner(hidden_size=4), "max_steps": 3} if cls is VQDRAW else {}
    model = cls(n_stages=4, n_options=6, random_state=0, **own).fit(X)
    data = compress(model, X)
    codes = model.encode(X)
    np.testing.assert_array_equal(decode_codes(data)[0], codes)
    np.testing.assert_array_equal(decompress(model, data), model.decode(codes))
    np.testing.assert_array_equal(decompress(model, data, n_stages=2), model.decode(codes[:, :2]))
    shorter = compress(model, X, n_stages=2)
    np.testing.assert_array_equal(decode_codes(shorter)[0], codes[:, :2])
    assert len(shorter) < len(data)
    assert decompress(model, compress(model, X[:1])).shape == (1, 6)


def test_bits_are_those_of_the_codes_one_after_another(model, X):
    data = compress(model, X)
    _, sections = take_apart(data)
    for section, column in zip(sections, model.encode(X).T, strict=True):
        bits = "".join(f"{code:03b}" for code in column)
        assert "".join(f"{byte:08b}" for byte in section) == bits + "0" * (-len(bits) % 8)
    assert len(data) == 76 + 5 * (12 + math.ceil(3 * 500 / 8))


@pytest.mark.parametrize("dtype", ["bool", "u1", "i2", "u8", "i8", "f2", "f4", "f8", ">f4", ">i4"])
def test_rows_keep_their_dtype(dtype):
    X = np.random.default_rng(1).integers(2, size=(60, 4)) * (1 if dtype == "bool" else 100)
    X = X.astype(dtype)
    model = ClusterBoosting(n_stages=6, n_options=4, random_state=0).fit(X)
    found = decompress(model, compress(model, X))
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    exact = model.decode(model.encode(X))
    expected = exact if X.dtype.kind == "f" else exact >= 0.5 if dtype == "bool" else np.rint(exact)
    if dtype[0] == "u":
        expected = expected.clip(0)
    np.testing.assert_array_equal(found, expected.astype(found.dtype))


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "u8", "i8"])
def test_integers_end_where_their_dtype_does(dtype):
    info = np.iinfo(dtype)
    X = np.array([[-1e30, 1e30, 0.4, -0.6, 1.5, 100.5]])
    found = codec._as_dtype(X, np.dtype(dtype))
    least = -1 if info.min else 0
    assert found.tolist() == [[info.min, info.max, 0, least, 2, 100]]
    assert found.dtype == dtype
    assert codec._as_dtype(np.float32(X), np.dtype(dtype)).tolist() == found.tolist()


def test_numbers_of_few_bytes_end_where_these_do():
    found = codec._as_dtype(np.float32([[7e4, -1e30, 0.5]]), np.dtype("f2"))
    assert found.tolist() == [[65504, -65504, 0.5]]


def test_bytes_may_lie_anywhere(model, X):
    data = compress(model, X)
    spread = np.repeat(np.frombuffer(data, np.uint8), 2)[::2]
    for other in (bytearray(data), memoryview(data), spread, np.frombuffer(data, np.uint8)):
        np.testing.assert_array_equal(decode_codes(other)[0], model.encode(X))


# ---- Lengths ------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["none", "markov"])
@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
def test_a_code_ends_at_the_first_stage_that_is_good_enough(X, loss, prior):
    X = X > 0 if loss == "log_loss" else X
    model = ClusterBoosting(n_stages=5, n_options=6, loss=loss, random_state=0).fit(X)
    codes, most = model.encode(X), 0.5
    prior = PRIORS[prior](6)
    if prior is not None:
        prior.fit(codes)
    data = compress(model, X, prior=prior, max_error=most)
    found, lengths = decode_codes(data)
    Y = decompress(model, data)
    assert len(set(lengths.tolist())) >= 3
    for i, row in enumerate(X):
        losses = []
        for length in range(6):
            decoded = model.decode(codes[i : i + 1, :length])[0].astype(np.float64)
            if loss == "log_loss":
                losses.append(-np.log(np.where(row, decoded, 1 - decoded)).mean())
            else:
                losses.append(np.square(decoded - row).mean())
        good = [length for length in range(6) if losses[length] <= most * (1 + 1e-6)]
        assert lengths[i] == (good[0] if good else 5)
        expected = model.decode(codes[i : i + 1, : lengths[i]])[0]
        np.testing.assert_array_equal(Y[i], expected if loss != "log_loss" else expected >= 0.5)
    np.testing.assert_array_equal(found, known(codes, lengths))


def test_all_codes_may_end_at_once(model, X):
    data = compress(model, X, max_error=np.inf)
    codes, lengths = decode_codes(data)
    assert not lengths.any()
    assert not codes.any()
    np.testing.assert_array_equal(decompress(model, data), model.decode(codes[:, :0]))
    # With a prior, lengths that are all the same take nothing but the table of how many they are.
    prior = MarginalPrior(6).fit(model.encode(X))
    head, sections = take_apart(compress(model, X, prior=prior, max_error=np.inf))
    assert len(sections[1]) <= 8 * 6 + 8
    assert not decode_codes(put_together(head, sections))[1].any()


# ---- Priors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["marginal", "markov", "order-2"])
def test_codes_take_as_many_bits_as_their_prior_says(prior):
    codes = formula_codes(20_000, 4, 6)
    prior = PRIORS[prior](6).fit(codes)
    _, sections = take_apart(stream_of(codes, 6, prior))
    expected = prior.bits(codes).sum() / 8
    coded = sum(map(len, sections[1:]))
    # Above it: what the floor of chances costs, and up to two words of 4 bytes a stage.
    assert expected - 1 <= coded <= expected + 0.0015 * codes.size / 8 + 8 * 4
    assert coded < 0.95 * sum(map(len, take_apart(stream_of(codes, 6))[1]))


def test_a_stream_holds_the_prior(X, model):
    prior = MarkovPrior(n_options=6).fit(model.encode(X[:300]))
    _, sections = take_apart(compress(model, X, prior=prior, n_stages=3))
    found = blocks.tables.unpack(bytes(sections[0]), 3, 6)
    for s in range(3):
        np.testing.assert_array_equal(found._table(s), prior._table(s))
    np.testing.assert_array_equal(found.counts_, prior.counts_[:3])


def test_priors_that_cannot_be_stored_are_refused(model, X, monkeypatch):
    codes, y = model.encode(X), np.arange(500) % 2
    floats = AutoregressivePrior(6, hidden_size=4, n_blocks=1, max_steps=1).fit(codes)
    with pytest.raises(TypeError, match="MarginalPrior or a MarkovPrior.*Floats differ between"):
        compress(model, X, prior=floats)
    with pytest.raises(ValueError, match="must know no classes"):
        compress(model, X, prior=MarginalPrior(6).fit(codes, y))
    with pytest.raises(ValueError, match="this MarginalPrior has 3 of 6"):
        compress(model, X, prior=MarginalPrior(6).fit(codes[:, :3]))
    compress(model, X, prior=MarginalPrior(6).fit(codes[:, :3]), n_stages=3)
    with pytest.raises(ValueError, match="this MarginalPrior has 5 of 7"):
        compress(model, X, prior=MarginalPrior(7).fit(codes))
    with monkeypatch.context() as patched:
        patched.setattr(blocks.tables, "_MOST_COUNTS", 100)
        patched.setattr(ClusterBoosting, "_encode", None)  # it is known before rows are encoded
        with pytest.raises(ValueError, match="at most 100 counts.*Take one of lower order"):
            compress(model, X, prior=MarkovPrior(n_options=6).fit(codes))
    large = MarkovPrior(2, n_options=200).fit(np.zeros((2, 1), int))
    with pytest.raises(ValueError, match="Take one of lower order"):
        blocks.tables.pack(large, 1)


def test_the_range_coder_divides_the_range_by_sums_of_integers():
    """The table itself, as one symbol leaves it in the coder's state: the recipe is no other."""
    counts_K = np.array([3, 2**24, 1, 17, 999_983, 1])
    stream = symbols._constriction().stream
    sums = np.concatenate([[0], counts_K.cumsum()])
    scale = (2**24 - 6) / float(sums[-1])
    edges = [int(float(total) * scale) + k for k, total in enumerate(sums[:-1])] + [2**24]
    for symbol in range(6):
        encoder = stream.queue.RangeEncoder()
        model = symbols._model(stream, counts_K)
        encoder.encode(np.array([symbol], np.int32), model)
        _, (lower, extent) = encoder.pos()
        unit = (2**64 - 1) >> 24
        assert (lower // unit, extent // unit) == (edges[symbol], edges[symbol + 1] - edges[symbol])


def test_no_option_is_so_likely_that_a_few_bytes_hold_very_many():
    tables = np.array([[2**24, 1], [1, 1], [2**40, 2**40]])
    floored = symbols.floored(tables)
    shares = floored / floored.sum(axis=1, keepdims=True)
    assert shares.min() >= 0.9 / 2**11
    np.testing.assert_allclose(shares[1:], 0.5)
    reader = symbols.RangeReader(bytes(4), 2, tables)
    assert reader.most < 10**6


def test_constriction_is_needed_for_priors_alone(model, X, monkeypatch):
    prior = MarginalPrior(6).fit(model.encode(X))
    data = compress(model, X, prior=prior)
    plain = compress(model, X)
    for version, message in ((None, "pip install 'constriction>=0.5"), ("0.6.1", "0.6.1 is inst")):

        def stated(name, version=version):
            if version is None:
                raise symbols.importlib.metadata.PackageNotFoundError(name)
            return version

        symbols._constriction.cache_clear()
        with monkeypatch.context() as patched:
            patched.setattr(symbols.importlib.metadata, "version", stated)
            np.testing.assert_array_equal(decode_codes(plain)[0], model.encode(X))
            assert codec.inspect(data).coder == "constriction 0.5"
            for call in (lambda: compress(model, X, prior=prior), lambda: decode_codes(data)):
                with pytest.raises(ImportError, match=message):
                    call()
    symbols._constriction.cache_clear()


# ---- Damage -------------------------------------------------------------------------------------


def test_every_changed_bit_is_noticed(model, X):
    prior = MarkovPrior(n_options=6).fit(model.encode(X))
    data = compress(model, X[:8], prior=prior, n_stages=2, max_error=0.3)
    assert len(data) < 700
    for position in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            with pytest.raises(FormatError):
                decode_codes(changed)


@pytest.mark.parametrize("prior", ["none", "markov"])
def test_the_first_part_of_a_stream_is_a_coarse_version_of_all_rows(model, X, prior):
    X, codes = X[:40], model.encode(X[:40])
    prior = PRIORS[prior](6)
    data = compress(model, X, prior=None if prior is None else prior.fit(codes))
    seen = set()
    for end in range(0, len(data), 3):
        part = data[:end]
        with pytest.raises(FormatError):
            decode_codes(part)
        n_whole = codec.inspect(part).n_whole_stages if end >= 76 else 0
        seen.add(n_whole)
        if not n_whole:
            with pytest.raises(FormatError):
                decode_codes(part, allow_truncated=True)
            continue
        with pytest.warns(UserWarning, match=f"{n_whole} of 5 stages are decoded: the stream ends"):
            found, lengths = decode_codes(part, allow_truncated=True)
        np.testing.assert_array_equal(found, codes[:, :n_whole])
        assert (lengths == n_whole).all()
    assert seen == {0, 1, 2, 3, 4}
    with pytest.warns(UserWarning, match="2 of 5 stages"):
        rows = decompress(model, part, n_stages=2, allow_truncated=True)
    np.testing.assert_array_equal(rows, model.decode(codes[:, :2]))


def test_stages_before_damage_can_be_had(model, X):
    data = bytearray(compress(model, X))
    data[76 + 2 * (12 + 188) + 50] ^= 1
    with pytest.raises(FormatError, match="bytes before byte 676 have changed"):
        decompress(model, data)
    with pytest.warns(UserWarning, match="2 of 5 stages are decoded: bytes before byte 676"):
        found, _ = decode_codes(data, allow_truncated=True)
    np.testing.assert_array_equal(found, model.encode(X)[:, :2])
    assert codec.inspect(data).n_whole_stages == 2
    with pytest.raises(FormatError, match="has 3 bytes after its end"):
        decode_codes(compress(model, X) + b"abc")


def test_sections_of_another_stream_or_place_are_noticed(model, X):
    """A checksum is of all that was before: a section alone may be whole, and be in a wrong place."""
    first, second = compress(model, X), compress(model, X[::-1].copy())
    section = slice(76, 76 + 12 + 188)
    with pytest.raises(FormatError, match="bytes before byte 276 have changed|before byte 476"):
        decode_codes(first[: section.start] + second[section] + first[section.stop :])


@pytest.mark.parametrize("prior", ["none", "marginal"])
@pytest.mark.parametrize("n_rows", [600, 2**20, 2**39])
def test_what_a_head_says_is_compared_with_what_there_is(model, X, prior, n_rows):
    prior = PRIORS[prior](6)
    data = compress(model, X, prior=prior and prior.fit(model.encode(X)))
    head, sections = take_apart(data)
    struct.pack_into("<Q", head, 24, n_rows)
    with pytest.raises(FormatError, match="can hold|ends|wrote|shorter"):
        decode_codes(put_together(head, sections))


def test_ones_in_the_padding_are_noticed(model, X):
    head, sections = take_apart(compress(model, X))
    sections[1][-1] |= 1
    with pytest.raises(FormatError, match="ones where nothing should be"):
        decode_codes(put_together(head, sections))
    sections[1][-1] &= 0xFE
    sections[1][0] |= 0xE0  # an option 7 of 6
    with pytest.raises(FormatError, match="what is no option"):
        decode_codes(put_together(head, sections))


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        (0, lambda s: s[:-3], "counts of the prior"),
        (0, lambda s: s + b"more", "counts of the prior must have"),
        (0, lambda s: s[:20], "the prior ends too early"),
        (0, lambda s: s[:2] + bytes(4) + s[6:], "with weights from 1"),
        (0, lambda s: s[:2] + b"\xff" * 4 + s[6:], "with weights from 1"),
        (0, lambda s: b"\x09" + s[1:], "of order 8 at most"),
        (0, lambda s: s[:1] + b"\x03" + s[2:], "with 180 of 3"),
        (0, lambda s: with_counts(s, 2**38 + 1), "must be at most 274877906944"),
        (0, lambda s: with_counts(s, 2**38 - 1), "of 274877906944 codes at most"),
        (1, lambda s: s[:8], "lengths ends too early"),
        (1, lambda s: b"\1" + s[1:], "lengths must be those of 500 rows"),
        (2, lambda s: s + bytes(8), "longer than what it is said to hold"),
        (2, lambda s: s + bytes(1), "whole words of 4 bytes"),
    ],
)
def test_lies_are_told_one_by_one(model, X, section, change, message):
    prior = MarkovPrior(n_options=6).fit(model.encode(X))
    head, sections = take_apart(compress(model, X, prior=prior, max_error=0.4))
    sections[section] = change(bytes(sections[section]))
    with pytest.raises(FormatError, match=message):
        decode_codes(put_together(head, sections))


def with_counts(section, count):
    counts = np.full(5 * 6 * 6, count, "<u8").tobytes()
    return section[:1] + b"\x08" + section[2 : 2 + 4 * 10] + zlib.compress(counts)


def test_a_section_of_bits_that_is_too_long(model, X):
    head, sections = take_apart(compress(model, X))
    sections[1] += b"\0"
    with pytest.raises(FormatError, match="longer than what it is said to hold"):
        decode_codes(put_together(head, sections))


def test_the_likeliest_option_of_thousands():
    """Chances of 24 bits are rounded: an option may have a little more than its share."""
    codes = np.full((300_000, 1), 1)
    prior = MarginalPrior(20_000).fit(np.arange(20_000)[:, None])
    assert (decode_codes(stream_of(codes, 20_000, prior))[0] == 1).all()


def test_other_files_and_versions(model, X):
    data = compress(model, X)
    for other in (b"", b"\x89SK", b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(200)):
        with pytest.raises(FormatError, match="no stream of skvqdraw|ends within its head"):
            codec.inspect(other)
    newer = data[:8] + b"\x02" + data[9:]
    with pytest.raises(FormatError, match="format version is 2.*upgrade"):
        decode_codes(newer)
    head, sections = take_apart(data)
    head[9] = 2
    with pytest.raises(FormatError, match="needs coder 2, of version 0.0"):
        decode_codes(put_together(head, sections))
    prior = MarginalPrior(6).fit(model.encode(X))
    head, sections = take_apart(compress(model, X, prior=prior))
    head[11] = 6
    with pytest.raises(FormatError, match="needs coder 1, of version 0.6"):
        decode_codes(put_together(head, sections))


@pytest.mark.skipif(sys.platform != "linux", reason="the most memory held is read from /proc")
def test_mutated_streams_are_refused_or_right():
    outcomes = fuzz_streams.run(range(2000))
    assert outcomes.total() == 2000
    outcomes = {outcome for (_, outcome), n in outcomes.items() if n > 20}
    assert {"refused", "codes", "1 stages", "4 stages"} <= outcomes  # else it is not what it says


# ---- Models, files, arguments -------------------------------------------------------------------


def test_another_model_is_refused(model, X):
    other = ClusterBoosting(n_stages=5, n_options=6, random_state=1).fit(X[:400])
    data = compress(model, X)
    message = f"{model.fingerprint()}.*{other.fingerprint()}"
    with pytest.raises(ValueError, match=message) as caught:
        decompress(other, data)
    assert not isinstance(caught.value, FormatError)
    for offset in (32, 20):  # of the number of features, and of options
        head, sections = take_apart(data)
        struct.pack_into("<I", head, offset, 7)
        with pytest.raises(FormatError, match="and its model has"):
            decompress(model, put_together(head, sections))
    with pytest.raises(TypeError, match="estimator must be a model of skvqdraw"):
        compress(MarginalPrior(6), X)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_stages": 0}, "n_stages == 0, must be >= 1"),
        ({"n_stages": 6}, "n_stages == 6, must be <= 5"),
        ({"n_stages": 2.0}, "n_stages must be an instance of"),
        ({"max_error": -1}, "max_error must be at least 0; got -1"),
        ({"max_error": np.nan}, "max_error must be at least 0; got nan"),
        ({"max_error": "a"}, "max_error must be an instance of"),
        ({"prior": "markov"}, "prior must be a MarginalPrior or a MarkovPrior.*got str"),
    ],
)
def test_wrong_arguments(model, X, params, message):
    with pytest.raises((ValueError, TypeError), match=message):
        compress(model, X, **params)


def test_files_are_the_same_bytes_and_rows(model, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 384)  # two blocks, of two pieces and of one
    monkeypatch.setattr(_rows, "_PIECE_VALUES", 1)
    monkeypatch.setattr(codec, "_ENCODED_ROWS", 300)
    X = np.random.default_rng(3).normal(size=(500, 6)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for how in ({}, {"max_error": 0.4}, {"prior": MarkovPrior(n_options=6).fit(model.encode(X))}):
        compress_file(model, mapped, tmp_path / "X.skvq", **how)
        assert (tmp_path / "X.skvq").read_bytes() == compress(model, X, **how)
        rows = decompress(model, str(tmp_path / "X.skvq"))
        codes, lengths = decode_codes(tmp_path / "X.skvq")
        expected = [model.decode(c[None, :n])[0] for c, n in zip(codes, lengths, strict=True)]
        np.testing.assert_array_equal(rows, expected)
        decompress_file(model, tmp_path / "X.skvq", tmp_path / "Y.npy")
        np.testing.assert_array_equal(np.load(tmp_path / "Y.npy"), rows)
        decompress_file(model, tmp_path / "X.skvq", tmp_path / "Y.npy", row_shape=(2, 3))
        np.testing.assert_array_equal(np.load(tmp_path / "Y.npy").reshape(500, 6), rows)
        assert codec.inspect(tmp_path / "X.skvq").n_samples == 500
    for row_shape in ((2, 2), (-2, -3), ()):
        with pytest.raises(ValueError, match="row_shape must have 6 numbers"):
            decompress_file(model, tmp_path / "X.skvq", tmp_path / "Y.npy", row_shape=row_shape)
    row_shape = np.array([2, 3])
    decompress_file(
        model, os.fsencode(tmp_path / "X.skvq"), tmp_path / "Y.npy", row_shape=row_shape
    )
    assert np.load(tmp_path / "Y.npy").shape == (500, 2, 3)
    with pytest.raises(FileNotFoundError):
        decode_codes(tmp_path / "nothing")
    (tmp_path / "empty").touch()
    with pytest.raises(FormatError):
        decode_codes(tmp_path / "empty")


def test_a_file_is_written_whole_or_not_at_all(model, X, tmp_path, monkeypatch):
    path, rows = tmp_path / "X.skvq", tmp_path / "X.npy"
    path.write_bytes(b"before")
    rows.write_bytes(b"before")

    def fails(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ClusterBoosting, "_encode", fails)
        with pytest.raises(KeyboardInterrupt):
            compress_file(model, X, path)
    compress_file(model, X, tmp_path / "whole.skvq")
    with monkeypatch.context() as patched:
        patched.setattr(ClusterBoosting, "_decode", fails)
        with pytest.raises(KeyboardInterrupt):
            decompress_file(model, tmp_path / "whole.skvq", rows)
    with monkeypatch.context() as patched:
        patched.setattr(ClusterBoosting, "_encode", None)  # nor is anything encoded for no file
        with pytest.raises(FileNotFoundError):
            compress_file(model, X, tmp_path / "no" / "folder")
    assert path.read_bytes() == rows.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 3


def test_a_progress_bar_is_shown_when_asked_for(model, X, tmp_path, capsys):
    compress_file(model, X, tmp_path / "X.skvq")
    assert not capsys.readouterr().err
    compress_file(model, X, tmp_path / "X.skvq", verbose=True)
    assert "100%" in capsys.readouterr().err


def test_inspect_tells_the_real_rate(model, X):
    data = compress(model, X, max_error=0.3)
    about = codec.inspect(data)
    assert about.bits_per_row == 8 * len(data) / 500
    assert (about.n_samples, about.n_features, about.dtype) == (500, 6, np.float32)
    assert (about.n_stages, about.n_options, about.n_whole_stages) == (5, 6, 5)
    assert (about.has_lengths, about.coder, about.problem) == (True, "bits", "")
    assert about.fingerprint == model.fingerprint()


# ---- Streams of earlier versions ----------------------------------------------------------------


def test_there_are_streams_of_each_kind():
    names = {"bits", "lengths", "marginal", "markov", "markov-lengths"}
    assert {path.stem for path in GOLDEN} == names


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_stream(path):
    """Bytes of format 1 give these codes, and these codes such bytes, under any version."""
    codes, lengths = decode_codes(path)
    expected = formula_codes(300, 4, 6)
    expected_lengths = np.arange(300) * 7 % 5 if "lengths" in path.stem else np.full(300, 4)
    np.testing.assert_array_equal(lengths, expected_lengths)
    np.testing.assert_array_equal(codes, known(expected, lengths))
    prior = None
    if path.stem.startswith("mar"):
        prior = PRIORS[path.stem.partition("-")[0]](6).fit(expected)
    given = expected_lengths if "lengths" in path.stem else None
    head, sections = take_apart(stream_of(expected, 6, prior, given))
    golden_head, golden_sections = take_apart(path.read_bytes())
    assert head == golden_head
    if prior is not None:  # what zlib compresses may have other bytes, and is the same
        table, golden_table = sections.pop(0), golden_sections.pop(0)
        end = 2 + 4 * prior.weights_.size
        assert table[:end] == golden_table[:end]
        assert zlib.decompress(table[end:]) == zlib.decompress(golden_table[end:])
    assert sections == golden_sections


def test_the_format_is_written_down():
    page = (Path(__file__).parents[1] / "docs" / "compression.md").read_text()
    assert f"{container._HEADER.size + 4} bytes" in page
    assert re.search(rf"format version {container.VERSION}\b", page, re.IGNORECASE)
    assert f"{blocks.BLOCK_ROWS:,} rows" in page

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

from skvqdraw import ClusterBoosting
from skvqdraw.preprocessing import CharacterTokenizer

# NUL, new lines, an accent of its own, beyond 16 bits, halves of pairs, what the inverse shows.
STRINGS = ["ab\0", "\0", "", "a\nb\r", "e\u0301é", "😀\U0010ffff", "\ud800\udc00", "␀�\ufeff"]
# Any code point: halves of surrogate pairs, too.
TEXTS = st.lists(st.text(st.characters(codec=None)), min_size=1, max_size=20)


def naive(strings, alphabet, sequence_length):
    symbols = {character: 2 + i for i, character in enumerate(alphabet)}
    rows = [[symbols.get(character, 1) for character in string] for string in strings]
    return [row + [0] * (sequence_length - len(row)) for row in rows]


@given(TEXTS)
def test_there_and_back(strings):
    longest = max(map(len, strings))
    tokenizer = CharacterTokenizer(longest + 1)
    Z = tokenizer.fit_transform(strings)
    assert tokenizer.alphabet_ == "".join(sorted(set("".join(strings))))
    assert tokenizer.n_symbols_ == 2 + len(tokenizer.alphabet_)
    assert Z.tolist() == naive(strings, tokenizer.alphabet_, longest + 1)
    assert tokenizer.inverse_transform(Z).tolist() == strings


@given(TEXTS, TEXTS)
def test_characters_outside_the_alphabet(seen, strings):
    tokenizer = CharacterTokenizer(max(1, *map(len, strings))).fit(seen)
    Z = tokenizer.transform(strings)
    assert Z.tolist() == naive(strings, tokenizer.alphabet_, Z.shape[1])
    known = set(tokenizer.alphabet_)
    shown = ["".join(c if c in known else "\ufffd" for c in string) for string in strings]
    assert tokenizer.inverse_transform(Z).tolist() == shown


def test_many_rows_and_long_ones():
    """More than are looked up at a time."""
    rng = np.random.default_rng(0)
    strings = ["".join(map(chr, rng.integers(32, 99, size=n))) for n in rng.integers(0, 60, 1000)]
    tokenizer = CharacterTokenizer(3000).fit(strings)
    Z = tokenizer.transform(strings)
    assert Z.tolist() == naive(strings, tokenizer.alphabet_, 3000)
    assert tokenizer.inverse_transform(Z.astype(np.float32)).tolist() == strings
    Z[777, 2000] = tokenizer.n_symbols_
    with pytest.raises(ValueError, match="at row 777, column 2000"):
        tokenizer.inverse_transform(Z)


def test_an_alphabet_of_ones_own():
    tokenizer = CharacterTokenizer(4, alphabet="cab").fit(["xyz"])
    assert tokenizer.alphabet_ == "cab"
    assert tokenizer.n_symbols_ == 5
    assert tokenizer.transform(["abcd", ""]).tolist() == [[3, 4, 2, 1], [0, 0, 0, 0]]


def test_only_empty_strings():
    tokenizer = CharacterTokenizer(2)
    assert tokenizer.fit_transform(["", ""]).tolist() == [[0, 0], [0, 0]]
    assert tokenizer.n_symbols_ == 2
    assert tokenizer.transform(["a"]).tolist() == [[1, 0]]


def test_a_length_in_a_small_dtype():
    tokenizer = CharacterTokenizer(np.uint8(255))
    Z = tokenizer.fit_transform(["a" * 255, "b"])
    assert Z.shape == (2, 255)
    assert tokenizer.inverse_transform(Z).tolist() == ["a" * 255, "b"]


def test_padding_before_the_end_is_shown():
    tokenizer = CharacterTokenizer(4, alphabet="ab").fit([""])
    Z = [[2, 0, 3, 0], [0, 0, 0, 2], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert tokenizer.inverse_transform(Z).tolist() == ["a␀b", "␀␀␀a", "�", ""]


@pytest.mark.parametrize(
    ("n_characters", "dtype"),
    [(1, np.uint8), (254, np.uint8), (255, np.uint16), (65534, np.uint16), (65535, np.uint32)],
)
def test_the_smallest_dtype(n_characters, dtype):
    alphabet = "".join(map(chr, range(n_characters)))
    tokenizer = CharacterTokenizer(2, alphabet).fit([""])
    Z = tokenizer.transform([alphabet[-1]])
    assert Z.dtype == dtype
    assert Z.tolist() == [[n_characters + 1, 0]]
    for other in (np.int64, np.uint64, np.float32, np.float64):
        assert tokenizer.inverse_transform(Z.astype(other)).tolist() == [alphabet[-1]]


def test_limits_beyond_a_dtype():
    tokenizer = CharacterTokenizer(1, "".join(map(chr, range(70_000)))).fit([""])
    for dtype in (np.int8, np.uint8, np.float16):
        assert tokenizer.inverse_transform(np.array([[99]], dtype)).tolist() == ["a"]


@pytest.mark.parametrize(
    "make",
    [list, tuple, np.array, lambda X: np.array(X, object), lambda X: [*map(np.str_, X)]],
    ids=["list", "tuple", "array", "objects", "scalars"],
)
def test_strings_of_many_kinds(make):
    X = make(["ab", "", "b"])
    tokenizer = CharacterTokenizer(2)
    assert tokenizer.fit_transform(X).tolist() == [[2, 3], [0, 0], [3, 0]]
    assert type(tokenizer.alphabet_) is str


def test_nul_in_arrays_of_objects():
    X = np.array(STRINGS, dtype=object)
    tokenizer = CharacterTokenizer()
    assert tokenizer.inverse_transform(tokenizer.fit_transform(X)).tolist() == STRINGS


def test_series_and_data_frames():
    pd = pytest.importorskip("pandas")
    X = pd.Series(["ab", "", "b"], index=[7, 7, -1])
    tokenizer = CharacterTokenizer(3).set_output(transform="pandas")
    Z = tokenizer.fit_transform(X)
    names = ["charactertokenizer0", "charactertokenizer1", "charactertokenizer2"]
    assert tokenizer.get_feature_names_out().tolist() == list(Z.columns) == names
    assert list(Z.index) == [7, 7, -1]
    assert Z.to_numpy().tolist() == [[2, 3, 0], [0, 0, 0], [3, 0, 0]]
    assert (Z.dtypes == np.uint8).all()
    assert tokenizer.inverse_transform(Z).tolist() == list(X)
    with pytest.raises(TypeError, match="got nan of type float at row 1.*'' for what is missing"):
        tokenizer.transform(pd.Series(["a", None], dtype="str"))
    with pytest.raises(ValueError, match=r"got shape \(3, 1\). Pass one column"):
        tokenizer.transform(X.to_frame())


def test_polars():
    pl = pytest.importorskip("polars")
    tokenizer = CharacterTokenizer(2).set_output(transform="polars")
    Z = tokenizer.fit_transform(pl.Series(["ab", "b"]))
    assert Z.columns == ["charactertokenizer0", "charactertokenizer1"]
    assert Z.rows() == [(2, 3), (3, 0)]
    assert tokenizer.inverse_transform(Z).tolist() == ["ab", "b"]


@pytest.mark.parametrize("name", ["fit", "transform"])
@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("ab", TypeError, r"got a single str. Pass \[X\], or cut .*text_windows"),
        (b"ab", TypeError, "got a single bytes"),
        ((s for s in ["ab"]), TypeError, r"got generator. Pass list\(X\)"),
        ({"ab"}, TypeError, r"got set. Pass list\(X\)"),
        (None, TypeError, "got NoneType"),
        ([], ValueError, "at least one string; got none"),
        (np.array([], dtype=str), ValueError, "at least one string; got none"),
        ([b"ab"], TypeError, "got b'ab' of type bytes at row 0. Decode bytes"),
        (np.array([b"ab"]), TypeError, "got b'ab' of type bytes at row 0"),
        (["ab", 3], TypeError, "got 3 of type int at row 1"),
        (["ab", None], TypeError, "got None of type NoneType at row 1"),
        (["ab", np.nan], TypeError, "got nan of type float at row 1"),
        ([["ab"], ["c"]], TypeError, r"got \['ab'\] of type list at row 0.*one string for each"),
        (np.zeros(3), TypeError, "got 0.0 of type float at row 0"),
        (np.array([["ab"]]), ValueError, r"got shape \(1, 1\). Pass one column, such as X\[:, 0\]"),
        (np.array("ab"), ValueError, r"got shape \(\)"),
        (pd.DataFrame({"a": ["ab"]}), ValueError, r"got shape \(1, 1\).*or X\['name'\] of a frame"),
        (pl.DataFrame({"a": ["ab"]}), ValueError, r"got shape \(1, 1\).*or X\['name'\] of a frame"),
        (np.ma.array(["a", "b"], mask=[0, 1]), ValueError, "X must have no masked values"),
        (torch.zeros(2, requires_grad=True), TypeError, "nothing but str; got Tensor.*list of str"),
        (torch.zeros(2).bfloat16(), TypeError, "nothing but str; got Tensor.*list of str"),
    ],
)
def test_what_is_no_list_of_strings(name, X, error, message):
    tokenizer = CharacterTokenizer(4).fit(["ab"])
    before = dict(vars(tokenizer))
    tokenizer.set_params(alphabet="xyz")
    with pytest.raises(error, match=message):
        getattr(tokenizer, name)(X)
    assert vars(tokenizer) == {**before, "alphabet": "xyz"}


def test_strings_that_are_too_long():
    tokenizer = CharacterTokenizer(3).fit(["more than three: only the alphabet counts"])
    message = (
        r"at most sequence_length=3 characters; the one at row 1 has 4. Fit with a larger "
        r"sequence_length, or cut strings with skvqdraw.datasets.text_windows"
    )
    with pytest.raises(ValueError, match=message):
        tokenizer.transform(["abc", "abcd", "abcde"])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"sequence_length": 0}, "'sequence_length' parameter .* int in the range .* Got 0"),
        ({"sequence_length": 2.0}, "'sequence_length' parameter .* Got 2.0"),
        ({"alphabet": ["a"]}, "'alphabet' parameter .* 'str' or None. Got"),
        ({"alphabet": ""}, "alphabet must have at least one .* empty string. Set alphabet=None"),
        ({"alphabet": "abca"}, r"alphabet must have each character once; got 'a' 2 times. Set ''"),
    ],
)
def test_parameters_that_do_not_do(params, message):
    tokenizer = CharacterTokenizer().fit(["ab"])
    before = dict(vars(tokenizer))
    with pytest.raises(ValueError, match=message):
        tokenizer.set_params(**params).fit(["xyz"])
    assert vars(tokenizer) == {**before, **params}


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[0, 1, 4]], r"integers in \[0, 4\); got 4 at row 0, column 2. Take what transform"),
        ([[0, 1, 2], [0, -1, 9]], "got -1 at row 1, column 1"),
        ([[0, 1.5, 2]], "got 1.5 at row 0, column 1. .*round what a model gives"),
        ([[0, 1, np.nan]], "got nan at row 0, column 2"),
        ([[np.inf, 0, 0]], "got inf at row 0, column 0"),
        (np.array([[0, 0, 2**63]], np.uint64), "got 9223372036854775808 at row 0, column 2"),
        (np.ones((1, 3), bool), "got dtype bool"),
        ([[0, 1]], "must have 3 columns, sequence_length in fit; got 2"),
        ([0, 1, 2], "Expected 2D array, got 1D array"),
        (np.zeros((1, 3, 1)), "Found array with dim 3"),
        (np.zeros((0, 3)), r"Found array with 0 sample\(s\)"),
    ],
)
def test_what_are_no_symbols(X, message):
    tokenizer = CharacterTokenizer(3).fit(["ab"])
    with pytest.raises(ValueError, match=message):
        tokenizer.inverse_transform(X)


def test_settings_changed_after_fit_wait_for_the_next():
    tokenizer = CharacterTokenizer(3).fit(["ab"])
    Z = tokenizer.transform(["ab"])
    tokenizer.set_params(sequence_length=1, alphabet="ba")
    assert tokenizer.transform(["ab"]).tolist() == Z.tolist()
    assert len(tokenizer.get_feature_names_out()) == 3
    assert tokenizer.fit(["x"]).transform(["a"]).tolist() == [[3]]


def test_clone_and_pickle():
    tokenizer = CharacterTokenizer(12, alphabet="ab\0").fit(["x"])
    copy = clone(tokenizer)
    assert (
        copy.get_params() == tokenizer.get_params() == {"sequence_length": 12, "alphabet": "ab\0"}
    )
    for name in ("transform", "inverse_transform", "get_feature_names_out"):
        with pytest.raises(NotFittedError):
            getattr(copy, name)(["ab"])
    same = pickle.loads(pickle.dumps(tokenizer))
    assert vars(same) == vars(tokenizer)
    assert (same.transform(STRINGS) == tokenizer.transform(STRINGS)).all()


def test_what_is_learned_and_what_the_tags_say():
    tokenizer = CharacterTokenizer().fit(["ab"])
    learned = {name for name in vars(tokenizer) if name.endswith("_")}
    assert learned == {"alphabet_", "n_symbols_"}
    assert not hasattr(tokenizer, "n_features_in_")
    tags = get_tags(tokenizer)
    assert tags.input_tags.string
    assert tags.input_tags.one_d_array
    assert not tags.input_tags.two_d_array
    assert tags.transformer_tags.preserves_dtype == []
    assert not tags.target_tags.required


def test_in_a_pipeline():
    strings = ["aaaa", "bbbb", "abab", "baba"] * 5
    # As many options as there are different strings.
    boosting = ClusterBoosting(1, 4, encoding="ordinal", random_state=0)
    pipeline = make_pipeline(CharacterTokenizer(4), boosting)
    Z = pipeline.fit_transform(strings)
    X = np.rint(pipeline[1].inverse_transform(Z))
    assert pipeline[0].inverse_transform(X).tolist() == strings

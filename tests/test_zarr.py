"""Arrays of zarr whose chunks are codes."""

import copy
import json
import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

from skvqdraw import ClusterBoosting, load_pretrained
from skvqdraw.codec import compress, decompress, inspect
from skvqdraw.exceptions import FormatError

zarr = pytest.importorskip("zarr")
zarr_module = pytest.importorskip("skvqdraw.zarr")
CodesCodec, create_array, register = (getattr(zarr_module, name) for name in zarr_module.__all__)
PLAIN = {"filters": None, "compressors": None}


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    """What one test registers, the next does not know."""
    monkeypatch.setattr(zarr_module, "_REGISTERED", {})


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(250, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def model(X):
    return ClusterBoosting(n_stages=3, n_options=8, random_state=0).fit(X)


def test_an_array_is_what_its_codes_decode_to(tmp_path, model, X):
    array = create_array(tmp_path / "a", model, X, chunk_rows=100, attributes={"of": "digits"})
    assert array.attrs["of"] == "digits"
    assert array.chunks == (100, 6)
    expected = model.decode(model.encode(X))
    zarr_module._REGISTERED.clear()
    for array in (zarr.open_array(tmp_path / "a"), zarr.open_array(tmp_path / "a", mode="r")):
        np.testing.assert_array_equal(array[:], expected)
        for selection in (np.s_[7], np.s_[95:105, 2], np.s_[::40], np.s_[-1, :3], np.s_[:, 0]):
            np.testing.assert_array_equal(array[selection], expected[selection])
        np.testing.assert_array_equal(
            array.oindex[[3, 120, 121], [0, 5]], expected[[3, 120, 121]][:, [0, 5]]
        )
        np.testing.assert_array_equal(array.vindex[[3, 120], [0, 5]], expected[[3, 120], [0, 5]])
        mask = np.zeros(array.shape, bool)
        mask[5, 2] = mask[200, 1] = True
        np.testing.assert_array_equal(array.vindex[mask], expected[mask])
    # The last chunk has 50 rows of 100, and only these have codes.
    stored = (tmp_path / "a" / "c" / "2" / "0").read_bytes()
    assert inspect(stored).n_samples == 50


def test_only_rows_that_are_asked_for_are_decoded(tmp_path, model, X, monkeypatch):
    array = create_array(tmp_path / "a", model, X, chunk_rows=100)
    decode, seen = ClusterBoosting._decode, []
    monkeypatch.setattr(
        ClusterBoosting,
        "_decode",
        lambda self, codes: seen.append(len(codes)) or decode(self, codes),
    )
    array[98:103]
    assert sorted(seen) == [2, 3]


def test_a_fresh_process_needs_zarr_alone(tmp_path, model, X):
    create_array(tmp_path / "a", model, X.reshape(-1, 3, 2), chunk_rows=100)
    code = (
        "import sys, zarr; before = 'skvqdraw' in sys.modules; "
        "print(before, zarr.open_array(sys.argv[1])[100:102].tolist())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = model.reconstruct(X)[100:102].reshape(-1, 3, 2).tolist()
    assert run.stdout == f"False {expected}\n"


def test_metadata_name_no_place(tmp_path, model, X):
    create_array(tmp_path / "a", model, X)
    metadata = tmp_path / "a" / "zarr.json"
    written = json.loads(metadata.read_text())
    fingerprint = model.fingerprint()
    assert written["codecs"] == [
        {"name": "skvqdraw.codes", "configuration": {"fingerprint": fingerprint}}
    ]
    for configuration in (
        {"fingerprint": fingerprint, "model": "/etc/passwd"},
        {"fingerprint": 3},
        {},
    ):
        written["codecs"][0]["configuration"] = configuration
        metadata.write_text(json.dumps(written))
        with pytest.raises(ValueError, match="must hold a fingerprint, and no more"):
            zarr.open_array(tmp_path / "a")
    # A fingerprint that is a path leads nowhere either.
    (tmp_path / "other.safetensors").write_bytes(
        (tmp_path / "a" / f"{fingerprint}.safetensors").read_bytes()
    )
    written["codecs"][0]["configuration"] = {"fingerprint": "../other"}
    metadata.write_text(json.dumps(written))
    with pytest.raises(ValueError, match="fingerprint must be 64 hexadecimal digits"):
        zarr.open_array(tmp_path / "a")


def test_a_missing_model_is_told_with_where_it_was_looked_for(tmp_path, model, X):
    create_array(tmp_path / "group" / "a", model, X)
    beside = tmp_path / "group" / "a" / f"{model.fingerprint()}.safetensors"
    data = beside.read_bytes()
    beside.unlink()
    zarr_module._REGISTERED.clear()
    with pytest.raises(
        ValueError, match=r"was not found among those registered.*group/a/[0-9a-f]{64}"
    ) as error:
        zarr.open_array(tmp_path / "group" / "a")[:]
    assert "skvqdraw.zarr.register" in str(error.value)
    beside.write_bytes(data)
    assert zarr.open_array(tmp_path / "group" / "a")[:].shape == X.shape


def test_a_wrong_or_damaged_model_is_told(tmp_path, model, X):
    create_array(tmp_path / "a", model, X)
    beside = tmp_path / "a" / f"{model.fingerprint()}.safetensors"
    zarr_module._REGISTERED.clear()
    data = beside.read_bytes()
    beside.write_bytes(data[:-1])
    with pytest.raises(FormatError, match="is not a model that skvqdraw"):
        zarr.open_array(tmp_path / "a")[:]
    ClusterBoosting(n_stages=3, n_options=8, random_state=1).fit(X[:100]).save(beside)
    with pytest.raises(FormatError, match="is not the model that it is called after"):
        zarr.open_array(tmp_path / "a")[:]
    assert not (zarr_module._REGISTERED.keys() & {model.fingerprint()})


def test_damaged_chunks_are_told(tmp_path, model, X):
    array = create_array(tmp_path / "a", model, X, chunk_rows=100)
    chunk = tmp_path / "a" / "c" / "1" / "0"
    data = bytearray(chunk.read_bytes())
    data[150] ^= 1
    chunk.write_bytes(data)
    np.testing.assert_array_equal(array[:100], model.reconstruct(X[:100]))
    with pytest.raises(FormatError, match="have changed"):
        array[:]
    # Of another array: more rows than a chunk has.
    create_array(tmp_path / "b", model, X)
    chunk.write_bytes((tmp_path / "b" / "c" / "0" / "0").read_bytes())
    with pytest.raises(FormatError, match="250 rows of 6 of dtype float32"):
        array[:]


def test_registered_models_serve_where_zarr_tells_of_no_store(tmp_path, model, X):
    expected = model.reconstruct(X)
    codec = {"serializer": CodesCodec(model), "chunks": (50, 6), "data": X}
    compressed = zarr.create_array(tmp_path / "z", **codec)  # zarr's own compressors
    shards = zarr.create_array(tmp_path / "s", shards=(100, 6), **codec, **PLAIN)
    for array in (compressed, shards):
        np.testing.assert_array_equal(array[:], expected)
    zarr_module._REGISTERED.clear()
    for path in ("z", "s"):
        with pytest.raises(ValueError, match="no store: zarr tells a codec of one only"):
            zarr.open_array(tmp_path / path)[:]
    model.save(tmp_path / "m.safetensors")
    assert register(tmp_path / "m.safetensors") == model.fingerprint()
    for path in ("z", "s"):
        np.testing.assert_array_equal(zarr.open_array(tmp_path / path)[:], expected)


def test_models_of_the_package_are_known(tmp_path):
    vq = load_pretrained("mnist-60bit")
    rows = vq.sample(3, random_state=0)
    array = zarr.create_array(
        tmp_path / "a", data=rows, chunks=(3, 784), serializer=CodesCodec(vq), **PLAIN
    )
    expected = vq.reconstruct(rows)
    zarr_module._REGISTERED.clear()
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a")[:], expected)
    assert array.shape == (3, 784)


def test_a_serializer_is_no_compressor(tmp_path, model):
    with pytest.raises((TypeError, ValueError), match="CodesCodec|BytesBytesCodec"):
        zarr.create_array(tmp_path / "a", shape=(9, 6), dtype="f4", compressors=[CodesCodec(model)])


def test_integers_and_images(tmp_path):
    images = np.random.default_rng(0).integers(256, size=(70, 4, 3, 2), dtype=np.uint8)
    model = ClusterBoosting(n_stages=4, n_options=8, random_state=0).fit(images.reshape(70, -1))
    array = create_array(tmp_path / "a", model, images, chunk_rows=32)
    expected = np.rint(model.reconstruct(images.reshape(70, -1))).clip(0, 255).astype(np.uint8)
    np.testing.assert_array_equal(array[:], expected.reshape(images.shape))
    assert array.dtype == np.uint8


def test_rows_may_be_written_later(tmp_path, model, X):
    array = create_array(tmp_path / "a", model, shape=(100, 6), dtype="f4", chunk_rows=40)
    assert not array[:].any()
    array[10:50] = X[10:50]
    expected = model.reconstruct(X)
    np.testing.assert_array_equal(array[40:50], expected[40:50])
    # Rows of a chunk that nobody wrote are coded as what they are, or not at all.
    empty = model.reconstruct(np.zeros((1, 6), np.float32))[0]
    np.testing.assert_array_equal(array[9], empty)
    assert not array[50:].any()


def test_fill_values(tmp_path, model, X):
    array = create_array(
        tmp_path / "a", model, shape=(100, 6), dtype="f4", chunk_rows=40, fill_value=np.nan
    )
    array[:20] = X[:20]
    np.testing.assert_array_equal(array[:20], model.reconstruct(X[:20]))
    assert np.isnan(array[20:]).all()
    with pytest.raises(ValueError, match="NaN"):
        array[30:32] = X[:2]


def test_empty_chunks_are_read_as_they_were(tmp_path, model):
    options = {"shape": (100, 6), "dtype": "f4", "chunk_rows": 50}
    for fill in (0, np.nan):
        path = tmp_path / str(fill)
        config = {"write_empty_chunks": True}
        array = create_array(path, model, **options, fill_value=fill, config=config)
        array[...] = fill
        np.testing.assert_array_equal(array[:], np.full((100, 6), fill, np.float32))
    with pytest.raises(ValueError, match="X must be given, or else both shape and dtype"):
        create_array(tmp_path / "b", model, shape=(3, 6))


def test_a_model_that_is_fitted_again_codes_as_it_did(tmp_path, X):
    model = ClusterBoosting(n_stages=3, n_options=8, random_state=0).fit(X)
    array = create_array(tmp_path / "a", model, shape=X.shape, dtype="f4", chunk_rows=100)
    expected = model.reconstruct(X)
    model.fit(2 * X[:100])
    array[:] = X
    zarr_module._REGISTERED.clear()
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "a")[:], expected)


def test_chunks_may_have_codes_of_any_length(tmp_path, model, X):
    array = create_array(tmp_path / "a", model, X, chunk_rows=100)
    data = compress(model, X[:100], max_error=0.5)
    (tmp_path / "a" / "c" / "0" / "0").write_bytes(data)
    expected = decompress(model, data)
    np.testing.assert_array_equal(array[:100], expected)
    np.testing.assert_array_equal(array[5:9, 1], expected[5:9, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (9, 6), "chunks": (9, 3)}, r"chunks must hold whole rows: \(9, 6\)"),
        ({"shape": (9,), "chunks": (9,)}, "of two axes or more"),
        ({"shape": (9, 7), "chunks": (9, 7)}, "rows must have 6 numbers"),
        ({"shape": (9, 6), "chunks": (9, 6), "dtype": "complex64"}, "one of real numbers"),
    ],
)
def test_arrays_that_cannot_be(tmp_path, model, options, message):
    with pytest.raises(ValueError, match=message):
        zarr.create_array(
            tmp_path / "a", **{"dtype": "f4", **options}, serializer=CodesCodec(model), **PLAIN
        )
    with pytest.raises(TypeError, match="must be a fitted model of skvqdraw or the name"):
        register(3)


def contents(store):
    """Return what is in a store: a folder, or a dict of buffers."""
    if isinstance(store, dict):
        return {key: value.to_bytes() for key, value in store.items()}
    return {
        path.relative_to(store).as_posix(): path.read_bytes() if path.is_file() else None
        for path in store.rglob("*")
    }


def rows_to_refuse(X):
    return {
        "features": X[:, :1],
        "NaN": np.where(np.arange(len(X))[:, None] == len(X) - 1, np.nan, X),
        "strings": X.astype(str),
        "complex": X + 1j,
        "dates": X.astype("M8[s]"),
        "ragged": [[1], [2, 3]],
        "scalar": 3.0,
        "one axis": X[0],
        "transposed": X.T,
        "a shape of its own": X.reshape(-1, 3, 2),
    }


@pytest.mark.parametrize("kind", ["folder", "dict", "memory", "new"])
@pytest.mark.parametrize("wrong", rows_to_refuse(np.zeros((9, 6))))
def test_rows_that_are_refused_change_no_store(tmp_path, model, X, kind, wrong):
    model = copy.deepcopy(model)
    model._keep_row_shape((2, 3))
    inside = {"folder": tmp_path / "a", "new": tmp_path}.get(kind, {})
    memory = zarr.storage.MemoryStore(inside) if kind == "memory" else None
    store = memory or {"new": tmp_path / "a"}.get(kind, inside)
    if kind != "new":
        create_array(store, model, X[:20])
    before = contents(inside)
    with pytest.raises((TypeError, ValueError), match="X|rows"):
        create_array(store, model, rows_to_refuse(X)[wrong], overwrite=True)
    assert contents(inside) == before
    array = create_array(store, model, X.reshape(-1, 2, 3), overwrite=True)
    np.testing.assert_array_equal(array[:].reshape(X.shape), model.reconstruct(X))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_rows": 0}, "chunk_rows == 0, must be >= 1"),
        ({"chunk_rows": 2.5}, "chunk_rows must be an instance of int"),
        ({"shape": (3, 6)}, r"shape must be that of X, \(250, 6\); got \(3, 6\)"),
        ({"X": None, "shape": 5, "dtype": "f4"}, "shape must be a tuple of integers; got 5"),
        ({"X": None, "shape": (), "dtype": "f4"}, "shape must have two axes or more"),
        ({"X": None, "shape": (9, 3, 2), "dtype": "f4"}, r"shape must have rows of shape \(2, 3\)"),
        ({"X": None, "shape": (9, 2, 2), "dtype": "f4"}, "shape must have the 6 numbers of a row"),
        ({"dtype": "u1"}, "X must be from 0 to 255 to be stored as dtype=uint8; it is from -"),
        ({"chunks": (9, 6)}, "chunks must be left out"),
        ({"model": "digits"}, "model must be a fitted model of skvqdraw; got str"),
        ({"model": ClusterBoosting()}, "not fitted"),
        ({"fill_value": "a"}, "."),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_options_that_are_refused_change_no_store(tmp_path, model, X, options, message):
    model = copy.deepcopy(model)
    model._keep_row_shape((2, 3))
    create_array(tmp_path / "a", model, X[:20])
    before = contents(tmp_path)
    with pytest.raises((TypeError, ValueError), match=message):
        create_array(tmp_path / "a", **{"model": model, "X": X, "overwrite": True, **options})
    with pytest.raises(ValueError, match="An array exists in store"):
        create_array(tmp_path / "a", model, X)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kind", ["folder", "dict"])
@pytest.mark.parametrize("name", [None, "group/a"])
@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("n_writes", range(4))
def test_a_store_that_fails_is_as_it_was(
    tmp_path, model, X, monkeypatch, kind, name, overwrite, n_writes
):
    store = {} if kind == "dict" else tmp_path
    if name or overwrite:
        create_array(store, model, X[:20], name="other/b")
    if overwrite:
        create_array(store, model, X[:20], name=name, overwrite=True, chunk_rows=5)
    before = {key: data for key, data in contents(store).items() if data is not None}
    cls = zarr.storage.MemoryStore if kind == "dict" else zarr.storage.LocalStore
    write, left = cls.set, [n_writes]

    async def fails_once(self, key, value):
        if kind == "dict" or self.root == tmp_path:
            left[0] -= 1
            if left[0] == -1:
                raise OSError("no space left on device")
        await write(self, key, value)

    monkeypatch.setattr(cls, "set", fails_once)
    with pytest.raises(OSError, match="no space left"):
        create_array(store, model, X, name=name, overwrite=overwrite, chunk_rows=125)
    after = {key: data for key, data in contents(store).items() if data is not None}
    assert after == before
    array = create_array(store, model, X, name=name, overwrite=overwrite, chunk_rows=125)
    np.testing.assert_array_equal(array[:], model.reconstruct(X))


def test_frames_tensors_and_lists_are_rows(tmp_path, X):
    pd, torch = pytest.importorskip("pandas"), pytest.importorskip("torch")
    frame = pd.DataFrame(X).add_prefix("feature ")
    model = ClusterBoosting(n_stages=3, n_options=8, random_state=0).fit(frame)
    expected = model.decode(model.encode(frame))
    np.testing.assert_array_equal(create_array({}, model, frame)[:], expected)
    with pytest.raises(ValueError, match="feature names should match"):
        create_array({}, model, frame.iloc[:, ::-1])
    for rows in (torch.tensor(X), [*X]):
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            np.testing.assert_array_equal(create_array({}, model, rows)[:], expected)
    with pytest.raises(
        TypeError, match="X must be an array, or what numpy makes one of; got a Tensor"
    ):
        create_array({}, model, torch.tensor(X, requires_grad=True))
    with pytest.raises(TypeError, match="[Ss]parse"):
        create_array({}, model, sparse.csr_array(X))


def test_groups_above_an_array_are_made(tmp_path, model, X):
    for store in ({}, tmp_path):
        create_array(store, model, X, name="group/a")
        group = zarr.open_group(store, mode="r")
        np.testing.assert_array_equal(group["group"]["a"][:], model.reconstruct(X))

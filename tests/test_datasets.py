import ast
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import make_estimator
from sklearn.datasets import load_sample_images

from skvqdraw import datasets
from skvqdraw.datasets import (
    fetch_cifar10,
    fetch_mnist,
    load_characters,
    load_digits_images,
    load_docstrings,
    load_photo_patches,
    load_recordings,
    load_shapes,
    make_shapes,
    make_tones,
    text_windows,
)
from skvqdraw.refiners import ConvRefiner


def test_digits():
    digits = load_digits_images()
    assert digits.data.shape == (1797, 64)
    assert digits.data.dtype == np.float32
    assert digits.data.min() == 0
    assert digits.data.max() == 1
    assert digits.image_shape == (8, 8)
    assert set(digits.target) == set(range(10))


def test_photo_patches_are_pieces_of_the_photographs():
    patches = load_photo_patches(n_patches=6, size=12)
    assert patches.data.shape == (6, 432)
    assert patches.data.dtype == np.uint8
    assert patches.image_shape == (12, 12, 3)
    windows = [
        np.lib.stride_tricks.sliding_window_view(photo, (12, 12, 3))
        for photo in load_sample_images().images
    ]
    found_in = set()
    for patch in patches.data.reshape(6, 12, 12, 3):
        # Few places agree in the first pixel: look only there.
        places = [window[(window[..., 0, 0, :] == patch[0, 0]).all(-1)] for window in windows]
        found = [(place == patch).all((1, 2, 3)).any() for place in places]
        assert any(found)
        found_in.add(found.index(True))
    assert found_in == {0, 1}


def test_photo_patches_depend_on_the_seed_alone():
    data = load_photo_patches(5, 8).data
    np.testing.assert_array_equal(load_photo_patches(5, 8).data, data)
    assert (load_photo_patches(5, 8, random_state=1).data != data).any()
    whole = load_photo_patches(1, 427)
    assert whole.data.shape == (1, 427 * 427 * 3)


@pytest.mark.parametrize("size", [0, 428])
def test_photo_patches_that_do_not_fit(size):
    with pytest.raises(ValueError, match=rf"size must be in the range \[1, 427\].*got {size}"):
        load_photo_patches(1, size)


def test_photo_patches_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match="Python Imaging Library"):
        load_photo_patches(1)


def tiny_mnist(folder):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(70_000, 2, 2), dtype=np.uint8)
    labels = rng.integers(0, 10, size=70_000)
    np.savez(
        folder / "mnist.npz",
        x_train=images[:60_000],
        y_train=labels[:60_000],
        x_test=images[60_000:],
        y_test=labels[60_000:],
    )
    return images, labels


def test_mnist_from_a_folder_comes_in_its_own_order(tmp_path, monkeypatch):
    images, labels = tiny_mnist(tmp_path)
    monkeypatch.setenv("SKVQDRAW_DATA", str(tmp_path))
    monkeypatch.setattr(datasets._images, "fetch_openml", None)
    mnist = fetch_mnist()
    np.testing.assert_array_equal(mnist.data, images[:60_000].reshape(60_000, 4))
    np.testing.assert_array_equal(mnist.data_test, images[60_000:].reshape(10_000, 4))
    np.testing.assert_array_equal(mnist.target, labels[:60_000])
    np.testing.assert_array_equal(mnist.target_test, labels[60_000:])


def test_mnist_from_openml_is_the_same(tmp_path, monkeypatch):
    images, labels = tiny_mnist(tmp_path)
    asked = {}

    def fetch_openml(name, **options):
        asked.update(name=name, **options)
        return images.reshape(-1, 4).astype(float), labels.astype(str)

    monkeypatch.setattr(datasets._images, "fetch_openml", fetch_openml)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "cache"))
    with pytest.raises(OSError, match="nor in scikit-learn's cache"):
        fetch_mnist(download_if_missing=False)
    # What a failed request leaves behind is not the file.
    cached = tmp_path / "cache" / "openml" / "openml.org" / "mnist_784" / "mnist_784.arff.gz"
    cached.parent.mkdir(parents=True)
    with pytest.raises(OSError, match="nor in scikit-learn's cache"):
        fetch_mnist(download_if_missing=False)
    cached.touch()
    mnist = fetch_mnist(download_if_missing=False)
    assert asked["name"] == "mnist_784"
    assert mnist.data.dtype == np.uint8
    np.testing.assert_array_equal(mnist.data_test, images[60_000:].reshape(10_000, 4))
    np.testing.assert_array_equal(mnist.target, labels[:60_000])


@pytest.mark.parametrize("folder", [None, "empty"])
def test_mnist_that_is_nowhere(tmp_path, monkeypatch, folder):
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "cache"))
    if folder:
        monkeypatch.setenv("SKVQDRAW_DATA", str(tmp_path / folder))
    with pytest.raises(OSError, match="MNIST was found neither at .*set SKVQDRAW_DATA to it"):
        fetch_mnist(download_if_missing=False)


def test_cifar10_has_the_colours_of_a_pixel_side_by_side(tmp_path, monkeypatch):
    """From a folder, and from OpenML, which has plane after plane, as text."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(60, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, size=60, dtype=np.uint8)
    parts = {"X_train": images[:50], "X_test": images[50:]}
    np.savez(tmp_path / "cifar10.npz", **parts, y_train=labels[:50], y_test=labels[50:])
    planes = images.transpose(0, 3, 1, 2).reshape(60, -1).astype(float)
    downloads = []

    def fetch_openml(name, **options):
        downloads.append(name)
        return planes, labels.astype(str)

    monkeypatch.setattr(datasets._images, "fetch_openml", fetch_openml)
    monkeypatch.setattr(datasets._images, "_N_CIFAR10", 50)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "cache"))
    for folder, n_downloads in ((tmp_path, 0), (tmp_path / "empty", 1)):
        monkeypatch.setenv("SKVQDRAW_DATA", str(folder))
        cifar10 = fetch_cifar10()
        assert len(downloads) == n_downloads
        assert cifar10.image_shape == (32, 32, 3)
        assert cifar10.data.dtype == np.uint8
        np.testing.assert_array_equal(cifar10.data, images[:50].reshape(50, -1))
        np.testing.assert_array_equal(cifar10.data_test, images[50:].reshape(10, -1))
        np.testing.assert_array_equal(cifar10.target, labels[:50])
        np.testing.assert_array_equal(cifar10.target_test, labels[50:])
    assert downloads == ["CIFAR_10"]
    with pytest.raises(OSError, match="CIFAR-10 was found neither at .*cifar10.npz into a folder"):
        fetch_cifar10(download_if_missing=False)


@pytest.mark.usefixtures("real_data")
def test_a_short_fit_on_mnist():
    mnist = fetch_mnist()
    X, X_test = mnist.data[:5000] / 255, mnist.data_test[:500] / 255
    refiner = ConvRefiner((28, 28), n_channels=32)
    vq = make_estimator(n_stages=4, n_options=16, refiner=refiner, max_steps=60).fit(X)
    assert -vq.score(X_test) < 0.045  # of a variance of 0.0675


@pytest.mark.parametrize("sequence_length", [1, 3, 7, 10, 11])
def test_windows_side_by_side_are_the_text(sequence_length):
    text = "ab\n\0\U0001f600e\u0301 fgh"
    windows = text_windows(text, sequence_length)
    assert {*map(len, windows)} == {sequence_length}
    joined = "".join(windows)
    assert text.startswith(joined)
    assert len(text) - len(joined) < sequence_length


@pytest.mark.parametrize("step", [1, 2, 3, 5, 20])
def test_windows_with_a_step(step):
    text = "abcdefghijk"
    naive = [text[i : i + 4] for i in range(len(text)) if i % step == 0 and i + 4 <= len(text)]
    assert text_windows(text, 4, step=step) == naive
    if step <= 4:  # nothing between the first and the last window is left out
        assert {c for window in naive for c in window} == set(text[: text.index(naive[-1]) + 4])


def test_windows_as_long_as_the_text():
    assert text_windows("x" * 128) == ["x" * 128]


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        (["ab"], {}, TypeError, "text must be one str; got list"),
        (b"ab", {}, TypeError, "text must be one str; got bytes.*decode"),
        ("abc", {"sequence_length": 4}, ValueError, "at least sequence_length=4 .*got 3. Pass a"),
        ("abc", {"sequence_length": 0}, ValueError, "sequence_length must be .* 1; got 0"),
        ("abc", {"sequence_length": 2.0}, ValueError, "sequence_length must be an int.*got 2.0"),
        ("abc", {"sequence_length": 2, "step": 0}, ValueError, "step must be .*got 0. None"),
        ("abc", {"sequence_length": 2, "step": "1"}, ValueError, "step must be .*got '1'"),
    ],
)
def test_windows_that_cannot_be(text, options, error, message):
    with pytest.raises(error, match=message):
        text_windows(text, **options)


def docstrings_of(package):
    """Yield all strings that stand at the start of a block in a package, as they are written."""
    for path in Path(find_spec(package).origin).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            match getattr(node, "body", None):
                case [ast.Expr(ast.Constant(str(text))), *_]:
                    yield text


def test_docstrings_are_windows_of_docstrings():
    found = load_docstrings(["email", "json"], sequence_length=64, max_windows=40)
    assert found.target_names == ["email", "json"]
    assert found.data.shape == found.target.shape == (80,)
    assert np.bincount(found.target).tolist() == [40, 40]
    assert {*map(len, found.data)} == {64}
    assert len(set(found.data)) == 80
    assert len(set(found.target[:40])) == 2  # not one package after the other
    for number, package in enumerate(found.target_names):
        text = "\0".join("".join(text.split()) for text in docstrings_of(package))
        for window in found.data[found.target == number]:
            assert "".join(window.split()) in text
            assert "  " not in window
            assert "\n\n" not in window
            assert window.isascii()


def test_docstrings_depend_on_the_seed_alone():
    found = load_docstrings(["json", "http"], max_windows=20)
    again = load_docstrings(("json", "http"), max_windows=20)
    assert (found.data == again.data).all()
    assert (found.target == again.target).all()
    other = load_docstrings(["json", "http"], max_windows=20, random_state=1)
    assert set(other.data) != set(found.data)
    alone = load_docstrings(["http"], max_windows=20)
    assert set(alone.data) == set(found.data[found.target == 1])


def test_docstrings_of_ten_packages_by_default():
    found = load_docstrings(max_windows=20)
    assert len(found.target_names) == 10
    assert np.bincount(found.target).tolist() == [20] * 10


def package_of(folder, monkeypatch, **files):
    """Write a package of that name and its files; the modules of none are imported."""
    (folder / "written").mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / "written" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
    monkeypatch.syspath_prepend(folder)


def test_docstrings_of_what_cannot_be_imported(tmp_path, monkeypatch):
    package_of(
        tmp_path,
        monkeypatch,
        **{
            "__init__": "'''Says   what\n\n\n    it does.'''\nraise SystemExit",
            "broken": "'''Not read'''\nprint the text",
            "with_nul": "'''Not read'''\n\0",
            "with_escape": "class A:\n    '''Says \\d.   '''\n    async def f(): '''Tells.'''",
            "accents": "'''Pr\u00e9sente ceci'''",
            "twice": "def f(): 'abcdabcd'\ndef g(): 'abcd'",
            "tests/inside": "'''Not read'''",
        },
    )
    found = load_docstrings(["written"], sequence_length=4)
    wanted = ["Says", " wha", "t\nit", " doe", "Says", " \\d.", "Tell", "abcd"]
    assert sorted(found.data) == sorted(set(wanted))  # each once
    assert "written" not in sys.modules
    with pytest.raises(ValueError, match="sequence_length=30 ASCII .* none in .* of 'written'"):
        load_docstrings(["written"], sequence_length=30)


def test_docstrings_of_a_single_file():
    found = load_docstrings(["argparse"], max_windows=5)
    assert found.target.tolist() == [0] * 5


@pytest.mark.parametrize(
    ("packages", "error", "message"),
    [
        ("numpy", TypeError, r"list of names or None; got 'numpy'. A single package is \[name\]"),
        ({"numpy"}, TypeError, "list of names or None; got {'numpy'}"),
        ([], ValueError, r"at least one package, each once; got \[\]"),
        (["json", "json"], ValueError, r"each once; got \['json', 'json'\]"),
        (["os.path"], ValueError, "without dots; got 'os.path'"),
        ([3], ValueError, "without dots; got 3"),
        ([["json"]], ValueError, r"without dots; got \['json'\]"),
        (["no_such_package"], ValueError, "found no 'no_such_package'. Install it or leave it out"),
        (["sys"], ValueError, "found none in source files of 'sys'. Leave it out, or"),
    ],
)
def test_docstrings_of_packages_that_do_not_do(packages, error, message):
    with pytest.raises(error, match=message):
        load_docstrings(packages)


@pytest.mark.parametrize("name", ["sequence_length", "max_windows"])
def test_docstrings_with_numbers_that_do_not_do(name):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1; got 0"):
        load_docstrings(["json"], **{name: 0})


def test_characters_from_a_folder(tmp_path, monkeypatch):
    text = "".join(map(chr, np.random.default_rng(0).integers(0, 256, size=105)))
    codes = np.array([*map(ord, text)], np.uint8)
    np.savez(tmp_path / "text_chars.npz", tinyshakespeare=codes)
    monkeypatch.setenv("SKVQDRAW_DATA", str(tmp_path))
    characters = load_characters()
    assert characters.name == "tinyshakespeare"
    assert characters.data == text[:94]
    assert characters.data_test == text[94:]


@pytest.mark.usefixtures("real_data")
def test_plays_of_shakespeare():
    characters = load_characters()
    if characters.name != "tinyshakespeare":
        pytest.skip("SKVQDRAW_DATA has no text_chars.npz")
    assert characters.data.startswith("First Citizen:\nBefore we proceed any further")
    assert len(characters.data) + len(characters.data_test) == 1_115_394


def test_characters_of_docstrings(tmp_path, monkeypatch):
    monkeypatch.setenv("SKVQDRAW_DATA", str(tmp_path))  # which is empty
    monkeypatch.setattr(datasets._text, "_PACKAGES", ("email", "json", "unittest"))
    characters = load_characters()
    assert characters.name == "docstrings"
    train, test = (characters[key].split("\n\n") for key in ("data", "data_test"))
    assert len(set(train) | set(test)) == len(train) + len(test)
    assert len(test) == -(-(len(train) + len(test)) // 10)
    assert load_characters().data == characters.data
    naive = {
        "".join(text.split())
        for name in ("email", "json", "unittest")
        for text in docstrings_of(name)
    }
    assert {"".join(text.split()) for text in train + test} <= naive


def test_tones_move_as_their_kinds_say():
    tones = make_tones(120, random_state=0)
    again = make_tones(120, random_state=0)
    assert all(map(np.array_equal, tones.data, again.data))
    assert sorted(set(tones.target)) == list(range(6))
    for wave, kind in zip(tones.data, tones.target, strict=True):
        assert wave.dtype == np.float32
        assert 2400 <= len(wave) < 4800
        assert np.abs(wave).max() <= 1
        thirds = np.array_split(wave, 3)
        # Sines of a higher pitch cross zero more often: the mean pitch of thirds of a tone.
        first, middle, last = (np.mean(np.diff(np.sign(part)) != 0) for part in thirds)
        name = tones.target_names[kind]
        if name == "rising":
            assert first < last
        elif name == "falling":
            assert first > last
        elif name == "rising and falling":
            assert middle > max(first, last)
        elif name == "falling and rising":
            assert middle < min(first, last)


def test_recordings_from_a_folder(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    waves = [rng.integers(-(2**15), 2**15, n).astype(np.int16) for n in (5, 3, 7, 2)]
    np.savez(
        tmp_path / "fsdd_audio_8khz.npz",
        audio=np.concatenate(waves),
        offsets=np.cumsum([0, 5, 3, 7, 2]),
        digit=np.uint8([4, 9, 0, 4]),
        speaker=np.uint8([1, 0, 1, 1]),
        is_test=np.array([False, True, True, False]),
        speakers=np.array(["ann", "bob"]),
        sample_rate=8000,
    )
    monkeypatch.setenv("SKVQDRAW_DATA", str(tmp_path))
    found = load_recordings()
    assert found.name == "spoken digits"
    for part, rows in (("", [0, 3]), ("_test", [1, 2])):
        assert all(map(np.array_equal, found[f"data{part}"], [waves[row] for row in rows]))
    assert found.target.tolist() == [4, 4]
    assert found.target_test.tolist() == [9, 0]
    assert found.speaker.tolist() == [1, 1]
    assert found.speaker_test.tolist() == [0, 1]
    assert (found.sample_rate, found.speaker_names) == (8000, ["ann", "bob"])


def test_recordings_where_there_are_no_digits(tmp_path, monkeypatch):
    monkeypatch.setenv("SKVQDRAW_DATA", str(tmp_path))
    found = load_recordings()
    assert found.name == "tones"
    assert (len(found.data), len(found.data_test)) == (900, 300)
    assert (len(found.target), len(found.target_test)) == (900, 300)
    expected = make_tones(1200, random_state=0)
    np.testing.assert_array_equal(found.data_test[-1], expected.data[-1])


@pytest.mark.usefixtures("real_data")
def test_spoken_digits():
    found = load_recordings()
    assert (len(found.data), len(found.data_test)) == (2700, 300)
    assert np.bincount(found.target_test).tolist() == [30] * 10
    assert len(found.speaker_names) == 6


def test_shapes_have_the_volumes_of_their_kinds():
    shapes = make_shapes(60, side=24, random_state=0)
    np.testing.assert_array_equal(shapes.data, make_shapes(60, side=24, random_state=0).data)
    assert shapes.volume_shape == (24, 24, 24)
    assert set(np.unique(shapes.data)) == {0, 1}
    volumes = shapes.data.mean(1) * 8  # of a cube of side 2
    limits = {
        "box": (0.5**3, 1.5**3),
        "sphere": (4 / 3 * np.pi * 0.3**3, 4 / 3 * np.pi * 0.8**3),
        "torus": (2 * np.pi**2 * 0.4 * 0.15**2, 2 * np.pi**2 * 0.65 * 0.3**2),
    }
    for volume, kind in zip(volumes, shapes.target, strict=True):
        least, most = limits[shapes.target_names[kind]]
        assert 0.9 * least < volume < 1.1 * most


def test_spheres_are_round():
    shapes = make_shapes(30, side=16, random_state=1)
    for row in shapes.data[shapes.target == 1].reshape(-1, 16, 16, 16):
        places = np.argwhere(row)
        distances = np.linalg.norm(places - places.mean(0), axis=1)
        radius = (len(places) * 3 / 4 / np.pi) ** (1 / 3)
        assert abs(distances.max() - radius) < 1


def test_shapes_from_a_folder_are_the_inner_voxels(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (5, 30, 30, 30), dtype=np.uint8)
    y, classes = np.uint8([0, 1, 1, 0, 1]), np.array(["bed", "chair"])
    parts = {"X_train": X[:3], "X_test": X[3:], "y_train": y[:3], "y_test": y[3:]}
    np.savez(tmp_path / "modelnet10_voxels_30.npz", **parts, classes=classes)
    monkeypatch.setenv("SKVQDRAW_DATA", str(tmp_path))
    found = load_shapes()
    assert (found.name, found.volume_shape) == ("ModelNet10", (24, 24, 24))
    np.testing.assert_array_equal(found.data.reshape(3, 24, 24, 24), X[:3, 3:27, 3:27, 3:27])
    assert found.data_test.shape == (2, 24**3)
    assert found.target_test.tolist() == [0, 1]
    assert found.target_names == ["bed", "chair"]


def test_shapes_where_there_is_no_furniture(monkeypatch):
    monkeypatch.delenv("SKVQDRAW_DATA", raising=False)
    found = load_shapes()
    assert (found.name, found.data.shape, found.data_test.shape) == (
        "made",
        (2000, 13824),
        (500, 13824),
    )
    assert (len(found.target), len(found.target_test)) == (2000, 500)


@pytest.mark.usefixtures("real_data")
def test_furniture():
    found = load_shapes()
    assert (found.data.shape, found.data_test.shape) == ((3991, 13824), (908, 13824))
    assert len(found.target_names) == 10


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_shapes(0), "n_samples must be an integer of at least 1; got 0"),
        (lambda: make_shapes(2, side=1.5), "side must be an integer of at least 1; got 1.5"),
        (lambda: make_tones(-1), "n_samples must be an integer of at least 1; got -1"),
    ],
)
def test_numbers_of_what_is_made_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def recordings_file(folder, **changes):
    parts = {
        "audio": np.arange(12, dtype=np.int16),
        "offsets": np.array([0, 4, 8, 12]),
        "digit": np.uint8([4, 9, 0]),
        "speaker": np.uint8([1, 0, 1]),
        "is_test": np.array([False, True, False]),
        "speakers": np.array(["ann", "bob"]),
        "sample_rate": 8000,
    }
    np.savez(folder / "fsdd_audio_8khz.npz", **parts | changes)


def test_recordings_may_be_of_one_length_and_tests_be_told_by_integers(tmp_path, monkeypatch):
    monkeypatch.setenv("SKVQDRAW_DATA", str(tmp_path))
    recordings_file(tmp_path, is_test=np.uint8([0, 1, 0]))
    found = load_recordings()
    assert [wave.tolist() for wave in found.data] == [[0, 1, 2, 3], [8, 9, 10, 11]]
    assert [wave.tolist() for wave in found.data_test] == [[4, 5, 6, 7]]
    assert (found.target.tolist(), found.target_test.tolist()) == ([4, 0], [9])


@pytest.mark.parametrize(
    "changes",
    [
        {"offsets": np.array([0, 4, 8, 99])},
        {"offsets": np.array([0, 8, 4, 12])},
        {"offsets": np.array([0, 4, 12])},
        {"offsets": np.array([0.0, 4.0, 8.0, 12.0])},
        {"digit": np.uint8([4])},
        {"speaker": np.uint8([1])},
        {"digit": np.array(["4", "a", "0"])},
        {"audio": np.zeros((12, 2), np.int16)},
    ],
)
def test_recordings_that_do_not_go_together(tmp_path, monkeypatch, changes):
    monkeypatch.setenv("SKVQDRAW_DATA", str(tmp_path))
    recordings_file(tmp_path, **changes)
    with pytest.raises(ValueError, match="fsdd_audio_8khz.npz, in the .*offsets.*Replace the file"):
        load_recordings()


LOADERS = {
    "mnist.npz": fetch_mnist,
    "cifar10.npz": fetch_cifar10,
    "fsdd_audio_8khz.npz": load_recordings,
    "modelnet10_voxels_30.npz": load_shapes,
    "text_chars.npz": load_characters,
}


@pytest.mark.parametrize("name", LOADERS)
def test_damaged_and_other_files_are_named(tmp_path, monkeypatch, name):
    monkeypatch.setenv("SKVQDRAW_DATA", str(tmp_path))
    path = tmp_path / name
    np.savez(path, other=np.zeros(3))
    whole = path.read_bytes()
    np.save(tmp_path / "single.npy", np.zeros(3))
    for content in (b"", b"no file of arrays", whole, whole[:-20], (path.parent / "single.npy")):
        path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        with pytest.raises(ValueError, match=f"{name}, in the folder that SKVQDRAW_DATA names, mu"):
            LOADERS[name]()


def test_a_smaller_mnist_keeps_its_test_images_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("SKVQDRAW_DATA", str(tmp_path))
    images, labels = np.arange(20).reshape(5, 2, 2), np.arange(5)
    parts = {"x_train": images[:3], "y_train": labels[:3], "x_test": images[3:]}
    np.savez(tmp_path / "mnist.npz", **parts, y_test=labels[3:])
    mnist = fetch_mnist()
    assert (len(mnist.data), mnist.target_test.tolist()) == (3, [3, 4])
    np.testing.assert_array_equal(mnist.data_test, images[3:].reshape(2, 4))
    for wrong in (images[:3] / 20, images[:3] * 100, images[:2], images[:3] + np.nan):
        np.savez(tmp_path / "mnist.npz", **parts | {"x_train": wrong}, y_test=labels[3:])
        with pytest.raises(
            ValueError, match=r"integers in \[0, 255\], each with a label; got x_tr"
        ):
            fetch_mnist()


def test_volumes_and_codes_that_do_not_fit(tmp_path, monkeypatch):
    monkeypatch.setenv("SKVQDRAW_DATA", str(tmp_path))
    X, y = np.zeros((2, 29, 30, 30), np.uint8), np.zeros(2, int)
    parts = {"X_train": X, "X_test": X, "y_train": y, "y_test": y, "classes": np.array(["bed"])}
    np.savez(tmp_path / "modelnet10_voxels_30.npz", **parts)
    with pytest.raises(
        ValueError, match=r"30x30x30 voxels.*got X_train of uint8 \(2, 29, 30, 30\)"
    ):
        load_shapes()
    np.savez(tmp_path / "text_chars.npz", tinyshakespeare=np.arange(99))
    with pytest.raises(ValueError, match=r"codes of uint8; got tinyshakespeare of int64 \(99,\)"):
        load_characters()


@pytest.mark.parametrize("wrong", [0, -1, None, "3", 2.5, True, np.nan, [3]])
def test_numbers_of_patches_tones_and_shapes(wrong):
    for name, make in (
        ("n_samples", make_tones),
        ("n_samples", make_shapes),
        ("n_patches", load_photo_patches),
    ):
        with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1; got"):
            make(wrong)


def test_sizes_of_patches_are_integers():
    for wrong in (None, "3", 2.5, [3]):
        with pytest.raises(ValueError, match=r"size must be in the range \[1, 427\].*an integer"):
            load_photo_patches(1, wrong)
    expected = load_photo_patches(2, 8).data
    np.testing.assert_array_equal(load_photo_patches(2, np.uint8(8)).data, expected)

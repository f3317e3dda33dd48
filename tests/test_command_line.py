"""The command skvqdraw: what it says, what it writes, and how it fails."""

import io
import re
import shlex
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

import skvqdraw
from skvqdraw import VQVAE, ClusterBoosting, codec
from skvqdraw.autoencoders import ConvAutoencoder
from skvqdraw.cli import commands, main, rows
from skvqdraw.priors import MarginalPrior

Image = pytest.importorskip("PIL.Image")
# Samples are rarely within the range of the training rows, and that is told.
pytestmark = pytest.mark.filterwarnings("ignore:.* were clipped:UserWarning")
PAGE = Path(__file__).parents[1] / "docs" / "command-line.md"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with images of bytes, and a model of them."""
    monkeypatch.chdir(tmp_path)
    images = np.random.default_rng(0).integers(256, size=(30, 4, 3), dtype=np.uint8)
    np.save("X.npy", images)
    model = ClusterBoosting(n_stages=3, n_options=4, random_state=0).fit(images.reshape(30, -1))
    model.save("m.safetensors")
    return model, images.reshape(30, -1)


def run(line):
    """Run a command line; arguments that are wrong are a status, too."""
    try:
        return main(shlex.split(line))
    except SystemExit as error:
        return error.code


def test_models_without_a_beam_and_with_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    X = np.random.default_rng(0).uniform(size=(20, 64))
    spec = ConvAutoencoder((8, 8), n_channels=8, downsampling=2)
    VQVAE(4, autoencoder=spec, max_steps=1, random_state=0).fit(X).save("m.safetensors")
    np.save("X.npy", X)
    assert run("sample -m m.safetensors -o new --rows 2 --quiet") == 0
    with Image.open("new/0.png") as image:
        assert image.size == (8, 8)
    assert run("compress X.npy -m m.safetensors -o X.skvq --beam 2") == 1
    assert "--beam must be left out: codes of VQVAE have none" in capsys.readouterr().err


def test_the_documented_transcript(tmp_path, monkeypatch, capsys):
    """What the page shows is what is said, but for numbers that training and machines decide."""
    monkeypatch.chdir(tmp_path)
    transcript = re.search(r"^```console\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)[1]
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", transcript, re.MULTILINE)
    assert {"fit", "compress", "decompress", "sample", "info"} <= {s.split()[1] for s, _ in steps}
    for command, expected in steps:
        words = shlex.split(command)
        if words[:2] == ["python", "-c"]:
            exec(words[2], {})
        else:
            assert words[0] == "skvqdraw"
            with warnings.catch_warnings():
                warnings.simplefilter("default")
                assert main(words[1:]) == int("error" in expected)
        said = capsys.readouterr()
        assert masked(said.out + said.err) == masked(expected)
    assert np.load("decoded.npy").shape == (1797, 8, 8)
    assert len(list(Path("new").iterdir())) == 10


def masked(text):
    text = re.sub(r"[0-9a-f]{64}", "<fingerprint>", text)
    number = r"\b\d+\.\d+\b|(?<=rows: )\d+|(?<=the model of )[\d,]+|(?<=warning: )\d+"
    return re.sub(number, "<number>", text)


def test_rows_come_back_as_they_were(folder):
    model, X = folder
    expected = codec.decompress(model, codec.compress(model, X))
    assert run("compress X.npy -m m.safetensors -o X.skvq --quiet") == 0
    assert Path("X.skvq").read_bytes() == codec.compress(model, X)
    for target in ("Y.npy", "Y.npz", "Y"):
        assert run(f"decompress X.skvq -m m.safetensors -o {target} --image-shape 4x3") == 0
        found, shape, _ = rows.read(target)
        assert shape == (4, 3)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)
    assert run("decompress X.skvq -m m.safetensors -o flat.npy") == 0
    assert np.load("flat.npy").shape == (30, 12)
    assert run("decompress X.skvq -m m.safetensors -o two.npy --stages 2 --quiet") == 0
    np.testing.assert_array_equal(np.load("two.npy"), codec.decompress(model, "X.skvq", n_stages=2))
    assert run("compress X.npy -m m.safetensors -o short --stages 2 --beam 3 --max-error 900") == 0
    assert codec.inspect("short").has_lengths


@pytest.mark.parametrize("estimator", ["vqdraw", "cluster-boosting"])
def test_fit_writes_the_model_that_was_asked_for(folder, estimator, capsys):
    line = "--stages 2 --options 5 --steps 60 --seed 0 --quiet --estimator " + estimator
    assert run(f"fit X.npy -o new.safetensors {line}") == 0
    said = capsys.readouterr()
    assert said.out.startswith("new.safetensors: 2 stages of 5 options, 6 bits a row\nloss of the")
    assert not said.err
    model = skvqdraw.load("new.safetensors")
    assert (model.n_stages, model.n_options, model.random_state) == (2, 5, 0)
    if estimator == "vqdraw":
        assert model.refiner_.image_shape == (4, 3)  # axes of the array tell
    np.save("flat.npy", folder[1])
    assert run(f"fit flat.npy -o m2.safetensors --image-shape 2x6 {line}") == 0
    if estimator == "vqdraw":
        assert skvqdraw.load("m2.safetensors").refiner_.image_shape == (2, 6)
    assert run("info new.safetensors") == 0
    out = capsys.readouterr().out
    assert f"fingerprint:     {model.fingerprint()}" in out
    assert f"model, {type(model).__name__}(" in out


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_folders_of_images(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(2, size=(5, 6, 3), dtype=np.uint8) * 255
    (tmp_path / "images").mkdir()
    for i in range(3):
        image = Image.fromarray(np.roll(pixels, i, axis=0)).convert(mode)
        image.save(tmp_path / "images" / f"{i}.PNG")
    X, shape, lines = rows.read(tmp_path / "images")
    assert "3 images" in lines[0]
    assert "0 other entries were left out" in lines[0]
    channels = {"L": (), "1": (), "RGBA": (4,)}.get(mode, (3,))
    assert shape == (5, 6, *channels)
    if mode == "RGB":
        np.testing.assert_array_equal(X[0].reshape(5, 6, 3), pixels)
    rows.write(X, tmp_path / "again", shape)
    np.testing.assert_array_equal(rows.read(tmp_path / "again")[0], X)
    rows.write(X / np.float32(255), tmp_path / "floats", shape, white=1)
    np.testing.assert_array_equal(rows.read(tmp_path / "floats")[0], X)
    rows.write(X.astype(float), tmp_path / "wide", shape)
    np.testing.assert_array_equal(rows.read(tmp_path / "wide")[0], X)
    Image.new("L", (9, 9)).save(tmp_path / "images" / "a.png")
    with pytest.raises(ValueError, match="images must be of one size and kind: .*a.png has shape"):
        rows.read(tmp_path / "images")


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("", 2, "the following arguments are required: COMMAND"),
        ("fit X.npy", 2, "required: -o/--output"),
        ("fit X.npy -o a --stages 0", 2, "must be an integer of at least 1; got 0"),
        ("fit X.npy -o a --image-shape 28", 2, "must be like 28x28 or 32x32x3; got 28"),
        ("fit nothing.npy -o a", 1, "error: there is no file or folder nothing.npy"),
        ("fit m.safetensors -o a", 1, "must be an .npy file, an .npz file or a folder of PNG"),
        ("fit flat.npy -o a", 1, "must have rows: two axes or more"),
        ("fit none.npy -o a", 1, "none of which is empty"),
        ("fit pickled.npy -o a", 1, "pickled.npy cannot be read: "),
        ("fit cut.npz -o a", 1, "cut.npz cannot be read: "),
        ("fit broken -o a", 1, "broken/0.png cannot be read: "),
        ("fit X.npy -o a --stages a", 2, "must be an integer of at least 1; got a"),
        ("fit empty -o a", 1, "empty has no PNG images"),
        ("fit two.npz -o a", 1, "has the arrays a, b: name one with --key"),
        ("fit X.npy -o m.safetensors", 1, "m.safetensors is there already; --force replaces it"),
        ("fit X.npy -o no/m", 1, "there is no folder"),
        ("fit X.npy -o empty", 1, "empty is a folder"),
        ("compress X.npy -m X.npy -o a", 1, "is not a model that skvqdraw"),
        ("compress X.npy -m nothing -o a", 1, "No such file or directory: 'nothing'"),
        ("compress X.npy -m m.safetensors -o a --max-error -1", 1, "max_error must be at least 0"),
        ("compress X.npy -m m.safetensors -o m.safetensors --force", 1, "is what is read"),
        ("compress X.npy -m m.safetensors -o X.npy --force", 1, "is what is read"),
        ("fit X.npy -o link --force", 1, "is what is read"),
        ("sample -m m.safetensors -o X --force", 1, "X is no folder"),
        ("sample -m m.safetensors -o subfolders --force", 1, "other files than PNG images"),
        ("sample -m m.safetensors -o a --image-shape 5x5", 1, "must have the 12 numbers of a row"),
        ("sample -m prior.safetensors -o a", 1, "holds a MarginalPrior, which codes no rows"),
        ("info prior.safetensors", 1, "holds a MarginalPrior"),
        ("decompress X.npy -m m.safetensors -o a.npy", 1, "this is no stream of skvqdraw"),
        ("decompress X.skvq -m m.safetensors -o a.txt", 1, "must be an .npy file, an .npz file"),
        ("decompress X.skvq -m m.safetensors -o images", 1, "shape is known: --image-shape"),
        ("decompress X.skvq -m m.safetensors -o other", 1, "other files than PNG images"),
        ("decompress X.skvq -m other.safetensors -o a.npy", 1, "must be the model that compressed"),
        (
            "decompress half.skvq -m m.safetensors -o a.npy",
            1,
            "decoded with --allow-truncated; inspect",
        ),
        ("fit X.npy -o a --time 0", 2, "must be a number of seconds above 0; got 0"),
        ("fit X.npy -o a --time nan", 2, "must be a number of seconds above 0; got nan"),
        ("fit X.npy -o a --time soon", 2, "must be a number of seconds above 0; got soon"),
        ("fit X.npy -o a --image-shape 3x4", 1, "must be (4, 3), the shape of the rows in X.npy"),
        ("fit flat12.npy -o a --image-shape 5x5", 1, "--image-shape must have the 12 numbers"),
        ("fit first.npy -o a", 1, "channels last: numpy.moveaxis(X, 1, -1)"),
        ("fit flat60.npy -o a --image-shape 3x4x5", 1, "numpy.moveaxis(X, 1, -1)"),
        ("compress turned.npy -m shaped -o a", 1, "turned.npy must have rows of shape (4, 3), as"),
        ("compress turned -m shaped -o a", 1, "turned must have rows of shape (4, 3), as this"),
        ("compress first.npy -m shaped -o a", 1, "first.npy must have the 12 numbers of a row"),
        ("sample -m shaped -o a --image-shape 3x4", 1, "--image-shape must have rows of shape (4"),
        ("decompress X.skvq -m shaped -o a --image-shape 6x2", 1, "must have rows of shape (4, 3)"),
        ("sample -m m.safetensors -o a.v1 --image-shape 4x3", 1, "must be an .npy file, an .npz"),
        ("sample -m m.safetensors -o other.v1", 1, "other files than PNG images"),
        ("info empty.skvq", 1, "empty.skvq is empty: neither a model nor compressed rows"),
        ("info nothing", 1, "No such file or directory: 'nothing'"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(folder, capsys, line, status, message):
    model, X = folder
    np.save("flat.npy", np.zeros(3))
    np.save("pickled.npy", np.array([[{}]]), allow_pickle=True)
    np.savez("two.npz", a=X, b=X)
    np.save("none.npy", np.zeros((0, 3)))
    Path("cut.npz").write_bytes(Path("two.npz").read_bytes()[:-30])
    Path("X").touch()
    Path("link").symlink_to("X.npy")
    for folder in ("broken", "subfolders/0.png"):
        Path(folder).mkdir(parents=True)
    Path("broken", "0.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    MarginalPrior().fit([[0, 1], [1, 0]]).save("prior.safetensors")
    ClusterBoosting(n_stages=3, n_options=4, random_state=1).fit(X).save("other.safetensors")
    data = codec.compress(model, X)
    Path("X.skvq").write_bytes(data)
    Path("half.skvq").write_bytes(data[:-1])
    Path("empty").mkdir()
    Path("empty.skvq").touch()
    Path("other.v1").mkdir()
    Path("other.v1", "precious.txt").touch()
    np.save("flat12.npy", X)
    np.save("flat60.npy", np.zeros((9, 60)))
    np.save("first.npy", np.zeros((9, 3, 4, 5)))
    np.save("turned.npy", X.reshape(-1, 3, 4))
    rows.write(X, "turned", (3, 4))
    model._keep_row_shape((4, 3))
    model.save("shaped")
    Path("other").mkdir()
    Path("other", "precious.txt").touch()
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    assert run(line) == status
    said = capsys.readouterr().err
    assert message in said
    if status == 1:
        assert said.count("\n") == 1
        assert said.startswith("skvqdraw: error: ")
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


def test_a_key_names_an_array(folder):
    _, X = folder
    np.savez("two.npz", a=X, b=X[:10])
    assert run("compress two.npz --key b -m m.safetensors -o b.skvq --quiet") == 0
    assert codec.inspect("b.skvq").n_samples == 10
    np.savez("named.npz", X=X[:4], y=np.arange(4))
    assert run("compress named.npz -m m.safetensors -o c.skvq --quiet") == 0
    assert codec.inspect("c.skvq").n_samples == 4


def test_what_is_there_is_replaced_with_force_alone(folder):
    assert run("compress X.npy -m m.safetensors -o X.skvq --quiet") == 0
    Path("Y").mkdir()  # an empty folder is nothing to be kept
    line = "decompress X.skvq -m m.safetensors -o Y --image-shape 4x3"
    assert run(line) == 0
    assert run(line) == 1
    assert run(f"{line} --force") == 0
    assert len(list(Path("Y").iterdir())) == 30
    assert run("sample -m m.safetensors -o Y --image-shape 4x3 -n 5 --force") == 0
    assert sorted(path.name for path in Path("Y").iterdir()) == [f"{i}.png" for i in range(5)]
    Path("Y", "precious.txt").touch()
    assert run(f"{line} --force") == 1
    assert Path("Y", "precious.txt").exists()
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("command", ["compress", "decompress", "sample", "fit"])
def test_an_interrupt_leaves_no_half_file(folder, command, capsys, monkeypatch):
    model, X = folder
    Path("X.skvq").write_bytes(codec.compress(model, X))
    Path("Y.npy").write_bytes(b"before")
    before = {path: path.read_bytes() for path in Path().iterdir()}

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    for name in ("_encode", "_decode", "fit"):
        monkeypatch.setattr(ClusterBoosting, name, interrupted)
    line = {
        "compress": "compress X.npy -m m.safetensors -o X.skvq --force --quiet",
        "decompress": "decompress X.skvq -m m.safetensors -o Y.npy --force --quiet",
        "sample": "sample -m m.safetensors -o Y.npy --force",
        "fit": "fit X.npy -o m.safetensors --force --quiet --estimator cluster-boosting",
    }[command]
    assert run(line) == 130
    assert capsys.readouterr().err == "skvqdraw: interrupted: no file is half written\n"
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_images_that_cannot_all_be_written_leave_nothing(folder, monkeypatch):
    X = np.zeros((5, 12), np.uint8)
    n_left = [3]

    def saved(image, path):
        n_left[0] -= 1
        if not n_left[0]:
            raise OSError("no space left on device")
        Path(path).touch()

    Path("Y").mkdir()
    Path("Y", "0.png").write_bytes(b"before")
    monkeypatch.setattr(Image.Image, "save", saved)
    with pytest.raises(OSError, match="no space"):
        rows.write(X, "Y", (4, 3))
    assert [path.read_bytes() for path in Path("Y").iterdir()] == [b"before"]
    assert not list(Path().glob(".Y*"))


def test_folders_of_others_stay_and_the_old_one_too(folder, monkeypatch):
    Path("Y").mkdir()
    Path("Y", "0.png").write_bytes(b"before")
    for name in (".Y.tmp", ".Y.old"):
        Path(name).mkdir()
        Path(name, "thesis.txt").touch()
    replace, n_left = rows.os.replace, [2]

    def fails_once(source, target):
        n_left[0] -= 1
        if not n_left[0]:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(rows.os, "replace", fails_once)
        with pytest.raises(KeyboardInterrupt):
            rows.write(np.zeros((2, 12), np.uint8), Path("Y").absolute(), (4, 3))
    assert Path("Y", "0.png").read_bytes() == b"before"
    assert run("sample -m m.safetensors -o Y --image-shape 4x3 -n 2 --force --quiet") == 0
    assert len(list(Path("Y").iterdir())) == 2
    assert Path(".Y.tmp", "thesis.txt").exists()
    assert Path(".Y.old", "thesis.txt").exists()
    assert len(list(Path().glob(".Y*"))) == 2


def of_rows(X):
    X = X.reshape(len(X), -1)
    return ClusterBoosting(n_stages=3, n_options=4, random_state=0).fit(X)


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (np.eye(4, dtype=np.uint8), (0, 255)),
        (np.eye(4, dtype=np.uint16), (0, 65535)),
        (np.eye(4, dtype=bool), (0, 1)),
        (np.eye(4), (0, 1)),
        (2 * np.eye(4), (0, 255)),
        (255 * np.eye(4, dtype=np.int64), (0, 255)),
        (2 * np.eye(4) - 1, (-1, 1)),
        (300 * np.eye(4), (0, 300)),
        (np.full((4, 4), -3.0), (-3, -2)),
    ],
)
def test_black_and_white_are_those_of_the_training_rows(X, expected):
    assert commands._black_and_white(of_rows(X)) == expected


def test_models_of_older_versions_guess_what_is_white(folder):
    model, X = folder
    small = of_rows(X / 255)
    for each in (model, small):
        del each.data_range_
    assert commands._black_and_white(model) == (0, 255)
    assert commands._black_and_white(small) == (0, 1)


@pytest.mark.parametrize(
    ("dtype", "scale", "offset"),
    [(np.uint8, 1, 0), (np.uint16, 257, 0), (float, 1 / 255, 0), (np.float32, 2 / 255, -1)],
)
def test_images_are_as_dark_as_the_training_rows(tmp_path, monkeypatch, dtype, scale, offset):
    """Of mostly black rows, too: two images, and a code for each, so that samples are rows."""
    monkeypatch.chdir(tmp_path)
    levels = np.zeros((2, 4, 5), np.uint8)
    levels[0, 1, 2] = 255
    levels[1, 3, 1] = 4
    X = (levels * float(scale) + offset).astype(dtype)
    np.save("X.npy", X)
    line = "--estimator cluster-boosting --stages 1 --options 2 --seed 0 --quiet"
    assert run(f"fit X.npy -o m {line}") == 0
    assert run("sample -m m -o new -n 20 --seed 0 --quiet") == 0
    Y, shape, _ = rows.read("new")
    assert shape == (4, 5)
    assert Y.dtype == (np.uint16 if dtype == np.uint16 else np.uint8)
    expected = levels.reshape(2, -1).astype(int) * (257 if dtype == np.uint16 else 1)
    assert {tuple(y) for y in Y.tolist()} == {tuple(x) for x in expected.tolist()}


@pytest.mark.filterwarnings("default")
def test_what_is_clipped_is_told(folder):
    X = np.float32([[-0.1, 0.5, 1.001, 1.2, 0, 1]])
    with pytest.warns(UserWarning, match=r"^2 of 6 numbers were outside 0 to 1, .* were clipped"):
        rows.write(X, "Y", (2, 3), white=1)
    assert rows.read("Y")[0].tolist() == [[0, 128, 255, 255, 0, 255]]
    with pytest.warns(UserWarning, match="several channels are written with 8 bits"):
        rows.write(np.full((1, 12), 65535, np.uint16), "Z", (2, 2, 3), white=65535)
    assert (rows.read("Z")[0] == 255).all()
    for shape in ((2, 1, 6), (2, 1, 3, 2)):
        with pytest.raises(ValueError, match="that of an image of 1, 3 or 4 channels"):
            rows.write(np.zeros((1, 12)), "W", shape)


@pytest.mark.filterwarnings("default")
def test_few_steps_are_told(folder, capsys):
    line = "fit X.npy -o a.safetensors --time 1e-6 --seed 0 --stages 2 --options 3 --quiet"
    for each in (line, line.replace("a.safe", "b.safe")):
        assert run(each) == 0
        message = capsys.readouterr().err
        assert "warning: --time=1e-06 ended the fit after 1 steps, fewer than 50" in message
        assert "Raise --time" in message
    same = (skvqdraw.load(f"{name}.safetensors").fingerprint() for name in "ab")
    assert len(set(same)) == 1


@pytest.mark.filterwarnings("default")
def test_truncated_files_are_told(folder, capsys):
    model, X = folder
    data = codec.compress(model, X)
    Path("half.skvq").write_bytes(data[: 76 + 12 + 8 + 5])
    line = "decompress half.skvq -m m.safetensors -o a.npy --allow-truncated --quiet"
    assert run(line) == 0
    said = capsys.readouterr()
    assert said.err.startswith("skvqdraw: warning: 1 of 3 stages are decoded: the stream ends")
    assert said.out == "a.npy: 30 rows\n"
    assert run("info half.skvq") == 0
    assert "n_whole_stages:  1\n" in capsys.readouterr().out


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line(folder, capsys, monkeypatch):
    def warned(arguments):
        import warnings

        warnings.warn("a\nlong   one", ConvergenceWarning, stacklevel=1)
        yield "done"

    monkeypatch.setattr(commands, "info", warned)
    assert run("info X") == 0
    assert capsys.readouterr() == ("done\n", "skvqdraw: warning: a long one\n")


def test_python_m_skvqdraw(folder, monkeypatch, capsys):
    import runpy

    monkeypatch.setattr(sys, "argv", ["skvqdraw", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("skvqdraw", run_name="__main__")
    assert not ended.value.code
    assert capsys.readouterr().out == f"skvqdraw {skvqdraw.__version__}\n"


@pytest.mark.parametrize("estimator", ["vqdraw", "cluster-boosting"])
def test_models_that_were_fitted_on_images_know_their_shape(folder, estimator):
    line = "--stages 2 --options 5 --steps 60 --seed 0 --quiet --estimator " + estimator
    assert run(f"fit X.npy -o new {line}") == 0
    assert skvqdraw.load("new").row_shape_ == (4, 3)
    np.save("axis.npy", np.load("X.npy")[..., None])
    for data in ("X.npy", "axis.npy"):
        assert run(f"compress {data} -m new -o X.skvq --quiet --force") == 0
    assert run("decompress X.skvq -m new -o Y.npy --quiet") == 0
    assert np.load("Y.npy").shape == (30, 4, 3)
    assert run("decompress X.skvq -m new -o Z.npy --quiet --image-shape 4x3x1") == 0
    assert np.load("Z.npy").shape == (30, 4, 3, 1)
    assert run("sample -m new -o S --quiet") == 0


def saved(path, mode="L", size=(6, 5), **options):
    image = Image.new(mode, size)
    image.putpixel(
        (1, 2), {"1": 1, "L": 200, "P": 1, "I;16": 999}.get(mode, (200, 9, 3, 77)[: len(mode)])
    )
    if mode == "P":
        image.putpalette([0, 0, 0, 250, 120, 30])
    image.save(path, **options)


def test_a_folder_says_what_it_holds_and_what_it_leaves_out(folder, capsys):
    Path("in", "subfolder.png").mkdir(parents=True)
    for suffix in ("png", "JPG", "bmp", "webp", "tiff"):
        saved(f"in/{suffix}.{suffix}", "RGB", **{"lossless": True} if suffix == "webp" else {})
    Path("in", "._png.png").write_bytes(b"of macOS")
    Path("in", "notes.txt").touch()
    Path("in", "gone.png").symlink_to("nowhere.png")
    line = "fit in -o m --estimator cluster-boosting --stages 1 --options 2 --quiet"
    assert run(line) == 0
    assert capsys.readouterr().out.startswith(
        "in: 5 images of shape (5, 6, 3) (8 bits, RGB) were read; 4 other entries were left out: "
        "files of macOS (1), dangling links (1), no images (1), subfolders (1)\n"
    )
    X, shape, _ = rows.read("in")
    assert shape == (5, 6, 3)
    for pixels in X[[1, 2, 3, 4]].reshape(-1, 5, 6, 3):  # all but the JPEG
        assert pixels[2, 1].tolist() == [200, 9, 3]


@pytest.mark.parametrize(
    ("mode", "transparency", "hidden"),
    [
        ("P", 0, (0, 0, 0)),
        ("P", b"\x00\xff", (0, 0, 0)),
        ("RGB", (0, 0, 0), (0, 0, 0)),
        ("L", 0, (0,) * 3),
    ],
)
def test_transparent_colors_become_a_channel(folder, mode, transparency, hidden):
    Path("in").mkdir()
    saved("in/0.png", mode, transparency=transparency)
    X, shape, lines = rows.read("in")
    assert shape == (5, 6, 4)
    assert "8 bits, RGB with alpha" in lines[0]
    pixels = X.reshape(5, 6, 4)
    assert pixels[0, 0].tolist() == [*hidden, 0]
    assert pixels[2, 1, 3] == 255
    saved("in/1.png", mode)
    with pytest.raises(ValueError, match=r"of one size and kind: in/1.png .* and in/0.png .*alpha"):
        rows.read("in")


def test_bits_are_kept_or_refused(folder):
    Path("in").mkdir()
    saved("in/0.png", "I;16")
    X, shape, lines = rows.read("in")
    assert (X.dtype, X.max(), shape) == (np.uint16, 999, (5, 6))
    assert "16 bits, gray" in lines[0]
    rows.write(X, "again", shape, 0, 65535)
    np.testing.assert_array_equal(rows.read("again")[0], X)
    saved("in/1.png", "L")
    with pytest.raises(ValueError, match=r"0.png \(5, 6\) \(16 bits, gray\)"):
        rows.read("in")


def png_of_16_bits(color_type, n_channels):
    """Return a PNG image of one black pixel, which Pillow cannot write."""

    def chunk(name, data):
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", 1, 1, 16, color_type, 0, 0, 0)
    data = zlib.compress(bytes(1 + 2 * n_channels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("color_type", "n_channels"), [(2, 3), (4, 2), (6, 4)])
def test_several_channels_of_16_bits_are_refused(folder, color_type, n_channels):
    Path("in").mkdir()
    Path("in", "0.png").write_bytes(png_of_16_bits(color_type, n_channels))
    with pytest.raises(ValueError, match=r"in/0.png must have 8 bits a channel.* it has 16"):
        rows.read("in")


def test_bits_of_other_formats_are_kept_or_refused(folder):
    Path("in").mkdir()
    Path("in", "0.pgm").write_bytes(b"P5 2 1 65535\n\x00\x01\x02\x03")
    X, _, lines = rows.read("in")
    assert X.tolist() == [[1, 0x203]]
    assert "16 bits, gray" in lines[0]
    Path("in", "0.pgm").unlink()
    Path("in", "0.ppm").write_bytes(b"P6 1 1 65535\n" + bytes(6))
    with pytest.raises(ValueError, match="it has 16. Convert it, or give rows as an .npy file"):
        rows.read("in")
    Path("in", "0.ppm").write_bytes(b"P6 1 1 255\n" + bytes(3))
    assert rows.read("in")[0].tolist() == [[0, 0, 0]]


def test_modes_that_are_not_read_are_named(folder):
    Path("in").mkdir()
    Image.new("CMYK", (6, 5)).save("in/0.png", format="JPEG")
    with pytest.raises(ValueError, match=r"gray, RGB or of a palette; its mode is CMYK. Convert"):
        rows.read("in")


def test_images_are_read_as_they_are_meant_to_be_seen(folder):
    Path("in").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right
    saved("in/0.png", "L", exif=exif)
    X, shape, _ = rows.read("in")
    assert shape == (6, 5)
    assert X.reshape(shape)[1, 2] == 200


def test_of_several_frames_the_first_is_read_and_that_is_told(folder):
    Path("in").mkdir()
    frames = [Image.new("L", (6, 5), gray) for gray in (10, 20)]
    frames[0].save("in/0.gif", save_all=True, append_images=frames[1:])
    X, _, lines = rows.read("in")
    assert set(X.ravel().tolist()) == {10}
    assert "of 1 of them the first frame alone" in lines[0]


def test_folders_with_a_suffix_are_written_if_they_are_there(folder):
    Path("out.v1").mkdir()
    assert run("sample -m m.safetensors -o out.v1 --image-shape 4x3 -n 3 --quiet") == 0
    assert len(list(Path("out.v1").glob("*.png"))) == 3


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_names_that_a_stream_cannot_encode_are_escaped(folder, monkeypatch, encoding):
    streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    line = "--estimator cluster-boosting --stages 1 --options 2 --quiet"
    assert run(f"fit X.npy -o 数据.m {line}") == 0
    assert run("info 数据") == 1
    for stream in streams:
        stream.flush()
        assert b"\\u6570\\u636e" in stream.buffer.getvalue()
    assert Path("数据.m").exists()

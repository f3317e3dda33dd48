"""A fit that was ended goes on as if it had not been, or says why it does not."""

import errno
import itertools
import os
import re
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from conftest import make_estimator
from sklearn.base import clone

import skvqdraw
from skvqdraw import _vqdraw
from skvqdraw.exceptions import FormatError
from skvqdraw.files import atomic, lock
from skvqdraw.files.container import pack
from skvqdraw.refiners import ConvRefiner, MLPRefiner
from skvqdraw.training import checkpoint, identity
from skvqdraw.training.batches import endless_order
from skvqdraw.training.checkpoint import Checkpoint, _load, checkpoint_of
from skvqdraw.training.distributed import SingleProcess
from skvqdraw.training.identity import identity_of
from skvqdraw.training.plan import Plan

ROOT = Path(__file__).parents[1]


class CrashError(Exception):
    """Stands for whatever ends a process."""


@pytest.fixture
def crash(monkeypatch):
    """Return a function that says in which gradient from now on to raise what, once."""
    real, due = _vqdraw.accumulate_gradients, {}

    def accumulate_gradients(*arguments, **options):
        due["in"] = due.get("in", 0) - 1
        if due["in"] == 0:
            raise due["error"]
        return real(*arguments, **options)

    def crash_at(count, error=None):
        due.update({"in": count, "error": error or CrashError()})

    monkeypatch.setattr(_vqdraw, "accumulate_gradients", accumulate_gradients)
    return crash_at


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.ckpt"


def assert_same_fit(one, other, X):
    """Equal to the bit in all that a fit learns, but for the seconds."""
    arrays, expected = one.network_.state_dict(), other.network_.state_dict()
    assert arrays.keys() == expected.keys()
    for name in expected:
        assert torch.equal(arrays[name], expected[name]), name
    np.testing.assert_array_equal(one.encode(X), other.encode(X))
    for name in ("code_usage_", "mean_"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.scale_ == other.scale_
    assert one.n_steps_ == other.n_steps_
    assert without_seconds(one) == without_seconds(other)


def without_seconds(vq):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in vq.loss_curve_]


WEIGHT = np.linspace(0, 2, 200)
KINDS = {
    "plain": {},
    "early stopping": {
        "early_stopping": True,
        "learning_rate": 0.02,
        "n_iter_no_change": 2,
        "tol": 0.01,
    },
    "parts": {"gradient_accumulation": 3},
    "one epoch after another": {"batch_size": 70, "round_beam_size": 1},
    "convolutions": {
        "refiner": ConvRefiner((8, 8), n_channels=8, downsampling=2, basis_size=4),
    },
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weights"])
def test_a_fit_that_is_ended_time_and_again_comes_out_the_same(X, path, crash, kind, weight):
    whole = make_estimator(**KINDS[kind]).fit(X, sample_weight=weight)
    vq = make_estimator(**KINDS[kind], checkpoint=path, checkpoint_every=0)
    rng = np.random.default_rng(list(KINDS).index(kind))
    n_ends = 0
    while not hasattr(vq, "network_"):
        vq.checkpoint_every = rng.choice([0, 0.02])  # without losing a step, and losing some
        crash(rng.integers(1, 10))
        try:
            vq.fit(X, sample_weight=weight)
        except CrashError:
            n_ends += 1
    assert n_ends > 1
    assert_same_fit(vq, whole, X)
    assert whole.n_steps_ < 30 or kind != "early stopping"
    assert os.listdir(path.parent) == []


def test_going_on_with_a_warm_start(X, path, crash):
    whole = make_estimator(warm_start=True).fit(X).fit(X[:150])
    vq = make_estimator(warm_start=True).fit(X).set_params(checkpoint=path, checkpoint_every=0)
    crash(20)
    with pytest.raises(CrashError):
        vq.fit(X[:150])
    assert vq.n_steps_ == 30
    crash(2)
    with pytest.raises(CrashError):
        vq.fit(X[:150])
    assert _load(path)[0]["values"]["step"] == 30 + 20
    assert_same_fit(vq.fit(X[:150]), whole, X)
    assert vq.n_steps_ == 60


def test_every_random_number_is_in_the_checkpoint(X, path, crash):
    """Also where the caller's random state is not the same any more."""
    params = {"early_stopping": True, "max_steps": 20}
    whole = make_estimator(**params, random_state=np.random.RandomState(0)).fit(X)
    vq = make_estimator(**params, random_state=np.random.RandomState(0))
    vq.set_params(checkpoint=path, checkpoint_every=0)
    crash(7)
    with pytest.raises(CrashError):
        vq.fit(X)
    vq.random_state = np.random.RandomState(1)
    assert_same_fit(vq.fit(X), whole, X)


@pytest.mark.skipif(sys.platform != "linux", reason="benchmarks describe Linux machines")
def test_random_kills_of_real_processes():
    """The script that does this two hundred times by hand."""
    run = subprocess.run(
        [
            sys.executable,
            str(ROOT / "benchmarks" / "kill_fits.py"),
            "--kills=4",
            "--steps=30",
            "--writes=1",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert '"kills": 4' in run.stdout


def test_writing_changes_nothing(X, path):
    written = make_estimator(checkpoint=os.fspath(path), checkpoint_every=0).fit(X)
    assert_same_fit(written, make_estimator().fit(X), X)


def test_an_order_goes_on_after_any_batch():
    rows = np.arange(10, 17)
    for batch_size in (1, 3, 7, 9):
        batches = list(
            itertools.islice(endless_order(rows, batch_size, np.random.default_rng(0)), 20)
        )
        for n_taken in (0, 1, 6, 7, 13):
            order = endless_order(rows, batch_size, np.random.default_rng(0), n_taken=n_taken)
            np.testing.assert_array_equal(
                list(itertools.islice(order, 20 - n_taken)), batches[n_taken:]
            )


@pytest.mark.filterwarnings("ignore:max_time=20 ended the fit after 20 steps")
def test_seconds_already_spent_count(X, path, crash, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    real = _vqdraw.accumulate_gradients

    def accumulate_gradients(*arguments, **options):  # a second for each step
        now[0] += 1
        return real(*arguments, **options)

    monkeypatch.setattr(_vqdraw, "accumulate_gradients", accumulate_gradients)
    vq = make_estimator(max_steps=None, max_time=20, checkpoint=path, checkpoint_every=0)
    crash(8)
    with pytest.raises(CrashError):
        vq.fit(X)
    now[0] += 1000  # between two processes no time counts
    vq.fit(X)
    assert vq.n_steps_ == 20
    assert [record["seconds"] for record in vq.loss_curve_] == list(range(1, 21))


# What ends a fit.


def test_ctrl_c_keeps_model_and_checkpoint(X, path, crash):
    whole = make_estimator().fit(X)
    vq = make_estimator(checkpoint=path, checkpoint_every=0)
    crash(12, KeyboardInterrupt())
    with pytest.warns(UserWarning, match="model trained so far is kept.*from the checkpoint, call"):
        vq.fit(X)
    assert vq.n_steps_ == 11
    assert vq.encode(X).shape == (200, 4)
    assert sorted(os.listdir(path.parent)) == ["fit.ckpt", "fit.ckpt.previous"]
    assert_same_fit(vq.fit(X), whole, X)
    assert os.listdir(path.parent) == []


def test_with_a_warm_start_ctrl_c_leaves_another_model_to_go_on_from(X, path, crash):
    vq = make_estimator(warm_start=True, checkpoint=path, checkpoint_every=0)
    crash(12, KeyboardInterrupt())
    with pytest.warns(UserWarning, match="interrupted"):
        vq.fit(X)
    with pytest.raises(ValueError, match="model to go on from was None, is now '11 steps, "):
        vq.fit(X)
    assert_same_fit(vq.set_params(warm_start=False).fit(X), make_estimator().fit(X), X)


def test_a_fit_that_diverges_takes_its_checkpoint_along(X, path):
    vq = make_estimator(learning_rate=1e30, checkpoint=path, checkpoint_every=0)
    with pytest.raises(FloatingPointError, match="Lower learning_rate"):
        vq.fit(X)
    assert os.listdir(path.parent) == []


def test_what_numpy_raises_is_no_divergence(two, X, path, crash):
    """Under numpy.errstate(all="raise"), say."""
    crash(4, FloatingPointError("underflow encountered in multiply"))
    with pytest.raises(FloatingPointError, match="underflow"):
        two.fit(X)
    assert path.exists()


def test_verbose_says_that_it_goes_on(X, path, crash, capsys):
    vq = make_estimator(checkpoint=path, checkpoint_every=0, device="cpu")
    crash(12)
    with pytest.raises(CrashError):
        vq.fit(X)
    crash(5)
    with pytest.raises(CrashError):
        vq.set_params(verbose=1).fit(X)
    assert "VQDRAW on cpu, from the checkpoint of step 11:" in capsys.readouterr().err
    vq.set_params(verbose=2).fit(X)
    assert "VQDRAW on cpu, from the checkpoint of step 15\nstep 16," in capsys.readouterr().out


OUT_OF_MEMORY = {
    "python": MemoryError,
    "cuda": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    "cpu": lambda: torch.empty(2**55),
    "mps": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)"),
}


@pytest.mark.parametrize("device", OUT_OF_MEMORY)
def test_out_of_memory(X, path, crash, device):
    try:
        error = OUT_OF_MEMORY[device]()
    except RuntimeError as raised:
        error = raised
    vq = make_estimator(device="cpu", checkpoint=path, checkpoint_every=0)
    crash(4, error)
    message = (
        "out of memory on cpu after step 3, with batch_size=64 rows of 64 features, n_stages=4, "
        "n_options=8 and MLPRefiner(basis_size=4, hidden_size=16). Set gradient_accumulation=2 "
        "(now 1) or gradient_checkpointing=True (now False)."
    )
    with pytest.raises(MemoryError, match=re.escape(message)) as raised:
        vq.fit(X)
    assert raised.value.__cause__ is error
    assert error.__traceback__ is None  # a notebook would keep the tensors of the step with it
    # Both can be set without starting again.
    crash(2)
    with pytest.raises(CrashError):
        vq.set_params(gradient_accumulation=2).fit(X)
    assert _load(path)[0]["values"]["step"] == 3
    assert vq.set_params(gradient_checkpointing=True).fit(X).n_steps_ == 30


def test_an_error_of_memory_holds_on_to_no_tensor_of_the_step(X, monkeypatch):
    """Whoever fits again where it was caught needs the memory."""
    tensors = []

    def fail(*arguments):
        tensor = torch.zeros(1000)
        tensors.append(weakref.ref(tensor))
        raise MemoryError

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", fail)
    with pytest.raises(MemoryError) as raised:
        make_estimator(device="cpu").fit(X)
    assert tensors[0]() is None, raised


def test_out_of_memory_where_there_is_little_left_to_set(X, crash):
    vq = make_estimator(gradient_accumulation=4, gradient_checkpointing=True, batch_size=4)
    crash(1, MemoryError())
    with pytest.raises(MemoryError, match=r"Set batch_size=2 \(now 4\) or a smaller refiner\."):
        vq.fit(X)


def test_out_of_memory_before_the_first_step(X, fitted, monkeypatch):
    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr("skvqdraw.losses.weighted_mean", fail)
    message = (
        "out of memory on cpu before the first step, with batch_size=64 rows of 64 features, "
        "n_stages=4, n_options=8 and MLPRefiner(basis_size=4, hidden_size=16). Set a smaller "
        "refiner or a smaller n_options."
    )
    with pytest.raises(MemoryError, match=re.escape(message)):
        make_estimator(device="cpu").fit(X)


def test_other_errors_are_left_alone(X, crash):
    crash(1, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="^shapes cannot be multiplied$"):
        make_estimator().fit(X)


# Files.


@pytest.fixture
def two(X, path, crash):
    """Two generations of a checkpoint, of the steps 19 and 20; an estimator that wrote them."""
    vq = make_estimator(checkpoint=path, checkpoint_every=0)
    crash(21)
    with pytest.raises(CrashError):
        vq.fit(X)
    return vq


def steps(path):
    return [_load(p)[0]["values"]["step"] for p in (path, path.with_name("fit.ckpt.previous"))]


def test_there_are_two_generations(two, path):
    assert steps(path) == [20, 19]
    assert sorted(os.listdir(path.parent)) == ["fit.ckpt", "fit.ckpt.previous"]


def damaged(data, rng):
    """Return bytes that differ in length or in some place."""
    way, data = rng.integers(5), bytearray(data)
    # Half of the time in the header, which is the smaller part; after what a checkpoint begins with.
    place = rng.integers(150, len(data) if rng.integers(2) else 2000)
    if way == 0:
        return data[: place * rng.integers(2)]  # half of them empty
    if way == 1:
        data[place] ^= 1 << rng.integers(8)
    elif way == 2:
        data[place] = (data[place] + rng.integers(1, 256)) % 256
    elif way == 3:
        data[place : place + 512] = bytes(len(data[place : place + 512]))
    else:
        data[place:place] = rng.bytes(rng.integers(1, 100))
    return data


def test_a_damaged_checkpoint_is_never_believed(two, path):
    """It gives way to the one before it, whatever happened to it, unless it says the same."""
    rng, whole = np.random.default_rng(0), path.read_bytes()
    previous = path.with_name("fit.ckpt.previous")
    before = previous.read_bytes()
    identity, arrays = _load(path)[0]["identity"], _load(path)[1]
    fell_back = 0
    for _ in range(150):
        path.write_bytes(damaged(whole, rng))
        previous.write_bytes(before)
        try:
            header, its_arrays = _load(path)
        except FormatError:
            with pytest.warns(UserWarning, match="fit.ckpt' is damaged: .* Going on from the one"):
                values, _ = Checkpoint(path, 30.0, identity).read()
            assert values["step"] == 19
            assert path.read_bytes() == before
            assert not previous.exists()
            fell_back += 1
        else:
            assert header["values"]["step"] == 20
            assert its_arrays.keys() == arrays.keys()
            assert all(np.array_equal(its_arrays[name], arrays[name]) for name in arrays)
    assert fell_back > 140


def test_a_fit_goes_on_from_the_one_before_a_damaged_checkpoint(X, two, path):
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.warns(UserWarning, match="damaged") as warned:
        two.fit(X)
    assert Path(warned[0].filename) == Path(__file__)
    assert_same_fit(two, make_estimator().fit(X), X)
    assert os.listdir(path.parent) == []


def test_a_kill_between_two_generations(X, two, path, crash):
    path.unlink()
    crash(2)
    with pytest.raises(CrashError):
        two.fit(X)
    assert steps(path) == [20, 19]
    assert_same_fit(two.fit(X), make_estimator().fit(X), X)


@pytest.mark.parametrize("n_bytes", [0, 48, 5000])
def test_what_is_damaged_throughout_is_refused_and_left_alone(X, two, path, n_bytes):
    content = path.read_bytes()[:n_bytes]
    for file in (path, path.with_name("fit.ckpt.previous")):
        file.write_bytes(content)
    with pytest.raises(FormatError, match="fit.ckpt' is damaged: .*Delete it"):
        two.fit(X)
    assert path.read_bytes() == content
    path.with_name("fit.ckpt.previous").unlink()
    with pytest.raises(FormatError, match="damaged"):
        two.fit(X)


@pytest.fixture(params=["a model", "a text", "zeros", "another safetensors file"])
def strange(request, fitted, tmp_path_factory):
    """The bytes of a file that no fit wrote."""
    if request.param != "a model":
        arrays = {"network.table": np.ones(3)}
        other = safetensors.numpy.save(arrays, {"sha256": 64 * "0", "zzz": "of another program"})
        return {"a text": b"something else", "zeros": bytes(10_000)}.get(request.param, other)
    file = tmp_path_factory.mktemp("model") / "model"
    fitted.save(file)
    return file.read_bytes()


@pytest.mark.parametrize("name", ["fit.ckpt", "fit.ckpt.previous"])
@pytest.mark.parametrize("beside", ["a checkpoint", "an empty file", "nothing"])
def test_a_file_that_no_fit_wrote_is_refused_and_left_alone(X, two, path, strange, name, beside):
    """Whatever lies beside it: to replace or to remove it would destroy what somebody saved."""
    files = {path, path.with_name("fit.ckpt.previous")}
    (file,) = (file for file in files if file.name == name)
    (other,) = files - {file}
    file.write_bytes(strange)
    if beside == "an empty file":
        other.write_bytes(b"")
    elif beside == "nothing":
        other.unlink()
    before = other.read_bytes() if other.exists() else None
    message = f"cannot be used: '.*{name}' is no checkpoint, and is left alone. Name another file"
    with pytest.raises(FormatError, match=message):
        two.fit(X)
    assert file.read_bytes() == strange
    assert (other.read_bytes() if other.exists() else None) == before
    assert not path.with_name("fit.ckpt.lock").exists()


def test_what_is_written_into_a_lock_meanwhile_stays(X, path, crash):
    plan, beside = Plan.of(make_estimator(checkpoint=path)), path.with_name("fit.ckpt.lock")
    with checkpoint_of(plan, dict, SingleProcess()):
        beside.write_text("numpy==2.4")
    assert beside.read_text() == "numpy==2.4"


def test_a_path_may_be_like_one_of_bytes(X, path):
    class Bytes:
        def __fspath__(self):
            return os.fsencode(path)

    assert make_estimator(checkpoint=Bytes(), checkpoint_every=0).fit(X).n_steps_ == 30
    assert os.listdir(path.parent) == []


def test_a_model_saved_where_the_checkpoint_was_stays(X, path, crash):
    """As it happens: Ctrl-C, save under the same name, and fit once more."""
    vq = make_estimator(checkpoint=path, checkpoint_every=0)
    crash(12, KeyboardInterrupt())
    with pytest.warns(UserWarning, match="interrupted"):
        vq.fit(X)
    vq.save(path)
    with pytest.raises(FormatError, match="is no checkpoint, and is left alone"):
        vq.fit(X)
    np.testing.assert_array_equal(skvqdraw.load(path).encode(X), vq.encode(X))


@pytest.mark.parametrize("name", ["fit.ckpt", "fit.ckpt.previous"])
def test_a_model_saved_while_the_fit_is_under_way_stays(X, two, path, strange, name, monkeypatch):
    real, n_steps = _vqdraw.accumulate_gradients, []

    def accumulate_gradients(*arguments, **options):
        n_steps.append(1)
        if len(n_steps) == 4:
            path.with_name(name).write_bytes(strange)
        return real(*arguments, **options)

    monkeypatch.setattr(_vqdraw, "accumulate_gradients", accumulate_gradients)
    with pytest.warns(UserWarning, match="is left alone") as warned:
        assert two.fit(X).n_steps_ == 30
    assert path.with_name(name).read_bytes() == strange
    texts = [str(warning.message) for warning in warned]
    why = f"{name}' is no checkpoint, and is left alone"
    assert len(texts) == 7  # six steps at which to write, and the end
    assert all(why in text for text in texts)
    assert "could not be written" in texts[0]
    assert "could not be removed" in texts[-1]


@pytest.mark.parametrize("kind", ["text", "pipe"])
@pytest.mark.parametrize("fcntl", [True, False])
def test_a_lock_that_is_none_is_left_alone(X, path, monkeypatch, kind, fcntl):
    """A checkpoint called poetry, say."""
    if not fcntl:
        monkeypatch.setattr(lock, "fcntl", None)
    beside = path.with_name("fit.ckpt.lock")
    if kind == "text":
        beside.write_text("numpy==2.4")
    else:
        os.mkfifo(beside)
    with pytest.raises(
        ValueError, match="'fit.ckpt.lock' beside it is no lock of a fit. Name anot"
    ):
        make_estimator(checkpoint=path).fit(X)
    assert beside.is_fifo() or beside.read_text() == "numpy==2.4"


def rewrite(path, change):
    """Change the header of a checkpoint, and make it whole again."""
    header, arrays = _load(path)
    change(header, arrays)
    path.write_bytes(b"".join(bytes(p) for p in pack(arrays, header, "skvqdraw_checkpoint")))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h, a: a.pop("network.table"), "not of a fit with .*MLPRefiner.*table"),
        (lambda h, a: a.update({"network.new": np.ones(2)}), "not of a fit with .*new"),
        (lambda h, a: a.update({"optimizer.0.exp_avg": np.ones(1)}), r"has shape \(1,\)"),
        (lambda h, a: a.update({"optimizer.99.exp_avg": np.ones(1)}), "list index out of range"),
    ],
)
def test_what_does_not_fit_is_refused(X, two, path, change, message):
    rewrite(path, change)
    path.with_name("fit.ckpt.previous").unlink()
    content = path.read_bytes()
    with pytest.raises(FormatError, match=f"(?s){message}"):
        two.fit(X)
    assert not hasattr(two, "network_")
    assert path.read_bytes() == content


def test_another_format_version(X, two, path, monkeypatch):
    monkeypatch.setattr(checkpoint, "_FORMAT_VERSION", 3)
    with pytest.raises(FormatError, match="has format version 2; this version .* goes on from 3"):
        two.fit(X)


OTHER_PARAMETERS = {
    "learning_rate": (0.02, "learning_rate was 0.01, is now 0.02"),
    "n_stages": (5, "n_stages was 4, is now 5"),
    "max_steps": (31, "max_steps was 30, is now 31"),
    "max_time": (60, "max_time was None, is now 60"),
    "random_state": (1, "random_state was 0, is now 1"),
    "early_stopping": (True, "early_stopping was False, is now True"),
    "precision": ("float32", "precision was 'auto', is now 'float32'"),
    "refiner__hidden_size": (8, "refiner__hidden_size was 16, is now 8"),
    "refiner": ("auto", "refiner was 'skvqdraw.refiners.MLPRefiner', is now 'auto'"),
}


@pytest.mark.parametrize("name", OTHER_PARAMETERS)
def test_other_parameters_are_refused(X, two, path, name):
    value, message = OTHER_PARAMETERS[name]
    other = clone(two).set_params(**{name: value})
    with pytest.raises(ValueError, match=f"fit.ckpt' is of another fit: .*{message}.*or delete"):
        other.fit(X)
    assert not hasattr(other, "network_")
    assert steps(path) == [20, 19]


def test_each_parameter_is_compared_or_known_to_be_free():
    vq = make_estimator(refiner="auto")
    compared = identity_of(vq, WEIGHT[:, None], None, WEIGHT, vq._task(resume=False))
    assert vq.get_params().keys() - compared.keys() == vq._free_params


def test_free_parameters_may_change(X, two):
    two.set_params(
        beam_size=2,
        checkpoint_every=1,
        device="cpu",
        encoding="ordinal",
        verbose=0,
        warm_start=True,
    )
    whole = make_estimator(beam_size=2).fit(X)
    assert_same_fit(two.fit(X), whole, X)


def spoilt(X):
    X = X.copy()
    X[99, 3] += 1
    return X


@pytest.mark.parametrize(
    ("change", "weight", "message"),
    [
        (spoilt, None, r"X was 'float32 of shape \(200, 64\) with checksum (\w+)', is now"),
        (lambda X: X[:-1], None, r"is now 'float32 of shape \(199, 64\)"),
        (lambda X: X[:, :-1], None, r"is now 'float32 of shape \(200, 63\)"),
        (lambda X: X.astype(np.float64), None, "is now 'float64 of shape"),
        (lambda X: X, WEIGHT, "another fit: sample_weight was 'checksum"),
    ],
)
def test_other_data_are_refused(X, two, change, weight, message):
    with pytest.raises(ValueError, match=message):
        two.fit(change(X), sample_weight=weight)


def test_the_same_data_in_another_layout_are_the_same(X, two):
    assert_same_fit(two.fit(np.asfortranarray(X)), make_estimator().fit(X), X)


@pytest.mark.parametrize("name", ["skvqdraw", "torch", "numpy"])
def test_another_version_is_refused(X, two, name, monkeypatch):
    package = {"skvqdraw": identity, "torch": torch, "numpy": np}[name]
    monkeypatch.setattr(package, "__version__", "0.0.1")
    with pytest.raises(ValueError, match=f"version of {name} was .*, is now '0.0.1'"):
        two.fit(X)


def test_partial_fit_does_not_look_at_it(X, two, path):
    two.partial_fit(X)
    assert steps(path) == [20, 19]


# Two fits, and places that cannot be written to.


def test_two_fits_on_one_path(X, two, path):
    compared = _load(path)[0]["identity"]
    with checkpoint_of(Plan.of(two), lambda: compared, SingleProcess()):
        for _ in range(2):  # who is refused leaves the lock where it is
            with pytest.raises(ValueError, match="fit.ckpt' is in use by another fit. Give each"):
                clone(two).fit(X)
    assert steps(path) == [20, 19]
    assert two.fit(X).n_steps_ == 30


def test_a_link_stays_and_the_work_is_where_it_points(X, two, path, crash):
    """Also of the lock: two links to one file are one path."""
    links = path.parent / "links"
    links.mkdir()
    for name in ("one", "other"):
        (links / name).symlink_to(path)
    vq = clone(two).set_params(checkpoint=links / "one")
    crash(3)
    with pytest.raises(CrashError):
        vq.fit(X)
    assert steps(path) == [22, 21]
    with (
        lock.locked(links / "one"),
        pytest.raises(ValueError, match="links/other' is in use by another fit"),
    ):
        clone(two).set_params(checkpoint=links / "other").fit(X)
    assert_same_fit(vq.fit(X), make_estimator().fit(X), X)
    assert sorted(os.listdir(path.parent)) == ["links"]
    assert sorted(os.listdir(links)) == ["one", "other"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes as POSIX has them")
def test_a_pipe_is_not_waited_for(X, path):
    os.mkfifo(path)
    with pytest.raises(ValueError, match="fit.ckpt' cannot be written: not a regular file"):
        make_estimator(checkpoint=path).fit(X)
    assert path.is_fifo()


def test_a_lock_that_was_removed_meanwhile_is_not_believed(tmp_path, monkeypatch):
    real, removed = lock.fcntl.flock, []

    def flock(descriptor, operation):
        real(descriptor, operation)
        if not removed:
            removed.append(os.unlink(tmp_path / "lock"))

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    descriptor = lock._lock(tmp_path / "lock")
    assert os.path.samestat(os.fstat(descriptor), os.stat(tmp_path / "lock"))
    os.close(descriptor)


def test_file_systems_without_locks(X, path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    assert make_estimator(checkpoint=path).fit(X).n_steps_ == 30
    assert os.listdir(path.parent) == []


def test_platforms_without_fcntl(X, path, monkeypatch):
    """There an open file cannot be removed, which says that somebody has it open."""
    monkeypatch.setattr(lock, "fcntl", None)
    path.with_name("fit.ckpt.lock").touch()  # of a process that was killed
    vq = make_estimator(checkpoint=path)
    assert vq.fit(X).n_steps_ == 30
    assert os.listdir(path.parent) == []

    def unlink(self, missing_ok=False):
        raise PermissionError(errno.EACCES, "in use")

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(ValueError, match="in use by another fit"):
        vq.fit(X)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "missing/fit.ckpt",
            "cannot be written: No such file or directory. Name another file, in a dir",
        ),
        ("file/fit.ckpt", "cannot be written: Not a directory"),
        ("", "cannot be written: it is a directory"),
    ],
)
def test_places_that_cannot_be_written_to(X, tmp_path, crash, name, message):
    (tmp_path / "file").touch()
    crash(1)
    with pytest.raises(ValueError, match=message):
        make_estimator(checkpoint=tmp_path / name).fit(X)
    assert os.listdir(tmp_path) == ["file"]


def test_a_directory_that_is_read_only(X, path, crash, monkeypatch):
    real = os.open

    def read_only(file, flags, *mode):
        if Path(file).parent == path.parent and flags & os.O_CREAT:
            raise OSError(errno.EROFS, "Read-only file system", file)
        return real(file, flags, *mode)

    monkeypatch.setattr(os, "open", read_only)
    crash(1)
    with pytest.raises(ValueError, match="fit.ckpt' cannot be written: Read-only file system"):
        make_estimator(checkpoint=path).fit(X)


def test_a_full_disk_stops_no_fit(X, two, path, crash, monkeypatch):
    """Training goes on, and the last checkpoint that was whole stays."""
    real, n_left = atomic.write_atomically, [2]

    def write_atomically(*arguments):
        n_left[0] -= 1
        if n_left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*arguments)

    monkeypatch.setattr(checkpoint, "write_atomically", write_atomically)
    crash(8)
    message = r"fit.ckpt' could not be written \(No space left on device\). Training goes on"
    with pytest.warns(UserWarning, match=message) as warned, pytest.raises(CrashError):
        two.fit(X)
    assert len(warned) == 5
    assert Path(warned[0].filename) == Path(__file__)
    assert os.listdir(path.parent) == ["fit.ckpt.previous"]
    with pytest.warns(UserWarning, match=message):
        assert_same_fit(two.fit(X), make_estimator().fit(X), X)
    assert os.listdir(path.parent) == []


def test_files_of_killed_writers_are_removed(X, path, monkeypatch):
    """Those of others stay."""

    def die(*arguments):
        raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        patch.setattr(os, "unlink", lambda path: None)
        with pytest.raises(CrashError):
            atomic.write_atomically(path, [b"half of it"])
    assert len(os.listdir(path.parent)) == 1
    digits = "0123456789abcdef"
    others = [".fit.ckpt.of_mine", ".fit.ckpt.20240101", f"fit.ckpt.{digits}.tmp"]
    others += [f".another.{digits}.tmp", f".fit.ckpt.{digits}"]
    for name in others:
        path.with_name(name).touch()
    make_estimator(checkpoint=path).fit(X)
    assert sorted(os.listdir(path.parent)) == sorted(others)


def test_a_fit_is_done_even_if_its_checkpoint_cannot_be_removed(X, path, monkeypatch):
    real = Path.unlink

    def unlink(self, missing_ok=False):
        if self.name == "fit.ckpt":
            raise OSError(errno.EROFS, "Read-only file system")
        real(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.warns(UserWarning, match="could not be removed .Read-only file system.. Remove it"):
        vq = make_estimator(checkpoint=path).fit(X)
    assert vq.n_steps_ == 30


def test_without_a_checkpoint_nothing_is_written(X, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_estimator(checkpoint_every=0).fit(X)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_going_on_with_cuda_and_then_without(X, path, crash):
    params = {"refiner": MLPRefiner(16, basis_size=4), "checkpoint": path, "checkpoint_every": 0}
    vq = make_estimator(**params, device="cuda", early_stopping=True)
    for device in ("cuda", "cpu"):
        crash(10)
        with pytest.raises(CrashError):
            vq.set_params(device=device).fit(X)
    assert vq.set_params(device="cuda").fit(X).n_steps_ == 30

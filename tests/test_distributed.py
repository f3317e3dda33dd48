"""Several processes make the fit that one process makes, and end together."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import several_processes
import torch
from conftest import assert_same_model, make_estimator
from several_processes import FITS, MovesRefiner, X
from torch import distributed

from skvqdraw import load
from skvqdraw._device import resolve_device
from skvqdraw.training.distributed import Group, find_processes
from skvqdraw.training.fit import draw_seed

if not (distributed.is_available() and distributed.is_gloo_available()):
    pytest.skip("this PyTorch is built without gloo", allow_module_level=True)

HERE = Path(__file__).parent
SCRIPT = HERE / "several_processes.py"
PAGE = (HERE.parent / "docs" / "several-processes.md").read_text()
LEARNED = [*FITS, "going_on", "time_budget", "talk"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes leave behind: once, also where several processes run the tests."""
    folder = tmp_path_factory.getbasetemp() / "several"
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parents[1] / "several"
    log = folder / "log.json"
    try:
        folder.mkdir()
    except FileExistsError:
        for _ in range(3200):
            if log.exists():
                break
            time.sleep(0.1)
    else:
        run_two_processes(folder, log)
    done = json.loads(log.read_text())
    assert done["returncode"] == 0, done["output"]
    return folder


def run_two_processes(folder, log):
    line = re.findall(r"^    (TORCH_.* torchrun .*--max-restarts.*) train.py$", PAGE, re.MULTILINE)
    done = torchrun(line[0], SCRIPT, folder)
    (folder / "part").write_text(json.dumps(done))
    (folder / "part").rename(log)


def torchrun(line, *script):
    """Run a script with a command line of the page; return what came of it."""
    settings, options = line.split("torchrun")
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *options.split(), *script],
        env={
            **os.environ,
            **dict(setting.split("=") for setting in settings.split()),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(HERE.parent),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.terminate()  # so that torchrun ends its processes, too
        output, _ = process.communicate()
    return {"returncode": process.returncode, "output": output}


@pytest.fixture(scope="module")
def results(folder):
    """What each process returned and printed, case by case."""
    both = [{}, {}]
    for rank, own in enumerate(both):
        for attempt in (0, 1):
            own.update(pickle.loads((folder / f"{rank}-{attempt}.pkl").read_bytes()))
    return both


def of_both(results, name):
    return [own[name][0] for own in results]


def assert_same(one, other):
    """Equal to the bit in all that a fit learns."""
    assert one["network"].keys() == other["network"].keys()
    for name in one["network"]:
        np.testing.assert_array_equal(one["network"][name], other["network"][name])
    for name in ("mean", "usage"):
        np.testing.assert_array_equal(one[name], other[name])
    assert one["scale"] == other["scale"]
    assert one["n_steps"] == other["n_steps"]
    assert one["loss_curve"] == other["loss_curve"]


def assert_close(fit, expected):
    assert fit["n_steps"] == expected["n_steps"]
    assert len(fit["loss_curve"]) == len(expected["loss_curve"])
    for record, its in zip(fit["loss_curve"], expected["loss_curve"], strict=True):
        assert record.keys() == its.keys()
        for name in record.keys() - {"seconds"}:
            assert record[name] == pytest.approx(its[name], rel=1e-4, abs=1e-12), name


@pytest.mark.parametrize("name", LEARNED)
def test_both_processes_have_the_same_model(results, name):
    assert_same(*of_both(results, name))


@pytest.mark.parametrize("name", [*FITS, "going_on"])
def test_it_is_the_model_of_one_process(results, name):
    expected = dict(several_processes.cases(None))[name]()
    fit, _ = of_both(results, name)
    assert_close(fit, expected)
    assert len(expected["loss_curve"]) >= (50 if name == "fifty steps" else 1)
    if name != "convolutions":  # a bias before a normalisation has nothing but rounding to follow
        for parameter, array in expected["network"].items():
            np.testing.assert_allclose(fit["network"][parameter], array, atol=1e-5)


def test_cases_are_what_they_should_be(results):
    (early, _), (tiny, _) = of_both(results, "early stopping"), of_both(results, "one row")
    assert early["n_steps"] < FITS["early stopping"][0]["max_steps"]
    assert (tiny["network"]["unused"] == 1).all()  # no gradient is not a gradient of 0


def test_sums_of_gradients_are_the_gradient_of_the_batch(results):
    first, second = of_both(results, "gradient")
    whole = first["whole"]
    assert "unused" not in whole
    assert sum(np.abs(gradient).max() > 0 for gradient in whole.values()) > 20
    for name, expected in whole.items():
        np.testing.assert_array_equal(first["shared"][name], second["shared"][name])
        scale = np.abs(expected).max()
        np.testing.assert_allclose(first["shared"][name], expected, atol=2e-6 * scale)
        for own in (first, second):
            np.testing.assert_array_equal(own["all in process 0"][name], expected)
    assert all(own[kind].keys() == whole.keys() for own in (first, second) for kind in own)


def test_sums_that_are_no_gradients_are_those_of_all(results):
    one, other = of_both(results, "sums")
    expected = several_processes.sums()
    for name, array in expected["network"].items():
        np.testing.assert_array_equal(one["network"][name], other["network"][name])
        np.testing.assert_allclose(one["network"][name], array, atol=1e-4)
    assert one["loss_curve"] == other["loss_curve"]
    assert len(one["loss_curve"]) == len(expected["loss_curve"])


def test_process_0_draws_the_seed(results):
    for one, other in zip(*of_both(results, "no_seed"), strict=True):
        assert_same(one, other)
    (_, fit), _ = of_both(results, "no_seed")
    seed = draw_seed(np.random.RandomState(0))
    expected = make_estimator(random_state=seed, max_steps=5, precision="float32").fit(X[:200])
    assert_close(fit, several_processes.learned(expected))


def test_process_0_has_the_clock(results):
    fit, _ = of_both(results, "time_budget")
    assert 0.5 <= fit["loss_curve"][-1]["seconds"] < 30
    assert fit["n_steps"] > 1


def test_process_0_alone_speaks(results):
    (_, printed), (_, silence) = (own["talk"] for own in results)
    assert printed.startswith("VQDRAW on cpu, in 2 processes\nstep 1, seconds ")
    assert silence == ""


def test_an_interruption_of_one_ends_all_together(results, folder):
    (first, told), (second, silence) = of_both(results, "interrupt")
    assert_same(first, second)
    assert first["n_steps"] == 3
    assert len(told) == 1
    assert told[0].startswith("Training interrupted by user: the model trained so far is kept. To")
    assert silence == []


def test_an_interruption_after_the_last_step_is_not_lost():
    # Where tests run in the background, a shell may have had them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    group = Group.__new__(Group)
    with pytest.raises(KeyboardInterrupt), group.listening():
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


def test_one_process_goes_on_where_two_were_interrupted(results, folder):
    (interrupted, _), _ = of_both(results, "interrupt")
    went_on, _ = several_processes.interrupt(folder, happens=lambda step: None)
    assert went_on["loss_curve"][:2] == interrupted["loss_curve"]
    vq = make_estimator(refiner=MovesRefiner(), max_steps=20).fit(X[:200])
    assert_close(went_on, several_processes.learned(vq))


def test_killed_processes_start_again_and_go_on(results, folder):
    (expected, _), (fit, other) = of_both(results, "not killed"), of_both(results, "killed")
    assert_same(fit, other)
    fit = deepcopy(fit)
    for record, its in zip(fit["loss_curve"], expected["loss_curve"], strict=True):
        record["seconds"] = its["seconds"]
    assert_same(fit, expected)
    assert ", in 2 processes, from the checkpoint of step " in results[0]["killed"][1]
    assert not list(folder.glob("killed.ckpt*"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("diverge", "DivergenceError: the loss became nan by step 3. Lower learning_rate"),
        ("diverge_at_the_end", "DivergenceError: a reconstruction became infinite or NaN"),
        (
            "other_rows",
            "ValueError: the processes of a fit must be given the same: X is 'float32 of shape "
            "(200, 64) with checksum ",
        ),
        (
            "other_parameters",
            "ValueError: the processes of a fit must be given the same: n_stages is 5 in process "
            "1, 4 in process 0. Give each of them all rows and the same parameters",
        ),
        (
            "other_moments",
            "ValueError: the processes of a fit must be given the same: what partial_fit goes on "
            "from is None in process 1, 'checksum ",
        ),
    ],
)
def test_all_processes_raise_together(results, name, message):
    one, other = of_both(results, name)
    assert one.startswith(message)
    assert other == one


def test_what_process_0_cannot_do_the_others_hear_of(results):
    one, other = of_both(results, "missing_directory")
    assert one.startswith("ValueError: checkpoint='no/such/directory/fit.ckpt' cannot be written")
    assert other == f"RuntimeError: process 0 of this fit raised {one}"


def test_the_program_of_the_page(tmp_path, monkeypatch):
    (program,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "train.py").write_text(program)
    monkeypatch.chdir(tmp_path)
    # A port of its own: another program on this machine may have the one of torchrun.
    done = torchrun("torchrun --standalone --nproc-per-node=2", "train.py")
    assert done["returncode"] == 0, done["output"]
    assert load("digits.safetensors").n_steps_ == 50
    assert {path.name for path in tmp_path.iterdir()} == {"train.py", "digits.safetensors"}


def test_a_group_of_one_says_nothing(X, fitted, monkeypatch):
    def forbidden(*arguments, **options):
        raise AssertionError("a process alone has nobody to talk to")

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        for name in ("all_reduce", "broadcast"):
            monkeypatch.setattr(distributed, name, forbidden)
        alone = make_estimator().fit(X)
    finally:
        distributed.destroy_process_group()
    for record, its in zip(alone.loss_curve_, fitted.loss_curve_, strict=True):
        record["seconds"] = its["seconds"]
    assert_same_model(alone, fitted, X)


def test_a_device_that_the_processes_cannot_exchange_from(monkeypatch):
    for name, value in {
        "is_initialized": lambda: True,
        "get_world_size": lambda: 2,
        "get_backend_config": lambda: "cuda:nccl",
    }.items():
        monkeypatch.setattr(distributed, name, value)
    with pytest.raises(ValueError, match=r"device 'cpu': init_process_group was given 'cuda:nccl'"):
        find_processes(torch.device("cpu"))


def test_processes_of_torchrun_take_a_gpu_each(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch, "empty", lambda size, *, device: SimpleNamespace(device=torch.device(device))
    )
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert resolve_device("auto") == torch.device("cuda")
    for local_rank, device in (("0", "cuda:0"), ("1", "cuda:1"), ("3", "cuda:1")):
        monkeypatch.setenv("LOCAL_RANK", local_rank)
        assert resolve_device("auto") == torch.device(device)
        assert resolve_device("cpu") == torch.device("cpu")

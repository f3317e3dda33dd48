"""What is set around a call, for the thread or for the process, changes nothing that it does."""

import os
import pickle
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from conftest import make_estimator
from sklearn.base import clone
from test_checkpoint import assert_same_fit
from threadpoolctl import threadpool_info

import skvqdraw
from skvqdraw import ClusterBoosting
from skvqdraw.guides import MaskGuide
from skvqdraw.nn import DenseRound
from skvqdraw.nn.build import Building
from skvqdraw.nn.start import first_options
from skvqdraw.priors import AutoregressivePrior
from skvqdraw.refiners import ConvRefiner, MLPRefiner, PaperRefiner, Refiner


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def deterministic_algorithms():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


SURROUNDINGS = {
    "float64 by default": lambda: default_dtype(torch.float64),
    "bfloat16 by default": lambda: default_dtype(torch.bfloat16),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "another device by default": lambda: torch.device("meta"),
    "deterministic algorithms": deterministic_algorithms,
    "errors of numpy raised": lambda: np.errstate(over="raise", divide="raise", invalid="raise"),
}
PARAMS = {
    "perceptron": {},
    "convolutions": {"refiner": ConvRefiner((8, 8), n_channels=8, downsampling=2, basis_size=4)},
    "paper": {"refiner": PaperRefiner((8, 8)), "max_steps": 3},
    "checkpointing": {"gradient_checkpointing": True, "n_stages": 6, "early_stopping": True},
}


@pytest.mark.parametrize("params", PARAMS)
@pytest.mark.parametrize("around", SURROUNDINGS)
def test_a_fit_is_the_same(X, around, params):
    expected = make_estimator(**PARAMS[params], device="cpu").fit(X)
    vq = make_estimator(**PARAMS[params], device="cpu")
    with SURROUNDINGS[around]():
        vq.fit(X)
    assert_same_fit(vq, expected, X)
    assert not any(parameter.is_inference() for parameter in vq.network_.parameters())


@pytest.mark.parametrize("around", SURROUNDINGS)
@pytest.mark.parametrize("beam_size", [1, 3])
def test_coding_is_the_same(X, fitted, around, beam_size):
    vq = pickle.loads(pickle.dumps(fitted)).set_params(device="cpu", beam_size=beam_size)
    codes, Xr, score = vq.encode(X), vq.reconstruct(X), vq.score(X)
    with SURROUNDINGS[around]():
        np.testing.assert_array_equal(vq.encode(X), codes)
        np.testing.assert_array_equal(vq.decode(codes), Xr)
        np.testing.assert_array_equal(vq.reconstruct(X), Xr)
        assert vq.score(X) == score


@pytest.mark.parametrize("around", SURROUNDINGS)
def test_cluster_boosting_is_the_same(X, around):
    expected = ClusterBoosting(3, 8, random_state=0).fit(X)
    with SURROUNDINGS[around]():
        boosting = clone(expected).fit(X)
        np.testing.assert_array_equal(boosting.codebooks_, expected.codebooks_)
        np.testing.assert_array_equal(boosting.encode(X), expected.encode(X))


@pytest.mark.parametrize("around", SURROUNDINGS)
def test_sampling_is_the_same(X, fitted, around):
    vq = pickle.loads(pickle.dumps(fitted)).set_params(device="cpu")
    codes, y = vq.encode(X), np.arange(len(X)) % 3
    prior = AutoregressivePrior(8, hidden_size=16, max_steps=5, device="cpu", random_state=0)
    guide = MaskGuide(X[0], np.arange(64) < 32, beam_size=2)

    def drawn():
        how = {"prior": clone(prior).fit(codes, y), "y": 2, "random_state": 0}
        return vq.sample(5, **how), vq.sample(5, **how, guide=guide)

    expected = drawn()
    with SURROUNDINGS[around]():
        np.testing.assert_array_equal(drawn(), expected)


@pytest.mark.parametrize("around", SURROUNDINGS)
def test_a_model_that_was_loaded_is_the_same_and_goes_on(X, fitted, around, tmp_path):
    fitted.save(tmp_path / "model")
    expected = skvqdraw.load(tmp_path / "model").partial_fit(X)
    pickled = pickle.dumps(fitted)
    with SURROUNDINGS[around]():
        loaded, unpickled = skvqdraw.load(tmp_path / "model"), pickle.loads(pickled)
    for vq in (loaded, unpickled):
        np.testing.assert_array_equal(vq.encode(X), fitted.encode(X))
        assert_same_fit(vq.partial_fit(X), expected, X)


@pytest.mark.parametrize("around", ["float64 by default", "another device by default"])
def test_shipped_weights_load(around):
    with SURROUNDINGS[around]():
        skvqdraw.load_pretrained("mnist-60bit")


def test_a_checkpoint_goes_on_in_other_surroundings(X, tmp_path):
    expected = make_estimator(max_steps=20, early_stopping=True).fit(X)
    path = tmp_path / "fit.ckpt"
    vq = make_estimator(max_steps=20, early_stopping=True, checkpoint=path, checkpoint_every=0)
    for around in SURROUNDINGS.values():
        with around(), interrupted_after(1, X):
            vq.fit(X)
    assert_same_fit(vq.fit(X), expected, X)


@contextmanager
def interrupted_after(n_steps, X):
    """Let Ctrl-C end a fit after so many steps; it warns of that."""
    from skvqdraw import _vqdraw

    real, left = _vqdraw.accumulate_gradients, [n_steps]

    def accumulate_gradients(*arguments, **options):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return real(*arguments, **options)

    _vqdraw.accumulate_gradients = accumulate_gradients
    try:
        with pytest.warns(UserWarning, match="interrupted by user"):
            yield
    finally:
        _vqdraw.accumulate_gradients = real


# The global random stream


class Moves(torch.nn.Module):
    def __init__(self, n_features, n_stages, n_options):
        super().__init__()
        self.moves = torch.nn.Parameter(torch.randn(n_stages, n_options, n_features))
        self.more = torch.nn.Parameter(torch.empty(3).log_normal_())  # by no generator of ours

    def forward(self, x, stage):
        return DenseRound(x[:, None] + self.moves[stage])


class MovesRefiner(Refiner):
    def build(self, n_features, n_stages, n_options):
        return Moves(n_features, n_stages, n_options)


@pytest.mark.parametrize("kind", [*PARAMS, "another's"])
def test_a_fit_leaves_the_global_stream_as_it_was(X, kind):
    params = PARAMS.get(kind, {"refiner": MovesRefiner()})
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = make_estimator(**params).fit(X)
    pickle.loads(pickle.dumps(one)).encode(X)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert_same_fit(make_estimator(**params).fit(X), one, X)


@pytest.mark.parametrize("params", PARAMS)
def test_another_thread_may_draw_meanwhile(X, params):
    """Networks of ours never touch the stream, not even to put it back."""
    vq = make_estimator(**{"max_steps": 3, **PARAMS[params]})
    pickled, done = pickle.dumps(vq.fit(X)), threading.Event()

    def work():
        for _ in range(10):
            pickle.loads(pickled)
        make_estimator(**{"max_steps": 3, **PARAMS[params]}).fit(X)
        done.set()

    torch.manual_seed(0)
    thread, drawn = threading.Thread(target=work), []
    thread.start()
    while not done.is_set():
        drawn.append(torch.rand(50))
    thread.join()
    torch.manual_seed(0)
    assert all(torch.equal(numbers, torch.rand(50)) for numbers in drawn)
    assert len(drawn) > 10


def test_what_is_drawn_elsewhere_is_left_to_pytorch():
    """A generator is of one device."""
    with Building(torch.Generator().manual_seed(0)):
        torch.randn(3, device="meta")
        torch.empty(3, device="meta").normal_()
        torch.nn.Linear(3, 3, device="meta")
        ours = torch.randn(3)
    torch.manual_seed(0)
    assert torch.equal(ours, torch.randn(3))


def test_networks_are_built_in_float32_whatever_makes_their_numbers():
    makers = (
        lambda: torch.full((2,), 0.1),
        lambda: torch.tensor([[0.5]]),
        lambda: torch.linspace(0, 1, 3),
        lambda: torch.arange(0.0, 3),
        lambda: torch.hann_window(4),
        lambda: torch.normal(0.0, 1.0, (2,)),
        lambda: torch.zeros(2, requires_grad=True),
        lambda: torch.nn.Linear(2, 2).weight,
        lambda: torch.zeros(3, out=torch.empty(3, dtype=torch.float64)).float(),
    )
    for dtype in (torch.float32, torch.float64):
        with default_dtype(dtype), Building(torch.Generator().manual_seed(0)):
            assert all(make().dtype == torch.float32 for make in makers)
            assert torch.tensor(np.zeros(2)).dtype == torch.float64
            assert torch.full((2,), 3).dtype == torch.int64
            assert torch.full((2,), 0.1, requires_grad=True).requires_grad


def test_fits_in_threads_leave_the_number_of_threads_as_it_was(X):
    def limits():
        return {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}

    make_estimator(max_steps=1).fit(X)
    before = limits()
    with ThreadPoolExecutor(4) as threads:
        for _ in range(12):
            threads.submit(make_estimator(max_steps=1).fit, X)
    assert limits() == before


# Processes


FORKED = """
import os, sys
import numpy as np, torch
from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw import _meeting
from skvqdraw.refiners import ConvRefiner
torch.set_num_threads(2)
X = np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float32)
vq = VQDRAW(4, 16, max_steps=3, random_state=0, device="cpu").fit(X)
boosting = ClusterBoosting(2, 16, random_state=0).fit(X)
codes = vq.encode(X), boosting.encode(X)
images = VQDRAW(3, 16, refiner=ConvRefiner((4, 4)), max_steps=2, device="cpu").fit(X[:, :16])
_meeting._limiting.__enter__()  # as another thread would that begins a fit
child = os.fork()
if child == 0:
    same = (vq.encode(X) == codes[0]).mean() > 0.99 and (boosting.encode(X) == codes[1]).all()
    VQDRAW(4, 16, max_steps=3, device="cpu").fit(X)
    vq.partial_fit(X[:100])
    ClusterBoosting(2, 16).fit(X)
    import copy, pickle
    conv = copy.copy(images).set_params(beam_size=2)
    conv.reconstruct(X[:, :16]), pickle.dumps(images), images.save(sys.argv[1])
    os._exit(0 if same else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_computes(tmp_path):
    """It would wait for threads that stayed with its parent: OpenMP's, and one that has a lock."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-W", "ignore", "-c", FORKED, str(tmp_path / "model")]
    run = subprocess.run(command, env=env, timeout=120)
    assert run.returncode == 0


def test_the_first_fit_imports_no_compiler():
    code = (
        "import sys, numpy as np; from skvqdraw import VQDRAW;"
        "vq = VQDRAW(2, 4, max_steps=2).fit(np.eye(8)); vq.partial_fit(np.eye(8)).encode(np.eye(8));"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("refiner", [MLPRefiner(16, basis_size=4)], ids=repr)
@pytest.mark.parametrize("shape", [(200, 64), (300, 3000)], ids=str)
def test_the_start_does_not_depend_on_the_number_of_threads(refiner, shape, monkeypatch):
    """Whether rows are clustered as they are or by their projections."""
    monkeypatch.setattr("skvqdraw.nn.start._VALUES_HELD", 200_000)
    data = np.random.default_rng(0).normal(size=shape)
    threads, starts = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            starts.append(make_estimator(refiner=refiner, max_steps=0).fit(data))
    finally:
        torch.set_num_threads(threads)
    one, other = (vq.network_.state_dict() for vq in starts)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert starts[0].scale_ == starts[1].scale_
    np.testing.assert_array_equal(starts[0].mean_, starts[1].mean_)


@pytest.mark.parametrize("params", [{}, {"beam_size": 3}, {"loss": "log_loss"}], ids=repr)
def test_cluster_boosting_under_numpy_that_raises(X, params):
    expected = ClusterBoosting(3, 6, random_state=0, **params).fit(X)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        boosting = ClusterBoosting(3, 6, random_state=0, **params).fit(X)
        np.testing.assert_array_equal(boosting.encode(X), expected.encode(X))
        np.testing.assert_array_equal(boosting.decode(boosting.encode(X)), expected.reconstruct(X))


@pytest.mark.parametrize(("shape", "n_options"), [((5000, 2000), 16), ((100, 200_000), 4)])
def test_the_start_takes_little_room_beside_its_result(shape, n_options, monkeypatch):
    """Rows that are clustered as they are, and by projections of 256 bytes for each feature."""
    rows = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    monkeypatch.setattr("skvqdraw.nn.start._VALUES_HELD", 10_000_000)
    held = 4 * rows.size if rows.size <= 10_000_000 else 256 * shape[1]
    rng, weight = np.random.RandomState(0), np.ones(len(rows))
    tracemalloc.start()
    try:
        table = first_options(
            lambda some: rows[some].astype(np.float32),
            np.arange(len(rows)),
            shape[1],
            n_options,
            rng,
            weight,
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert table.shape == (n_options, shape[1])
    assert peak < 1.3 * held + 3 * table.nbytes + 20e6

"""Data larger than memory, memory that runs out, threads and processes."""

import mmap
import pickle
import runpy
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from conftest import make_estimator
from sklearn.utils import gen_batches

from skvqdraw import ClusterBoosting, load_pretrained
from skvqdraw._device import exact
from skvqdraw._rows import TILE_ROWS, take_rows
from skvqdraw.nn import DenseRound
from skvqdraw.nn.build import from_seed
from skvqdraw.nn.preparation import Preparation
from skvqdraw.refiners import Refiner

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def boosting(X):
    return ClusterBoosting(3, 8, random_state=0).fit(X)


@pytest.fixture(params=["VQDRAW", "ClusterBoosting"])
def estimator(request, fitted, boosting):
    return {"VQDRAW": fitted, "ClusterBoosting": boosting}[request.param]


@pytest.fixture(scope="module")
def rows():
    """More rows than a tile holds, and not a multiple of it."""
    return np.random.default_rng(0).random((2 * TILE_ROWS + 100, 64), dtype=np.float32)


def memory_map(path, array):
    """Write an array and return it as a read-only memory map."""
    np.save(path, array)
    return np.load(path, mmap_mode="r")


# The array given as `out`


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", ">i4", "<i8"])
@pytest.mark.parametrize("layout", ["C", "F", "every second column", "upside down"])
def test_out_is_filled_and_returned(estimator, rows, dtype, layout):
    expected = estimator.encode(rows)
    n, S = expected.shape
    out = np.full((n, 2 * S), 99, dtype, order="F" if layout == "F" else "C")
    out = {"every second column": out[:, ::2], "upside down": out[::-1, :S]}.get(layout, out[:, :S])
    assert estimator.encode(rows, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_out_may_be_a_file(estimator, rows, tmp_path):
    expected = estimator.encode(rows)
    shape = (len(rows) + 10, expected.shape[1])
    out = np.lib.format.open_memmap(tmp_path / "c.npy", "w+", np.uint8, shape)
    mapped = memory_map(tmp_path / "X.npy", rows)
    part = out[10:]
    assert estimator.encode(mapped, out=part) is part
    out.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "c.npy")[10:], expected)
    assert not np.load(tmp_path / "c.npy")[:10].any()


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (
            [[0, 0, 0]],
            TypeError,
            r"out must be a numpy array or memory map; got list. Make one with numpy.empty\(\(200, 3\), 'uint8'\)",
        ),
        (np.empty((199, 3), int), ValueError, r"out must have shape \(200, 3\).*got \(199, 3\)"),
        (np.empty((200, 4), int), ValueError, r"a column for each stage; got \(200, 4\)"),
        (np.empty(600, int), ValueError, r"got \(600,\)"),
        (np.empty((200, 3)), ValueError, "an integer dtype that holds 149, such as uint8; got flo"),
        (np.empty((200, 3), bool), ValueError, "holds 149, such as uint8; got bool"),
        (np.empty((200, 3), "i1"), ValueError, "holds 149, such as uint8; got int8"),
        (np.broadcast_to(0, (200, 3)), ValueError, r"writeable; got a read-only.*mode='r\+'"),
    ],
    ids=["list", "rows", "columns", "1-D", "float", "bool", "too small", "read-only"],
)
def test_out_that_cannot_hold_the_codes(X, out, error, message):
    boosting = ClusterBoosting(3, 150, random_state=0, max_iter=1).fit(X)
    with pytest.raises(error, match=message):
        boosting.encode(X, out=out)


# Memory maps are never copied, and memory does not grow with their rows


@contextmanager
def peak_memory():
    """Give a function that returns the most bytes that numpy and Python held in the block."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", ["u1", "<i4", ">f4", "f2", "f4", "f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_memory_map_is_checked_without_a_copy(estimator, tmp_path, dtype, order):
    rows = np.full((100_000, 64), 1, dtype, order=order)  # as float16, the sum is infinite
    mapped = memory_map(tmp_path / "X.npy", rows)
    del rows
    estimator._validate_X(mapped[:10], reset=False)  # what is imported on the way
    with peak_memory() as peak:
        checked = estimator._validate_X(mapped, reset=False)
        assert peak() < 3e6  # as bools, all of it would be 6.4e6
    assert np.shares_memory(checked, mapped)
    assert checked.dtype == mapped.dtype


@pytest.mark.parametrize(("value", "message"), [(np.nan, "X contains NaN"), (np.inf, "infinity")])
@pytest.mark.parametrize("row", [0, 4095, 4096, 9999])
def test_what_is_not_finite_is_found_wherever_it_is(estimator, value, message, row):
    rows = np.zeros((10_000, 64), np.float16)
    rows[row, 5] = value
    with pytest.raises(ValueError, match=message):
        estimator.encode(rows)


def test_memory_does_not_grow_with_rows(estimator, tmp_path):
    peaks = []
    for n_rows in (5_000, 40_000):
        rows = np.random.default_rng(0).integers(2, size=(n_rows, 64), dtype=np.uint8)
        mapped = memory_map(tmp_path / f"{n_rows}.npy", rows)
        shape = (n_rows, len(estimator.code_usage_))
        out = np.lib.format.open_memmap(tmp_path / f"c{n_rows}.npy", "w+", np.uint8, shape)
        del rows
        with peak_memory() as peak:
            estimator.encode(mapped, out=out)
            peaks.append(peak())
    assert peaks[1] - peaks[0] < 35_000  # less than a byte for each row more


@pytest.fixture(params=["u1", "f4"])
def wide(request, tmp_path):
    """A map of 5,000 rows of 2,000 features."""
    rows = np.random.default_rng(0).integers(256, size=(5_000, 2_000), dtype=np.uint8)
    return memory_map(tmp_path / "X.npy", rows.astype(request.param))


@pytest.mark.parametrize("kind", ["VQDRAW", "ClusterBoosting"])
def test_wide_rows_are_few_at_a_time(wide, kind, monkeypatch):
    """5,000 rows would take 80 MB in float64."""
    if kind == "VQDRAW":
        monkeypatch.setattr("skvqdraw.nn.start._VALUES_HELD", 500 * 2_000)
        estimator = make_estimator(max_steps=1, batch_size=16)
    else:
        estimator = ClusterBoosting(2, 4, subsample=500, max_iter=2, random_state=0)
    estimator.fit(wide[:1000])
    for use in (estimator.fit, estimator.score_samples):
        with peak_memory() as peak:
            use(wide)
            assert peak() < 45e6


# Reading ahead


class Watched(mmap.mmap):
    """A memory map of a file that notes what it is told."""

    def madvise(self, option, start, length):
        assert option == mmap.MADV_WILLNEED
        assert start % mmap.PAGESIZE == 0
        self.told[start : start + length] = True
        super().madvise(option, start, length)


@pytest.fixture
def watched(tmp_path):
    """A map of 300 rows of 200 integers of two bytes each, behind a head of 100 bytes."""
    values = np.random.default_rng(0).integers(1000, size=50 + 60_000).astype(np.int16)
    (tmp_path / "rows").write_bytes(values.tobytes())
    with open(tmp_path / "rows", "rb") as file:
        watched = Watched(file.fileno(), 0, access=mmap.ACCESS_READ)
    watched.told = np.zeros(len(watched), dtype=bool)
    watched.X = np.ndarray((300, 200), np.int16, buffer=watched, offset=100)
    return watched


@pytest.mark.skipif(not hasattr(mmap, "MADV_WILLNEED"), reason="the system takes no advice")
@pytest.mark.parametrize("step", [1, -1, 3])
def test_rows_of_a_memory_map_are_asked_for_before_they_are_read(watched, step):
    X, rows = watched.X[7:][::step], np.array([5, 90, 2, 90])
    np.testing.assert_array_equal(take_rows(X, rows), np.array(X)[rows])
    needed = np.zeros_like(watched.told)
    for row in np.arange(300)[7:][::step][rows]:
        needed[100 + 400 * row : 100 + 400 * (row + 1)] = True
    assert watched.told[needed].all()
    assert watched.told.sum() <= 4 * (400 + mmap.PAGESIZE)  # and no more than pages make of it


def test_advice_is_only_advice(watched, monkeypatch):
    rows = np.array([5, 90, 2])
    for X in (watched.X[:, ::2], watched.X.T, np.array(watched.X), np.asfortranarray(watched.X)):
        np.testing.assert_array_equal(take_rows(X, rows), X[rows])
    assert not watched.told.any()

    def refuse(*arguments):
        raise OSError

    monkeypatch.setattr(Watched, "madvise", refuse)
    np.testing.assert_array_equal(take_rows(watched.X, rows), watched.X[rows])


# Memory that runs out


class Thirsty(torch.nn.Module):
    """A network that notes how many rows it sees, and bears only so many."""

    def __init__(self, n_features, n_stages, n_options):
        super().__init__()
        self.moves = torch.nn.Parameter(torch.randn(n_stages, n_options, n_features))
        self.most, self.error, self.seen = 10**9, None, []

    def forward(self, x, stage):
        self.seen.append(len(x))
        if len(x) > self.most:
            raise self.error
        return DenseRound(x[:, None] + self.moves[stage])


class ThirstyRefiner(Refiner):
    def build(self, n_features, n_stages, n_options):
        return Thirsty(n_features, n_stages, n_options)


@pytest.fixture
def thirsty(X):
    return make_estimator(refiner=ThirstyRefiner(), max_steps=1).fit(X)


@pytest.mark.parametrize("beam_size", [1, 2, 3, 16, 300])
def test_the_network_sees_as_many_rows_whatever_the_beam(thirsty, rows, beam_size):
    thirsty.set_params(beam_size=beam_size)
    thirsty.network_.seen = []
    thirsty.encode(rows[:3])
    if beam_size <= TILE_ROWS:
        assert max(thirsty.network_.seen) == TILE_ROWS // beam_size * beam_size
    else:
        assert max(thirsty.network_.seen) == beam_size


OUT_OF_MEMORY = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    RuntimeError("MPS backend out of memory"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
@pytest.mark.parametrize(
    ("beam_size", "most", "left"), [(1, 100, "64 of 256"), (1, 1, "1 of 256"), (3, 99, "21 of 85")]
)
def test_coding_goes_on_with_fewer_rows_at_a_time(thirsty, rows, error, beam_size, most, left):
    thirsty.set_params(beam_size=beam_size)
    codes, reconstructed = thirsty.encode(rows), thirsty.reconstruct(rows)
    thirsty.network_.most, thirsty.network_.error = most, error
    with pytest.warns(UserWarning, match="Out of memory") as caught:
        np.testing.assert_array_equal(thirsty.encode(rows), codes)
    left = left.replace("of", "rows are coded at a time instead of")
    assert str(caught[0].message).startswith(f"Out of memory on cpu: from here on, {left}. The")
    assert len(caught) == 1
    with pytest.warns(UserWarning, match="Out of memory on cpu"):
        np.testing.assert_allclose(thirsty.reconstruct(rows), reconstructed, rtol=1e-5)
    with pytest.warns(UserWarning, match="Out of memory on cpu"):
        np.testing.assert_allclose(thirsty.decode(codes), reconstructed, rtol=1e-5)


def test_rows_that_cannot_be_prepared_together_are_so_in_parts(thirsty, rows, monkeypatch):
    codes, forward = thirsty.encode(rows), Preparation.forward

    def thrifty(self, X):
        if len(X) > 100:
            raise MemoryError
        return forward(self, X)

    monkeypatch.setattr(Preparation, "forward", thrifty)
    with pytest.warns(UserWarning, match="64 rows are coded at a time instead of 256"):
        np.testing.assert_array_equal(thirsty.encode(rows), codes)


@pytest.mark.parametrize(("error", "beam_size"), [(OUT_OF_MEMORY[0], 3), (OUT_OF_MEMORY[2], 1)])
def test_when_no_row_can_be_coded_the_error_says_so(thirsty, rows, error, beam_size):
    thirsty.set_params(beam_size=beam_size)
    thirsty.network_.most, thirsty.network_.error = beam_size - 1, error
    with pytest.raises(type(error)) as raised:
        thirsty.encode(rows)
    assert raised.value is error


def test_other_errors_are_not_taken_for_a_lack_of_memory(thirsty, rows):
    thirsty.network_.most, thirsty.network_.error = 100, RuntimeError("shapes do not match")
    thirsty.network_.seen = []
    with pytest.raises(RuntimeError, match="shapes do not match"):
        thirsty.encode(rows)
    assert set(thirsty.network_.seen) == {TILE_ROWS}
    assert len(thirsty.network_.seen) <= 3


LITTLE_MEMORY = """
import resource, sys, warnings
import numpy as np
import torch
from skvqdraw import VQDRAW
from skvqdraw.refiners import MLPRefiner

torch.set_num_threads(1)
X = np.random.default_rng(0).random((300, 20_000), dtype=np.float32)
vq = VQDRAW(4, 16, refiner=MLPRefiner(16), max_steps=1, batch_size=8, random_state=0).fit(X[:40])
expected = vq.encode(X)  # takes more than 245 MB: 128 rows of 24 basis vectors
with open("/proc/self/statm") as file:
    in_use = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (in_use + 135 * 2**20,) * 2)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    codes = vq.encode(X)
assert (codes == expected).all()
print(*[warning.message for warning in caught])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and RLIMIT_AS")
def test_encoding_under_a_limit_of_memory():
    run = subprocess.run([sys.executable, "-c", LITTLE_MEMORY], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("Out of memory on cpu: from here on, ") == 1


# Threads


@pytest.mark.parametrize("beam_size", [1, 4])
def test_threads_may_encode_with_one_estimator(estimator, rows, beam_size):
    estimator = deepcopy(estimator).set_params(beam_size=beam_size)
    pieces = [rows[start:] for start in range(0, 400, 50)]
    one_by_one = [estimator.encode(piece) for piece in pieces]
    with ThreadPoolExecutor(2) as threads:
        at_once = list(threads.map(estimator.encode, pieces))
    for alone, together in zip(one_by_one, at_once, strict=True):
        np.testing.assert_array_equal(together, alone)


def test_threads_write_into_one_array(estimator, rows):
    out = np.empty(estimator.encode(rows).shape, np.uint8)
    with ThreadPoolExecutor(2) as threads:
        parts = [threads.submit(estimator.encode, rows[s], out[s]) for s in gen_batches(612, 200)]
    assert all(part.exception() is None for part in parts)
    np.testing.assert_array_equal(out, estimator.encode(rows))


def cudnn_flags():
    cudnn = torch.backends.cudnn
    return cudnn.benchmark, cudnn.deterministic, cudnn.conv.fp32_precision


def test_a_thread_that_is_done_leaves_the_flags_of_another_alone():
    """cuDNN's flags are the process's: the first thread may leave before the second."""
    before, expected = cudnn_flags(), (False, True, "ieee")
    assert before != expected
    second_is_in, first_is_out = threading.Event(), threading.Event()
    seen = []

    def second():
        with exact(torch.device("cuda")):
            second_is_in.set()
            first_is_out.wait(10)
            seen.append(cudnn_flags())

    thread = threading.Thread(target=second)
    with exact(torch.device("cuda")):
        thread.start()
        assert second_is_in.wait(10)
        seen.append(cudnn_flags())
    first_is_out.set()
    thread.join()
    assert seen == [expected, expected]
    assert cudnn_flags() == before


def test_encoding_touches_no_parameter(thirsty, rows, monkeypatch):
    """Module.to sets each of them anew, even where they are."""
    monkeypatch.setattr(Thirsty, "_apply", None)
    thirsty.encode(rows)


class Moving(torch.nn.Module):
    """Moves one parameter after the other, so that other threads come in between."""

    def __init__(self):
        super().__init__()
        self.first, self.second = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))

    def to(self, device):
        for name in ("first", "second"):
            setattr(self, name, torch.nn.Parameter(torch.ones(2, device=device)))
            threading.Event().wait(0.05)


def test_no_thread_sees_a_network_half_moved(fitted, monkeypatch):
    monkeypatch.setattr("skvqdraw.training.estimator.resolve_device", torch.device)
    vq = deepcopy(fitted).set_params(device="meta")
    vq.network_ = Moving()

    def devices():
        return {parameter.device.type for parameter in vq._network_on_device().parameters()}

    with ThreadPoolExecutor(2) as threads:
        seen = [threads.submit(devices) for _ in range(2)]
    assert [part.result() for part in seen] == [{"meta"}, {"meta"}]


class SlowRefiner(Refiner):
    """Lets other threads run between two draws of its network."""

    def build(self, n_features, n_stages, n_options):
        network = Thirsty(n_features, n_stages, n_options)
        threading.Event().wait(0.02)
        torch.nn.init.normal_(network.moves)
        return network


def test_threads_that_build_networks_leave_the_random_stream_alone():
    def build(seed):
        with from_seed(seed, ours=False):
            return SlowRefiner().build(5, 2, 3)

    state = torch.get_rng_state()
    alone = [build(seed).moves for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        parts = [threads.submit(build, seed) for seed in range(4)]
    for network, moves in zip(parts, alone, strict=True):
        assert torch.equal(network.result().moves, moves)
    assert torch.equal(torch.get_rng_state(), state)


# Processes


def test_a_fitted_estimator_is_not_much_larger_than_its_network():
    vq = load_pretrained("mnist-60bit")
    arrays = [vq.mean_, vq.code_usage_, *(p.detach().numpy() for p in vq.network_.parameters())]
    assert len(pickle.dumps(vq)) < 1.05 * sum(array.nbytes for array in arrays)


@pytest.fixture
def on_disk(rows, tmp_path):
    """Rows in a file, and a file for their codes."""
    np.lib.format.open_memmap(tmp_path / "codes.npy", "w+", np.uint8, (len(rows), 4))
    codes = np.load(tmp_path / "codes.npy", mmap_mode="r+")
    return memory_map(tmp_path / "X.npy", rows), codes


def encode_part(estimator, X, codes, part):
    estimator.encode(X[part], out=codes[part])


def test_processes_write_into_one_file(fitted, on_disk):
    """joblib hands memory maps to its workers by name."""
    X, codes = on_disk
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        joblib.Parallel(n_jobs=2)(
            joblib.delayed(encode_part)(fitted, X, codes, part)
            for part in gen_batches(len(X), TILE_ROWS)
        )
    np.testing.assert_array_equal(codes, fitted.encode(X))


def test_dask(fitted, on_disk, tmp_path, monkeypatch):
    """The recipe of the documentation, and joblib's dask backend, on a cluster of two processes."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    pytest.importorskip("dask.array", reason="dask is not installed")
    X, _ = on_disk
    expected = fitted.encode(X)
    fitted.save(tmp_path / "model.safetensors")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path
    ) as cluster:
        paths = [str(tmp_path / name) for name in ("model.safetensors", "X.npy", "d.npy")]
        monkeypatch.setattr(sys, "argv", ["", cluster.scheduler_address, *paths])
        runpy.run_path(str(DOCS / "encode_on_cluster.py"), run_name="__main__")
        np.testing.assert_array_equal(np.load(paths[-1]), expected)
        assert np.load(paths[-1]).dtype == expected.dtype
        with distributed.Client(cluster), joblib.parallel_config("dask"):
            parts = joblib.Parallel()(
                joblib.delayed(fitted.encode)(X[part]) for part in gen_batches(len(X), TILE_ROWS)
            )
    np.testing.assert_array_equal(np.concatenate(parts), expected)

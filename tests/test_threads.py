"""Coding in several threads, and of few rows: the same codes, and no more threads than asked for."""

import threading
import time
from copy import deepcopy

import joblib
import numpy as np
import pytest
import torch

from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw._products import product
from skvqdraw._rows import TILE_ROWS
from skvqdraw._threads import count_threads, in_order
from skvqdraw.nn import DenseRound, RefinementNetwork
from skvqdraw.nn import coding as coding_module
from skvqdraw.nn import tiles as tiles_module
from skvqdraw.nn.work import count_multiplications, go_through_stages
from skvqdraw.refiners import ConvRefiner, MLPRefiner
from skvqdraw.training import threads as threads_module
from skvqdraw.training.threads import StepThreads, meet_at_once

X = np.random.default_rng(0).random((300, 36), dtype=np.float32)
N_ROWS = (1, 2, 7, 8, 9, 40, 128, 171, 256, 257, 300)


def drawing(refiner=None, **params):
    refiner = refiner or MLPRefiner(hidden_size=16, basis_size=4)
    return VQDRAW(5, 8, refiner=refiner, max_steps=5, random_state=0, **params).fit(X)


def boosting(**params):
    return ClusterBoosting(5, 8, random_state=0, **params).fit(X)


ESTIMATORS = {
    "MLP": drawing,
    "MLP, beam 3": lambda: drawing(beam_size=3),
    "MLP, greedy": lambda: drawing(round_beam_size=1),
    "MLP, log loss": lambda: drawing(loss="log_loss"),
    "images": lambda: drawing(ConvRefiner((6, 6), n_channels=8, downsampling=2)),
    "boosting": boosting,
    "boosting, beam 4": lambda: boosting(beam_size=4),
    "boosting, log loss": lambda: boosting(loss="log_loss"),
}


@pytest.fixture(scope="module", params=ESTIMATORS)
def fitted(request):
    return ESTIMATORS[request.param]()


@pytest.fixture
def two_threads():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(n_threads)


def test_codes_of_any_number_of_rows_are_the_same(fitted):
    codes, soft = fitted.encode(X), fitted.set_params(encoding="soft").transform(X)
    decoded = fitted.decode(codes)
    for n in N_ROWS:
        for _ in range(3):  # tiles of few rows come into use once they have shown what they do
            rows = slice(len(X) - n, None)
            np.testing.assert_array_equal(fitted.encode(X[rows]), codes[rows])
            np.testing.assert_array_equal(fitted.decode(codes[rows]), decoded[rows])
            np.testing.assert_array_equal(fitted.transform(X[rows]), soft[rows])


@pytest.mark.parametrize(("n_features", "n_options"), [(1, 3), (5, 4), (6, 11), (9, 7), (17, 8)])
def test_losses_do_not_depend_on_the_place_of_a_row(n_features, n_options):
    rows, refiner = X[:, :n_features], MLPRefiner(16, basis_size=6, stages_per_round=2)
    params = {"max_steps": 2, "n_jobs": 1, "device": "cpu", "random_state": 0}
    vq = VQDRAW(3, n_options, refiner=refiner, **params).fit(rows)
    for _, _, losses in vq._option_losses(np.repeat(rows[:1], TILE_ROWS, axis=0)):
        np.testing.assert_array_equal(losses, np.broadcast_to(losses[0], losses.shape))


@pytest.mark.parametrize("n_jobs", [None, 1, 2, 3, -1])
def test_codes_do_not_depend_on_n_jobs(n_jobs):
    vq = drawing()
    codes = vq.encode(X)
    vq.set_params(n_jobs=n_jobs)
    np.testing.assert_array_equal(vq.encode(X), codes)
    np.testing.assert_array_equal(vq.decode(codes), vq.reconstruct(X))


class Spying(RefinementNetwork):
    """Moves of its own for each stage; notes who computes, how, and of how many rows."""

    draws = False

    def __init__(self, n_features, n_stages, n_options):
        super().__init__()
        self.moves = torch.nn.Parameter(torch.randn(n_stages, n_options, n_features))
        self.seen, self.of_rows = [], 0.0

    def forward(self, x, stage):
        if not self.training:
            self.seen.append((threading.get_ident(), torch.get_num_threads(), len(x)))
            time.sleep(0.002)
        # With `of_rows`, what comes of a row depends on how many there are.
        return DenseRound(x[:, None] + self.moves[stage] + self.of_rows * len(x))


class SpyingRefiner(MLPRefiner):
    def build(self, n_features, n_stages, n_options):
        return Spying(n_features, n_stages, n_options)


@pytest.mark.parametrize("n_jobs", [1, 2, 3])
def test_as_many_threads_as_asked_for_and_each_computes_alone(two_threads, n_jobs):
    vq = drawing(SpyingRefiner(), n_jobs=n_jobs)
    rows = np.tile(X, (10, 1))
    for n_threads in (n_jobs, count_threads(None)):
        vq.network_.seen.clear()
        vq.set_params(n_jobs=n_jobs if n_threads == n_jobs else None).encode(rows)
        assert len({ident for ident, _, _ in vq.network_.seen}) == n_threads
        assert {alone for _, alone, _ in vq.network_.seen} == {1}
        assert threading.get_ident() not in {ident for ident, _, _ in vq.network_.seen}
        n_threads_here = torch.get_num_threads()
        assert n_threads_here == 2
    of_others = []
    thread = threading.Thread(target=lambda: of_others.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert of_others == [2]


def test_threads_that_began_under_another_number_compute_alone_too(two_threads):
    torch.set_num_threads(1)
    assert list(in_order(lambda i: i, range(3), 5)) == [0, 1, 2]
    torch.set_num_threads(2)
    counts = in_order(lambda i: torch.get_num_threads(), range(20), 5)
    assert set(counts) == {1}


def test_threads_are_shared_by_all_who_call(two_threads):
    vq = drawing(SpyingRefiner())
    vq.network_.seen.clear()
    callers = [threading.Thread(target=vq.encode, args=[X]) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len({ident for ident, _, _ in vq.network_.seen}) <= 2


def forget_what_was_seen():
    tiles_module._Trust._known.clear()


def rows_seen(vq, n_rows):
    vq.network_.seen.clear()
    vq.encode(X[:n_rows])
    return {n for _, _, n in vq.network_.seen}


def test_few_rows_take_small_tiles_once_these_have_computed_the_same():
    vq = drawing(SpyingRefiner(), n_jobs=1)
    forget_what_was_seen()
    assert rows_seen(vq, 1) == {2, 256}  # both, and compared
    assert rows_seen(vq, 1) == rows_seen(vq, 2) == {2}
    assert rows_seen(vq, 40) == {64, 256}
    assert rows_seen(vq, 40) == {64}
    assert rows_seen(vq, 130) == {256}
    assert rows_seen(vq, 258) == {2, 256}


def test_wide_rows_have_smaller_tiles():
    wide = np.tile(X, (1, 15))
    vq = VQDRAW(2, 4, refiner=SpyingRefiner(), max_steps=1, random_state=0, n_jobs=1).fit(wide)
    vq.network_.seen.clear()
    vq.encode(wide)
    assert {n for _, _, n in vq.network_.seen} == {64, 128}


def test_few_rows_are_shared_by_all_threads(two_threads):
    vq = drawing(SpyingRefiner(), n_jobs=2)
    forget_what_was_seen()
    for n_rows, size in ((2, 2), (4, 2), (5, 4), (64, 32), (260, 256)):
        vq.encode(X[:n_rows])
        assert max(rows_seen(vq, n_rows)) == size
        assert len({ident for ident, _, _ in vq.network_.seen}) == min(2, -(-n_rows // size))


def test_tiles_that_round_another_way_are_never_used():
    vq = drawing(SpyingRefiner(), n_jobs=1)
    forget_what_was_seen()
    vq.network_.of_rows = 1e-3
    expected = vq.encode(X[:256])
    for _ in range(7):
        np.testing.assert_array_equal(vq.encode(X[:3]), expected[:3])
    assert rows_seen(vq, 3) == {256}


def test_what_prefixes_show_says_nothing_of_longer_codes():
    vq = drawing(ConvRefiner((6, 6), n_channels=8, downsampling=2), n_jobs=1)
    forget_what_was_seen()
    for length in (0, 1, 5):
        vq.decode(np.zeros((3, length), dtype=int))
    known = tiles_module._Trust._known[vq.network_]
    assert sorted(how[:2] for how in known) == [("decode", 0), ("decode", 1), ("decode", 5)]


def test_losses_that_differ_in_the_last_bit_are_noticed(monkeypatch):
    """Also where the codes are the same."""
    vq = drawing(n_jobs=1)
    forget_what_was_seen()
    small = coding_module.RoundCoder.encode

    def nudged(self, target_ND, n_stages):
        nudge = 1 + (self.n_samples < 256) * 1e-7
        return small(self, target_ND * nudge, n_stages)

    monkeypatch.setattr(coding_module.RoundCoder, "encode", nudged)
    known = tiles_module._Trust._known
    vq.encode(X[:5])
    assert list(known[vq.network_].values()) == [{8: -1}]
    vq.encode(X[:5])
    assert list(known[vq.network_].values()) == [{8: -1, 16: -1}]


def test_calls_come_in_order_and_few_at_a_time():
    going, most, lock = 0, 0, threading.Lock()

    def call(i):
        nonlocal going, most
        with lock:
            going += 1
            most = max(most, going)
        time.sleep(0.001 * (i % 3))
        with lock:
            going -= 1
        return i

    assert list(in_order(call, range(30), 3)) == list(range(30))
    assert most == 3


def test_after_an_error_or_a_stop_nothing_goes_on():
    going = []

    def call(i):
        going.append(i)
        time.sleep(0.01)
        going.remove(i)
        if i == 5:
            raise KeyError(i)
        return i

    with pytest.raises(KeyError, match="5"):
        list(in_order(call, range(100), 2))
    assert not going
    calls = in_order(call, range(10, 100), 2)
    assert next(calls) == 10
    calls.close()
    assert not going


def test_a_call_within_a_call_waits_for_no_thread():
    def inner(i):
        return list(in_order(lambda j: (i, j), range(3), 1))

    assert list(in_order(inner, range(4), 1))[3] == [(3, 0), (3, 1), (3, 2)]


def test_one_thread_in_a_worker_of_joblib(two_threads):
    assert count_threads(None) == 2
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        counts = joblib.Parallel(n_jobs=2)(joblib.delayed(count_threads)(None) for _ in range(2))
    assert counts == [1, 1]


@pytest.mark.parametrize("n_rows", [0, 1, 5, TILE_ROWS, TILE_ROWS + 1, 3 * TILE_ROWS])
def test_products_are_those_of_numpy_and_of_each_row_alone(n_rows):
    rng = np.random.default_rng(1)
    rows, matrix = rng.random((n_rows, 70), dtype=np.float32), rng.random((70, 9), dtype=np.float32)
    np.testing.assert_allclose(product(rows, matrix), rows @ matrix, rtol=1e-5)
    for i in range(0, n_rows, 100):
        np.testing.assert_array_equal(
            product(rows[i : i + 1], matrix), product(rows, matrix)[i : i + 1]
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 2), (5, 4), (17, 3), (36, 9), (64, 64), (100, 7)])
def test_products_do_not_depend_on_the_place_of_a_row(shape, dtype):
    rng = np.random.default_rng(0)
    row, matrix = rng.random((1, shape[0]), dtype), rng.random(shape, dtype)
    for layout in (matrix, np.asfortranarray(matrix)):
        products = product(np.repeat(row, TILE_ROWS + 9, axis=0), layout)
        assert products.dtype == dtype
        np.testing.assert_array_equal(products, np.broadcast_to(products[0], products.shape))


class Watching(MLPRefiner):
    """Builds a network that notes with how many threads it is trained."""

    seen = ()

    def build(self, *shape, **kwargs):
        network = super().build(*shape, **kwargs)
        Watching.seen = set()

        def note(module, inputs):
            if module.training:
                Watching.seen.add(torch.get_num_threads())

        network.register_forward_pre_hook(note)
        return network


@pytest.mark.parametrize(("hidden_size", "n_threads"), [(16, 1), (1200, 2)])
def test_small_steps_are_made_in_one_thread(two_threads, monkeypatch, hidden_size, n_threads):
    monkeypatch.setattr(threads_module, "meet_at_once", lambda n_threads: True)
    vq = drawing(Watching(hidden_size=hidden_size), early_stopping=True)
    assert Watching.seen == {n_threads}
    assert torch.get_num_threads() == 2
    assert vq.n_steps_ == 5


def test_a_small_fit_does_not_depend_on_the_number_of_threads(two_threads):
    codes = drawing().encode(X)
    torch.set_num_threads(1)
    np.testing.assert_array_equal(drawing().encode(X), codes)


def test_a_fit_whose_threads_do_not_meet_is_that_of_one_thread(two_threads, monkeypatch):
    monkeypatch.setattr(threads_module, "meet_at_once", lambda n_threads: False)
    vq = drawing(Watching(hidden_size=1200))
    assert Watching.seen == {1}
    torch.set_num_threads(1)
    alone = drawing(Watching(hidden_size=1200))
    assert vq.loss_curve_[-1]["loss"] == alone.loss_curve_[-1]["loss"]
    np.testing.assert_array_equal(vq.decode(vq.encode(X)), alone.decode(alone.encode(X)))


def test_no_more_threads_than_cores_share_a_step(two_threads, monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")  # what joblib counts in a container of one core
    drawing(Watching(hidden_size=1200))
    assert Watching.seen == {1}


class Machine:
    """A machine on which steps and trials take the seconds that it is told, and no others.

    With all cores free a step takes 1 / n_threads seconds. While some are busy, threads that have
    one each take as long, and each more than that makes a step take 100 s.
    """

    def __init__(self, n_cores, n_busy, trials_fail=True):
        self.now, self.n_cores, self.n_busy = 0.0, n_cores, n_busy
        self.trials_fail = trials_fail
        self.threads = StepThreads(n_cores, meet=self.meet, clock=lambda: self.now)
        self.counts = []

    def meet(self, n_threads):
        fits = n_threads + self.n_busy(self.now) <= self.n_cores
        self.now += 0.01 if fits else 0.03
        return fits or not self.trials_fail

    def run(self, n_steps):
        for _ in range(n_steps):
            self.threads.before_step()
            n = self.threads.n
            self.counts.append(n)
            fits = n == 1 or n + self.n_busy(self.now) <= self.n_cores
            self.now += 1 / n if fits else 100.0
            self.threads.after_step()
        return self.now


@pytest.fixture
def unchanged_threads(monkeypatch):
    monkeypatch.setattr(threads_module, "set_threads_here", lambda n_threads: None)


@pytest.mark.parametrize("n_cores", [2, 3, 4, 16])
def test_an_idle_machine_makes_all_steps_with_all_threads(unchanged_threads, n_cores):
    machine = Machine(n_cores, lambda now: 0)
    seconds = machine.run(1000)
    assert set(machine.counts) == {n_cores}
    assert seconds == pytest.approx(1000 / n_cores, abs=0.05)


@pytest.mark.parametrize(
    ("n_cores", "n_busy", "n_used"), [(2, 1, 1), (4, 1, 3), (4, 2, 2), (8, 5, 2)]
)
def test_beside_busy_cores_fewer_threads_make_steps(unchanged_threads, n_cores, n_busy, n_used):
    machine = Machine(n_cores, lambda now: n_busy)
    assert machine.run(500) < 1.1 * 500 / n_used
    assert set(machine.counts) == {n_used}


def test_all_threads_come_back_when_the_machine_is_idle_again(unchanged_threads):
    machine = Machine(2, lambda now: 100 < now < 300)
    seconds = machine.run(1000)
    assert machine.counts[:100] == machine.counts[-100:] == [2] * 100
    one_slow_step = 100
    assert seconds < 1.1 * (100 / 2 + 200 + one_slow_step + (1000 - 2 * 100 - 200) / 2)


def test_a_single_slow_step_changes_nothing_if_threads_meet(unchanged_threads):
    machine = Machine(2, lambda now: 0)
    machine.run(10)
    machine.threads.before_step()
    machine.now += 50
    machine.threads.after_step()
    machine.run(10)
    assert set(machine.counts) == {2}


def test_threads_that_are_not_to_be_chosen_are_left_alone(two_threads):
    for most, n_threads in ((None, 2), (1, 1)):
        threads = StepThreads(most)

        def steps(threads=threads):
            for _ in range(3):
                threads.before_step()
                threads.after_step()
                yield torch.get_num_threads()

        assert list(threads.each(steps())) == [n_threads] * 3
        n_threads_after = torch.get_num_threads()
        assert n_threads_after == 2


def test_a_trial_gives_this_thread_as_many_as_it_tries(two_threads):
    met = meet_at_once(1)
    assert isinstance(met, bool)
    assert torch.get_num_threads() == 1


def test_an_error_in_training_leaves_the_threads_as_they_were(two_threads):
    class Failing(MLPRefiner):
        def build(self, *shape, **kwargs):
            network = super().build(*shape, **kwargs)

            def fail(module, inputs):
                if module.training:
                    assert torch.get_num_threads() == 1
                    raise KeyError("on purpose")

            network.register_forward_pre_hook(fail)
            return network

    with pytest.raises(KeyError, match="on purpose"):
        drawing(Failing(hidden_size=16))
    assert torch.get_num_threads() == 2


def naive_multiplications(network, n_rows):
    """Of the layers of an MLPRefiner's network: K rows of the first round, N of the others."""
    total = 0
    for trunk in range(len(network.trunks)):
        weights = [p for p in network.trunks[trunk].parameters() if p.ndim == 2]
        linear = sum(w.numel() for w in weights if w.shape[1] > 1 and w.shape[0] > 1)
        total += linear * (len(network.table) if trunk == 0 else n_rows)
    return total


@pytest.mark.parametrize("n_rows", [1, 2, 64])
def test_multiplications_are_counted(n_rows):
    network = drawing(MLPRefiner(hidden_size=16, basis_size=4, stages_per_round=2)).network_
    counted = count_multiplications(
        network, n_rows, lambda: go_through_stages(network, X.shape[1], 5)
    )
    assert counted == naive_multiplications(network, n_rows)
    assert not any(module._forward_hooks for module in network.modules())


def test_multiplications_of_convolutions():
    network = torch.nn.Conv2d(3, 5, 3, padding=1)

    class Drawing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = network

        def forward(self, x, stage):
            return DenseRound(self.conv(x.view(-1, 3, 4, 4)).flatten(1)[:, None])

    drawing = Drawing()
    counted = count_multiplications(drawing, 7, lambda: go_through_stages(drawing, 48, 2))
    assert counted == 2 * 7 * (5 * 16) * (3 * 9)


def test_layers_that_see_regions_count_for_every_row():
    refiner = ConvRefiner(
        (8, 8), n_blocks=0, n_channels=8, downsampling=4, hidden_size=5, basis_size=3, splits=2
    )
    network = refiner.set_params(stages_per_round=1).build(64, 9, 6)
    counted = count_multiplications(network, 7, lambda: go_through_stages(network, 64, 9), 6)
    # Two rounds, each of four regions that are patches of 16 pixels.
    convolutions = 4 * (8 * 16 * 9 + 16 * 3 * 8)
    of_regions = 4 * (5 * 16 + 16 * 3 * 5)
    assert counted == 2 * 7 * (convolutions + of_regions)


def test_multiplications_of_transposed_convolutions():
    layer = torch.nn.ConvTranspose2d(3, 5, 4, 2, 1)
    counted = count_multiplications(layer, 7, lambda: layer(torch.zeros(1, 3, 6, 8)))
    assert counted == 7 * (3 * 6 * 8) * (5 * 4 * 4)


@pytest.mark.parametrize("make", [lambda: boosting(beam_size=4), drawing], ids=["tables", "round"])
def test_what_is_kept_with_a_model_is_made_anew_where_it_would_differ(make):
    changed = make()
    before = changed.encode(X)
    if isinstance(changed, ClusterBoosting):
        changed.codebooks_ *= 1.5
    else:
        with torch.no_grad():
            for parameter in changed.network_.parameters():
                parameter.data.mul_(1.5)
    codes = changed.encode(X)
    assert (codes != before).any()
    np.testing.assert_array_equal(deepcopy(changed).encode(X), codes)
    changed.set_params(beam_size=2)
    np.testing.assert_array_equal(changed.encode(X), deepcopy(changed).encode(X))

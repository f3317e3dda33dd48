import itertools
import time
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skvqdraw import VQDRAW, VQVAE
from skvqdraw.losses import SquaredError
from skvqdraw.nn.arrays import load_network_arrays, network_arrays
from skvqdraw.nn.preparation import Preparation
from skvqdraw.refiners import MLPRefiner
from skvqdraw.training.batches import (
    endless_order,
    one_pass,
    prepared_batches,
)
from skvqdraw.training.distributed import SingleProcess
from skvqdraw.training.loop import make_optimizer, train
from skvqdraw.training.plan import Plan
from skvqdraw.training.schedule import constant, warm_up_and_cosine
from skvqdraw.training.state import TrainingState, load_optimizer_arrays, optimizer_arrays
from skvqdraw.training.threads import StepThreads

SQUARED = SquaredError()
mean_and_scale = SQUARED.mean_and_scale


def test_mean_and_scale_against_numpy():
    rng = np.random.default_rng(0)
    X = rng.normal(3, [1, 5, 2], size=(9000, 3))
    weight = rng.integers(0, 3, size=9000).astype(float)
    repeated = np.repeat(X, weight.astype(int), axis=0)
    mean, scale = mean_and_scale(X, weight)
    np.testing.assert_allclose(mean, repeated.mean(axis=0), rtol=1e-12)
    assert scale == pytest.approx(np.sqrt(repeated.var(axis=0).mean()), rel=1e-12)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.uint8, np.float32),
        (np.float16, np.float32),
        (np.float32, np.float32),
        (np.int64, np.float64),
        (np.float64, np.float64),
    ],
)
def test_rows_come_back_in_the_dtype_that_holds_them(dtype, expected):
    X = np.arange(12).reshape(4, 3).astype(dtype)
    preparation = Preparation(SQUARED, *mean_and_scale(X, np.ones(4)))
    rows = preparation.forward(X)
    assert rows.dtype == torch.float32
    assert preparation.inverse(rows).dtype == expected


@pytest.mark.parametrize("value", [0.1, -1e6, 1e-6, 1e-300, 0.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_data_have_no_scale(value, dtype):
    X = np.full((1000, 3), value, dtype)
    mean, scale = mean_and_scale(X, np.ones(1000))
    np.testing.assert_array_equal(mean, X[0])
    assert scale == 0


@pytest.mark.parametrize("constant", [1.7e9, 0.1, -3e15])
@pytest.mark.parametrize("unit", [1e-5, 1e-140])
def test_what_is_constant_in_one_column_says_nothing_of_the_others(constant, unit):
    """Also in rows that have a weight of 0, and where weights are no powers of 2."""
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(3000, 8)) * unit, rng.integers(0, 3, size=3000) / 3
    X[:, 0] = constant
    X[weight == 0] = 1e9
    mean, scale = mean_and_scale(X, weight)
    others = np.repeat(X[:, 1:], np.round(3 * weight).astype(int), axis=0)
    assert mean[0] == constant
    assert scale == pytest.approx(np.sqrt((others / unit).var(axis=0).sum() / 8) * unit, rel=1e-9)


@pytest.mark.parametrize(("value", "size"), [(1e200, "large"), (1e-170, "small")])
def test_a_variance_out_of_range_is_named(value, size):
    X = np.array([[value], [-value]])
    with pytest.raises(ValueError, match=f"variance of X is too {size} for float64; rescale X"):
        mean_and_scale(X, np.ones(2))


def test_rows_whose_reconstructions_their_dtype_cannot_hold():
    """After a short fit they lie farther from the mean than rows."""
    X = np.array([[-2e38], [2e38], [3.3e38]], np.float32)
    mean, scale = mean_and_scale(X, np.array([1.0, 1.0, 0.0]))
    assert (mean.dtype, mean[0], scale) == (np.float32, 0, pytest.approx(2e38))
    assert mean_and_scale(np.full((9, 1), 3.3e38, np.float32), np.ones(9))[1] == 0
    assert np.isfinite(mean_and_scale(X.astype(np.float64), np.ones(3))[1])
    with pytest.raises(ValueError, match=r"as far as 3.1e\+38 from .* float32; rescale X.*float64"):
        mean_and_scale(X, np.ones(3))


@pytest.mark.parametrize("estimator", [VQDRAW(2, 4, max_steps=5), VQVAE(4, max_steps=5)])
def test_reconstructions_are_finite_or_refused(estimator):
    """Without a warning of numpy's, either."""
    rows = np.random.default_rng(0).uniform(-1, 1, size=(50, 3)).astype(np.float32)
    estimator.set_params(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(estimator.fit(rows * np.float32(1.5e38)).reconstruct(rows)).all()
        before = estimator.fingerprint()
        for method in ("fit", "partial_fit"):
            again = clone(estimator) if method == "partial_fit" else estimator
            with pytest.raises(ValueError, match="reconstructions may be too large for float32"):
                getattr(again, method)(rows * np.float32(3.3e38))
        assert estimator.fingerprint() == before


def test_preparation_there_and_back():
    rng = np.random.default_rng(0)
    X = 1e6 + rng.normal(size=(20, 6))
    order = rng.permutation(6)
    preparation = Preparation(SQUARED, *mean_and_scale(X, np.ones(20)), order)
    rows = preparation.forward(X)
    expected = ((X - X.mean(axis=0)) / np.sqrt(X.var(axis=0).mean()))[:, order]
    np.testing.assert_allclose(rows.numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(preparation.inverse(rows), X, atol=1e-6)


@pytest.mark.parametrize("feature_order", [None, np.arange(6)[::-1]])
def test_prepared_rows_have_one_layout_in_memory(feature_order):
    """Sums over rows in another layout round another way, which could change a code."""
    X = np.random.default_rng(0).normal(size=(20, 6))
    preparation = Preparation(SQUARED, *mean_and_scale(X, np.ones(20)), feature_order)
    for layout in (X, np.asfortranarray(X), np.repeat(X, 2, axis=1)[:, ::2]):
        rows = preparation.forward(layout)
        assert rows.is_contiguous()
        assert torch.equal(rows, preparation.forward(X))


def test_endless_order_is_one_permutation_after_another():
    rows = np.array([3, 5, 7, 9, 11])
    batches = itertools.islice(endless_order(rows, 2, np.random.default_rng(0)), 5)
    order = np.concatenate(list(batches)).reshape(2, 5)
    assert (np.sort(order, axis=1) == rows).all()
    assert (order[0] != order[1]).any()


def test_batches_are_never_larger_than_the_data():
    (batch,) = itertools.islice(endless_order(np.arange(3), 64, np.random.default_rng(0)), 1)
    assert sorted(batch) == [0, 1, 2]


def test_one_pass_sees_each_row_once():
    batches = one_pass(np.arange(10), 4, np.random.default_rng(0))
    assert sorted(len(batch) for batch in batches) == [3, 3, 4]
    assert sorted(np.concatenate(batches)) == list(range(10))


def test_schedule_warms_up_and_ends_low():
    factors = [warm_up_and_cosine(progress) for progress in np.linspace(0, 1, 101)]
    peak = int(np.argmax(factors))
    assert peak == 5
    assert factors[peak] == pytest.approx(1.0)
    assert all(a < b for a, b in itertools.pairwise(factors[: peak + 1]))
    assert all(a > b for a, b in itertools.pairwise(factors[peak:]))
    assert factors[-1] == pytest.approx(0.005)
    assert factors[0] > 0
    assert constant(0.3) == 1.0


class Setting:
    """A small network and batches to train it with."""

    def __init__(self, n_rows=40):
        torch.manual_seed(0)
        estimator = VQDRAW(3, 4, refiner=MLPRefiner(hidden_size=8, basis_size=3))
        estimator.n_features_in_ = 4
        self.task = estimator._task(resume=False)
        self.task.device = torch.device("cpu")
        self.network = self.task.network = self.task.build()
        self.optimizer = make_optimizer(self.network, 1e-2, 0.0)
        self.state = TrainingState(self.network, self.optimizer, 0)
        self.X = np.random.default_rng(0).normal(size=(n_rows, 4))
        mean, scale = mean_and_scale(self.X, np.ones(n_rows))
        self.task.load_arrays({"mean": mean, "scale": scale})
        self.order = endless_order(np.arange(n_rows), 16, np.random.default_rng(1))

    def train(self, **changes):
        weight, processes = np.ones(len(self.X)), SingleProcess()
        batches = prepared_batches(self.task, self.X, None, weight, self.order, processes)
        told = {"started": changes.pop("started", time.perf_counter()), "processes": processes}
        told["threads"] = StepThreads(None)
        options = {"schedule": constant, "learning_rate": 1e-2, "max_steps": 20, "n_records": 5}
        plan = Plan(**{**options, **changes})
        return list(train(self.state, batches, self.task, plan, **told))


def test_records_are_spread_over_the_budget():
    records = Setting().train()
    assert [record["step"] for record in records] == [4, 8, 12, 16, 20]
    assert all(set(record) == {"step", "seconds", "loss", "error", "entropy"} for record in records)
    assert records[-1]["error"] < records[0]["error"]
    assert all(0 < record["entropy"] <= 3 * 2 for record in records)


def test_no_steps_leave_the_network_alone():
    setting = Setting()
    before = network_arrays(setting.network)
    assert setting.train(max_steps=0) == []
    after = network_arrays(setting.network)
    assert all((after[name] == before[name]).all() for name in before)


def test_a_time_budget_ends():
    started = time.perf_counter()
    records = Setting().train(max_steps=None, max_time=0.3, started=started)
    assert records[-1]["seconds"] >= 0.3
    assert time.perf_counter() - started < 30


def test_a_budget_already_spent_still_makes_one_step():
    records = Setting().train(max_time=1e-9)
    assert [record["step"] for record in records] == [1]


def test_the_schedule_starts_at_its_start_however_late_that_is():
    seen = []

    def schedule(progress):
        seen.append(progress)
        return 1.0

    late = time.perf_counter() - 0.5
    Setting().train(schedule=schedule, max_steps=None, max_time=0.7, started=late)
    assert seen[0] == 0
    assert len(seen) > 1


def test_steps_go_on_counting():
    setting = Setting()
    setting.train(max_steps=4)
    setting.state = TrainingState(setting.network, setting.optimizer, setting.state.step)
    assert [record["step"] for record in setting.train(max_steps=4, n_records=2)] == [6, 8]
    assert setting.state.step == 8


def test_learning_rate_follows_the_schedule():
    seen = []

    def schedule(progress):
        seen.append(progress)
        return 0.5

    setting = Setting()
    setting.train(schedule=schedule, max_steps=4, n_records=1)
    assert seen == [0, 0.25, 0.5, 0.75]
    assert setting.optimizer.param_groups[0]["lr"] == 0.5 * 1e-2


def test_state_round_trip_continues_to_the_bit():
    whole, halves = Setting(), Setting()
    whole.train(max_steps=8)
    halves.train(max_steps=4)
    resumed = Setting()
    load_network_arrays(resumed.network, network_arrays(halves.network))
    load_optimizer_arrays(resumed.optimizer, optimizer_arrays(halves.optimizer))
    resumed.order = halves.order
    resumed.train(max_steps=4)
    expected, got = network_arrays(whole.network), network_arrays(resumed.network)
    assert all((got[name] == expected[name]).all() for name in expected)


def test_the_optimizer_goes_on_with_parameters_of_any_memory_layout():
    """A fused optimizer walks through parameter and memory in the order of their bytes."""

    def setting():
        torch.manual_seed(0)
        network = torch.nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
        return network, make_optimizer(network, 1e-2, 0.0)

    def step(network, optimizer, x):
        optimizer.zero_grad()
        network(x).square().sum().backward()
        optimizer.step()

    x = torch.randn(3, 2, 4, 5, 5)
    network, optimizer = setting()
    step(network, optimizer, x[0])
    resumed, its_optimizer = setting()
    load_network_arrays(resumed, network_arrays(network))
    load_optimizer_arrays(its_optimizer, optimizer_arrays(optimizer))
    for some in x[1:]:
        step(network, optimizer, some)
        step(resumed, its_optimizer, some)
    assert torch.equal(resumed.weight, network.weight)


def test_an_optimizer_refuses_memory_of_another_shape():
    network = torch.nn.Linear(3, 2)
    memory = {"0.step": np.float32(1), "0.exp_avg": np.zeros(1), "0.exp_avg_sq": np.zeros((2, 3))}
    with pytest.raises(ValueError, match=r"a parameter of shape \(2, 3\) has shape \(1,\)"):
        load_optimizer_arrays(make_optimizer(network, 1e-2, 0.0), memory)

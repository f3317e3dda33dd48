"""A fit: a training from its start or its checkpoint to its end, apart from the estimator."""

import time
from copy import deepcopy
from dataclasses import replace
from functools import cached_property, partial

import numpy as np
import torch

from .._device import is_out_of_memory, resolve_device
from .._meeting import one_thread
from .._threads import most_threads, threads_here, threads_worth
from .._warn import warn
from ..exceptions import FormatError
from ..files.learned import records_from_arrays, records_to_arrays
from ..nn.arrays import array_of, group, load_network_arrays, network_arrays, tensor_of
from ..nn.build import from_seed
from .batches import endless_order, one_pass, prepared_batches
from .checkpoint import DivergenceError, checkpoint_of
from .early_stopping import EarlyStopping
from .loop import make_optimizer, train
from .progress import Progress
from .state import TrainingState, load_optimizer_arrays, optimizer_arrays
from .threads import StepThreads

# Rows on which a model is judged between steps and at the end: more would cost more than they tell.
_JUDGED_ROWS = 2048
# Steps after which a model has learned little.
_FEW_STEPS = 50
# What a snapshot has of the state besides arrays.
_NUMBERS = ("step", "first_step", "n_steps", "start_up_seconds")


class Fit:
    """A training of a task.

    Parameters
    ----------
    task : Task
        What is trained. With a network, the training goes on with it.
    X, y, sample_weight
        All rows, their labels or None, and their weights.
    plan : Plan
        How it is trained.
    rng : RandomState
        What decides the start and the order of rows.
    processes : SingleProcess or Group
        Those that train together.
    started : float
        When it began, by `time.perf_counter`.
    name : str
        What the progress bar calls it.
    """

    def __init__(self, task, X, y, sample_weight, plan, rng, processes, started, name):
        self.task, self.plan, self.rng = task, plan, rng
        self.X, self.y, self.sample_weight = X, y, sample_weight
        self.processes = processes
        self.started = started
        self.name = name
        self.loss_curve, self.step = [], 0
        task.device, task.bf16 = resolve_device(plan.device), plan.in_bf16()

    def run(self, identity, memory=None):
        """Train until the budget ends, early stopping says so or the user interrupts.

        `memory` is the order of rows and the optimizer of a fit before this one.
        """
        with checkpoint_of(self.plan, identity, self.processes) as (checkpoint, snapshot):
            try:
                self._begin(memory) if snapshot is None else self._resume(*snapshot)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                raise self._out_of_memory(in_training=False) from error.with_traceback(None)
            finished = self._train_steps(checkpoint)
            self.task.network.eval()
            n_judged = min(_JUDGED_ROWS, len(self.rows))
            judged = self.rows[np.linspace(0, len(self.rows) - 1, n_judged).astype(int)]
            if problem := self.task.finish(self.X, self.y, judged, self.processes):
                raise self._diverged(problem)
            if checkpoint and finished:
                checkpoint.remove()

    def memory(self):
        """Return the order of rows and the optimizer, for a fit after this one."""
        arrays = optimizer_arrays(self.state.optimizer)
        return {"order_rng": self.order_rng, "optimizer": arrays}

    def _begin(self, memory):
        """Start from rows, or go on with the network of the task."""
        task = self.task
        self.rows, self.validation_rows = split(self.sample_weight, self.plan, self.rng)
        self.order_seed = draw_seed(self.rng)
        if task.network is None:
            self._start()
        self._set_up()
        if memory is not None:
            self.order_rng = deepcopy(memory["order_rng"])
            load_optimizer_arrays(self.state.optimizer, memory["optimizer"])

    @cached_property
    def _unit_weight(self):
        """Weights that are 1 on average over the rows to train on."""
        return self.sample_weight / self.sample_weight[self.rows].mean()

    def _start(self):
        """Let the task build its network and learn from rows what is not trained."""
        task = self.task
        weight = np.zeros_like(self.sample_weight)
        weight[self.rows] = self._unit_weight[self.rows]
        self._build(draw_seed(self.rng))
        # One thread: sums over several round another way for another number of them.
        with one_thread():
            task.learn(self.X, self.y, self.rows, weight, self.rng)
        task.network.to(task.device)
        # Start as process 0 does: another processor may round its own start another way.
        arrays = {name: np.array(array) for name, array in task.arrays().items()}
        tensors = [torch.from_numpy(array.reshape(-1)) for array in arrays.values()]
        self.processes.copy_from_first([*task.network.state_dict().values(), *tensors])
        task.load_arrays(arrays)

    def _build(self, seed):
        with from_seed(seed, self.task._is_ours()):
            network = self.task.build()
        if not isinstance(network, torch.nn.Module):
            raise TypeError(
                f"{type(self.task).__name__}.build must return a torch.nn.Module; got "
                f"{type(network).__name__}."
            )
        self.task.network = network

    def _set_up(self):
        """Make what changes beside the network."""
        task, plan = self.task, self.plan
        optimizer = make_optimizer(task.network, plan.learning_rate, plan.weight_decay)
        task.optimizer = optimizer
        self.state = TrainingState(task.network, optimizer, self.step)
        self.early_stopping = EarlyStopping(plan.tol * task.unit, task.network)
        self.order_rng = np.random.default_rng(self.order_seed)

    def _resume(self, values, arrays):
        """Bring a fit that has made no step to the state of a snapshot."""
        task = self.task
        self.validation_rows = arrays.get("validation_rows")
        self.rows = np.flatnonzero(self.sample_weight)
        if self.validation_rows is not None:
            self.rows = np.setdiff1d(self.rows, self.validation_rows)
        self.order_seed = values["order_seed"]
        self._build(seed=0)
        task.network.to(task.device)
        task.load_arrays(group(arrays, "task"))
        self._set_up()
        state = self.state
        try:
            load_network_arrays(task.network, group(arrays, "network"))
            load_optimizer_arrays(state.optimizer, group(arrays, "optimizer"))
        except (KeyError, IndexError, ValueError, RuntimeError) as error:
            raise FormatError(
                f"what is in the checkpoint is not of a fit with {task._size()}: {error} Delete "
                "the file to start again."
            ) from error
        totals = group(arrays, "totals").items()
        state.totals = {name: tensor_of(total).to(task.device) for name, total in totals}
        for name in _NUMBERS:
            setattr(state, name, values[name])
        self.early_stopping.load(arrays["early_stopping"], group(arrays, "best"))
        curve = values["loss_curve"], arrays["loss_curve"], arrays["loss_curve.known"]
        self.loss_curve = records_from_arrays(*curve)
        self.started -= values["seconds"]

    def _snapshot(self):
        """Return the state of a fit between two steps: values and arrays, by name."""
        state = self.state
        keys, values_RC, known_RC = records_to_arrays(self.loss_curve)
        values = {
            **{name: getattr(state, name) for name in _NUMBERS},
            "seconds": time.perf_counter() - self.started,
            "order_seed": self.order_seed,
            "loss_curve": keys,
        }
        arrays = {
            "early_stopping": self.early_stopping.numbers(),
            "loss_curve": values_RC,
            "loss_curve.known": known_RC,
        }
        if self.validation_rows is not None:
            arrays["validation_rows"] = self.validation_rows
        groups = {
            "task": self.task.arrays(),
            "network": network_arrays(state.network),
            "optimizer": optimizer_arrays(state.optimizer),
            "totals": {name: array_of(total) for name, total in state.totals.items()},
            "best": self.early_stopping.best_arrays,
        }
        for owner, members in groups.items():
            arrays |= {f"{owner}.{name}": array for name, array in members.items()}
        return values, arrays

    def _records(self, checkpoint):
        """Return a generator of the records of the training."""
        plan, state, processes, task = self.plan, self.state, self.processes, self.task
        if plan.one_pass:
            order = one_pass(self.rows, plan.batch_size, self.order_rng)
            plan = replace(plan, max_steps=len(order), max_time=None)
        else:
            n_taken = state.n_steps_made
            order = endless_order(self.rows, plan.batch_size, self.order_rng, n_taken=n_taken)
        batches = prepared_batches(
            task,
            self.X,
            self.y,
            self._unit_weight,
            order,
            processes,
            n_parts=plan.gradient_accumulation,
        )
        write = checkpoint and partial(checkpoint.write_if_due, self._snapshot)
        threads = StepThreads(self._n_threads() if task.device.type == "cpu" else None)
        records = train(
            state,
            batches,
            task,
            plan,
            started=self.started,
            processes=processes,
            threads=threads,
            after_step=write,
        )
        return threads.each(records)

    def _train_steps(self, checkpoint):
        """Train, and return whether it was not the user who ended it."""
        plan, state, processes = self.plan, self.state, self.processes
        records = self._records(checkpoint)
        progress = Progress(self._title(), state, plan, quiet=processes.rank > 0)
        finished = True
        try:
            with processes.listening():
                for record in records:
                    self._note(record)
                    progress.show(self.loss_curve[-1])
                    if self.early_stopping.n_bad >= plan.n_iter_no_change:
                        break
        except KeyboardInterrupt:
            finished = False
            self._say_interrupted(checkpoint)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            # Without the traceback, which holds on to the tensors of the step.
            raise self._out_of_memory(in_training=True) from error.with_traceback(None)
        finally:
            progress.close()
        if finished:
            self._warn_of_few_steps()
        self.early_stopping.restore_best()
        # Processors that round otherwise have drifted apart by a little.
        processes.copy_from_first(state.network.state_dict().values())
        return finished

    def _n_threads(self):
        """Return how many threads make a step: with little work, they would wait for each other."""
        if most_threads() == 1:  # nothing to choose, and no work to count
            return 1
        n_parts = self.processes.size * self.plan.gradient_accumulation
        n_rows = min(self.plan.batch_size, len(self.rows))
        with threads_here(1):  # others might have to be waited for
            work = self.task.work(-(-n_rows // n_parts))
        return threads_worth(work) if work else most_threads()

    def _title(self):
        title, n_processes = f"{self.name} on {self.task.device}", self.processes.size
        return title if n_processes == 1 else f"{title}, in {n_processes} processes"

    def _say_interrupted(self, checkpoint):
        if self.processes.rank == 0:
            message = "Training interrupted by user: the model trained so far is kept."
            if checkpoint and checkpoint.path.exists():
                message += " To go on from the checkpoint, call fit again."
            warn(message)

    def _warn_of_few_steps(self):
        plan, n_steps = self.plan, self.state.n_steps_made
        ended_by_steps = plan.max_steps is not None and n_steps >= plan.max_steps
        ended_early = self.early_stopping.n_bad >= plan.n_iter_no_change
        by_time = plan.max_time is not None and not (ended_by_steps or ended_early)
        if by_time and n_steps < _FEW_STEPS and not plan.one_pass and self.processes.rank == 0:
            smaller = " or ".join(self.task._ways_to_a_smaller_network)
            warn(
                f"max_time={plan.max_time} ended the fit after {n_steps} steps, fewer than "
                f"{_FEW_STEPS}: the model has learned little. Raise max_time, lower batch_size "
                f"(now {plan.batch_size}), or take {smaller}. Other busy processes slow a fit down."
            )

    def _note(self, record):
        """Add a record to the loss curve, with the validation error."""
        if not np.isfinite(record["loss"]):
            raise self._diverged(f"the loss became {record['loss']}")
        if self.validation_rows is not None:
            self.task.network.eval()
            record["validation_error"] = self._validation_error()
            self.early_stopping.note(record["validation_error"])
        self.loss_curve.append(record)

    def _diverged(self, what):
        return DivergenceError(
            f"{what} by step {self.state.step}. Lower learning_rate (now "
            f"{self.plan.learning_rate}), or set precision='float32'."
        )

    def _validation_error(self):
        rows, total = self.processes.share(self.validation_rows), 0.0
        weight = self._unit_weight[rows]
        if len(rows):  # there are none where processes outnumber rows
            errors = np.reshape(self.task.errors(self.X, self.y, rows), len(rows))
            total = np.multiply(errors, weight).sum()
        total, weight = self.processes.sum([total, weight.sum()])
        return float(total / weight * self.task.unit)

    def _out_of_memory(self, *, in_training):
        """Return an error that says what takes less memory, first what changes nothing else."""
        plan, n_parts = self.plan, self.plan.gradient_accumulation
        batch_size = min(plan.batch_size, len(self.X))
        when, ways = "before the first step", []
        if in_training:
            when = f"after step {self.state.step}"
            ways = list(self.task._ways_to_smaller_steps())
            if n_parts < batch_size and "gradient_accumulation" in plan.params:
                ways = [f"gradient_accumulation={2 * n_parts} (now {n_parts})", *ways]
            if "batch_size" in plan.params:
                ways.append(f"batch_size={max(batch_size // 2, 1)} (now {batch_size})")
        ways += self.task._ways_to_a_smaller_network
        return MemoryError(
            f"out of memory on {self.task.device} {when}, with batch_size={batch_size} rows of "
            f"{self.X.shape[1]} features, {self.task._size()}. Set {' or '.join(ways[:2])}."
        )


def split(sample_weight, plan, rng):
    """Return the rows to train on and, for early stopping, others to validate on, or None."""
    rows = np.flatnonzero(sample_weight)
    if not plan.early_stopping:
        return rows, None
    n_validation = min(int(np.ceil(plan.validation_fraction * len(rows))), _JUDGED_ROWS)
    if n_validation >= len(rows):
        raise ValueError(
            f"validation_fraction={plan.validation_fraction} of n_samples={len(rows)} leaves "
            "no row to train on; give more rows or set early_stopping=False."
        )
    shuffled = rng.permutation(rows)
    return np.sort(shuffled[n_validation:]), np.sort(shuffled[:n_validation])


def draw_seed(rng):
    """Return an integer that seeds another generator."""
    return rng.randint(np.iinfo(np.int32).max)

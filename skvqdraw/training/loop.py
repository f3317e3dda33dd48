"""The training loop, in the order in which things happen."""

import inspect
import time

import torch

MAX_GRADIENT_NORM = 1.0


class _AdamW(torch.optim.AdamW):
    """Without the decorators that import PyTorch's compiler, more than a second in a new process.

    They keep it from compiling these methods, and here nothing is compiled.
    """

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)


def make_optimizer(network, learning_rate, weight_decay):
    """Return the optimizer that `train` expects."""
    return _AdamW(
        network.parameters(),
        lr=learning_rate,
        betas=(0.9, 0.99),
        weight_decay=weight_decay,
        fused=True,
    )


def train(state, batches, task, plan, *, started, processes, threads, after_step=None):
    """Train in place; yield a record about `plan.n_records` times over the budget.

    Parameters
    ----------
    state : TrainingState
        Changed in place, its `step` after each optimizer step. With `totals`, the training goes
        on where it was interrupted.
    batches : iterator of lists of (tensors, weight_N)
        The parts of a batch, whose gradients are computed one after the other: what this process
        has of it, on the network's device.
    task : Task
        Computes gradients, and says what is recorded.
    plan : Plan
        `max_steps` and `max_time` are the budget, in steps from where the training began and in
        seconds since `started`; whichever ends first. However late it is, one step is made, unless
        `max_steps` is 0.
    processes : SingleProcess or Group
        Those that train together. All of them end at the same step with the same state.
    threads : StepThreads
        Chooses how many threads of a CPU make each step.
    after_step : callable or None
        Called between steps, after whoever looked at the record: then `state` is whole.

    Yields
    ------
    record : dict
        `step`, `seconds`, and what the task says of the steps since the last record.
    """
    network, optimizer = state.network, state.optimizer
    seconds = processes.synchronize(time.perf_counter() - started)
    if state.totals is None:
        state.first_step, state.totals = state.step, task.sums()
        state.start_up_seconds = seconds
    done = _progress(state, plan, seconds) if state.n_steps_made else 0.0
    n_recorded = int(done * plan.n_records + 1e-9)
    network.train()
    while plan.max_steps != 0:
        parts = next(batches)
        threads.before_step()
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * plan.schedule(done)
        optimizer.zero_grad(set_to_none=True)
        sums = task.sums()
        for tensors, weight_N in parts:
            if len(weight_N):  # there may be fewer rows than processes
                task.gradients(tensors, weight_N, sums)
        processes.sum_with_gradients(network.parameters(), sums.values())
        torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        task.after_step(sums)
        threads.after_step()
        for name, total in state.totals.items():
            total += sums[name]
        state.step += 1
        state.n_steps += 1
        seconds = processes.synchronize(time.perf_counter() - started)
        done = _progress(state, plan, seconds)
        if done >= 1 or int(done * plan.n_records + 1e-9) > n_recorded:
            n_recorded = int(done * plan.n_records + 1e-9)
            yield {"step": state.step, "seconds": seconds, **_read(state, task)}
            network.train()  # whoever looked at the record may have evaluated the network
        if done >= 1:
            return
        if after_step is not None:
            after_step()


def _progress(state, plan, seconds):
    """Return the share of the budget that is spent; 1 or more at its end."""
    by_steps = by_time = 0.0
    if plan.max_steps is not None:
        by_steps = state.n_steps_made / plan.max_steps
    if plan.max_time is not None:
        time_left = plan.max_time - state.start_up_seconds
        by_time = (seconds - state.start_up_seconds) / time_left if time_left > 0 else 1.0
    return max(by_steps, by_time)


def _read(state, task):
    """Return what the sums since the last record say, and forget them. Waits for the device."""
    record = task.record(state.totals, state.n_steps)
    state.totals, state.n_steps = task.sums(), 0
    return record

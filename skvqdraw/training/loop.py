"""The training loop.

Axes: N samples of a batch, S stages, K options.
"""

import inspect
import time

import torch

from ..nn.sequential import accumulate_gradients
from .state import Totals

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


def train(
    state,
    batches,
    loss,
    *,
    n_stages,
    n_options,
    schedule,
    learning_rate,
    max_steps,
    max_time,
    n_records,
    started,
    processes,
    after_step=None,
    **loss_options,
):
    """Train in place; yield a record about `n_records` times over the budget.

    Parameters
    ----------
    state : TrainingState
        Changed in place, its `step` after each optimizer step. With `totals`, the training goes
        on where it was interrupted.
    batches : iterator of lists of (target_ND, weight_N, n_rows)
        The parts of a batch, whose gradients are computed one after the other: what this process
        has of it, on the network's device, and of how many rows.
    loss : Loss
        Scores candidates against targets.
    schedule : callable
        Progress in [0, 1] -> factor of `learning_rate`.
    max_steps, max_time : int or None, float or None
        The budget, in steps from where the training began and in seconds since `started`;
        whichever ends first. However late it is, one step is made, unless `max_steps` is 0.
    processes : Alone or Group
        Those that train together. All of them end at the same step with the same state.
    after_step : callable or None
        Called between steps, after whoever looked at the record: then `state` is whole.
    loss_options
        Passed to `accumulate_gradients`.

    Yields
    ------
    record : dict
        `step`, `seconds`, and of the steps since the last record: `loss` (the training loss),
        `error` (the loss after the last stage) and `entropy` (bits in use, all stages together).
    """
    network, optimizer = state.network, state.optimizer
    device = next(network.parameters()).device
    cells_S = n_options * torch.arange(n_stages, device=device)
    seconds = processes.meet(time.perf_counter() - started)
    if state.totals is None:
        state.first_step, state.totals = state.step, Totals(n_stages, n_options, device)
        state.start_up_seconds = seconds
    totals = state.totals
    # Of one step, to be summed over processes: the totals are those of all, in all, at any moment.
    added = totals if processes.size == 1 else Totals(n_stages, n_options, device)
    time_left = None if max_time is None else max_time - state.start_up_seconds

    def progress(seconds):
        by_steps = by_time = 0.0
        if max_steps is not None:
            by_steps = (state.step - state.first_step) / max_steps
        if time_left is not None:
            by_time = (seconds - state.start_up_seconds) / time_left if time_left > 0 else 1.0
        return max(by_steps, by_time)

    done = progress(seconds) if state.step > state.first_step else 0.0
    n_recorded = int(done * n_records + 1e-9)
    network.train()
    while max_steps != 0:
        parts = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * schedule(done)
        optimizer.zero_grad(set_to_none=True)
        for target_ND, weight_N, n_rows in parts:
            if len(target_ND) == 0:  # fewer rows than processes
                continue
            objective, stage_losses_S, codes_NS = accumulate_gradients(
                network,
                loss,
                target_ND,
                weight_N,
                n_stages,
                n_rows_in_all=n_rows,
                **loss_options,
            )
            added.add(objective, stage_losses_S, (codes_NS + cells_S).flatten())
        processes.sum_with_gradients(network.parameters(), added.tensors())
        if added is not totals:
            totals.take(added)
        torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        state.step += 1
        totals.n_steps += 1
        seconds = processes.meet(time.perf_counter() - started)
        done = progress(seconds)
        if done >= 1 or int(done * n_records + 1e-9) > n_recorded:
            n_recorded = int(done * n_records + 1e-9)
            # Reading totals waits for the device: only at evaluation points.
            yield {"step": state.step, "seconds": seconds, **totals.read()}
            network.train()  # whoever looked at the record may have evaluated the network
        if done >= 1:
            return
        if after_step is not None:
            after_step()

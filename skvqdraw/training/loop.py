"""The training loop.

Axes: N samples of a batch, S stages, K options.
"""

import time
from dataclasses import dataclass

import torch

from .._codes import entropy_bits
from ..nn.losses import SquaredError
from ..nn.sequential import accumulate_gradients

MAX_GRADIENT_NORM = 1.0


def make_optimizer(network, learning_rate, weight_decay):
    """Return the optimizer that `train` expects."""
    return torch.optim.AdamW(
        network.parameters(),
        lr=learning_rate,
        betas=(0.9, 0.99),
        weight_decay=weight_decay,
        fused=True,
    )


@dataclass
class TrainingState:
    """What a training changes: true at any moment, also when it is interrupted."""

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    step: int


def train(
    state,
    batches,
    *,
    n_stages,
    n_options,
    schedule,
    learning_rate,
    max_steps,
    max_time,
    n_records,
    started,
    gradient_accumulation=1,
    **loss_options,
):
    """Train in place; yield a record about `n_records` times over the budget.

    Parameters
    ----------
    state : TrainingState
        Changed in place, its `step` after each optimizer step.
    batches : iterator of (target_ND, weight_N)
        Tensors on the network's device.
    schedule : callable
        Progress in [0, 1] -> factor of `learning_rate`.
    max_steps, max_time : int or None, float or None
        The budget, in steps from here and in seconds since `started`; whichever ends first.
        However late it is, one step is made, unless `max_steps` is 0.
    gradient_accumulation : int
        Parts of a batch whose gradients are computed one after the other.
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
    totals = _Totals(n_stages, n_options, device)
    begun, first_step = time.perf_counter(), state.step
    time_left = None if max_time is None else max_time - (begun - started)

    def progress():
        by_steps = by_time = 0.0
        if max_steps is not None:
            by_steps = (state.step - first_step) / max_steps
        if time_left is not None:
            by_time = (time.perf_counter() - begun) / time_left if time_left > 0 else 1.0
        return max(by_steps, by_time)

    done, n_recorded = 0.0, 0
    network.train()
    while done < 1 and max_steps != 0:
        target_ND, weight_N = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * schedule(done)
        optimizer.zero_grad(set_to_none=True)
        weight_N = weight_N / len(target_ND)
        for part_ND, part_weight_N in zip(
            target_ND.chunk(gradient_accumulation),
            weight_N.chunk(gradient_accumulation),
            strict=True,
        ):
            objective, stage_losses_S, codes_NS = accumulate_gradients(
                network, SquaredError(), part_ND, part_weight_N, n_stages, **loss_options
            )
            totals.add(objective, stage_losses_S, (codes_NS + cells_S).flatten())
        torch.nn.utils.clip_grad_norm_(network.parameters(), MAX_GRADIENT_NORM)
        optimizer.step()
        state.step += 1
        totals.n_steps += 1
        done = progress()
        if done >= 1 or int(done * n_records + 1e-9) > n_recorded:
            n_recorded = int(done * n_records + 1e-9)
            # Reading totals waits for the device: only at evaluation points.
            seconds = time.perf_counter() - started
            yield {"step": state.step, "seconds": seconds, **totals.read()}
            network.train()  # whoever looked at the record may have evaluated the network


class _Totals:
    """Sums over the steps since the last record, kept on the device until they are read."""

    def __init__(self, n_stages, n_options, device):
        self.objective = torch.zeros((), device=device)
        self.stage_losses_S = torch.zeros(n_stages, device=device)
        self.counts_SK = torch.zeros(n_stages, n_options, dtype=torch.int64, device=device)
        self.n_steps = 0

    def add(self, objective, stage_losses_S, cells):
        self.objective += objective
        self.stage_losses_S += stage_losses_S
        self.counts_SK.view(-1).scatter_add_(0, cells, torch.ones_like(cells))

    def read(self):
        """Return the means and forget them."""
        counts_SK = self.counts_SK.cpu().numpy()
        means = {
            "loss": float(self.objective) / self.n_steps,
            "error": float(self.stage_losses_S[-1]) / self.n_steps,
            "entropy": entropy_bits(counts_SK / counts_SK[0].sum()),
        }
        for total in (self.objective, self.stage_losses_S, self.counts_SK):
            total.zero_()
        self.n_steps = 0
        return means

"""What processes that torchrun started do in test_distributed.py; the tests do the same in one.

    torchrun --nproc-per-node=2 --max-restarts=1 several_processes.py FOLDER

What the cases return and print is left in the folder. The first time, process 1 is killed at the end.
"""

import contextlib
import io
import os
import pickle
import signal
import sys
import time
import warnings
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from conftest import make_estimator
from moving_means import MovingMeans
from sklearn.datasets import load_digits
from torch import distributed

from skvqdraw import VQVAE
from skvqdraw.autoencoders import MLPAutoencoder
from skvqdraw.datasets import load_digits_images
from skvqdraw.losses import SquaredError
from skvqdraw.nn import DenseRound
from skvqdraw.nn.arrays import network_arrays
from skvqdraw.nn.objective import accumulate_gradients
from skvqdraw.refiners import ConvRefiner, MLPRefiner, Refiner
from skvqdraw.training import loop
from skvqdraw.training.distributed import find_processes

X = load_digits_images().data
CPU = torch.device("cpu")


def rank():
    return distributed.get_rank() if distributed.is_initialized() else 0


def learned(vq):
    """All that a fit learns."""
    return {
        "network": network_arrays(vq.network_),
        "mean": vq.mean_,
        "scale": vq.scale_,
        "usage": vq.code_usage_,
        "loss_curve": vq.loss_curve_,
        "n_steps": vq.n_steps_,
    }


def failure(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "none"


class Moves(torch.nn.Module):
    """The same moves from everywhere; before each step of a training something may happen."""

    def __init__(self, happens, n_features, n_stages, n_options):
        super().__init__()
        self.happens, self.step = happens, 0
        self.moves = torch.nn.Parameter(torch.randn(n_stages, n_options, n_features))
        self.unused = torch.nn.Parameter(torch.ones(3))

    def forward(self, x_ND, stage):
        factor = 1.0
        if self.training and stage == 0:
            self.step += 1
            factor = self.happens(self.step) or 1.0
        return DenseRound(x_ND[:, None] + self.moves[stage] * factor)


class MovesRefiner(Refiner):
    def __init__(self, happens=lambda step: None):
        self.happens = happens

    def build(self, n_features, n_stages, n_options):
        return Moves(self.happens, n_features, n_stages, n_options)


class UnlikeRefiner(MovesRefiner):
    """Starts another way in each process, and drifts apart at every step."""

    def build(self, n_features, n_stages, n_options):
        network = super().build(n_features, n_stages, n_options)

        def drift(network, arguments):
            if network.training:
                network.unused.data += rank()

        network.register_forward_pre_hook(drift)
        network.moves.data += 1e-2 * rank()
        network.register_buffer("short", torch.tensor([rank(), 3], dtype=torch.int16))
        return network


WEIGHTED = {"sample_weight": np.arange(200) % 5 / 2.0}
FITS = {  # name: parameters, rows, arguments of fit
    "fifty steps": (
        {"n_stages": 6, "n_options": 16, "batch_size": 128, "max_steps": 50},
        len(X),
        {},
    ),
    # Parts of 17 and 16 rows, less than there are options.
    "uneven": ({"batch_size": 33, "n_options": 20}, 200, {}),
    "in parts": ({"batch_size": 50, "gradient_accumulation": 3, "n_options": 17}, 200, {}),
    # Process 1 has no row, neither to train on nor to validate on.
    "one row": (
        {
            "batch_size": 1,
            "max_steps": 5,
            "refiner": MovesRefiner(),
            "weight_decay": 0.5,
            "early_stopping": True,
        },
        5,
        {},
    ),
    "gradients cut": ({"gradient_decay": 1.0, "gradient_checkpointing": True}, 200, {}),
    "convolutions": ({"refiner": ConvRefiner((8, 8), n_channels=8), "max_steps": 5}, 200, {}),
    "weighted": ({}, 200, WEIGHTED),
    "log loss": ({"loss": "log_loss", "max_steps": 5, "round_beam_size": 1}, 200, WEIGHTED),
    "unlike processors": ({"refiner": UnlikeRefiner()}, 200, {}),
    "early stopping": (
        {
            "early_stopping": True,
            "learning_rate": 0.02,
            "max_steps": 200,
            "n_iter_no_change": 2,
            "tol": 0.01,
        },
        200,
        WEIGHTED,
    ),
    "VQ-VAE": ({"gradient_accumulation": 3}, 200, WEIGHTED),
    "VQ-VAE by gradient": ({"codebook_weight": 1.0}, 200, {}),
    "VQ-VAE, one row": ({"batch_size": 1, "max_steps": 5, "early_stopping": True}, 5, {}),
}


def make_vqvae(**params):
    spec = MLPAutoencoder(n_positions=6, hidden_size=16, n_blocks=1)
    params = {"n_levels": 2, "max_steps": 25, "batch_size": 40, **params}
    return VQVAE(8, autoencoder=spec, learning_rate=1e-3, random_state=0, **params)


def fit(name):
    params, n_rows, arguments = FITS[name]
    make = make_vqvae if name.startswith("VQ-VAE") else make_estimator
    return learned(make(precision="float32", **params).fit(X[:n_rows], **arguments))


def going_on():
    vq = make_estimator(precision="float32", batch_size=40)
    vq.partial_fit(X[:200]).partial_fit(X[200:400])
    return learned(vq.set_params(warm_start=True).fit(X[:200]))


def gradient():
    """Gradients of a batch, whole and as sums of what processes have of it."""
    torch.manual_seed(0)
    network = MLPRefiner(hidden_size=16, basis_size=4).build(64, 4, 20)
    network.unused = torch.nn.Parameter(torch.ones(2))
    target, weight = torch.from_numpy(X[:33]), torch.rand(33)
    processes = find_processes(CPU)

    def add_up(rows):
        """Leave the gradients in the network; return a loss and counts."""
        network.zero_grad()
        if len(rows) == 0:
            return [torch.zeros(()), torch.zeros(20, dtype=torch.int64)]
        objective, _, codes_NS = accumulate_gradients(
            network,
            SquaredError(),
            target[rows],
            weight[rows],
            4,
            aux_weight=0.01,
            gradient_decay=0.0,
            round_beam_size=4,
        )
        return [objective, torch.bincount(codes_NS[:, 0], minlength=20)]

    shares = {
        "whole": lambda rows: rows,
        "shared": processes.share,
        "all in process 0": lambda rows: rows[: 33 * (rank() == 0)],
    }
    results = {}
    for kind, share in shares.items():
        sums = add_up(share(np.arange(33)))
        if kind != "whole":
            processes.sum_with_gradients(network.parameters(), sums)
        results[kind] = {"loss": sums[0].numpy(), "counts": sums[1].numpy()}
        for name, parameter in network.named_parameters():
            if parameter.grad is not None:
                results[kind][name] = parameter.grad.numpy()
    return results


def sums():
    """A training that sums over processes what is no gradient, and changes buffers by it."""
    digits = load_digits()
    means = MovingMeans(early_stopping=True).fit(digits.data[:99].astype(int), digits.target[:99])
    return {"network": network_arrays(means.network_), "loss_curve": means.loss_curve_}


def no_seed():
    params = {"max_steps": 5, "precision": "float32"}
    states = None, np.random.RandomState(rank())
    return [learned(make_estimator(random_state=s, **params).fit(X[:200])) for s in states]


def time_budget():
    """Process 0 says when it is over: the clock of the other one runs a thousand times as fast."""

    class Clock:
        @staticmethod
        def perf_counter():
            return time.perf_counter() * (1 + 999 * rank())

    real, loop.time = loop.time, Clock
    try:
        return learned(make_estimator(max_steps=None, max_time=0.5).fit(X[:200]))
    finally:
        loop.time = real


def talk():
    return learned(make_estimator(verbose=2).fit(X[:200]))


def interrupt(folder, happens=lambda step: rank() == 1 and step == 3 and os.kill(os.getpid(), 2)):
    vq = make_estimator(
        refiner=MovesRefiner(happens),
        max_steps=20,
        checkpoint=Path(folder) / "interrupted.ckpt",
        checkpoint_every=0.0,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        vq.fit(X[:200])
    return learned(vq), [str(warning.message) for warning in caught]


def diverge():
    def happens(step):
        return float("nan") if step >= 3 and rank() == 1 else None

    return failure(lambda: make_estimator(refiner=MovesRefiner(happens)).fit(X[:200]))


def diverge_at_the_end():
    return failure(lambda: make_estimator(learning_rate=1e30, max_steps=1).fit(X[:200]))


def other_rows():
    return failure(lambda: make_estimator().fit(X[200 * rank() : 200 * (rank() + 1)]))


def other_parameters():
    return failure(lambda: make_estimator(n_stages=4 + rank()).fit(X[:200]))


def other_moments():
    """Process 0 goes on with its estimator, the other one with what it has read from a file."""
    vq = make_estimator(precision="float32").partial_fit(X[:200])
    if rank():
        del vq._partial_fit_state
    return failure(lambda: vq.partial_fit(X[:200]))


def missing_directory():
    path = None if rank() else "no/such/directory/fit.ckpt"
    return failure(lambda: make_estimator(checkpoint=path).fit(X[:200]))


def survive(folder, attempt):
    """A fit with a checkpoint, whose process 1 is killed at the first attempt; or without."""

    def happens(step):
        if step == 10 and rank() == 1 and attempt == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return learned(
        make_estimator(
            refiner=MovesRefiner(happens),
            checkpoint=None if attempt is None else Path(folder) / "killed.ckpt",
            checkpoint_every=0.0,
            verbose=2,
        ).fit(X[:200])
    )


def cases(folder):
    yield from ((name, lambda name=name: fit(name)) for name in FITS)
    for case in (
        going_on,
        gradient,
        sums,
        no_seed,
        time_budget,
        talk,
        diverge,
        diverge_at_the_end,
        other_rows,
        other_parameters,
        other_moments,
        missing_directory,
    ):
        yield case.__name__, case
    yield "interrupt", lambda: interrupt(folder)
    yield "not killed", lambda: survive(folder, None)


def main(folder):
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may have it ignored
    os.chdir(folder)
    distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    todo = cases(folder) if attempt == 0 else []
    results = {}
    for name, case in [*todo, ("killed", lambda: survive(folder, attempt))]:
        if name == "killed":
            Path(f"{rank()}-{attempt}.pkl").write_bytes(pickle.dumps(results))
        printed, started = io.StringIO(), time.perf_counter()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            results[name] = case(), printed
        results[name] = results[name][0], printed.getvalue()
        print(f"process {rank()}, {name}: {time.perf_counter() - started:.1f} s", file=sys.stderr)
    Path(f"{rank()}-{attempt}.pkl").write_bytes(pickle.dumps(results))
    distributed.destroy_process_group()


if __name__ == "__main__":
    import several_processes  # not __main__: checkpoints know classes by name

    several_processes.main(sys.argv[1])

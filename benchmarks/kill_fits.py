"""Kill fits at random moments, go on from their checkpoints, compare to the bit; time a checkpoint.

    python benchmarks/kill_fits.py --kills 200 --out benchmarks/results/checkpoints.json

A trial is a fit in a process of its own that is ended by SIGKILL at a random moment, one to four
times, until one call of `fit` comes to its end. What it has learned is compared with what a fit
learned that nobody disturbed: every tensor, the codes, the loss curve but for its seconds.
Needs a POSIX system.
"""

import argparse
import json
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from machine import Report

from skvqdraw import VQDRAW
from skvqdraw.datasets import load_digits_images
from skvqdraw.refiners import ConvRefiner, MLPRefiner
from skvqdraw.training.checkpoint import Checkpoint

SEED = 0
MLP = MLPRefiner(hidden_size=32, basis_size=8)
CONV = ConvRefiner((8, 8), n_channels=16, downsampling=2, basis_size=8)
KINDS = {
    "mlp": {"refiner": MLP},
    "conv": {"refiner": CONV},
    "early stopping": {"refiner": MLP, "early_stopping": True, "n_iter_no_change": 1000},
    "parts and weights": {"refiner": MLP, "gradient_accumulation": 2},
    "warm start": {"refiner": MLP, "warm_start": True},
}
# A fit on MNIST with the settings of its preset; of the data only the shape matters here.
MNIST = {"n_stages": 10, "n_options": 64, "refiner": ConvRefiner((28, 28)), "random_state": SEED}


def fit(kind, n_steps, checkpoint, path):
    """Fit, and write all that was learned to `path`, at once."""
    X = load_digits_images().data
    vq = VQDRAW(4, 16, max_steps=n_steps, random_state=SEED, device="cpu", **KINDS[kind])
    weight = np.linspace(0, 2, len(X)) if kind == "parts and weights" else None
    if kind == "warm start":
        vq.set_params(max_steps=20).fit(X).set_params(max_steps=n_steps)
    # All the time: so that many are killed while they write, and many long after.
    vq.set_params(checkpoint=checkpoint, checkpoint_every=0.05).fit(X, sample_weight=weight)
    curve = [{**record, "seconds": 0} for record in vq.loss_curve_]
    learned = {
        **{name: tensor.numpy() for name, tensor in vq.network_.state_dict().items()},
        "codes": vq.encode(X),
        "code_usage_": vq.code_usage_,
        "mean_": vq.mean_,
        "scale_": vq.scale_,
        "n_steps_": vq.n_steps_,
        "loss_curve_": np.frombuffer(json.dumps(curve).encode(), np.uint8),
    }
    with open(f"{path}.part", "wb") as file:
        np.savez(file, **learned)
    os.replace(f"{path}.part", path)


def in_a_process(function, *arguments, killed_after=None):
    """Call a function in a fork; return the seconds, or None if it was killed in time."""
    started = time.perf_counter()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            function(*arguments)
            status = 0
        finally:
            os._exit(status)
    if killed_after is not None:
        time.sleep(killed_after)
        os.kill(child, signal.SIGKILL)  # it cannot be another's: nobody has waited for it
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == -signal.SIGKILL:
        return None
    if status:
        raise RuntimeError(f"the fit ended with status {status}")
    return time.perf_counter() - started


def differences(path, reference):
    """Return the names of what is not equal to the bit."""
    with np.load(path) as one, np.load(reference) as other:
        return sorted(one.keys() ^ other.keys()) + [
            name
            for name in one.keys() & other.keys()
            if one[name].dtype != other[name].dtype or one[name].tobytes() != other[name].tobytes()
        ]


def kill(n_kills, n_steps, folder):
    """Return what became of so many kills."""
    rng = np.random.default_rng(SEED)
    references, seconds = {}, {}
    counts = {"kills": 0, "fits": 0, "equal": 0, "went_on": 0, "while_writing": 0}
    checkpoint, result = folder / "fit.ckpt", folder / "result.npz"
    found = set()
    while counts["kills"] < n_kills:
        kind = list(KINDS)[counts["fits"] % len(KINDS)]
        if kind not in references:
            references[kind] = folder / f"{kind}.npz"
            seconds[kind] = round(in_a_process(fit, kind, n_steps, None, references[kind]), 2)
        ended = None
        for _ in range(min(rng.integers(1, 5), n_kills - counts["kills"])):
            after = rng.uniform(0, 1.1 * seconds[kind])
            ended = in_a_process(fit, kind, n_steps, checkpoint, result, killed_after=after)
            if ended is not None:
                break
            counts["kills"] += 1
            left = set(os.listdir(folder))
            counts["went_on"] += bool({"fit.ckpt", "fit.ckpt.previous"} & left)
            counts["while_writing"] += any(name.startswith(".fit.ckpt.") for name in left)
        if ended is None:
            in_a_process(fit, kind, n_steps, checkpoint, result)
        different = differences(result, references[kind])
        counts["fits"] += 1
        counts["equal"] += not different
        if different:
            print(f"{kind}: {different} are not equal")
        result.unlink()
        found |= {name for name in os.listdir(folder) if "fit.ckpt" in name}
    return {**counts, "seconds_of_a_fit": seconds, "files_left": sorted(found)}


def overhead(n_writes, folder):
    """Return the time of a checkpoint, and its share of a fit that writes one every 30 s."""
    X = np.random.default_rng(SEED).integers(0, 256, size=(2_000, 784), dtype=np.uint8)
    path, seconds, sizes = folder / "mnist.ckpt", [], []
    real = Checkpoint.write_if_due

    def write_if_due(checkpoint, snapshot):
        started = time.perf_counter()
        real(checkpoint, snapshot)
        seconds.append(time.perf_counter() - started)
        sizes.append(path.stat().st_size)

    Checkpoint.write_if_due = write_if_due
    try:
        vq = VQDRAW(**MNIST, max_steps=n_writes + 1, checkpoint=path, checkpoint_every=0).fit(X)
    finally:
        Checkpoint.write_if_due = real
    seconds = float(np.median(seconds))
    return {
        "parameters": sum(p.numel() for p in vq.network_.parameters()),
        "megabytes": round(sizes[-1] / 1e6, 1),
        "seconds": round(seconds, 4),
        "share_at_30_s": round(seconds / 30, 5),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--writes", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # processes that are forked must not inherit a pool of threads
    report = Report(arguments.out)
    with tempfile.TemporaryDirectory() as folder:
        kills = kill(arguments.kills, arguments.steps, Path(folder))
        report.add("kills", kills)
        if arguments.writes:
            report.add("overhead", overhead(arguments.writes, Path(folder)))
    if kills["equal"] < kills["fits"] or kills["files_left"]:
        raise SystemExit("not every fit came back, or left nothing")


if __name__ == "__main__":
    main()

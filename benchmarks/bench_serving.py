"""Coding as a server does it, and a small fit: alone and beside a process that keeps a core busy.

    SKVQDRAW_DATA=folder python benchmarks/bench_serving.py --against ../another-checkout \\
        --out benchmarks/results/serving.json

`encode` of one row and of ten rows: milliseconds, medians of 50 calls. Of many rows: rows per
second with as many threads as PyTorch has, with one, and in two workers of joblib that have half of
the rows each. The model of MNIST that comes with the package; an `MLPRefiner` (8 x 64) and
`ClusterBoosting` in four settings on the 64 pixels of scikit-learn's digits. The fit is that of
the `MLPRefiner`, 150 steps, alone the median of three. The busy process adds up numbers and is
started by this script.

With `--against`, another checkout of the package is measured in turns with this one, each time in a
process of its own.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import joblib
import numpy as np
import torch
from machine import Report
from mnist import load_images

from skvqdraw import VQDRAW, ClusterBoosting, load_pretrained
from skvqdraw.datasets import load_digits_images
from skvqdraw.refiners import MLPRefiner

BUSY = "while True: sum(range(10_000))"
N_MANY = 2_048
FIT = {"n_stages": 8, "n_options": 64, "max_steps": 150, "random_state": 0}
BOOSTING = {
    "ClusterBoosting": {},
    "ClusterBoosting, beam 16": {"beam_size": 16},
    "ClusterBoosting, 256 options, beam 4": {"n_options": 256, "beam_size": 4},
    "ClusterBoosting, log loss": {"loss": "log_loss"},
}


@contextlib.contextmanager
def neighbour(busy):
    """Have a process that keeps a core busy, or none."""
    process = subprocess.Popen([sys.executable, "-c", BUSY]) if busy else None
    try:
        yield
    finally:
        if busy:
            process.kill()
            process.wait()


def milliseconds(function, n_calls):
    """Return the median time of a call, after a few that do not count."""
    times = []
    for i in range(n_calls + 3):
        started = time.perf_counter()
        function()
        times += [time.perf_counter() - started] if i >= 3 else []
    return round(1e3 * float(np.median(times)), 3)


def serve(estimator, X, n_calls):
    """Return times of few rows and rates of many."""
    result = {
        f"ms_of_{n}": milliseconds(lambda n=n: estimator.encode(X[:n]), n_calls) for n in (1, 10)
    }
    n_threads = torch.get_num_threads()
    for name, count in (("all_threads", n_threads), ("one_thread", 1)):
        torch.set_num_threads(count)
        of_all = milliseconds(lambda: estimator.encode(X), 3)
        result[f"rows_per_second_{name}"] = round(1e3 * len(X) / of_all)
    torch.set_num_threads(n_threads)
    halves = np.array_split(X, 2)
    with joblib.Parallel(n_jobs=2) as workers:
        of_all = milliseconds(
            lambda: workers(joblib.delayed(estimator.encode)(half) for half in halves), 3
        )
    result["rows_per_second_two_workers"] = round(1e3 * len(X) / of_all)
    return result


def measure(busy, quick):
    """Return what is measured of the package that this process has imported."""
    digits, few = load_digits_images().data, slice(64 if quick else N_MANY)
    n_calls = 3 if quick else 50
    fit = FIT | ({"max_steps": 3} if quick else {})
    boosting = {
        name: ClusterBoosting(**{"n_options": 64, **params}, random_state=0).fit(digits)
        for name, params in BOOSTING.items()
    }
    with neighbour(busy):
        seconds = []
        for _ in range(1 if busy else 3):
            started = time.perf_counter()
            small = VQDRAW(**fit, refiner=MLPRefiner()).fit(digits)
            seconds.append(time.perf_counter() - started)
        result = {"fit": {"seconds": round(float(np.median(seconds)), 2)}}
        images = load_images(quick).X_test[few]
        if images.shape[1] == 784:
            result["MNIST"] = serve(load_pretrained("mnist-60bit"), images, n_calls)
        many = np.resize(digits, (len(images), digits.shape[1]))
        for name, estimator in {"MLPRefiner": small, **boosting}.items():
            result[name] = serve(estimator, many, n_calls)
    return result


def measure_apart(checkout, busy, quick):
    """Return what a process of its own measures of the package in a checkout."""
    command = [sys.executable, __file__, "--subject", "busy" if busy else "idle"]
    command += ["--quick"] if quick else []
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(run.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", help="another checkout, to measure in turns with this one")
    parser.add_argument("--out", help="the JSON file to write, section by section")
    parser.add_argument("--quick", action="store_true", help="only see that it runs: no figures")
    parser.add_argument("--subject", choices=["idle", "busy"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.subject:
        print(json.dumps(measure(arguments.subject == "busy", arguments.quick)))
        return
    report = Report(arguments.out, benchmark="serving", quick=arguments.quick)
    checkouts = {"now": Path(__file__).parents[1]}
    if arguments.against:
        checkouts["before"] = Path(arguments.against).resolve()
    for state in ("idle", "busy"):
        for name, checkout in checkouts.items():
            result = measure_apart(checkout, state == "busy", arguments.quick)
            report.add(name, result, within=state)


if __name__ == "__main__":
    main()

"""Steps of training with one thread and with two, alone and beside a busy process.

    SKVQDRAW_DATA=folder python benchmarks/bench_busy.py --out benchmarks/results/busy.json

Each fit has a process of its own and trains for so many seconds; the figure is steps per second,
from its first record to its last. Of `ClusterBoosting` it is stages per second. The busy process
multiplies matrices in one thread of numpy. It is of equal standing: in a session of its own, at
nice 0, since Linux shares cores out between sessions before it looks at processes.

With `--against`, another checkout of the package is measured in turns with this one. With `--only`,
the figures of other fits stay in the file.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from machine import Report
from mnist import IMAGE_SHAPE, load_images

from skvqdraw import VQDRAW, VQVAE, ClusterBoosting
from skvqdraw.autoencoders import ConvAutoencoder
from skvqdraw.datasets import load_digits_images, load_photo_patches
from skvqdraw.presets import cifar10
from skvqdraw.priors import AutoregressivePrior
from skvqdraw.refiners import ConvRefiner, MLPRefiner

BUSY = "import numpy as np; a = np.ones((500, 500))\nwhile True: a @ a"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _vectors():
    """Return correlated Gaussian vectors, 64 features."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(10_000, 64)) @ rng.normal(size=(64, 64))).astype(np.float32)


def _patches():
    """Return patches of photographs, 32 x 32 in color."""
    return load_photo_patches(2_000).data


def _codes():
    digits = load_digits_images().data
    return ClusterBoosting(8, 16, random_state=0).fit(digits).encode(digits)


FITS = {
    "digits": lambda quick: (VQDRAW(8, 64), load_digits_images().data),
    "MNIST": lambda quick: (
        VQDRAW(10, 64, refiner=ConvRefiner(IMAGE_SHAPE)),
        load_images(quick).X[:20_000],
    ),
    "color, 60 bits": lambda quick: (
        VQDRAW(10, 64, refiner=ConvRefiner((32, 32, 3))),
        _patches(),
    ),
    "color, 600 bits": lambda quick: (cifar10(), _patches()),
    "vectors, batch 64": lambda quick: (VQDRAW(8, 256, refiner=MLPRefiner()), _vectors()),
    "vectors, batch 256": lambda quick: (
        VQDRAW(8, 256, refiner=MLPRefiner(), batch_size=256),
        _vectors(),
    ),
    "VQVAE": lambda quick: (
        VQVAE(512, autoencoder=ConvAutoencoder(IMAGE_SHAPE)),
        load_images(quick).X[:20_000],
    ),
    "ClusterBoosting, stages": lambda quick: (
        ClusterBoosting(10, 64),
        load_images(quick).X[:8_000],
    ),
    "prior": lambda quick: (AutoregressivePrior(n_options=16, early_stopping=False), _codes()),
}


def steps_per_second(name, seconds, quick):
    """Return the rate of a fit in this process."""
    estimator, X = FITS[name](quick)
    if isinstance(estimator, ClusterBoosting):
        started = time.perf_counter()
        estimator.set_params(random_state=0).fit(X)
        return round(estimator.n_stages / (time.perf_counter() - started), 3)
    estimator.set_params(max_steps=None, max_time=seconds, random_state=0).fit(X)
    curve = estimator.loss_curve_
    if len(curve) < 2:  # a single record: its start is not known, the whole fit's is
        return round(curve[-1]["step"] / curve[-1]["seconds"], 3)
    first, last = curve[0], curve[-1]
    return round((last["step"] - first["step"]) / (last["seconds"] - first["seconds"]), 3)


@contextlib.contextmanager
def neighbor(busy):
    """Have a process that keeps a core busy, or none."""
    if not busy:
        yield
        return
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], env=environment, start_new_session=True
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", help="another checkout, to measure in turns with this one")
    parser.add_argument("--only", nargs="*", default=list(FITS), help="which fits")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each fit")
    parser.add_argument("--out", help="the JSON file to write, section by section")
    parser.add_argument("--quick", action="store_true", help="only see that it runs: no figures")
    parser.add_argument("--subject", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.subject:
        rate = steps_per_second(arguments.subject, arguments.seconds, arguments.quick)
        print(json.dumps(rate))
        return
    report = Report(arguments.out, go_on=True, benchmark="busy", seconds=arguments.seconds)
    here = Path(__file__).parents[1]
    runs = [("1 thread", 1, here), ("2 threads", 2, here)]
    if arguments.against:
        runs.append(("2 threads, before", 2, Path(arguments.against).resolve()))
    for name in arguments.only:
        rates = {}
        for state in ("idle", "busy"):
            for title, n_threads, checkout in runs:
                with neighbor(state == "busy"):
                    rates[f"{state}, {title}"] = measure(name, n_threads, checkout, arguments)
        report.add(name, rates, within="steps_per_second")


def measure(name, n_threads, checkout, arguments):
    """Return the rate of a fit in a process of its own, by the package of a checkout."""
    command = [sys.executable, __file__, "--subject", name]
    command += ["--seconds", str(arguments.seconds), *["--quick"] * arguments.quick]
    threads = dict.fromkeys(THREADS, str(n_threads))  # of all libraries
    environment = {**os.environ, **threads, "PYTHONPATH": str(checkout)}
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(run.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()

"""Black-and-white digits: VQDRAW and ClusterBoosting with log loss, in nats a pixel.

    SKVQDRAW_DATA=... python benchmarks/bench_log_loss.py --out results.json

MNIST with pixels above one half as 1, 60,000 training rows, ten stages of 64 options, judged on
all test rows. `nats` is the mean over pixels of minus the log likelihood. The fit of VQDRAW lasts
`--seconds`, its start included; that of ClusterBoosting ends by itself. `entropy_of_mean` is what
a row takes without a code.
"""

import argparse
import time

import numpy as np
from machine import Report
from mnist import IMAGE_SHAPE, load_images

from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw._codes import entropy_bits, option_frequencies
from skvqdraw.losses import LogLoss
from skvqdraw.refiners import ConvRefiner

SEED = 0
N_STAGES, N_OPTIONS = 10, 64


def contenders(seconds):
    """Return the estimators by name."""
    both = {"loss": "log_loss", "random_state": SEED}
    refiner = ConvRefiner(IMAGE_SHAPE)
    clock = {"max_steps": None, "max_time": seconds}
    return {
        "VQDRAW": VQDRAW(N_STAGES, N_OPTIONS, refiner=refiner, **clock, **both),
        "ClusterBoosting": ClusterBoosting(N_STAGES, N_OPTIONS, **both),
    }


def run(estimator, images):
    """Return what a fit comes to."""
    started = time.perf_counter()
    estimator.fit(images.X)
    fit_seconds = time.perf_counter() - started
    started = time.perf_counter()
    codes = estimator.encode(images.X_test)
    encode_seconds = time.perf_counter() - started
    return {
        "estimator": repr(estimator),
        "nats": round(nats := -estimator.score(images.X_test), 5),
        "nats_per_image": round(nats * images.X.shape[1], 2),
        "train_nats_first_10000": round(-estimator.score(images.X[:10_000]), 5),
        "entropy_bits": round(entropy_bits(option_frequencies(codes, N_OPTIONS)), 2),
        "fit_seconds": round(fit_seconds, 1),
        "steps": getattr(estimator, "n_steps_", None),
        "encode_rows_per_second": round(len(codes) / encode_seconds),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=480, help="length of the fit of VQDRAW")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    parser.add_argument("--out", help="the JSON file to write, result by result")
    arguments = parser.parse_args()

    images = load_images(arguments.quick)
    images.X, images.X_test = ((X > 0.5).astype(np.float32) for X in (images.X, images.X_test))
    loss = LogLoss()
    mean, _ = loss.mean_and_scale(images.X, np.ones(len(images.X)))
    start = np.tile(loss.link(mean), (len(images.X_test), 1))
    report = Report(
        arguments.out,
        benchmark="log_loss",
        quick=arguments.quick,
        seed=SEED,
        entropy_of_mean=round(float(loss.rows(start, images.X_test).mean()), 5),
    )
    for name, estimator in contenders(arguments.seconds).items():
        report.add(name, run(estimator, images), within="results")


if __name__ == "__main__":
    main()

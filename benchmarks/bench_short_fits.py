"""VQDRAW after fits of 30 seconds to 5 minutes, beside ClusterBoosting that has its own time.

    SKVQDRAW_DATA=folder python benchmarks/bench_short_fits.py --seeds 0 1 2 --go-on \\
        --out benchmarks/results/short_fits.json

Three kinds of data: MNIST and the clothes of Fashion-MNIST at 60 bits (ten stages of 64 options,
`ConvRefiner` with its defaults), and image descriptors (`descriptors.py`) at 64 bits (eight stages
of 256, `MLPRefiner` with its defaults, 256 rows to a step). ClusterBoosting has a beam of 16 and 5
refits. Errors are mean squares per feature of the test rows. The probes are logistic regressions
that learn labels from the features of 20,000 training rows, one-hot or soft, and read those of all
test rows; `pixels` is the same from the rows themselves.

The clothes are `fashion_mnist_30k.npz` in the folder that SKVQDRAW_DATA names: arrays `x_train`
(the first 30,000 training images), `y_train`, `x_test` and `y_test`.
"""

import argparse
import os
import time
import warnings
from pathlib import Path

import numpy as np
from bench_baselines import BOOSTING, error_of
from descriptors import load_descriptors
from machine import Report
from mnist import load_images
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Bunch

from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw._codes import entropy_bits, option_frequencies
from skvqdraw.refiners import ConvRefiner

N_PROBE = 20_000
SECONDS = (30, 60, 120, 300)
IMAGES = {"refiner": ConvRefiner((28, 28)), "n_stages": 10, "n_options": 64}
VECTORS = {"n_stages": 8, "n_options": 256, "batch_size": 256}


def load_clothes(quick):
    """Return X, y, X_test, y_test of the clothes, pixels in [0, 1]."""
    if quick:
        return load_images(quick)
    with np.load(Path(os.environ["SKVQDRAW_DATA"]) / "fashion_mnist_30k.npz") as file:
        X, X_test = (
            file[name].reshape(-1, 784) / np.float32(255) for name in ("x_train", "x_test")
        )
        return Bunch(X=X, y=file["y_train"], X_test=X_test, y_test=file["y_test"])


def load_vectors(quick):
    """Return X and X_test of the descriptors, which have no labels."""
    X, X_test = load_descriptors(*((2_000, 500) if quick else ()))
    return Bunch(X=X, y=None, X_test=X_test)


DATA = {
    "MNIST": (load_images, IMAGES),
    "clothes": (load_clothes, IMAGES),
    "descriptors": (load_vectors, VECTORS),
}


def probe(features, features_test, data):
    """Return the share of test rows whose label a linear classifier reads from features."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier = LogisticRegression(max_iter=100).fit(features, data.y[:N_PROBE])
    return round(float(classifier.score(features_test, data.y_test)), 4)


def judge(estimator, data):
    """Return the error, the bits in use and what probes read."""
    codes = estimator.encode(data.X_test)
    result = {
        "test_error": error_of(data.X_test, estimator.decode(codes)),
        "entropy_bits": round(entropy_bits(option_frequencies(codes, estimator.n_options)), 2),
    }
    for encoding in ("onehot", "soft") if data.y is not None else ():
        estimator.set_params(encoding=encoding)
        features = (estimator.transform(X) for X in (data.X[:N_PROBE], data.X_test))
        result[encoding] = probe(*features, data)
    return result


def measure(estimator, data):
    """Return how long a fit took and what came of it."""
    started = time.perf_counter()
    estimator.fit(data.X)
    seconds = round(time.perf_counter() - started, 1)
    steps = {"steps": estimator.n_steps_} if hasattr(estimator, "n_steps_") else {}
    return {"seconds": seconds, **steps, **judge(estimator, data)}


def contenders(settings, lengths, seed):
    """Yield the name and the estimator of each fit."""
    shape = {name: settings[name] for name in ("n_stages", "n_options")}
    boosting = BOOSTING["ClusterBoosting, beam 16, 5 refits"]
    yield "ClusterBoosting", ClusterBoosting(**shape, **boosting, random_state=seed)
    for seconds in lengths:
        budget = {"max_steps": None, "max_time": seconds}
        yield f"{seconds:g} s", VQDRAW(**settings, **budget, random_state=seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, nargs="+", default=SECONDS, metavar="S")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", help="the JSON file to write, result by result")
    parser.add_argument("--go-on", action="store_true", help="keep what the file has already")
    parser.add_argument("--quick", action="store_true", help="only see that it runs: no figures")
    arguments = parser.parse_args()
    lengths = [1] if arguments.quick else arguments.seconds
    report = Report(
        arguments.out, benchmark="short_fits", quick=arguments.quick, go_on=arguments.go_on
    )
    for seed in arguments.seeds:
        for name, (load, settings) in DATA.items():
            data = load(arguments.quick)
            section = f"{name}, seed {seed}"
            known = report.get(section, {})
            if data.y is not None and "pixels" not in known:
                read = probe(data.X[:N_PROBE], data.X_test, data)
                report.add("pixels", {"onehot": read}, within=section)
            for title, estimator in contenders(settings, lengths, seed):
                if title not in known:
                    report.add(title, measure(estimator, data), within=section)


if __name__ == "__main__":
    main()

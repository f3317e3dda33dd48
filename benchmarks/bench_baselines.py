"""k-means, cluster boosting, VQ-DRAW and the quantizers of faiss at equal bits, in one run.

    pip install faiss-cpu
    python benchmarks/bench_baselines.py --out results.json

Each contender learns and codes in a process of its own, one after the other, with the same rows:
the bundled digits (8 x 64 options, 48 bits), MNIST (10 x 64, 60 bits), and image descriptors
(`descriptors.py`, 8 x 256, 64 bits). k-means has the bits of one stage. Errors are mean squares per
feature, on the test rows and on the first 10,000 training rows. Rates are rows per second of all
test rows, in float32. `fit_memory_gib` is the growth of the process's anonymous memory at the peak
of the fit. faiss splits features evenly among the parts of its product quantizer: MNIST gets six
columns of zeros for it.

The last section fits on a part of a memory map of 1,000,000 x 96 numbers and encodes all of it.
"""

import argparse
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from bench_vectors import import_faiss
from descriptors import load_descriptors
from machine import AnonymousMemory, Report, seconds_of
from mnist import load_images
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.model_selection import train_test_split

from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw.datasets import load_digits_images
from skvqdraw.refiners import ConvRefiner, MLPRefiner

SEED = 0
JUDGED_ROWS = 10_000
# Stages, bits of a stage, and settings of VQDRAW (a few seconds, then minutes).
DATA_SETS = {
    "digits": (
        8,
        6,
        {"refiner": ConvRefiner((8, 8), n_channels=64, downsampling=2), "max_steps": 200},
    ),
    "mnist": (10, 6, {"refiner": ConvRefiner((28, 28)), "max_steps": None, "max_time": 120}),
    "descriptors": (
        8,
        8,
        {
            "refiner": MLPRefiner(256, basis_size=48),
            "batch_size": 256,
            "max_steps": None,
            "max_time": 120,
        },
    ),
}
BOOSTING = {
    "ClusterBoosting": {},
    "ClusterBoosting, fast": {"max_iter": 5, "tol": 0},
    "ClusterBoosting, beam 16, 5 refits": {
        "max_iter": 10,
        "tol": 0,
        "beam_size": 16,
        "n_refits": 5,
    },
}
MILLION = (1_000_000, 96)


class Centres:
    """Codes of one integer: the nearest centre of a k-means of scikit-learn."""

    def __init__(self, kmeans):
        self.kmeans = kmeans

    def fit(self, X):
        self.kmeans.fit(X)

    def encode(self, X):
        return self.kmeans.predict(X)

    def decode(self, codes):
        return self.kmeans.cluster_centers_[codes]


class Faiss:
    """A quantizer of faiss; features are filled up with zeros to its width."""

    def __init__(self, quantizer):
        self.quantizer = quantizer

    def _wide(self, X):
        return np.pad(X, ((0, 0), (0, self.quantizer.d - X.shape[1])))

    def fit(self, X):
        self.width = X.shape[1]
        self.quantizer.train(self._wide(X))

    def encode(self, X):
        return self.quantizer.compute_codes(self._wide(X))

    def decode(self, codes):
        return self.quantizer.decode(codes)[:, : self.width]


def residual_quantizer(n_features, n_stages, n_bits, beam_size):
    quantizer = import_faiss().ResidualQuantizer(n_features, n_stages, n_bits)
    quantizer.max_beam_size = beam_size
    quantizer.cp.seed = SEED
    return Faiss(quantizer)


def product_quantizer(n_features, n_stages, n_bits):
    width = -(-n_features // n_stages) * n_stages
    quantizer = import_faiss().ProductQuantizer(width, n_stages, n_bits)
    quantizer.cp.seed = SEED
    return Faiss(quantizer)


def contenders(n_features, n_stages, n_bits, vqdraw):
    """Return {name: (bits, what makes it)}."""
    K, shape = 2**n_bits, (n_features, n_stages, n_bits)
    kmeans = {"n_init": 1, "random_state": SEED}
    whole = {
        name: lambda params=params: ClusterBoosting(n_stages, K, random_state=SEED, **params)
        for name, params in BOOSTING.items()
    }
    whole |= {
        "VQDRAW": lambda: VQDRAW(n_stages, K, random_state=SEED, **vqdraw),
        "faiss ResidualQuantizer, beam 1": lambda: residual_quantizer(*shape, 1),
        "faiss ResidualQuantizer, beam 16": lambda: residual_quantizer(*shape, 16),
        "faiss ProductQuantizer": lambda: product_quantizer(*shape),
    }
    return {
        "KMeans": (n_bits, lambda: Centres(KMeans(K, max_iter=20, **kmeans))),
        "MiniBatchKMeans": (n_bits, lambda: Centres(MiniBatchKMeans(K, **kmeans))),
        **{name: (n_stages * n_bits, make) for name, make in whole.items()},
    }


def measure(path, name, n_stages, n_bits, vqdraw):
    """Fit one contender and judge it; runs in a process of its own."""
    with np.load(path) as file:
        X, X_test = file["X"], file["X_test"]
    bits, make = contenders(X.shape[1], n_stages, n_bits, vqdraw)[name]
    model = make()
    with AnonymousMemory() as memory:
        started = time.perf_counter()
        model.fit(X)
        seconds = time.perf_counter() - started
    codes, some = model.encode(X_test), X[:JUDGED_ROWS]
    repeats = 3 if len(X_test) > 1000 else 20
    encode_seconds = seconds_of(lambda: model.encode(X_test), repeats=repeats)
    decode_seconds = seconds_of(lambda: model.decode(codes), repeats=repeats)
    return {
        "bits": bits,
        "train_error": error_of(some, model.decode(model.encode(some))),
        "test_error": error_of(X_test, model.decode(codes)),
        "fit_seconds": round(seconds, 2),
        "encode_rows_per_second": round(len(X_test) / encode_seconds),
        "decode_rows_per_second": round(len(X_test) / decode_seconds),
        "fit_memory_gib": round(memory.growth_gib, 3),
    }


def error_of(X, Xr):
    return round(float(np.square(X - Xr, dtype=np.float64).mean()), 7)


def measure_memory_map(path):
    """Fit on drawn rows of a memory map, encode all of it; runs in a process of its own."""
    X = np.memmap(path, dtype=np.float32, mode="r", shape=MILLION)
    result = {}
    with AnonymousMemory() as memory:
        boosting = ClusterBoosting(8, 256, subsample=100_000, random_state=SEED)
        started = time.perf_counter()
        boosting.fit(X)
        result["fit_seconds"] = round(time.perf_counter() - started, 1)
        started = time.perf_counter()
        codes = boosting.encode(X)
        result["encode_rows_per_second"] = round(len(X) / (time.perf_counter() - started))
    result["codes_shape"] = codes.shape
    result["peak_memory_gib"] = round(memory.growth_gib, 3)
    return result


def load(name):
    """Return training rows and test rows of a data set, float32."""
    if name == "descriptors":
        return load_descriptors(seed=SEED)
    if name == "digits":
        return train_test_split(load_digits_images().data, test_size=450, random_state=SEED)
    images = load_images(quick=False)
    return images.X, images.X_test


def write_memory_map(path):
    """Write rows that lie near a subspace of 24 dimensions."""
    rng = np.random.default_rng(SEED)
    basis = rng.normal(size=(24, MILLION[1]))
    X = np.memmap(path, dtype=np.float32, mode="w+", shape=MILLION)
    for start in range(0, len(X), 10_000):
        rows = rng.normal(size=(10_000, 24)) ** 3 @ basis
        X[start : start + 10_000] = rows + rng.normal(size=rows.shape)
    X.flush()


def in_a_process(function, *arguments):
    """Return what a function returns in a process that starts from nothing."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="the JSON file to write, result by result")
    parser.add_argument("--only", nargs="*", default=[*DATA_SETS, "memory_map"])
    arguments = parser.parse_args()

    version = import_faiss().__version__
    report = Report(arguments.out, benchmark="baselines", seed=SEED, faiss={"version": version})
    with tempfile.TemporaryDirectory() as folder:
        for data_set in [name for name in DATA_SETS if name in arguments.only]:
            X, X_test = load(data_set)
            path = Path(folder) / f"{data_set}.npz"
            np.savez(path, X=X, X_test=X_test)
            about = {
                "train_shape": X.shape,
                "test_shape": X_test.shape,
                "error_of_train_mean": error_of(X_test, X.mean(axis=0)),
                "vqdraw": repr(DATA_SETS[data_set][2]),
            }
            report.add(data_set, about)
            for name in contenders(X.shape[1], *DATA_SETS[data_set]):
                result = in_a_process(measure, path, name, *DATA_SETS[data_set])
                report[data_set].setdefault("results", {})[name] = result
                report.add(name, result, within=f"{data_set}_results")
        if "memory_map" in arguments.only:
            path = Path(folder) / "million.f32"
            write_memory_map(path)
            report.add("memory_map", {"shape": MILLION, **in_a_process(measure_memory_map, path)})


if __name__ == "__main__":
    main()

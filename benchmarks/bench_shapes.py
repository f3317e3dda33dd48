"""Shapes of voxels in 60 and 120 bits: how much of them comes back.

    SKVQDRAW_DATA=... python benchmarks/bench_shapes.py --out benchmarks/results/shapes.json

Furniture is ModelNet10 at 24 voxels a side where `SKVQDRAW_DATA` has it, else shapes made by
formula; test shapes that also occur among those for training are left out. "made" are boxes,
spheres and tori at 32 voxels a side. Estimators learn from each piece of furniture, its mirror
image, and both stretched along each axis by up to a quarter, as far as there is room, twice anew;
with "no copies", from the furniture alone.

What is judged is intersection over union, the mean of all test shapes. Voxels count as full above
the threshold that is best for training shapes, for each estimator and number of bits. `train` is
the same measure of the first shapes for training. `lossless` has the bits of a shape as it is: runs
of equal voxels, their lengths compressed with zlib.

`short` compares fits of 100 seconds, of voxels and of principal components of patches.
"""

import argparse
import time
import zlib

import numpy as np
from machine import Report
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw.datasets import load_shapes, make_shapes
from skvqdraw.preprocessing import PatchPCA
from skvqdraw.refiners import VolumeRefiner

SEED, N_OPTIONS = 0, 64
BITS = (60, 120)
PER_STAGE = 6
# Evaluations end where 60 bits do: the first stage has none.
STAGES = (4, 5)
THRESHOLDS = np.arange(0.3, 0.61, 0.05)
# Shapes for training that thresholds are chosen on, and that principal components are made of.
JUDGED, OF_PATCHES = 800, 2000
# Of fits.
SECONDS = {"furniture": 1200, "made": 1320, "short": 100}
STRETCHED = 1.25
PARTS = ("furniture", "made", "short", "baselines")


def furniture(quick):
    """Return name, shape, training rows, test rows."""
    shapes = load_shapes()
    seen = {row.tobytes() for row in shapes.data}
    X_test = shapes.data_test[[row.tobytes() not in seen for row in shapes.data_test]]
    X = shapes.data[:200] if quick else shapes.data
    mirrored = np.flip(X.reshape(-1, *shapes.volume_shape), 1).reshape(X.shape)
    return shapes.name, shapes.volume_shape, np.concatenate([X, mirrored]), X_test


def with_stretched(X, shape):
    """Return rows, and two of each that are stretched along each axis by chance."""
    rng, copies = np.random.default_rng(SEED), [X]
    for _ in range(2):
        volumes = [stretched(row.reshape(shape), rng) for row in X]
        copies.append(np.stack(volumes).reshape(X.shape))
    return np.concatenate(copies)


def stretched(volume, rng):
    """Return a volume, stretched from its middle by up to a quarter, as far as there is room."""
    for axis, side in enumerate(volume.shape):
        full = np.flatnonzero(volume.any(tuple({0, 1, 2} - {axis})))
        if len(full):
            most = max(1, min(STRETCHED, side / (full[-1] - full[0] + 1)))
            middle, factor = (side - 1) / 2, rng.uniform(1, most)
            source = np.round((np.arange(side) - middle) / factor + middle).astype(int)
            volume = volume.take(source, axis)
    return volume


def made(quick):
    """Return name, shape, training rows, test rows."""
    shapes = make_shapes(400 if quick else 30_000, side=32, random_state=SEED)
    others = make_shapes(500, side=32, random_state=SEED + 1)
    return "made", shapes.volume_shape, shapes.data, others.data


def of_components(shape, seconds, patch=4, n_components=16, **params):
    """Return a transformer to components of patches, and the estimator behind it."""
    patches = PatchPCA(shape, (patch,) * 3, n_components)
    refiner = VolumeRefiner(patches.grid_shape, downsampling=1, stages_per_round=STAGES, **params)
    return patches, estimator(refiner, seconds)


def estimator(refiner, seconds):
    """Return an estimator of all bits."""
    clock = {"max_steps": None, "max_time": seconds, "random_state": SEED}
    n_stages = BITS[-1] // PER_STAGE
    return VQDRAW(n_stages, N_OPTIONS, refiner=refiner, batch_size=32, **clock)


def iou(one, other):
    """Return the intersection over union of each pair of shapes; two empty ones are equal."""
    both, either = (one & other).sum(1), (one | other).sum(1)
    return np.where(either, both / np.maximum(either, 1), 1.0)


def of_fit(patches, vq, X, X_test):
    """Fit, and return what comes back."""
    started = time.perf_counter()
    patches.fit(X[:OF_PATCHES])
    vq.fit(patches.transform(X))
    fit_seconds = round(time.perf_counter() - started, 1)
    return {**of_codes(patches, vq, X, X_test), "fit_seconds": fit_seconds}


def of_codes(patches, vq, X, X_test):
    """Code, and return what comes back."""
    started = time.perf_counter()
    codes_test = vq.encode(patches.transform(X_test))
    rate = len(X_test) / (time.perf_counter() - started)
    full, full_test = X[:JUDGED] > 0, X_test > 0
    codes = vq.encode(patches.transform(X[:JUDGED]))
    row = {"test": [], "train": [], "thresholds": []}
    for stage in (bits // PER_STAGE for bits in BITS):
        back, back_test = (
            patches.inverse_transform(vq.decode(some[:, :stage])) for some in (codes, codes_test)
        )
        of_train = [iou(back > threshold, full).mean() for threshold in THRESHOLDS]
        best = int(np.argmax(of_train))
        row["test"].append(round(float(iou(back_test > THRESHOLDS[best], full_test).mean()), 4))
        row["train"].append(round(float(of_train[best]), 4))
        row["thresholds"].append(round(float(THRESHOLDS[best]), 2))
    row["steps"] = getattr(vq, "n_steps_", None)
    row["encode_rows_per_second"] = round(rate, 1)
    return {"estimator": " ".join(repr(make_pipeline(patches, vq)).split()), **row}


def nearest(X, X_test):
    """Return the intersection over union of test shapes and the training shapes nearest in it."""
    n_full, best = X.sum(1, dtype=np.float32), []
    for rows in np.array_split(X_test.astype(np.float32), 10):
        both = np.concatenate([rows @ part.astype(np.float32).T for part in np.split(X, 2)], 1)
        either = rows.sum(1)[:, None] + n_full - both
        best.append((both / np.maximum(either, 1)).max(1))
    return round(float(np.concatenate(best).mean()), 4)


def lossless_bits(X):
    """Return bits of a row: lengths of runs, compressed; two bytes each, the first of empty ones"""
    total = 0
    for row in X:
        ends = np.flatnonzero(np.diff(np.concatenate([[0], row, [2]])))
        total += len(zlib.compress(np.diff(ends, prepend=0).astype(np.uint16).tobytes(), 9))
    return round(8 * total / len(X))


def baselines(report, kind, X, seen, X_test):
    """Judge what knows no refiner."""
    about = {"nearest": nearest(X, X_test), "lossless_bits": lossless_bits(X_test)}
    report.add("others", about, within=kind)
    boosting = ClusterBoosting(BITS[-1] // PER_STAGE, N_OPTIONS, random_state=SEED)
    row = of_fit(FunctionTransformer(), boosting, seen, X_test)
    report.add("ClusterBoosting", row, within=kind)
    if kind == "furniture":
        with_log_loss(report, boosting.set_params(loss="log_loss"), X, seen, X_test)


def with_log_loss(report, boosting, X, seen, X_test):
    """Judge what knows that voxels are full or empty, without and with copies of shapes."""
    for name, rows in (("log loss, no copies", X[: len(X) // 2]), ("log loss", seen)):
        row = of_fit(FunctionTransformer(), boosting, rows, X_test)
        report.add(f"ClusterBoosting, {name}", row, within="furniture")


def short(report, seconds, quick):
    """Compare voxels and components at equal time."""
    _, shape, X, X_test = furniture(quick)
    row = of_fit(
        FunctionTransformer(),
        estimator(VolumeRefiner(shape, stages_per_round=STAGES), seconds),
        X,
        X_test,
    )
    report.add("VolumeRefiner of voxels", row, within="short")
    row = of_fit(*of_components(shape, seconds), X, X_test)
    report.add("VolumeRefiner of components", row, within="short")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, action="append", help="leave out the others")
    parser.add_argument("--go-on", action="store_true", help="keep what the file has already")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    parser.add_argument("--out", help="the JSON file to write, result by result")
    arguments = parser.parse_args()
    quick, parts = arguments.quick, arguments.only or PARTS
    seconds = dict.fromkeys(SECONDS, 5) if quick else SECONDS
    out, go_on = arguments.out, arguments.go_on
    report = Report(out, go_on=go_on, benchmark="shapes", quick=quick, seed=SEED, bits=BITS)
    for kind, load, params in (
        ("furniture", furniture, {}),
        ("made", made, {"patch": 8, "n_components": 64, "n_channels": 128, "hidden_size": 64}),
    ):
        name, shape, X, X_test = load(quick)
        about = {"name": name, "shape": shape, "train": len(X), "test": len(X_test)}
        report.add(kind + "_data", about)
        seen = with_stretched(X, shape) if kind == "furniture" else X
        if kind in parts:
            patches, vq = of_components(shape, seconds[kind], **params)
            report.add("VQDRAW", of_fit(patches, vq, seen, X_test), within=kind)
            vq.set_params(beam_size=8)
            row = of_codes(patches, vq, X, X_test)
            report.add("the same, beam_size=8", row, within=kind)
        if "baselines" in parts:
            baselines(report, kind, X, seen, X_test)
    if "short" in parts:
        short(report, seconds["short"], quick)


if __name__ == "__main__":
    main()

"""A memory map of a million MNIST images: memory and speed of encoding it, and of fitting on it.

    SKVQDRAW_DATA=folder python benchmarks/bench_memory_map.py \\
        --out benchmarks/results/memory_map.json

The images are bytes, the 60,000 of MNIST again and again, in a file of 784 MB (in the folder for
temporary files) that is not in memory when a measurement begins. The model that comes with the
package codes them: its mean and its scale times 255, it reads bytes as it reads pixels in [0, 1].
Encoding writes its codes into a file, too. Rates are compared on parts of the file, each in turn
with the same rows as an array. Memory is anonymous memory (RssAnon) above what it is after the
imports, the model included. Fitting starts anew, and draws its rows from all of the file. Rows of a
batch are timed with nothing of the file in memory, as when it is larger than that.
"""

import argparse
import os
import statistics
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from machine import AnonymousMemory, Report
from mnist import IMAGE_SHAPE, load_images

from skvqdraw import VQDRAW, load_pretrained
from skvqdraw._rows import take_rows
from skvqdraw.refiners import ConvRefiner

SEED = 0
# Rows of the file and of a part of it, steps of a fit, and batches that are read.
SIZES = {False: (1_000_000, 20_000, 100, 20), True: (4_000, 500, 5, 2)}
N_PARTS, BATCH_ROWS = 8, 128


def write_images(path, n_rows, quick):
    """Write images as bytes, again and again up to so many rows."""
    images = np.rint(255 * load_images(quick).X).astype(np.uint8)
    X = np.lib.format.open_memmap(path, "w+", np.uint8, (n_rows, images.shape[1]))
    for start in range(0, n_rows, len(images)):
        X[start : start + len(images)] = images[: n_rows - start]
    X.flush()


def forget(path):
    """Have the system drop a file from memory."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def model_of_bytes():
    """Return the model that comes with the package, for pixels from 0 to 255."""
    vq = load_pretrained("mnist-60bit")
    vq.mean_, vq.scale_ = 255 * vq.mean_, 255 * vq.scale_
    return vq


def seconds_of(function, *arguments):
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def open_codes(path, n_rows, n_stages):
    return np.lib.format.open_memmap(
        path.with_name("codes.npy"), "w+", np.uint8, (n_rows, n_stages)
    )


def measure_encode(path):
    """Encode the file into another; return memory and rate."""
    with AnonymousMemory() as memory:
        vq = model_of_bytes()
        X = np.load(path, mmap_mode="r")
        codes = open_codes(path, len(X), vq.n_stages)
        seconds = seconds_of(vq.encode, X, codes)
    return {
        "memory_mib": round(1024 * memory.growth_gib, 1),
        "rows_per_second": round(len(X) / seconds, 1),
    }


def measure_rates(path, part_rows):
    """Encode parts of the file into another, and in turns the same rows in memory."""
    vq, X = model_of_bytes(), np.load(path, mmap_mode="r")
    codes = open_codes(path, len(X), vq.n_stages)
    vq.encode(np.array(X[-256:]))  # what happens only once is not timed
    seconds, same = {"file": 0.0, "memory": 0.0}, True
    for k in range(N_PARTS):
        part = slice(k * part_rows, (k + 1) * part_rows)
        seconds["file"] += seconds_of(vq.encode, X[part], codes[part])
        rows, expected = np.array(X[part]), np.empty((part_rows, vq.n_stages), np.uint8)
        seconds["memory"] += seconds_of(vq.encode, rows, expected)
        same &= np.array_equal(codes[part], expected)
    rates = {f"in_{name}": round(N_PARTS * part_rows / s, 1) for name, s in seconds.items()}
    return {**rates, "share": round(seconds["memory"] / seconds["file"], 3), "same_codes": same}


def measure_fit(path, n_steps):
    """Fit on the file, a new network of the default size; return memory and seconds."""
    with AnonymousMemory() as memory:
        vq = VQDRAW(10, 64, refiner=ConvRefiner(IMAGE_SHAPE), random_state=SEED)
        started = time.perf_counter()
        vq.set_params(max_steps=n_steps).fit(np.load(path, mmap_mode="r"))
        seconds = time.perf_counter() - started
    first, last = vq.loss_curve_[0], vq.loss_curve_[-1]
    return {
        "memory_mib": round(1024 * memory.growth_gib, 1),
        "steps": n_steps,
        "seconds": round(seconds, 1),
        "steps_per_second": round(
            (last["step"] - first["step"]) / (last["seconds"] - first["seconds"]), 2
        ),
    }


def measure_batches(path, n_batches):
    """Read batches, each from a file that is not in memory; return milliseconds for a batch."""
    ways = {"one_after_the_other": lambda X, rows: X[rows], "asked_for_at_once": take_rows}
    times = {name: [] for name in ways}
    rng = np.random.default_rng(SEED)
    for _ in range(n_batches):
        for name, take in ways.items():
            # A new map for each: pages that are mapped cannot be dropped.
            X = np.asarray(np.load(path, mmap_mode="r"))
            rows = rng.integers(len(X), size=BATCH_ROWS)
            forget(path)
            started = time.perf_counter()
            take(X, rows)
            times[name].append(1000 * (time.perf_counter() - started))
            del X
    return {name: round(statistics.median(t), 1) for name, t in times.items()}


def in_a_process(function, *arguments):
    """Return what a function returns in a process that starts from nothing."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="the JSON file to write, section by section")
    parser.add_argument("--quick", action="store_true", help="only see that it runs: no figures")
    arguments = parser.parse_args()
    n_rows, part_rows, n_steps, n_batches = SIZES[arguments.quick]
    report = Report(arguments.out, benchmark="memory_map", quick=arguments.quick, seed=SEED)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "X.npy"
        write_images(path, n_rows, arguments.quick)
        report.add("file", {"rows": n_rows, "mib": round(path.stat().st_size / 2**20, 1)})
        forget(path)
        report.add("encode", in_a_process(measure_encode, path))
        forget(path)
        report.add("rows_per_second", in_a_process(measure_rates, path, part_rows))
        forget(path)
        report.add("fit", in_a_process(measure_fit, path, n_steps))
        report.add("milliseconds_for_128_rows", in_a_process(measure_batches, path, n_batches))


if __name__ == "__main__":
    main()

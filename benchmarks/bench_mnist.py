"""VQDRAW on MNIST at 60 bits: error after a fit of given length, speed, memory, import time.

    SKVQDRAW_DATA=folder python benchmarks/bench_mnist.py --seconds 300 --out results.json

Errors are means over pixels in [0, 1], reconstructions not clipped, on all 10,000 test images.
Rates are images per second; GFLOP/s count matrix products and convolutions only, and shares are of
the highest rate of a large product or convolution in the same run. The network of the paper
(`PaperRefiner`) is timed beside ours, on fewer images, after a fit of a few steps.
"""

import argparse
import json
import subprocess
import sys

import numpy as np
from machine import AnonymousMemory, describe, flops_of, peak_gflops, seconds_of

from skvqdraw import VQDRAW
from skvqdraw._codes import entropy_bits, option_frequencies
from skvqdraw.datasets import fetch_mnist
from skvqdraw.refiners import ConvRefiner, PaperRefiner

SEED = 0
IMPORTS = """
import time
import torch, sklearn
started = time.perf_counter()
import skvqdraw
print(time.perf_counter() - started)
"""


def import_seconds():
    """Return what importing skvqdraw adds to torch and scikit-learn: the median of five."""
    runs = [
        subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
        for _ in range(5)
    ]
    return float(np.median([float(run.stdout) for run in runs]))


def rate(function, n_images, peak):
    """Return images/s, GFLOP/s and the share of the peak of a call on n_images."""
    seconds, flops = seconds_of(function, repeats=3), flops_of(function)
    gflops = flops / seconds / 1e9
    return {
        "images_per_second": round(n_images / seconds),
        "mflop_per_image": round(flops / n_images / 1e6, 1),
        "gflop_per_second": round(gflops, 1),
        "share_of_peak": round(gflops / peak, 3),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--out", default=None)
    arguments = parser.parse_args()

    result = {"machine": describe(), "seed": SEED, "import_seconds": import_seconds()}
    mnist = fetch_mnist()
    X, X_test = (images / np.float32(255) for images in (mnist.data, mnist.data_test))
    vq = VQDRAW(
        n_stages=10,
        n_options=64,
        refiner=ConvRefiner(mnist.image_shape),
        max_steps=None,
        max_time=arguments.seconds,
        random_state=SEED,
    )
    with AnonymousMemory() as memory:
        vq.fit(X)
    seconds = vq.loss_curve_[-1]["seconds"]
    codes = vq.encode(X_test)
    by_stage = [np.square(vq.decode(codes[:, : s + 1]) - X_test).mean() for s in range(10)]
    result["fit"] = {
        "estimator": repr(vq),
        "seconds": round(seconds, 1),
        "steps": vq.n_steps_,
        "images_per_second": round(vq.n_steps_ * vq.batch_size / seconds),
        "peak_anonymous_memory_gib": round(memory.growth_gib, 3),
        "test_error": float(by_stage[-1]),
        "test_error_by_stage": [round(float(error), 5) for error in by_stage],
        "train_error_first_10000": -vq.score(X[:10_000]),
        "test_entropy_bits": round(entropy_bits(option_frequencies(codes, 64)), 2),
    }
    peaks = peak_gflops(vq.network_.mixing.dtype)
    peak = max(peaks.values())
    result["float32_peak_gflop_per_second"] = peaks
    result["encode_float32"] = rate(lambda: vq.encode(X_test), len(X_test), peak)
    result["decode_float32"] = rate(lambda: vq.decode(codes), len(X_test), peak)

    paper = VQDRAW(10, 64, refiner=PaperRefiner(), max_steps=30, random_state=SEED).fit(X[:5000])
    records = paper.loss_curve_
    steps, seconds = (records[-1][key] - records[4][key] for key in ("step", "seconds"))
    some, some_codes = X_test[:512], paper.encode(X_test[:512])
    result["paper_network"] = {
        "fit_images_per_second": round(steps * paper.batch_size / seconds),
        "encode_float32": rate(lambda: paper.encode(some), len(some), peak),
        "decode_float32": rate(lambda: paper.decode(some_codes), len(some), peak),
    }

    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out:
        with open(arguments.out, "w") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()

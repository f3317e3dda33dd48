"""Speed and memory of VQDRAW on MNIST at 60 bits, beside the original VQ-DRAW.

    SKVQDRAW_DATA=folder python benchmarks/bench_speed.py --original ../vq-draw \\
        --out benchmarks/results/speed.json

Rates are images per second; GFLOP/s count matrix products and convolutions only, and shares are of
the highest rate of a large product or convolution in the same run, in the same number format.
Memory is the growth of anonymous memory in a fit of five steps, network and optimizer included.
Each subject has a process of its own: what the allocator keeps of one would hide the growth of
another.
"""

import argparse
import json
import subprocess
import sys

import numpy as np
import original
import torch
from machine import AnonymousMemory, Report, flops_of, peak_gflops, rate, rate_of
from mnist import CODINGS, IMAGE_SHAPE, coded_as, load_images

from skvqdraw import VQDRAW
from skvqdraw.refiners import ConvRefiner, PaperRefiner

SEED = 0
OPTIONS = (64, 256, 1024)
FEW_STEPS = 5
IMPORTS = """
import time
import torch, sklearn
started = time.perf_counter()
import skvqdraw
print(time.perf_counter() - started)
"""
# Training steps, and images to encode and decode; fewer where one takes ten times as long. We code
# in tiles of 256, the original in batches of 200: none should be half empty.
SIZES = {
    "ConvRefiner": (300, 10_000),
    "options": (FEW_STEPS, 2048),
    "PaperRefiner": (40, 1024),
    "original": (40, 1000),
}
QUICK_SIZES = {name: (4, 32 if name == "original" else 128) for name in SIZES}


def import_seconds(repeats):
    """Return what importing skvqdraw adds to torch and scikit-learn: the median of some runs."""
    runs = [
        subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
        for _ in range(repeats)
    ]
    return float(np.median([float(run.stdout) for run in runs]))


def training_rate(vq, X, steps):
    """Return the rate of training steps, the start of the fit and its first steps left out."""
    few = X[:128]
    flops = [flops_of(lambda n=n: vq.set_params(max_steps=n).fit(few)) for n in (1, 3)]
    records = vq.set_params(max_steps=steps).fit(X).loss_curve_
    first, last = records[len(records) // 10], records[-1]
    n_steps, seconds = (last[key] - first[key] for key in ("step", "seconds"))
    flops_per_step = (flops[1] - flops[0]) / 2
    measured = rate(n_steps * vq.batch_size, seconds, n_steps * flops_per_step)
    return {"batch_size": vq.batch_size, **measured}


def measure_ours(data, refiner, precision, codings, steps, n_images):
    """Return memory and rates of VQDRAW."""
    vq = VQDRAW(10, 64, refiner=refiner, precision=precision, random_state=SEED)
    default_batch = vq.batch_size
    vq.set_params(batch_size=original.BATCH, max_steps=FEW_STEPS)
    with AnonymousMemory(interval=0.005) as memory:
        vq.fit(data.X[: 20 * original.BATCH])
    result = {"train_memory_gib": round(memory.growth_gib, 3)}
    result["train_same_batch"] = training_rate(vq, data.X, steps)
    result["train"] = training_rate(vq.set_params(batch_size=default_batch), data.X, steps)
    X = data.X_test[:n_images]
    codes = vq.encode(X)
    result["decode"] = rate_of(lambda: vq.decode(codes), len(X))
    return result | encode_rates(vq, X, codings)


def encode_rates(vq, X, codings):
    """Return the rates of ways to encode, with beams on fewer images."""
    result = {}
    for coding in codings:
        some = X[:1024] if coding.startswith("beam") else X
        coded_as(vq, coding)
        name = "encode" if coding == "default" else f"encode_{coding}"
        result[name] = rate_of(lambda some=some: vq.encode(some), len(some))
    return result


def measure_options(data, n_options, steps, n_images):
    """Return the rates of encoding with so many options per stage."""
    vq = VQDRAW(10, n_options, refiner=ConvRefiner(IMAGE_SHAPE), precision="float32")
    vq.set_params(max_steps=steps, random_state=SEED).fit(data.X[:10_000])
    return encode_rates(vq, data.X_test[:n_images], ["default", "greedy"])


def measure_original(data, path, steps, n_images):
    """Return memory and rates of the original."""
    vq_draw = original.import_original(path)
    torch.manual_seed(SEED)
    with AnonymousMemory(interval=0.005) as memory:
        few = data.X[: 20 * original.BATCH]
        original.make_trainer(vq_draw, few, data.X_test).train(max_steps=FEW_STEPS)
    result = {"train_memory_gib": round(memory.growth_gib, 3)}
    trainer = original.make_trainer(vq_draw, data.X, data.X_test)
    step_flops = flops_of(lambda: trainer.train(max_steps=1))
    times = trainer.train(max_steps=steps).times[steps // 10 :]
    n_steps, seconds = len(times) - 1, times[-1] - times[0]
    measured = rate(n_steps * original.BATCH, seconds, n_steps * step_flops)
    result["train"] = result["train_same_batch"] = {"batch_size": original.BATCH, **measured}
    images = original.standardised(data.X_test[:n_images])
    codes = original.encode(trainer.model, images)
    result["encode"] = rate_of(lambda: original.encode(trainer.model, images), len(images))
    result["decode"] = rate_of(lambda: original.decode(trainer.model, codes), len(images))
    return result


def measure(subject, path, quick):
    """Return what is measured of a subject, in this process."""
    data = load_images(quick)
    kind, _, detail = subject.partition(" ")
    sizes = (QUICK_SIZES if quick else SIZES)[kind]
    if kind == "original":
        return measure_original(data, path, *sizes)
    if kind == "options":
        return measure_options(data, int(detail), *sizes)
    if kind == "PaperRefiner":
        # Its rounds are of one stage, so that the default is greedy.
        return measure_ours(data, PaperRefiner(), detail, ["default"], *sizes)
    return measure_ours(data, ConvRefiner(IMAGE_SHAPE), detail, CODINGS, *sizes)


def measure_apart(subject, arguments, peaks):
    """Return what a process of its own measures of a subject, with shares of the peak."""
    command = [sys.executable, __file__, "--subject", subject]
    command += ["--quick"] if arguments.quick else []
    command += ["--original", arguments.original] if arguments.original else []
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(run.stdout.splitlines()[-1])
    peak = max(peaks["bf16" if subject.endswith("bf16") else "float32"].values())
    for value in result.values():
        if isinstance(value, dict):
            value["share_of_peak"] = round(value["gflop_per_second"] / peak, 3)
    return result


def ratios(ours, theirs):
    """Return ours/theirs: of rates, the higher the better; of memory, the lower."""
    result = {"train_memory_gib": ours["train_memory_gib"] / theirs["train_memory_gib"]}
    for name, value in ours.items():
        if isinstance(value, dict):
            base = theirs["encode" if name.startswith("encode") else name]
            result[name] = value["images_per_second"] / base["images_per_second"]
    return {name: round(value, 3) for name, value in result.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--original", help="a copy of the repository of the original VQ-DRAW")
    parser.add_argument("--out", help="the JSON file to write, section by section")
    parser.add_argument("--quick", action="store_true", help="only see that it runs: no figures")
    parser.add_argument("--subject", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.subject:
        print(json.dumps(measure(arguments.subject, arguments.original, arguments.quick)))
        return

    report = Report(arguments.out, benchmark="speed", quick=arguments.quick, seed=SEED)
    report.add("import_seconds", round(import_seconds(1 if arguments.quick else 5), 3))
    dtypes = {"float32": torch.float32, "bf16": torch.bfloat16}
    if not report["machine"]["bf16_native"]:  # where it is emulated it is slow, and nobody uses it
        del dtypes["bf16"]
    repeats = 1 if arguments.quick else 9
    peaks = {name: peak_gflops(dtype, repeats) for name, dtype in dtypes.items()}
    report.add("peak_gflop_per_second", peaks)
    subjects = [*(f"ConvRefiner {name}" for name in dtypes), "PaperRefiner float32"]
    for subject in subjects + (["original"] if arguments.original else []):
        report.add(subject, measure_apart(subject, arguments, peaks), within="subjects")
    if arguments.original:
        measured = report["subjects"]
        for subject in subjects:
            against = ratios(measured[subject], measured["original"])
            report.add(subject, against, within="ratios_ours_to_original")
    for n_options in OPTIONS[: 2 if arguments.quick else None]:
        result = measure_apart(f"options {n_options}", arguments, peaks)
        report.add(str(n_options), result, within="options")


if __name__ == "__main__":
    main()

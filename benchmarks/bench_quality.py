"""Error of VQDRAW on MNIST at 60 bits after fits of given lengths, beside the original VQ-DRAW.

    SKVQDRAW_DATA=folder python benchmarks/bench_quality.py --original ../vq-draw \\
        --out benchmarks/results/quality.json

Fits have the defaults of `ConvRefiner`, or the settings of `presets.mnist()`, which are for minutes
and hours. Errors are mean squares over pixels in [0, 1], reconstructions not clipped: on all 10,000
test images, or on the first 2,000 where the name says so.
"""

import argparse
import os

import original
import torch
from machine import AnonymousMemory, Report
from mnist import CODINGS, IMAGE_SHAPE, coded_as, errors_by_stage, load_images

from skvqdraw import VQDRAW, presets
from skvqdraw._codes import entropy_bits, option_frequencies
from skvqdraw.refiners import ConvRefiner

SEED = 0
N_SOME = 2_000  # test images where coding all of them would take long


def fit(data, seconds, settings=None):
    """Return VQDRAW after a fit of so many seconds."""
    vq = settings or VQDRAW(n_stages=10, n_options=64, refiner=ConvRefiner(IMAGE_SHAPE))
    return vq.set_params(max_steps=None, max_time=seconds, random_state=SEED).fit(data.X)


def error(vq, X, coding="default"):
    """Return the mean squared error of rows that are encoded in one of the CODINGS."""
    return round(-coded_as(vq, coding).score(X), 6)


def describe_fit(vq, data):
    """Return what is said of a fit."""
    seconds = vq.loss_curve_[-1]["seconds"]
    result = {
        "estimator": repr(vq),
        "seconds": round(seconds, 1),
        "steps": vq.n_steps_,
        "images_per_second": round(vq.n_steps_ * vq.batch_size / seconds),
        "train_error_first_10000": error(vq, data.X[:10_000]),
    }
    for coding in ("greedy", "default"):
        codes = coded_as(vq, coding).encode(data.X_test)
        by_stage = errors_by_stage(vq, data.X_test, codes)
        result[coding] = {
            "test_error": by_stage[-1],
            "test_error_by_stage": by_stage,
            "test_entropy_bits": round(entropy_bits(option_frequencies(codes, 64)), 2),
        }
    some = data.X_test[:N_SOME]
    result["test_error_first_2000"] = {coding: error(vq, some, coding) for coding in CODINGS}
    return result


def describe_original(trainer, X):
    """Return the error of an original, trained or published."""
    by_stage = [round(value, 6) for value in original.errors_by_stage(trainer.model, X)]
    return {"test_error_first_2000": by_stage[-1], "test_error_by_stage_first_2000": by_stage}


def measure_original(path, seconds, data, report):
    """Report the error of the original after training in this run, and of its published weights."""
    vq_draw = original.import_original(path)
    some = data.X_test[:N_SOME]
    weights = original.published_weights(path)
    if os.path.exists(weights):
        trainer = original.make_trainer(vq_draw, data.X, some, checkpoint=weights)
        report.add("original_published", describe_original(trainer, some))
    torch.manual_seed(SEED)
    trainer = original.make_trainer(vq_draw, data.X, some).train(max_time=seconds)
    result = {
        "seconds": round(trainer.times[-1] - trainer.times[0], 1),
        "steps": len(trainer.times) - 1,
        "batch_size": original.BATCH,
    }
    report.add("original", result | describe_original(trainer, some))


def reach(target, seconds, data, report):
    """Report the first of these lengths whose fit is as good as the original; None if none is."""
    report.add("seconds_to_reach", None)
    for length in sorted(set(seconds) | {float(name) for name in report["fits"]}):
        known = report["fits"].get(f"{length:g}")
        reached = (
            known["test_error_first_2000"]["default"]
            if known
            else error(fit(data, length), data.X_test[:N_SOME])
        )
        report.add(f"{length:g}", reached, within="test_error_first_2000_by_seconds")
        if reached <= target:
            report.add("seconds_to_reach", length)
            return


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    lengths = {"type": float, "nargs": "+", "metavar": "S"}
    parser.add_argument("--seconds", default=[60, 300, 1200], help="lengths of fits", **lengths)
    help_preset = "lengths of fits with presets.mnist()"
    parser.add_argument("--preset-seconds", default=[300], help=help_preset, **lengths)
    parser.add_argument("--original", help="a copy of the repository of the original VQ-DRAW")
    parser.add_argument("--original-seconds", type=float, default=1200, metavar="S")
    help_reach = "lengths of fits to try against the original, beside --seconds"
    parser.add_argument("--reach", default=[10, 20, 30, 60], help=help_reach, **lengths)
    parser.add_argument("--out", help="the JSON file to write, section by section")
    parser.add_argument("--go-on", action="store_true", help="keep what the file has already")
    parser.add_argument("--quick", action="store_true", help="only see that it runs: no figures")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.reach, arguments.original_seconds = [2, 4], [1], 3
        arguments.preset_seconds = []  # of images of another size

    report = Report(
        arguments.out, benchmark="quality", quick=arguments.quick, seed=SEED, go_on=arguments.go_on
    )
    data = load_images(arguments.quick)
    seconds = sorted(arguments.seconds)
    for length in seconds:
        if f"{length:g}" in report.get("fits", {}):
            continue
        with AnonymousMemory() as memory:
            vq = fit(data, length)
        result = describe_fit(vq, data)
        if length == seconds[0]:  # what the allocator keeps would hide the growth of later ones
            result["peak_anonymous_memory_gib"] = round(memory.growth_gib, 3)
        report.add(f"{length:g}", result, within="fits")
    for length in arguments.preset_seconds:
        if f"{length:g}" not in report.get("fits_of_preset", {}):
            vq = fit(data, length, presets.mnist())
            report.add(f"{length:g}", describe_fit(vq, data), within="fits_of_preset")
    if arguments.original and "original" not in report:
        measure_original(arguments.original, arguments.original_seconds, data, report)
    if "original" in report:
        target = report["original"]["test_error_first_2000"]
        reach(target, arguments.reach, data, report)


if __name__ == "__main__":
    main()

"""What each choice in the refiner and in its training is worth, on MNIST at 60 bits.

    SKVQDRAW_DATA=folder python benchmarks/ablations.py --out benchmarks/results/ablations.json

Every row changes one thing in the first, and is trained for the same number of steps. Errors are
mean squares over pixels in [0, 1] of the first 2,000 test images; the time of a step is that of the
same run, and means something only while the machine does nothing else.
"""

import argparse
import time

from machine import Report
from mnist import IMAGE_SHAPE, coded_as, load_images

from skvqdraw import VQDRAW
from skvqdraw._codes import entropy_bits, option_frequencies
from skvqdraw.nn import objective
from skvqdraw.refiners import ConvRefiner

SEED = 0
ROWS = {
    "as it is": {},
    "no layer that sees the whole image": {"refiner__hidden_size": 0},
    "one network for all rounds": {"refiner__rounds_per_trunk": 9},
    "2 stages per round": {"refiner__stages_per_round": 2},
    "3 stages per round": {"refiner__stages_per_round": 3},
    "16 basis vectors": {"refiner__basis_size": 16},
    "40 basis vectors": {"refiner__basis_size": 40},
    "128 channels": {"refiner__n_channels": 128},
    "2 blocks": {"refiner__n_blocks": 2},
    "greedy choice in training": {"round_beam_size": 1},
    "all stages of a round weigh 1": {"INNER_WEIGHT": 1.0},
    "no loss for options not chosen": {"aux_weight": 0.0},
    "gradient cut between rounds": {"gradient_decay": 1.0},
    "learning rate / 4": {"learning_rate": 0.25},
    "weight decay / 10": {"weight_decay": 0.02},
}


def fit_and_judge(data, n_steps, changes):
    """Return what becomes of a fit with these changes, INNER_WEIGHT among them."""
    vq = VQDRAW(10, 64, refiner=ConvRefiner(IMAGE_SHAPE), max_steps=n_steps, random_state=SEED)
    changes = dict(changes)
    inner_weight = changes.pop("INNER_WEIGHT", objective.INNER_WEIGHT)
    if "learning_rate" in changes:
        changes["learning_rate"] *= vq.learning_rate
    usual, objective.INNER_WEIGHT = objective.INNER_WEIGHT, inner_weight
    try:
        started = time.perf_counter()
        vq.set_params(**changes).fit(data.X)
        seconds = time.perf_counter() - started
    finally:
        objective.INNER_WEIGHT = usual
    X_test = data.X_test[:2000]
    errors = {}
    for coding in ("greedy", "default", "beam_4"):
        scored = coded_as(vq.set_params(precision="auto"), coding)
        errors[coding] = round(-scored.score(X_test), 6)
    coded_as(vq, "default")
    codes = vq.encode(X_test)
    return {
        "test_error": errors,
        "entropy_bits": round(entropy_bits(option_frequencies(codes, 64)), 2),
        "parameters": sum(p.numel() for p in vq.network_.parameters()),
        "step_ms": round(1000 * seconds / n_steps, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", nargs="*", default=list(ROWS))
    parser.add_argument("--out", help="the JSON file to write, row by row")
    parser.add_argument("--quick", action="store_true", help="only see that it runs: no figures")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps, arguments.only = 2, ["as it is", "all stages of a round weigh 1"]
    data = load_images(arguments.quick)
    report = Report(
        arguments.out,
        benchmark="ablations",
        quick=arguments.quick,
        seed=SEED,
        steps=arguments.steps,
    )
    for name in arguments.only:
        report.add(name, fit_and_judge(data, arguments.steps, ROWS[name]), within="rows")


if __name__ == "__main__":
    main()

"""What a step of training costs with each loss, at equal numbers of parameters for each row.

    python benchmarks/bench_losses.py --out benchmarks/results/losses.json

Steps of `VQDRAW` on made-up rows, one after the other in turns, the median of each. "written out"
is the same loss without its gradient, so that all candidates are written out. Ratios are the speed
of a loss over that of squared error with the same network, on rows of as many numbers.
"""

import argparse
import statistics
import time

import numpy as np
import torch
from machine import Report

from skvqdraw.losses import Categorical, Gaussian, LogLoss, SquaredError
from skvqdraw.nn.objective import accumulate_gradients
from skvqdraw.refiners import ConvRefiner, SequenceRefiner

SEED, N_STAGES, N_OPTIONS = 0, 10, 64


class WrittenOut(LogLoss):
    expands = False


class WrittenOutCategorical(Categorical):
    expands = False


def step_of(refiner, loss, target, n_features):
    """Return a function that computes the gradients of a step."""
    torch.manual_seed(SEED)
    network = refiner.build(n_features, N_STAGES, N_OPTIONS, n_params=loss.n_params).train()
    weight = torch.full((len(target),), 1 / len(target))

    def step():
        options = {"aux_weight": 0.01, "gradient_decay": 0.0, "round_beam_size": 16}
        accumulate_gradients(network, loss, target, weight, N_STAGES, **options)

    return step


def contenders(quick):
    """Yield the name of a group and its steps, that of squared error first."""
    rng = np.random.default_rng(SEED)
    batch, length, n_symbols = (8, 16, 10) if quick else (64, 128, 65)

    def tensor(array):
        return torch.from_numpy(array.astype(np.float32))

    pixels = tensor(rng.random((batch, 784)) > 0.8)
    image = ConvRefiner((28, 28))
    yield (
        "28 x 28 pixels, ConvRefiner, 784 numbers a row",
        {
            "squared_error": step_of(image, SquaredError(), pixels, 784),
            "log_loss": step_of(image, LogLoss(), pixels, 784),
            "log_loss, written out": step_of(image, WrittenOut(), pixels, 784),
        },
    )
    width = length * n_symbols
    numbers = tensor(rng.normal(size=(batch, width)))
    symbols = tensor(rng.integers(0, n_symbols, (batch, length)))
    plain, text = SequenceRefiner(length, n_symbols), SequenceRefiner(length)
    yield (
        f"{length} characters of {n_symbols}, SequenceRefiner, {width} numbers a row",
        {
            "squared_error": step_of(plain, SquaredError(), numbers, width),
            "Categorical": step_of(text, Categorical(n_symbols), symbols, length),
            "Categorical, written out": step_of(
                text, WrittenOutCategorical(n_symbols), symbols, length
            ),
        },
    )
    series, pairs = tensor(rng.normal(size=(batch, 784))), SequenceRefiner(392, 2)
    yield (
        "392 numbers with a scale each, SequenceRefiner, 784 numbers a row",
        {
            "squared_error": step_of(pairs, SquaredError(), series, 784),
            "Gaussian": step_of(SequenceRefiner(392), Gaussian(), series[:, :392], 392),
        },
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    parser.add_argument("--out", help="the JSON file to write, result by result")
    arguments = parser.parse_args()
    report = Report(arguments.out, benchmark="losses", quick=arguments.quick, seed=SEED)
    for group, steps in contenders(arguments.quick):
        times = {name: [] for name in steps}
        for repeat in range(arguments.repeats + 1):
            for name, step in steps.items():
                if repeat > 2 and "written out" in name:
                    continue  # slow
                started = time.perf_counter()
                step()
                times[name].append(time.perf_counter() - started)
        medians = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
        for name, seconds in medians.items():
            row = {
                "step_ms": round(1000 * seconds, 1),
                "ratio": round(medians["squared_error"] / seconds, 3),
            }
            report.add(name, row, within=group)


if __name__ == "__main__":
    main()

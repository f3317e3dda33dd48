"""VQDRAW on image descriptors at 8 bytes a row, beside the additive quantizers of faiss.

    pip install faiss-cpu
    python benchmarks/bench_vectors.py --minutes 6 --out results.json

All three learn from the same 100,000 training rows (`descriptors.py`), write 8 integers below 256
and are judged on the 10,000 test rows and on the first 10,000 training rows, which are in random
order. `error` is the squared distance to the reconstruction, summed over the 128 features, mean
over rows, as papers on quantizers have it; `error_per_feature` is a 128th of that, as
`VQDRAW.score`. The fit of VQDRAW lasts `--minutes`; those of faiss end by themselves. Rates are
rows per second of encoding all test rows, in float32.
"""

import argparse
import time

import numpy as np
from descriptors import load_descriptors
from machine import Report, seconds_of

from skvqdraw import VQDRAW
from skvqdraw._codes import entropy_bits, option_frequencies
from skvqdraw.refiners import MLPRefiner

SEED = 0
N_STAGES, N_BITS = 8, 8
JUDGED_ROWS = 10_000
# What to change when looking for better settings.
REFINER = {"hidden_size": 256, "basis_size": 48, "stages_per_round": 3}
ESTIMATOR = {"batch_size": 256}
BEAM_SIZES = (1, 8)


def import_faiss():
    """Return the module, or say how to install it: nothing else in the repository needs it."""
    try:
        import faiss
    except ImportError as error:
        raise SystemExit("This benchmark needs faiss: pip install faiss-cpu") from error
    return faiss


def error_of(X, Xr):
    """Return the squared distance of rows to their reconstructions: sum over features, mean."""
    return float(np.square(X - Xr, dtype=np.float64).sum(axis=1).mean())


def judge(encode, decode, X_train, X_test):
    """Return errors, speed and evenness of codes."""
    codes = encode(X_test)
    error, some = error_of(X_test, decode(codes)), X_train[:JUDGED_ROWS]
    return {
        "error": round(error, 5),
        "error_per_feature": round(error / X_test.shape[1], 7),
        "train_error": round(error_of(some, decode(encode(some))), 5),
        "test_entropy_bits": round(entropy_bits(option_frequencies(codes, 2**N_BITS)), 2),
        "encode_rows_per_second": round(
            len(X_test) / seconds_of(lambda: encode(X_test), repeats=3)
        ),
    }


def run_vqdraw(X_train, X_test, minutes, report):
    """Report the results of our fit, with each number of hypotheses kept in encoding."""
    vq = VQDRAW(
        n_stages=N_STAGES,
        n_options=2**N_BITS,
        refiner=MLPRefiner(**REFINER),
        max_steps=None,
        max_time=60 * minutes,
        random_state=SEED,
        **ESTIMATOR,
    )
    vq.fit(X_train)
    seconds = vq.loss_curve_[-1]["seconds"]
    about = {
        "estimator": repr(vq),
        "steps": vq.n_steps_,
        "fit_rows_per_second": round(vq.n_steps_ * vq.batch_size / seconds),
        "n_parameters": sum(p.numel() for p in vq.network_.parameters()),
    }
    report.add("vqdraw", about)
    for beam_size in BEAM_SIZES:
        vq.set_params(beam_size=beam_size)
        judged = judge(vq.encode, vq.decode, X_train, X_test)
        result = {"fit_seconds": round(seconds, 1), **judged}
        report.add(f"VQDRAW, beam_size={beam_size}", result, within="results")


def run_faiss(quantizer, X_train, X_test):
    """Return the results of a quantizer of faiss."""
    started = time.perf_counter()
    quantizer.train(X_train)
    seconds = time.perf_counter() - started
    return {
        "fit_seconds": round(seconds, 1),
        **judge(quantizer.compute_codes, quantizer.decode, X_train, X_test),
    }


def residual_quantizer(faiss, n_features):
    """Return greedy codebooks, stage after stage, with a beam of 5 in training and encoding."""
    quantizer = faiss.ResidualQuantizer(n_features, N_STAGES, N_BITS)
    quantizer.max_beam_size = 5
    quantizer.cp.seed = SEED
    return quantizer


def local_search_quantizer(faiss, n_features):
    """Return codebooks fitted together (LSQ++), their codes found by local search."""
    quantizer = faiss.LocalSearchQuantizer(n_features, N_STAGES, N_BITS)
    quantizer.random_seed = SEED
    return quantizer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=6, help="length of the fit of VQDRAW")
    parser.add_argument("--out", help="the JSON file to write, result by result")
    arguments = parser.parse_args()

    faiss = import_faiss()
    X_train, X_test = load_descriptors(seed=SEED)
    report = Report(
        arguments.out,
        benchmark="vectors",
        seed=SEED,
        faiss={"version": faiss.__version__, "threads": faiss.omp_get_max_threads()},
        train_shape=X_train.shape,
        test_shape=X_test.shape,
        error_of_train_mean=round(error_of(X_test, X_train.mean(axis=0)), 5),
    )
    n_features = X_train.shape[1]
    for name, make in (
        ("faiss ResidualQuantizer, beam 5", residual_quantizer),
        ("faiss LocalSearchQuantizer", local_search_quantizer),
    ):
        quantizer = make(faiss, n_features)
        report.add(name, run_faiss(quantizer, X_train, X_test), within="results")
    run_vqdraw(X_train, X_test, arguments.minutes, report)


if __name__ == "__main__":
    main()

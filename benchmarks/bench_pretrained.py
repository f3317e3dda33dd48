"""The model of MNIST that comes with the package: its error, the speed of beams, and a probe.

    SKVQDRAW_DATA=folder python benchmarks/bench_pretrained.py \\
        --out benchmarks/results/pretrained.json

Errors are mean squares over pixels in [0, 1], not clipped: with beams on the first 2,000 test
images, otherwise on all 10,000. The probe reads digits from codes, and from soft assignments.
"""

import argparse
import time
import warnings

import numpy as np
from machine import Report
from mnist import coded_as, errors_by_stage, load_images
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from skvqdraw import load_pretrained
from skvqdraw._codes import entropy_bits, one_hot, option_frequencies

SEED = 0
N_SOME = 2_000
BEAMS = ((1, 1), (1, 16), (2, 16), (4, 16), (8, 16), (16, 16))


def code(vq, X, beam_size, round_beam_size, precision):
    """Return the error and the rate of coding rows in one way."""
    vq.set_params(beam_size=beam_size, round_beam_size=round_beam_size, precision=precision)
    vq.encode(X[:256])  # what happens only once is not timed
    started = time.perf_counter()
    codes = vq.encode(X)
    seconds = time.perf_counter() - started
    return {
        "images": len(X),
        "test_error": round(float(np.square(vq.decode(codes) - X).mean(dtype=float)), 6),
        "test_entropy_bits": round(entropy_bits(option_frequencies(codes, 64)), 2),
        "images_per_second": round(len(X) / seconds, 1),
    }


def probe(vq, data):
    """Return how many test digits classifiers read from codes, as shares.

    None of them was tuned here; all are reported.
    """
    codes, codes_test = vq.encode(data.X), vq.encode(data.X_test)
    Z, Z_test = one_hot(codes, 64), one_hot(codes_test, 64)
    vq.set_params(encoding="soft")
    soft, soft_test = vq.transform(data.X), vq.transform(data.X_test)
    # Trees split categories better than 640 columns of zeros and ones.
    boosting = HistGradientBoostingClassifier(categorical_features=[True] * 10, random_state=SEED)
    mlp = MLPClassifier((256, 256), alpha=0.3, max_iter=15, random_state=SEED)
    linear = LogisticRegression(max_iter=300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return {
            "linear": linear.fit(Z, data.y).score(Z_test, data.y_test),
            "mlp": mlp.fit(Z, data.y).score(Z_test, data.y_test),
            "boosting": boosting.fit(codes, data.y).score(codes_test, data.y_test),
            "linear_soft": linear.fit(soft, data.y).score(soft_test, data.y_test),
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="the JSON file to write, section by section")
    parser.add_argument("--quick", action="store_true", help="only see that it runs: no figures")
    arguments = parser.parse_args()
    data, vq = load_images(arguments.quick), load_pretrained("mnist-60bit")
    report = Report(arguments.out, benchmark="pretrained", quick=arguments.quick, seed=SEED)
    # Where bf16 is emulated it is slow, and nobody uses it.
    precisions = ("float32", "bf16") if report["machine"]["bf16_native"] else ("float32",)
    for precision in precisions:
        for beams in BEAMS[:3] if arguments.quick else BEAMS:
            X = data.X_test if beams[0] == 1 else data.X_test[:N_SOME]
            name = f"beam_size={beams[0]}, round_beam_size={beams[1]}, {precision}"
            report.add(name, code(vq, X, *beams, precision), within="codings")
    some, vq = data.X_test[:N_SOME], coded_as(vq.set_params(precision="auto"), "default")
    report.add("test_error_by_stage_first_2000", errors_by_stage(vq, some, vq.encode(some)))
    report.add("probe", probe(vq, data))


if __name__ == "__main__":
    main()

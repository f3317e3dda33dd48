"""Characters in a few bits: VQDRAW beside an n-gram model, and what codes tell of a text.

    SKVQDRAW_DATA=... python benchmarks/bench_text.py --out benchmarks/results/text.json

Windows of 128 characters, stages of 64 options, so 6 bits each. The text is tinyshakespeare, the
first 90 % of it for training, where `SKVQDRAW_DATA` has it, else docstrings of installed packages.
All windows of the rest of the text are judged, side by side.

"sections" is `SectionRefiner`, which writes a row from its start on, and "whole rows" is
`SequenceRefiner`, whose fit is a fifth as long and of 60 bits. `right` is the share of characters
that come back right of the first so many bits of each code. The n-gram models (Witten-Bell,
contexts of up to 4 or 5 characters) spend the same bits on as many first characters as they code
exactly, and guess the rest; fractions of bits are for nothing.

The probe tells which of ten packages a window of a docstring comes from, of half the windows of
each package for training: a linear classifier on one-hot codes of 60 bits, and on how often each
character occurs, by itself and in its logarithm. Codes are those of the characters, and those of 64
principal components of counts of two to four neighbouring characters. Regularisation is chosen by
cross-validation on the training half, for each of them.
"""

import argparse
import time

import numpy as np
from machine import Report
from ngram import NGram, accuracy_at_bits
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw.datasets import load_characters, load_docstrings, text_windows
from skvqdraw.losses import Categorical
from skvqdraw.preprocessing import CharacterTokenizer
from skvqdraw.refiners import SectionRefiner, SequenceRefiner

SEED, LENGTH, N_OPTIONS = 0, 128, 64
BITS = (60, 120, 180, 240, 300)
PER_STAGE = 6
# Every so many characters a window to train on begins.
STEP = 7


def of_whole_rows(seconds):
    """Return an estimator of 60 bits whose stages refine all of a row."""
    refiner = SequenceRefiner(LENGTH, basis_size=16)
    return _estimator(60, refiner, seconds, batch_size=32, learning_rate=2e-2)


def of_sections(seconds, bits=BITS[-1]):
    """Return an estimator that writes rows from the start on."""
    params = {"batch_size": 32, "gradient_decay": 1.0, "learning_rate": 2e-2}
    return _estimator(bits, SectionRefiner(LENGTH), seconds, **params)


def _estimator(bits, refiner, seconds, **params):
    clock = {"max_steps": None, "max_time": seconds}
    params = {**params, **clock, "random_state": SEED}
    return VQDRAW(bits // PER_STAGE, N_OPTIONS, loss=Categorical(), refiner=refiner, **params)


def of_fit(vq, X, X_test):
    """Fit, and return what that comes to."""
    started = time.perf_counter()
    vq.fit(X)
    fit = {"fit_seconds": round(time.perf_counter() - started, 1), "steps": vq.n_steps_}
    return {**of_codes(vq, X, X_test), **fit}


def of_codes(vq, X, X_test):
    """Return what comes back right of prefixes."""
    started = time.perf_counter()
    codes = vq.encode(X_test)
    seconds = time.perf_counter() - started
    prefixes = [b // PER_STAGE for b in (0, *BITS) if b // PER_STAGE <= vq.n_stages]
    no_code, *right = [
        round(float(np.mean(vq.decode(codes[:, :stage]) == X_test)), 4) for stage in prefixes
    ]
    return {
        "estimator": " ".join(repr(vq).split()),
        "no_code": no_code,
        "right": right,
        "nats": round(-vq.score(X_test), 4),
        "train_nats_first_1000": round(-vq.score(X[:1000]), 4),
        "encode_rows_per_second": round(len(codes) / seconds, 1),
    }


def characters(report, seconds):
    """Compare with n-gram models on one long text."""
    text = load_characters()
    tokenizer = CharacterTokenizer(LENGTH).fit([text.data])
    X = tokenizer.transform(text_windows(text.data, LENGTH, step=STEP))
    X_test = tokenizer.transform(text_windows(text.data_test, LENGTH))
    report.add("text", {"name": text.name, "windows": len(X), "test_windows": len(X_test)})
    whole = CharacterTokenizer(len(text.data), tokenizer.alphabet_).fit([text.data])
    tokens = whole.transform([text.data])[0]
    for order in (4, 5):
        model = NGram(order, tokenizer.n_symbols_).fit(tokens.astype(np.int64))
        bits = model.bits(X_test.astype(np.int64))
        right = accuracy_at_bits(model, X_test.astype(np.int64), BITS)
        row = {
            "bits_per_character": round(float(bits.mean()), 3),
            "right": [round(float(r), 4) for r in right],
        }
        report.add(f"n-gram, contexts of {order}", row, within="right")
    vq = of_sections(seconds)
    report.add("VQDRAW, sections", of_fit(vq, X, X_test), within="right")
    vq.set_params(beam_size=16)
    report.add("the same, beam_size=16", of_codes(vq, X, X_test), within="right")
    vq = of_whole_rows(seconds / 5)
    report.add("VQDRAW, whole rows", of_fit(vq, X, X_test), within="right")


def probe(report, seconds):
    """Tell packages apart."""
    windows = load_docstrings(sequence_length=LENGTH)
    strings, strings_test, y, y_test = train_test_split(
        windows.data, windows.target, test_size=0.5, random_state=SEED, stratify=windows.target
    )
    tokenizer = CharacterTokenizer(LENGTH).fit(strings)
    X, X_test = tokenizer.transform(strings), tokenizer.transform(strings_test)
    counts, counts_test = (
        np.apply_along_axis(np.bincount, 1, rows, minlength=tokenizer.n_symbols_)
        for rows in (X, X_test)
    )
    for name, function in (("character counts", np.asarray), ("logarithms of them", np.log1p)):
        scaler = StandardScaler().fit(function(counts))
        Z, Z_test = (scaler.transform(function(rows)) for rows in (counts, counts_test))
        report.add(name, {"accuracy": accuracy(Z, y, Z_test, y_test)}, within="probe")
    reduced = make_pipeline(
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=3, sublinear_tf=True),
        TruncatedSVD(64, random_state=SEED),
    )
    Z, Z_test = reduced.fit_transform(strings), reduced.transform(strings_test)
    report.add("n-gram counts", {"accuracy": accuracy(Z, y, Z_test, y_test)}, within="probe")
    for estimator in (
        VQDRAW(10, N_OPTIONS, early_stopping=True, random_state=SEED),
        ClusterBoosting(10, N_OPTIONS, random_state=SEED),
    ):
        name = f"codes of n-gram counts, {type(estimator).__name__}"
        row = of_probe(estimator, Z, y, Z_test, y_test)
        report.add(name, row, within="probe")
    for name, vq in (
        ("whole rows", of_whole_rows(seconds)),
        ("sections", of_sections(seconds, bits=60)),
    ):
        row = of_probe(vq, X, y, X_test, y_test)
        row.update(of_codes(vq, X, X_test))
        report.add(f"codes of characters, {name}", row, within="probe")


def of_probe(estimator, X, y, X_test, y_test):
    """Fit, and return what a classifier tells from the codes."""
    started = time.perf_counter()
    Z = estimator.fit_transform(X)
    row = {"fit_seconds": round(time.perf_counter() - started, 1)}
    row["accuracy"] = accuracy(Z, y, estimator.transform(X_test), y_test)
    return {"estimator": " ".join(repr(estimator).split()), **row}


def accuracy(Z, y, Z_test, y_test):
    """Return how often a linear classifier is right."""
    search = GridSearchCV(LogisticRegression(max_iter=5000), {"C": [0.01, 0.1, 1, 10]}, cv=5)
    return round(search.fit(Z, y).score(Z_test, y_test), 4)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1800, help="length of the fit on the text")
    parser.add_argument("--probe-seconds", type=float, default=300, help="of that on docstrings")
    parser.add_argument("--only", choices=["characters", "probe"], help="leave out the other part")
    parser.add_argument("--go-on", action="store_true", help="keep what the file has already")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    parser.add_argument("--out", help="the JSON file to write, result by result")
    arguments = parser.parse_args()
    seconds = (5, 5) if arguments.quick else (arguments.seconds, arguments.probe_seconds)
    report = Report(
        arguments.out,
        go_on=arguments.go_on,
        benchmark="text",
        quick=arguments.quick,
        seed=SEED,
        bits=BITS,
    )
    if arguments.only != "probe":
        characters(report, seconds[0])
    if arguments.only != "characters":
        probe(report, seconds[1])


if __name__ == "__main__":
    main()

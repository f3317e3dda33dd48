"""Spoken digits in 60 and 300 bits, beside Codec 2: what a classifier understands of them.

    apt-get install codec2
    SKVQDRAW_DATA=... python benchmarks/bench_audio.py --out benchmarks/results/audio.json

Recordings are those of the Free Spoken Digit Dataset where `SKVQDRAW_DATA` has it, else tones; each
is made as loud as the others. Codes are those of log-mel frames; sound comes back with the
algorithm of Griffin and Lim. Every estimator also learns from copies of the recordings in other
voices: stretched in time, moved in frequency, of another tone colour. VQDRAW learns from principal
components of four frames each. Codec 2 codes the same recordings at 700 bit/s (mode 700C); its
delay is the one at which the fewest errors are made.

A support vector machine learned from real recordings for training only, and listens to what comes
back as sound: `recognised` is how often it is right. `db` is the root mean square difference of
log-mel frames of that sound and of the recording, in decibels; `db_of_rows` that of what codes
decode to, before any phase is looked for.

"official" is the split of the data set, in which all speakers occur on both sides. "speakers" holds
out: each of three estimators learns from four speakers and codes the test takes of the two others,
and what is told is of all of them. The classifier has heard all speakers, as one that is to judge.
"""

import argparse
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import Report
from scipy.ndimage import affine_transform
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from skvqdraw import VQDRAW, ClusterBoosting
from skvqdraw.datasets import load_recordings
from skvqdraw.preprocessing import LogMelSpectrogram, PatchPCA
from skvqdraw.refiners import SequenceRefiner

SEED, N_OPTIONS = 0, 64
BITS = (60, 300)
PER_STAGE = 6
# Evaluations end where 60 bits do: the first stage has none.
STAGES = (4, 5)
HELD_OUT = ((0, 1), (2, 3), (4, 5))
# Of the sample rate of digits; 64 frames of 100 samples are 0.8 seconds.
FLOOR = -60.0
FRAMES = {"n_frames": 64, "hop_length": 100, "floor": FLOOR}
# Of other voices: how many copies, how much longer or shorter, higher or lower, and decibels.
COPIES, STRETCHED, MOVED, COLOURED = 8, 1.25, 1.2, 8.0
DELAYS = range(0, 641, 80)
SUBFRAME = 320  # samples of 28 bits, in mode 700C


def loud(recordings):
    """Return recordings as floats with peaks of 0.5."""
    waves = [np.asarray(wave, float) for wave in recordings]
    return [wave * (0.5 / max(np.abs(wave).max(), 1e-9)) for wave in waves]


class Judge:
    """What listens: a classifier, and the recordings that should come back."""

    def __init__(self, waves, y, waves_test, y_test):
        self.classifier = make_pipeline(LogMelSpectrogram(n_mels=32, **FRAMES), SVC(C=10))
        self.classifier.fit(waves, y)
        self.log_mel = LogMelSpectrogram(n_mels=40, **FRAMES)
        self.X_test, self.y_test = self.log_mel.transform(waves_test), y_test

    def __call__(self, waves):
        """Return what it understands of what came back, and how far that is from what went in."""
        waves = loud(waves)
        right = self.classifier.predict(waves) == self.y_test
        return {
            "recognised": round(float(right.mean()), 4),
            "errors": int((~right).sum()),
            "db": self.distance(self.log_mel.transform(waves)),
        }

    def distance(self, X):
        return round(float(np.sqrt(np.mean((X - self.X_test) ** 2))), 3)


def estimators(seconds):
    """Yield name, transformer and estimator of all bits."""
    n_stages = BITS[-1] // PER_STAGE
    patches = PatchPCA((64, 40), (4,), n_components=40)
    refiner = SequenceRefiner(16, 40, downsampling=1, stages_per_round=STAGES, hidden_size=64)
    clock = {"max_steps": None, "max_time": seconds, "random_state": SEED}
    yield "VQDRAW", patches, VQDRAW(n_stages, N_OPTIONS, refiner=refiner, **clock)
    yield (
        "ClusterBoosting",
        FunctionTransformer(),
        ClusterBoosting(n_stages, N_OPTIONS, random_state=SEED),
    )


def with_other_voices(X, n_copies):
    """Return rows, and copies of each in other voices."""
    rng = np.random.default_rng(SEED)
    copies = [[in_another_voice(row.reshape(64, 40), rng) for row in X] for _ in range(n_copies)]
    return np.concatenate([X, *(np.reshape(copy, X.shape) for copy in copies)]).astype(X.dtype)


def in_another_voice(frames, rng):
    """Return frames longer or shorter, higher or lower, with some bands louder than others."""
    time, pitch = (most ** rng.uniform(-1, 1) for most in (STRETCHED, MOVED))
    moved = affine_transform(frames, [time, pitch], order=1, mode="nearest")
    tilt, bend = rng.uniform(-COLOURED, COLOURED, 2)
    bands = np.linspace(-1, 1, frames.shape[1])
    colour = tilt * bands + bend / 2 * np.cos(np.pi * bands + rng.uniform(0, 2 * np.pi))
    return np.where(moved > FLOOR, np.maximum(moved + colour, FLOOR), FLOOR)


def splits(recordings, kind):
    """Return rows to learn from and rows to code, of each fit."""
    if kind == "official":
        return [(slice(None), slice(None))]
    spoken, spoken_test = recordings.speaker, recordings.speaker_test
    return [(~np.isin(spoken, some), np.isin(spoken_test, some)) for some in HELD_OUT]


def ours(report, kind, judge, waves, settings, fits):
    """Fit and code, part by part."""
    seconds, n_copies = settings
    X, X_test = judge.log_mel.transform(waves), judge.X_test
    for name, patches, estimator in estimators(seconds):
        rows, fit_seconds, steps = np.empty((len(BITS), *X_test.shape), np.float32), 0.0, []
        for train, test in fits:
            seen = with_other_voices(X[train], n_copies)
            started = time.perf_counter()
            patches.fit(X[train])
            estimator.fit(patches.transform(seen))
            fit_seconds += time.perf_counter() - started
            steps.append(getattr(estimator, "n_steps_", None))
            codes = estimator.encode(patches.transform(X_test[test]))
            for place, bits in enumerate(BITS):
                decoded = estimator.decode(codes[:, : bits // PER_STAGE])
                rows[place][test] = patches.inverse_transform(decoded)
        for bits, decoded in zip(BITS, rows, strict=True):
            row = judge(judge.log_mel.inverse_transform(decoded))
            row.update(db_of_rows=judge.distance(decoded), steps=steps)
            row["fit_seconds"] = round(fit_seconds, 1)
            row["estimator"] = " ".join(repr(make_pipeline(patches, estimator)).split())
            report.add(f"{name}, {bits} bits", row, within=kind)


def codec2(report, kind, judge, waves):
    """Code with Codec 2."""
    coded = [through_codec2(wave) for wave in waves]
    rows = {}
    for delay in DELAYS:
        back = [some[delay:][: len(wave)] for some, wave in zip(coded, waves, strict=True)]
        rows[delay] = judge(back)
    delay = min(rows, key=lambda delay: rows[delay]["errors"])
    bits = np.mean([28 * np.ceil(len(wave) / SUBFRAME) for wave in waves])
    about = {"delay": delay, "bits": round(float(bits), 1)}
    report.add("Codec 2, 700 bit/s", {**rows[delay], **about}, within=kind)


def through_codec2(wave):
    """Return what Codec 2 makes of a recording and of silence after it, for its delay."""
    silence = np.zeros(DELAYS[-1] + SUBFRAME - len(wave) % SUBFRAME)
    samples = np.round(np.concatenate([wave, silence]) * 32767).astype("<i2")
    with tempfile.TemporaryDirectory() as folder:
        raw, code, back = (Path(folder, name) for name in ("raw", "code", "back"))
        raw.write_bytes(samples.tobytes())
        for command in (["c2enc", "700C", raw, code], ["c2dec", "700C", code, back]):
            subprocess.run(command, check=True, capture_output=True)
        return np.frombuffer(back.read_bytes(), "<i2") / 32767


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=240, help="length of each fit")
    parser.add_argument("--only", choices=["official", "speakers"], help="leave out the other")
    parser.add_argument("--go-on", action="store_true", help="keep what the file has already")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    parser.add_argument("--out", help="the JSON file to write, result by result")
    arguments = parser.parse_args()
    quick = arguments.quick
    settings = (3, 1) if quick else (arguments.seconds, COPIES)
    out, go_on = arguments.out, arguments.go_on
    report = Report(out, go_on=go_on, benchmark="audio", quick=quick, seed=SEED, bits=BITS)
    recordings = load_recordings()
    waves, waves_test = loud(recordings.data), loud(recordings.data_test)
    judge = Judge(waves, recordings.target, waves_test, recordings.target_test)
    about = {"name": recordings.name, "train": len(waves), "test": len(waves_test)}
    about["seconds"] = round(np.mean([len(w) for w in waves_test]) / recordings.sample_rate, 3)
    report.add("recordings", about)
    if arguments.only != "speakers":
        report.add("real ones", judge(waves_test), within="official")
        sound = judge.log_mel.inverse_transform(judge.X_test)
        report.add("log-mel frames and back", judge(sound), within="official")
        if shutil.which("c2enc"):
            codec2(report, "official", judge, waves_test)
        ours(report, "official", judge, waves, settings, splits(recordings, "official"))
    if arguments.only != "official" and "speaker" in recordings:
        ours(report, "speakers", judge, waves, settings, splits(recordings, "speakers"))


if __name__ == "__main__":
    main()

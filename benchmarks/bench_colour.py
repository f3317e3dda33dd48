"""Colour images in 7 to 75 bytes: VQDRAW beside k-means boosting, faiss, image codecs and VQVAE.

    pip install faiss-cpu pillow
    SKVQDRAW_DATA=folder python benchmarks/bench_colour.py --models folder \\
        --faces celeba64.npz --out benchmarks/results/colour.json

Sections, of which `--only` names some; what the file has already is kept:

- `fits`: errors of codes and of their prefixes, and how many images a second are learned and coded.
- `codecs`: JPEG, WebP and AVIF of 196 images side by side in one file, so that its head is shared.
- `speed`: the preset beside one of the same bits that refines whole images, after 6,400 images, 32
  at a time, neither with gradient checkpointing.
- `beams`: what more hypotheses do for 600 bits.
- `samples`: how well random codes are told from reconstructions.
- `probe`: what a linear classifier reads from codes, and from pixels.

Errors are mean squares over pixels in [0, 1] of test images. Prototypes that led to the settings
were judged by some of them, the first 1,000 of CIFAR-10; nothing was learned from any. Fits go on
from checkpoints and models are kept in the folder. Faces are a file with `X_train` and `X_test`;
without it there is CIFAR-10 only.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
from bench_baselines import residual_quantizer
from machine import Report, describe
from pictures import of_mosaic
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils import Bunch

import skvqdraw
from skvqdraw import VQDRAW, ClusterBoosting, presets
from skvqdraw.datasets import fetch_cifar10, load_photo_patches
from skvqdraw.metrics import two_sample_score
from skvqdraw.refiners import ConvRefiner

SEED = 0
# The weights that come with the package, by `train_pretrained.py`.
SHIPPED = "VQDRAW, 600 bits, shipped"
BYTES = (7, 15, 37, 75)
# Rows that the baselines learn from: all of them would take long.
BOOSTED = 20_000
# The errors of the author of VQ-DRAW on test images of CIFAR-10, from his published log: 600 bits.
PUBLISHED = {32_000: 0.0075, 160_000: 0.0046, 320_000: 0.0037, 640_000: 0.0032, "the end": 0.0030}
# What the preset was before stages refined regions: five stages share an evaluation.
WHOLE = ConvRefiner((32, 32, 3), n_channels=128, n_blocks=2, hidden_size=0, basis_size=32)
IN_MOSAIC, N_MOSAICS = 14**2, 10
N_SOME = 500


def preset_300():
    """Return an estimator of 37 bytes, made as the preset of 75 bytes is."""
    vq = presets.cifar10()
    return vq.set_params(
        n_stages=37, refiner__stages_per_round=(6, 2, 1, 1, 2), refiner__splits=(1, 2, 2, 4, 1)
    )


def estimators(kind):
    """Return {name: (unfitted estimator, seconds of its fit or None, rows to learn from)}."""
    boosting = ClusterBoosting(75, 256, max_iter=5, tol=0, random_state=SEED)
    if kind == "faces":
        return {
            "VQDRAW, 600 bits": (presets.celeba64(), 900, None),
            "ClusterBoosting, 600 bits": (boosting, None, None),
        }
    return {
        "VQDRAW, 600 bits": (presets.cifar10(), 2700, None),
        "VQDRAW, 296 bits": (preset_300(), 900, None),
        "ClusterBoosting, 600 bits": (boosting, None, BOOSTED),
    }


def load_data(kind, arguments):
    """Return X, y, X_test, y_test, pixels in [0, 1]; labels are None where there are none."""
    if arguments.quick:
        X, y = load_photo_patches(600, 64 if kind == "faces" else 32).data, np.arange(600) % 10
        parts = X[200:], y[200:], X[:200], y[:200]
    elif kind == "faces":
        with np.load(arguments.faces) as file:
            parts = file["X_train"], None, file["X_test"], None
    else:
        data = fetch_cifar10(download_if_missing=False)
        parts = data.data, data.target, data.data_test, data.target_test
    X, y, X_test, y_test = parts
    X, X_test = (rows.reshape(len(rows), -1) / np.float32(255) for rows in (X, X_test))
    return Bunch(X=X, y=y, X_test=X_test, y_test=y_test)


def model_path(arguments, kind, name):
    """Return where a model is kept; those of --quick are others."""
    words = [kind, *name.replace(",", "").split(), *["quick"][: arguments.quick]]
    return arguments.models / f"{'-'.join(words)}.safetensors"


def fitted(report, arguments, kind, name, data):
    """Fit an estimator, unless its model is kept already; return it."""
    path = model_path(arguments, kind, name)
    if name == SHIPPED:
        return skvqdraw.load_pretrained("cifar10-600bit")
    if path.exists():
        return skvqdraw.load(path)
    estimator, seconds, n_rows = estimators(kind)[name]
    if seconds is not None:
        limit = {"max_steps": 3} if arguments.quick else {"max_steps": None, "max_time": seconds}
        estimator.set_params(**limit, checkpoint=f"{path}.checkpoint", random_state=SEED)
    elif arguments.quick:
        estimator.set_params(n_stages=8, n_options=16)
    started = time.perf_counter()
    estimator.fit(data.X[:n_rows])
    row = {"fit_seconds": round(time.perf_counter() - started), "cpu": describe()["cpu"]}
    if seconds is not None:
        estimator.set_params(checkpoint=None)
    estimator.save(path)
    report.add(name, row, within=f"{kind}, fits")
    return estimator


def coded(estimator, X):
    """Return codes, their rate and their error."""
    started = time.perf_counter()
    codes = estimator.encode(X)
    rate = len(codes) / (time.perf_counter() - started)
    return codes, {"encoded_per_second": rate, "error": error_of(estimator.decode(codes), X)}


def error_of(Xr, X):
    return float(np.square(Xr - X).mean(dtype=float))


def fits(report, arguments, kind, data):
    """Report what all estimators reach."""
    shipped = [SHIPPED] if kind == "CIFAR-10" else []
    for name in [*shipped, *estimators(kind)]:
        row = report.get(f"{kind}, fits", {}).get(name, {})
        if "errors" in row:
            continue
        estimator = fitted(report, arguments, kind, name, data)
        row = report.get(f"{kind}, fits", {}).get(name, row)
        if hasattr(estimator, "n_steps_"):
            row["images_seen"] = estimator.n_steps_ * estimator.batch_size
        codes, found = coded(estimator, data.X_test)
        row["encoded_per_second"] = round(found["encoded_per_second"])
        row["errors"] = {
            str(n): error_of(estimator.decode(codes[:, :n]), data.X_test)
            for n in BYTES
            if n <= codes.shape[1]
        }
        row["train_error"] = float(-estimator.score(data.X[:2000]))
        report.add(name, row, within=f"{kind}, fits")


def faiss(report, arguments, kind, data):
    """Report what the residual quantizer of faiss reaches at each size, with a quantizer for it."""
    row = {"errors": {}, "fit_seconds": 0}
    for n_bytes in BYTES[:1] if arguments.quick else BYTES:
        quantizer = residual_quantizer(data.X.shape[1], n_bytes, 8, 1)
        quantizer.quantizer.train_type = 0  # codebook after codebook, in all dimensions at once
        started = time.perf_counter()
        quantizer.fit(data.X[:BOOSTED])
        row["fit_seconds"] = round(time.perf_counter() - started)
        some = data.X_test[:2000]
        row["errors"][str(n_bytes)] = error_of(quantizer.decode(quantizer.encode(some)), some)
        report.add("faiss", row, within="CIFAR-10, fits")


def codecs(report, arguments, kind, data):
    """Report bytes an image and errors of image codecs, over their qualities."""
    side = round((data.X.shape[1] / 3) ** 0.5)
    n_mosaics = min(N_MOSAICS, len(data.X_test) // IN_MOSAIC)
    some = data.X_test[: n_mosaics * IN_MOSAIC] * np.float32(255)
    mosaics = np.rint(some).astype(np.uint8).reshape(n_mosaics, IN_MOSAIC, side, side, 3)
    settings = {"JPEG": {"optimize": True}, "WebP": {"method": 6}, "AVIF": {"speed": 2}}
    for form, setting in settings.items():
        curve = []
        for quality in (1, 30) if arguments.quick else (1, 3, 6, 10, 15, 20, 25, 30, 35, 40, 50):
            each = [of_mosaic(images, form, {"quality": quality, **setting}) for images in mosaics]
            n_bytes, error = np.mean(each, axis=0)
            curve.append({"quality": quality, "bytes": float(n_bytes), "error": float(error)})
        report.add(form, {"curve": curve, "images": len(some)}, within=f"{kind}, codecs")


def speed(report, arguments, kind, data):
    """Report images a second and errors after as many images, of the preset and of its elder."""
    both = {
        "refining regions (the preset)": presets.cifar10(),
        "refining whole images": VQDRAW(100, 64, refiner=WHOLE, batch_size=32),
    }
    for name, vq in both.items():
        n_steps = 2 if arguments.quick else 6400 // vq.batch_size
        vq.set_params(max_steps=n_steps, random_state=SEED).fit(data.X)
        seconds = vq.loss_curve_[-1]["seconds"]
        row = {
            "learned_per_second": n_steps * vq.batch_size / seconds,
            **coded(vq, data.X_test[: N_SOME * 2])[1],
            "n_parameters": sum(p.numel() for p in vq.network_.parameters()),
        }
        report.add(name, row, within=f"{kind}, speed")


def beams(report, arguments, kind, data):
    """Report errors and rates of more hypotheses, on some test images."""
    vq = fitted(report, arguments, kind, SHIPPED, data)
    some = data.X_test[:N_SOME]
    for beam_size in (1, 2) if arguments.quick else (1, 4, 16):
        row = coded(vq.set_params(beam_size=beam_size), some)[1]
        report.add(f"beam_size={beam_size}", row, within=f"{kind}, beams")


def samples(report, arguments, kind, data):
    """Report how well a classifier tells random codes from reconstructions of test images."""
    n_rows = 100 if arguments.quick else 2000
    for name in (SHIPPED, "ClusterBoosting, 600 bits"):
        estimator = fitted(report, arguments, kind, name, data)
        real = estimator.reconstruct(data.X_test[:n_rows])
        drawn = estimator.sample(n_rows, random_state=SEED)
        score = two_sample_score(real, drawn, random_state=SEED)
        report.add(name, {"told_apart": float(score)}, within=f"{kind}, samples")


def probe(report, arguments, kind, data):
    """Report the test accuracy of linear classifiers of codes and of pixels."""
    n_rows = 150 if arguments.quick else 20_000
    X, y = data.X[:n_rows], data.y[:n_rows]
    linear = LogisticRegression(C=0.01, max_iter=100)

    def accuracy(Z, Z_test):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return float(linear.fit(Z, y).score(Z_test, data.y_test))

    report.add("pixels", {"accuracy": accuracy(X, data.X_test)}, within=f"{kind}, probe")
    for name in (SHIPPED, "ClusterBoosting, 600 bits"):
        estimator = fitted(report, arguments, kind, name, data)
        row = {
            "accuracy": accuracy(estimator.transform(X), estimator.transform(data.X_test)),
            "reconstructions": accuracy(
                estimator.reconstruct(X), estimator.reconstruct(data.X_test)
            ),
        }
        report.add(name, row, within=f"{kind}, probe")


SECTIONS = (fits, codecs, beams, samples, probe, speed, faiss)


def main():
    names = [section.__name__ for section in SECTIONS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="the JSON file to write, section by section")
    parser.add_argument("--models", type=Path, required=True, help="folder of the models")
    parser.add_argument("--faces", help="the file of faces; without it, only CIFAR-10")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--quick", action="store_true", help="only see that it runs: no figures")
    arguments = parser.parse_args()
    arguments.models.mkdir(parents=True, exist_ok=True)
    report = Report(arguments.out, go_on=True, benchmark="colour", quick=arguments.quick, seed=SEED)
    report.update(bytes=BYTES, published=PUBLISHED)
    for kind in ("CIFAR-10", "faces") if arguments.faces or arguments.quick else ("CIFAR-10",):
        data = load_data(kind, arguments)
        for section in SECTIONS if kind == "CIFAR-10" else SECTIONS[:2]:
            if section.__name__ in arguments.only:
                section(report, arguments, kind, data)


if __name__ == "__main__":
    main()

"""Whether another commit computes the same bits: hashes of fits, codes, files and streams of both.

    python benchmarks/bits.py --against COMMIT

Small fits of all losses, refiners, codebooks, priors and guides, one that goes on after a kill,
and one in two processes. Of each are compared weights and other learned arrays, codes,
reconstructions, scores, soft assignments, proposals, samples, the fingerprint, a stream and what a
file holds. Both commits run on this machine, each in a process of its own, with two threads of
PyTorch. The exit status is 1 if something differs. `--only` selects cases by a part of their name.

A file's text has parameters and names of classes; versions of libraries are left out. Run it on an
idle machine: beside a busy process fewer threads make large steps, and sums round another way.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import safetensors
import torch
from sklearn.linear_model import LogisticRegression
from torch import multiprocessing

from skvqdraw import VQDRAW, VQVAE, ClusterBoosting, guides, load_pretrained, losses, priors
from skvqdraw.autoencoders import ConvAutoencoder, MLPAutoencoder
from skvqdraw.codec import compress
from skvqdraw.datasets import load_digits_images
from skvqdraw.refiners import (
    ConvRefiner,
    MLPRefiner,
    PaperRefiner,
    SectionRefiner,
    SequenceRefiner,
    VolumeRefiner,
)

DIGITS = load_digits_images()
X, Y = DIGITS.data[:300], DIGITS.target[:300]
SYMBOLS = np.rint(3 * X).astype(int)
SMALL_MLP = {"hidden_size": 16, "basis_size": 4}
SMALL_CONV = {"n_channels": 8, "downsampling": 2, "basis_size": 4}


def drawing(refiner=None, **params):
    """Return a VQDRAW that fits in a moment."""
    defaults = {"n_stages": 5, "n_options": 8, "max_steps": 12, "random_state": 0, "device": "cpu"}
    return VQDRAW(**{**defaults, "refiner": refiner or MLPRefiner(**SMALL_MLP), **params})


def autoencoding(autoencoder=None, **params):
    """Return a VQVAE that fits in a moment."""
    autoencoder = autoencoder or MLPAutoencoder(hidden_size=16)
    defaults = {"n_options": 8, "max_steps": 12, "random_state": 0, "device": "cpu"}
    return VQVAE(**{**defaults, "autoencoder": autoencoder, **params})


def boosting(**params):
    """Return a ClusterBoosting that fits in a moment."""
    return ClusterBoosting(**{"n_stages": 4, "n_options": 8, "random_state": 0, **params})


# Name: an estimator and the rows that it is fitted on.
FITS = {
    "MLP": (drawing(), X),
    "MLP, 256 options": (drawing(n_options=256), X),
    "MLP, log loss": (drawing(loss="log_loss"), X),
    "MLP, Categorical": (drawing(loss=losses.Categorical()), SYMBOLS),
    "MLP, Gaussian": (drawing(loss=losses.Gaussian()), X),
    "MLP, float64": (drawing(), X.astype(np.float64)),
    "MLP, greedy": (drawing(round_beam_size=1), X),
    "MLP, beam 4": (drawing(beam_size=4), X),
    "MLP, one stage": (drawing(n_stages=1), X),
    "MLP, early stopping": (drawing(early_stopping=True, max_steps=60), X),
    "MLP, parts and checkpointing": (
        drawing(gradient_accumulation=3, gradient_checkpointing=True),
        X,
    ),
    "MLP, cut gradients": (drawing(gradient_decay=1.0), X),
    "MLP, bfloat16": (drawing(precision="bf16"), X),
    "MLP, large steps": (drawing(MLPRefiner(1200), n_options=64, max_steps=3), X),
    "Conv": (drawing(ConvRefiner((8, 8), **SMALL_CONV)), X),
    "Conv, log loss": (drawing(ConvRefiner((8, 8), **SMALL_CONV), loss="log_loss"), X),
    "Conv, splits": (
        drawing(ConvRefiner((8, 8), splits=(1, 2), **SMALL_CONV), n_stages=9, beam_size=2),
        X,
    ),
    "Sequence": (drawing(SequenceRefiner(64, n_channels=8, basis_size=4)), X),
    "Section, Categorical": (
        drawing(SectionRefiner(64, hidden_size=8), loss=losses.Categorical(), n_stages=6),
        SYMBOLS,
    ),
    "Volume": (drawing(VolumeRefiner((4, 4, 4), **SMALL_CONV)), X),
    "Paper": (drawing(PaperRefiner((8, 8)), max_steps=3), X),
    "VQVAE": (autoencoding(), X),
    "VQVAE, images": (autoencoding(ConvAutoencoder((8, 8), n_channels=8)), X),
    "VQVAE, gradient": (autoencoding(codebook_weight=1.0), X),
    "VQVAE, two levels": (autoencoding(n_levels=2), X),
    "boosting": (boosting(), X),
    "boosting, beam": (boosting(beam_size=4), X),
    "boosting, refits": (boosting(n_refits=2, beam_size=4), X),
    "boosting, log loss": (boosting(loss="log_loss"), X),
    "boosting, subsample": (boosting(subsample=100), X),
}


def digest(value):
    """Return a hash of arrays, text, and lists and dicts of such."""
    if isinstance(value, dict):
        value = [[name, digest(each)] for name, each in sorted(value.items())]
    if isinstance(value, (list, tuple)):
        value = json.dumps([each if isinstance(each, str) else digest(each) for each in value])
    if not isinstance(value, (bytes, str)):
        array = np.ascontiguousarray(value.toarray() if hasattr(value, "toarray") else value)
        value = f"{array.dtype.str}{array.shape}".encode() + array.tobytes()
    return hashlib.sha256(value if isinstance(value, bytes) else value.encode()).hexdigest()[:16]


def file_of(model):
    """Return the arrays and the text of the file of a model, without what changes by itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        model.save(path)
        with safetensors.safe_open(path, framework="numpy") as file:
            text = json.loads(file.metadata()["skvqdraw"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    curve = text["fitted"].get("loss_curve_", [])
    if "seconds" in curve:
        arrays["loss_curve_"][:, curve.index("seconds")] = 0
    arrays.pop("loss_curve_.known", None)
    kept = {key: text[key] for key in ("class", "params", "fitted")}
    return arrays, json.dumps(kept, sort_keys=True)


def traces(model, X):
    """Yield the name and the value of all that is compared of a fitted estimator of codes."""
    codes = model.encode(X)
    yield "codes", codes
    yield "one row", model.encode(X[:1])
    yield "reconstructions", model.decode(codes)
    yield "scores", model.score_samples(X)
    yield "soft", model.set_params(encoding="soft").transform(X[:50])
    yield "onehot", model.set_params(encoding="onehot").transform(X[:50])
    yield "samples", model.sample(20, random_state=0)
    if not isinstance(model, VQVAE):  # which decodes whole levels alone
        prefixes = codes[:, : codes.shape[1] // 2]
        yield "prefixes", model.decode(prefixes)
        yield "proposals", model.proposals(prefixes[:5])
    yield "fingerprint", model.fingerprint()
    yield "stream", bytes(compress(model, X[:40]))
    yield "arrays of the file", file_of(model)[0]
    yield "text of the file", file_of(model)[1]


def fits(name):
    """Yield what is compared of one of FITS."""
    estimator, rows = FITS[name]
    yield from traces(estimator.fit(rows), rows)


def prior_cases():
    """Yield what is compared of priors, and of samples by them."""
    model = drawing().fit(X)
    codes = model.encode(X)
    learned = {
        "marginal": priors.MarginalPrior(),
        "Markov": priors.MarkovPrior(),
        "autoregressive": priors.AutoregressivePrior(hidden_size=16, max_steps=12, random_state=0),
    }
    for name, prior in learned.items():
        for labels in (None, Y):
            prior.fit(codes, labels)
            kind = f"{name}, {'classes' if labels is not None else 'no classes'}"
            yield f"{kind}, scores", prior.stage_scores(codes, labels)
            given = {} if labels is None else {"y": 3}
            yield f"{kind}, samples", model.sample(10, prior=prior, random_state=0, **given)
            if labels is None and name != "autoregressive":  # others are not put into streams
                yield f"{kind}, stream", bytes(compress(model, X[:40], prior=prior))
            yield f"{kind}, file", list(file_of(prior))


def guide_cases():
    """Yield samples that are drawn by guides."""
    classifier = LogisticRegression(max_iter=200).fit(X, Y)
    mask = np.arange(64) < 32
    for name, model in {"MLP": drawing().fit(X), "boosting": boosting().fit(X)}.items():
        for guide in (
            guides.MaskGuide(X[0], mask),
            guides.LinearGuide(np.full(8, 0.3), np.kron(np.eye(8), np.full(8, 1 / 8))),
            guides.ClassGuide(classifier, 3),
        ):
            kind = f"{name}, {type(guide).__name__}"
            yield kind, model.sample(6, guide=guide, random_state=0)
            yield (
                f"{kind}, beam",
                model.sample(6, guide=guide.set_params(beam_size=3), random_state=0),
            )


def partial_fit_cases():
    """Yield what is compared of fits that go on."""
    for name, model in {"MLP": drawing(), "VQVAE": autoencoding()}.items():
        for _ in range(2):
            model.partial_fit(X)
        for trace, value in traces(model, X):
            yield f"{name}, {trace}", value


def killed_fit(path):
    """Fit with a checkpoint, slowly enough to be killed."""
    drawing(checkpoint=path, checkpoint_every=0, max_steps=400).fit(X)


def resume_cases():
    """Yield what is compared of a fit that goes on after a kill."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "checkpoint")
        child = multiprocessing.get_context("spawn").Process(target=killed_fit, args=(path,))
        child.start()
        while child.is_alive() and not path.exists():
            time.sleep(0.05)
        time.sleep(0.3)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        model = drawing(checkpoint=path, checkpoint_every=0, max_steps=400).fit(X)
    model.set_params(checkpoint=None)
    yield from traces(model, X)


def one_of_two(rank, folder):
    """Fit in one of two processes."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    model = drawing().fit(X)
    if rank == 0:
        model.save(Path(folder, "model"))
    torch.distributed.destroy_process_group()


def two_processes_cases():
    """Yield what is compared of a fit in two processes."""
    from skvqdraw import load

    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(one_of_two, args=(folder,), nprocs=2)
        yield from traces(load(Path(folder, "model")), X)


def pretrained_cases():
    """Yield what is compared of the models that come with the package."""
    for name, shape in {"mnist-60bit": (28, 28), "cifar10-600bit": (32, 32, 3)}.items():
        model = load_pretrained(name)
        rows = np.random.default_rng(0).random((8, int(np.prod(shape))), dtype=np.float32)
        rows = (255 * rows).astype(np.uint8) if name.startswith("cifar") else rows
        codes = model.encode(rows)
        yield f"{name}, codes", codes
        yield f"{name}, reconstructions", model.decode(codes)
        yield f"{name}, fingerprint", model.fingerprint()


CASES = {name: (lambda name=name: fits(name)) for name in FITS} | {
    "priors": prior_cases,
    "guides": guide_cases,
    "partial_fit": partial_fit_cases,
    "after a kill": resume_cases,
    "two processes": two_processes_cases,
    "pretrained": pretrained_cases,
}


def hashes(names):
    """Return the hash of each trace of each case."""
    return {name: {trace: digest(value) for trace, value in CASES[name]()} for name in names}


def measured(checkout, names):
    """Return the hashes that the package of a checkout computes."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "hashes.json")
        command = [sys.executable, "-W", "ignore", __file__, "--subject", str(out)]
        environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "2"}
        subprocess.run([*command, "--only", *names], check=True, env=environment)
        return json.loads(out.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", metavar="COMMIT", help="the commit to compare with")
    parser.add_argument("--only", nargs="*", default=[""], help="parts of the names of cases")
    parser.add_argument("--subject", metavar="FILE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = [name for name in CASES if any(part in name for part in arguments.only)]
    if arguments.subject:
        Path(arguments.subject).write_text(json.dumps(hashes(names)))
        return 0
    here = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder, "other")
        git = ["git", "-C", str(here), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", other, arguments.against], check=True)
        try:
            now, before = measured(here, names), measured(other, names)
        finally:
            subprocess.run([*git, "remove", "--force", other], check=True)
    differing = 0
    for name in names:
        wrong = [t for t in now[name] | before[name] if now[name].get(t) != before[name].get(t)]
        differing += bool(wrong)
        print(f"{name:32} {'differs: ' + ', '.join(wrong) if wrong else 'equal'}")
    print(f"{len(names) - differing} of {len(names)} cases are equal")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())

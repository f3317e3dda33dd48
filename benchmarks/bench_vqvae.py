"""VQVAE and VQ-VAE-2 beside VQDRAW, k-means boosting and a Gaussian VAE: equal bits, equal time.

    SKVQDRAW_DATA=folder python benchmarks/bench_vqvae.py --models folder --cifar cifar10.npz \\
        --out benchmarks/results/vqvae.json

Sections, of which `--only` names some; what the file has already is kept:

- `usage`: options in use after fits of 5 seconds on the 8x8 digits, 20 seeds of each kind.
- `fits`: errors, usage and a linear probe of all fits.
- `priors`: bits of the codes of training and test images by priors that learned the former.
- `curves`: errors of what decodes of a code, and its bits as they are and by a prior.
- `samples`: classifiers that saw samples only, and how well these can be told from real images.

Fits go on from checkpoints, and models are kept in the folder: a run that was killed can be made
again. Nothing was chosen by test images. CIFAR-10 is a file with `X_train` and `X_test`.
"""

import argparse
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from bench_samples import SmallCNN
from machine import Report, describe, seconds_of
from mnist import IMAGE_SHAPE, load_images
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MaxAbsScaler
from sklearn.utils import Bunch

import skvqdraw
from skvqdraw import VQDRAW, VQVAE, ClusterBoosting
from skvqdraw.autoencoders import ConvAutoencoder, MLPAutoencoder
from skvqdraw.base import Task, TrainedMixin
from skvqdraw.metrics import (
    classification_accuracy_score,
    prior_bits,
    rate_distortion_curve,
    two_sample_score,
)
from skvqdraw.priors import AutoregressivePrior, MarginalPrior, MarkovPrior
from skvqdraw.refiners import ConvRefiner

SECTIONS = ("usage", "fits", "priors", "curves", "samples")
SEED = 0
N_SEEDS, USAGE_SECONDS = 20, 5
SECONDS = {"MNIST, 245 bits": 600, "MNIST, 60 bits": 180, "CIFAR-10, 576 bits": 1200}
PRIOR_SECONDS = {"MNIST, 245 bits": 120, "MNIST, 60 bits": 60}
N_JUDGED, N_PROBED = 2000, 20_000


class GaussianVAE(TrainedMixin, BaseEstimator):
    """The continuous ancestor: normal latents, the same layers and the same training.

    Its loss is minus the evidence lower bound, with the variance of pixels at its best for each
    batch (Rybkin et al., 2021): so there is nothing to choose.
    """

    def __init__(self, autoencoder, code_dim=8, *, batch_size=32, learning_rate=6e-3,
                 weight_decay=0.05, max_steps=None, max_time=None, checkpoint=None,
                 checkpoint_every=30.0, random_state=None):  # fmt: skip
        self.autoencoder = autoencoder
        self.code_dim = code_dim
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.max_steps = max_steps
        self.max_time = max_time
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.random_state = random_state

    def _validate_X(self, X, *, reset):
        self.n_features_in_ = X.shape[1]
        return X

    def _task(self, resume):
        return _Bound(self)

    def encode(self, X):
        """Return means and logarithms of variances of latents, (N, P, C) each."""
        with torch.no_grad():
            parts = [self._moments(some) for some in torch.from_numpy(X).split(500)]
        return [torch.cat(moments) for moments in zip(*parts, strict=True)]

    def decode(self, latents_NPC):
        """Return the rows of latents."""
        with torch.no_grad():
            return np.concatenate([_rows(self.network_, z) for z in latents_NPC.split(500)])

    def _moments(self, X):
        return _moments(self.network_, X)


def _moments(network, x_ND):
    encoder = network["encoder"]
    [seen] = encoder.seen((x_ND - network.mean_D) / network.scale)
    return encoder.latents(0, seen).chunk(2, dim=2)


def _rows(network, latents_NPC):
    decoder = network["decoder"]
    x_ND = decoder.rows(decoder.said(0, latents_NPC))
    return (x_ND * network.scale + network.mean_D).numpy()


class _Bound(Task):
    def __init__(self, estimator):
        self.estimator = estimator

    def build(self):
        estimator, D = self.estimator, self.estimator.n_features_in_
        parts = {
            "encoder": estimator.autoencoder.build(D, 1, 2 * estimator.code_dim),
            "decoder": estimator.autoencoder.build(D, 1, estimator.code_dim),
        }
        network = torch.nn.ModuleDict(parts)
        network.register_buffer("mean_D", torch.zeros(D))
        network.register_buffer("scale", torch.ones(()))
        return network

    def learn(self, X, y, rows, sample_weight, rng):
        self.network.mean_D.copy_(torch.from_numpy(X.mean(axis=0)))
        self.network.scale.copy_(torch.tensor(X.var(axis=0).mean() ** 0.5))

    def prepare(self, X, y):
        return (torch.from_numpy(X),)

    def loss(self, batch, weight):
        network, (x_ND,) = self.network, batch
        mean_NPC, log_variance_NPC = _moments(network, x_ND)
        noise = torch.randn(mean_NPC.shape) * (log_variance_NPC / 2).exp()
        decoder, target_ND = network["decoder"], (x_ND - network.mean_D) / network.scale
        errors_N = (decoder.rows(decoder.said(0, mean_NPC + noise)) - target_ND).square().mean(1)
        bound_N = divergence(mean_NPC, log_variance_NPC)
        return target_ND.shape[1] / 2 * (weight @ errors_N).log() + weight @ bound_N


def divergence(mean_NPC, log_variance_NPC):
    """Return the nats between latents of rows and the normal distribution."""
    squares = mean_NPC.square() + log_variance_NPC.exp()
    return (squares - log_variance_NPC - 1).sum((1, 2)) / 2


def estimators(budget, quick):
    """Return the unfitted estimators of a budget of bits, by name."""
    seconds = 2 if quick else SECONDS[budget]
    timed = {"max_steps": None, "max_time": seconds, "random_state": SEED}
    conv = partial(ConvAutoencoder, IMAGE_SHAPE)
    if budget == "CIFAR-10, 576 bits":
        return {"VQVAE": VQVAE(512, autoencoder=ConvAutoencoder((32, 32, 3)), code_dim=16, **timed)}
    if budget == "MNIST, 60 bits":
        mlp = MLPAutoencoder(n_positions=10, hidden_size=512)
        refiner = ConvRefiner(IMAGE_SHAPE, n_blocks=2, stages_per_round=3)
        return {
            "VQVAE": VQVAE(64, autoencoder=mlp, **timed),
            "VQDRAW": VQDRAW(10, 64, refiner=refiner, **timed),
            "ClusterBoosting": ClusterBoosting(10, 64, random_state=SEED),
        }
    refiner = ConvRefiner(IMAGE_SHAPE, hidden_size=0, stages_per_round=7)
    return {
        "VQVAE": VQVAE(32, autoencoder=conv(), **timed),
        # 65 positions of log2(13) bits: 240.5.
        "VQ-VAE-2": VQVAE(13, n_levels=2, autoencoder=conv(), **timed),
        "VQDRAW": VQDRAW(49, 32, refiner=refiner, **timed),
        "ClusterBoosting": ClusterBoosting(49, 32, random_state=SEED),
        "Gaussian VAE": GaussianVAE(conv(), **timed),
    }


def model_of(folder, budget, name, quick):
    """Return where a model is kept, and how to read it."""
    path = folder / f"{budget} {name}{' quick' if quick else ''}".replace(" ", "-").replace(",", "")
    if name == "Gaussian VAE":
        return path, partial(torch.load, weights_only=False), torch.save
    return path, skvqdraw.load, lambda model, to: model.save(to)


def prior_path(folder, budget, name, quick):
    """Return where the network prior of an estimator's codes is kept."""
    return model_of(folder, budget, f"prior of {name}", quick)[0]


def fitted(report, folder, budget, name, data, quick):
    """Fit an estimator, unless its model is kept already; return it."""
    path, read, write = model_of(folder, budget, name, quick)
    if path.exists():
        return read(path)
    estimator = estimators(budget, quick)[name]
    if hasattr(estimator, "checkpoint"):
        estimator.set_params(checkpoint=f"{path}.checkpoint")
    started = time.perf_counter()
    estimator.fit(data.X)
    seconds = round(time.perf_counter() - started, 1)
    write(estimator, path)
    prior_path(folder, budget, name, quick).unlink(missing_ok=True)  # it was of another model
    row = {"seconds": seconds, "cpu": describe()["cpu"]}
    if hasattr(estimator, "n_steps_"):
        row["steps"] = estimator.n_steps_
    report.add(name, row, within=f"{budget}, fits")
    return estimator


def judged(report, folder, budget, data, quick):
    """Report the errors of all estimators of a budget, and what a linear probe reads of codes."""
    for name in estimators(budget, quick):
        estimator = fitted(report, folder, budget, name, data, quick)
        row = report[f"{budget}, fits"][name]
        row |= of_vae(estimator, data) if name == "Gaussian VAE" else of_codes(estimator, data)
        if data.y is not None:
            row["probe"] = probed(estimator, data)
        report.add(name, row, within=f"{budget}, fits")


def probed(estimator, data):
    """Return the test accuracy of a linear classifier of codes, or of means of latents."""
    n, probe = min(N_PROBED, len(data.X)), LogisticRegression(max_iter=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(features(estimator, data.X[:n]), data.y[:n])
    return float(probe.score(features(estimator, data.X_test), data.y_test))


def of_codes(estimator, data):
    """Return errors, bits and the share of options that test images use, level by level."""
    n_positions, n_options = estimator.code_usage_.shape
    row = {"bits": n_positions * float(np.log2(n_options))}
    rates = {"encode": lambda: estimator.encode(data.X_test)}
    codes = rates["encode"]()
    rates["decode"] = lambda: estimator.decode(codes)
    for name, call in rates.items():
        row[f"{name}_rows_per_second"] = round(len(codes) / seconds_of(call, repeats=1))
    row["error"] = float(np.square(estimator.decode(codes) - data.X_test).mean())
    row["train_error"] = float(-estimator.score(data.X[: N_JUDGED * 5]))
    if isinstance(estimator, VQVAE):
        ends = estimator.network_.levels.n_positions[:-1]
        levels = np.split(codes, np.cumsum(ends), axis=1)
        row["usage"] = [len(np.unique(level)) / n_options for level in levels]
        if len(levels) > 1:
            top = estimator.decode(levels[0])
            row["error_of_top"] = float(np.square(top - data.X_test).mean())
    return row


def of_vae(vae, data):
    """Return errors of samples of the latents, and their nats as bits."""
    row = {}
    for name, X in (("error", data.X_test), ("train_error", data.X[: N_JUDGED * 5])):
        mean_NPC, log_variance_NPC = vae.encode(X)
        torch.manual_seed(SEED)
        latents = mean_NPC + torch.randn(mean_NPC.shape) * (log_variance_NPC / 2).exp()
        row[name] = float(np.square(vae.decode(latents) - X).mean())
        row["bits"] = float(divergence(mean_NPC, log_variance_NPC).mean() / np.log(2))
    return row


def features(estimator, X):
    """Return what a probe sees of rows: one-hot codes, or means of latents."""
    if isinstance(estimator, GaussianVAE):
        mean_NPC, _ = estimator.encode(X)
        return MaxAbsScaler().fit_transform(mean_NPC.flatten(1).numpy())
    return estimator.set_params(encoding="onehot").transform(X)


def usage(report, quick):
    """Report the least share of options in use, over seeds, levels and ways to move vectors."""
    X, conv = load_digits().data, ConvAutoencoder((8, 8), n_channels=32, downsampling=2)
    for n_levels in (1, 2):
        for codebook_weight in (None, 1.0):
            least = []
            for seed in range(1 if quick else N_SEEDS):
                how = {"n_levels": n_levels, "codebook_weight": codebook_weight}
                budget = {"max_steps": None, "max_time": 1 if quick else USAGE_SECONDS}
                vq = VQVAE(64, autoencoder=conv, **how, **budget, random_state=seed).fit(X)
                ends = np.cumsum(vq.network_.levels.n_positions[:-1])
                parts = np.split(vq.encode(X), ends, axis=1)
                least.append(min(len(np.unique(part)) / 64 for part in parts))
            moved = "moving averages" if codebook_weight is None else "gradient"
            row = {"least": min(least), "mean": float(np.mean(least)), "fits": len(least)}
            levels = "one level" if n_levels == 1 else "two levels"
            report.add(f"{levels}, {moved}", row, within="usage")


def coders(models):
    """Return the estimators that have codes, by name."""
    return {name: m for name, m in models.items() if not isinstance(m, GaussianVAE)}


def network_prior(folder, budget, name, quick, codes, n_options, y):
    """Return the prior that is a network, of codes and their classes; fit it unless it is kept."""
    path = prior_path(folder, budget, name, quick)
    if path.exists():
        return skvqdraw.load(path)
    how = {"max_time": 2 if quick else PRIOR_SECONDS[budget], "max_steps": None, "batch_size": 64}
    prior = AutoregressivePrior(n_options, **how, random_state=SEED).fit(codes, y)
    prior.save(path)
    return prior


def priors(report, folder, budget, models, data, quick):
    """Report the bits of codes of training and test images, of no known class, by each prior."""
    for name, model in coders(models).items():
        train, test, n_options = model.encode(data.X), model.encode(data.X_test), model.n_options
        found = {
            "MarginalPrior without classes": MarginalPrior(n_options).fit(train),
            "MarginalPrior": MarginalPrior(n_options).fit(train, data.y),
            "MarkovPrior": MarkovPrior(n_options=n_options).fit(train, data.y),
            "AutoregressivePrior": network_prior(
                folder, budget, name, quick, train, n_options, data.y
            ),
        }
        row = {"uniform": test.shape[1] * float(np.log2(n_options))}
        for title, prior in found.items():
            row[title] = {
                "train": float(prior.bits(train[: N_JUDGED * 2]).mean()),
                "test": float(prior.bits(test[: N_JUDGED * 2]).mean()),
            }
        some, y = test[: N_JUDGED * 2], data.y_test[: N_JUDGED * 2]
        row["given_class"] = float(found["AutoregressivePrior"].bits(some, y).mean())
        report.add(name, row, within=f"{budget}, priors")


def curves(report, folder, budget, models, data, quick):
    """Report errors of what decodes of a code, and its bits as they are and by a prior."""
    X = data.X_test[:N_JUDGED]
    for name, model in coders(models).items():
        prior = skvqdraw.load(prior_path(folder, budget, name, quick))
        curve = rate_distortion_curve(model, X)
        spent = prior_bits(prior, model.encode(X)).cumsum()
        ends = np.rint(curve.bits / np.log2(model.n_options)).astype(int) - 1
        by_prior = spent[ends].tolist()
        row = {"bits": curve.bits.tolist(), "by_prior": by_prior, "error": curve.train.tolist()}
        report.add(name, row, within=f"{budget}, curves")


def samples(report, folder, budget, models, data, quick):
    """Report what classifiers learn of samples, and how well these can be told from images.

    Samples that no class was asked for have the classes that a classifier of images sees in them.
    """
    n_steps, section = 10 if quick else 2000, f"{budget}, samples"
    judge = SmallCNN(9, n_steps).fit(data.X, data.y)

    def add(name, drawn):
        if name in report.get(section, {}):
            return
        rows, y = drawn()
        accuracy = classification_accuracy_score(
            rows,
            judge.predict(rows) if y is None else y,
            data.X_test,
            data.y_test,
            classifier=SmallCNN(SEED, n_steps),
        )
        told = two_sample_score(rows[:N_JUDGED], data.X_test[:N_JUDGED], random_state=0)
        report.add(name, {"accuracy": accuracy, "told_apart": told}, within=section)

    add("real images", lambda: (data.X, data.y))
    for name, model in models.items():
        if isinstance(model, GaussianVAE):
            ways = of_latents(model, data)
        else:
            prior = skvqdraw.load(prior_path(folder, budget, name, quick))
            ways = of_random_codes(model, prior, data)
        for way, drawn in ways.items():
            add(f"{name}, {way}", drawn)


def of_random_codes(model, prior, data):
    """Return how to get rows and their classes, by name: of true codes, and of random ones."""
    n, y = len(data.X), data.y
    return {
        "reconstructions": lambda: (model.decode(model.encode(data.X)), y),
        "uniform codes": lambda: (model.sample(n, random_state=SEED), None),
        "prior": lambda: (model.sample(n, prior=prior, y=y, random_state=SEED), y),
    }


def of_latents(vae, data):
    """Return how to get rows and their classes, by name: of true latents, and of normal ones."""
    mean_NPC, y = vae.encode(data.X)[0], data.y

    def normal():
        torch.manual_seed(SEED)
        return vae.decode(torch.randn(mean_NPC.shape)), None

    def of_classes():
        flat, rng = mean_NPC.flatten(1).numpy(), np.random.default_rng(SEED)
        drawn = np.empty_like(flat)
        for label in np.unique(y):
            mine = y == label
            of_class = flat[mine].mean(axis=0), np.cov(flat[mine].T)
            drawn[mine] = rng.multivariate_normal(*of_class, size=mine.sum(), method="eigh")
        return vae.decode(torch.from_numpy(drawn).view_as(mean_NPC)), y

    return {
        "reconstructions": lambda: (vae.decode(mean_NPC), y),
        "normal latents": normal,
        "normal latents of each class": of_classes,
    }


def load_cifar(path):
    """Return the images of CIFAR-10, pixels in [0, 1]."""
    with np.load(path) as file:
        X, X_test = (file[name].reshape(len(file[name]), -1) for name in ("X_train", "X_test"))
    return Bunch(X=X / np.float32(255), X_test=X_test / np.float32(255), y=None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="the JSON file to write, section by section")
    parser.add_argument("--models", type=Path, required=True, help="folder of the models")
    parser.add_argument("--cifar", help="the file of CIFAR-10; without it, only MNIST")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--budgets", nargs="+", choices=SECONDS, default=[*SECONDS])
    parser.add_argument("--quick", action="store_true", help="only see that it runs: no figures")
    arguments = parser.parse_args()
    quick, only, folder = arguments.quick, arguments.only, arguments.models
    report = Report(arguments.out, go_on=True, benchmark="vqvae", quick=quick, seed=SEED)
    folder.mkdir(parents=True, exist_ok=True)
    if "usage" in only:
        usage(report, quick)
    for budget in arguments.budgets:
        colour = budget.startswith("CIFAR")
        if colour and not arguments.cifar:
            continue
        data = load_cifar(arguments.cifar) if colour else load_images(quick)
        if "fits" in only:
            judged(report, folder, budget, data, quick)
        rest = {"priors": priors, "curves": curves, "samples": samples}
        if budget not in PRIOR_SECONDS or not rest.keys() & {*only}:
            continue
        names = estimators(budget, quick)
        models = {name: fitted(report, folder, budget, name, data, quick) for name in names}
        for section, function in rest.items():
            if section in only:
                function(report, folder, budget, models, data, quick)


if __name__ == "__main__":
    main()

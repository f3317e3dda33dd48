"""What samples are worth: bits of priors, classifiers that saw samples only, guides, in-painting.

    SKVQDRAW_DATA=folder python benchmarks/bench_samples.py --out benchmarks/results/samples.json

The weights of MNIST that come with the package, and `ClusterBoosting` beside them. Priors learn the
codes of the training images and of slightly moved copies; bits are of the codes of the test images.
Classifiers learn samples with the training set's label shares and are judged by the test images.
Nothing was chosen by test images. Copies are not timed; what else is fitted is.
"""

import argparse
import time
import warnings

import numpy as np
import torch
from machine import Report
from mnist import IMAGE_SHAPE, load_images
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.neural_network import MLPClassifier
from torch import nn
from train_pretrained import wiggled

from skvqdraw import ClusterBoosting, load_pretrained
from skvqdraw.guides import ClassGuide, LinearGuide, MaskGuide, shrinking_matrix
from skvqdraw.metrics import classification_accuracy_score, prior_bits, two_sample_score
from skvqdraw.priors import AutoregressivePrior, MarginalPrior, MarkovPrior

SEEDS = (0, 1, 2)
N_COPIES = {"VQDRAW": 7, "ClusterBoosting": 5}
# Of codes of all copies, and then of those of the images themselves.
PRIOR_SECONDS = {"VQDRAW": (240, 45), "ClusterBoosting": (150, 30)}
LAST_LEARNING_RATE = 7e-4
N_GUIDED = 20_000


class SmallCNN:
    """Two convolutions and one linear layer, 35,000 weights, with scikit-learn's methods."""

    def __init__(self, random_state, n_steps=2000):
        self.random_state, self.n_steps = random_state, n_steps

    def fit(self, X, y):
        torch.manual_seed(self.random_state)
        X, y = self._images(X), torch.from_numpy(np.asarray(y, dtype=np.int64))
        self.network = nn.Sequential(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(64 * 25, 10),
        )
        optimizer = torch.optim.AdamW(self.network.parameters(), 2e-3)
        for step in range(self.n_steps):
            optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / self.n_steps)
            rows = torch.randint(len(X), (128,))
            loss = nn.functional.cross_entropy(self.network(X[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.network.eval()
        return self

    @torch.no_grad()
    def predict(self, X):
        return self.network(self._images(X)).argmax(1).numpy()

    def score(self, X, y):
        return float((self.predict(X) == y).mean())

    def get_params(self, deep=False):
        return {"random_state": self.random_state, "n_steps": self.n_steps}

    def _images(self, X):
        return torch.from_numpy(np.ascontiguousarray(X, np.float32)).view(-1, 1, *IMAGE_SHAPE)


def classifiers(seed, quick):
    return {
        "CNN": SmallCNN(seed, 10 if quick else 2000),
        "MLP": MLPClassifier((200,), max_iter=8, random_state=seed),
        "logistic regression": LogisticRegression(max_iter=100),
    }


def accuracies(samples, y, data, seed, quick):
    """Return the test accuracy of each classifier that saw these samples only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return {
            name: classification_accuracy_score(
                samples, y, data.X_test, data.y_test, classifier=classifier
            )
            for name, classifier in classifiers(seed, quick).items()
        }


def codes_of_copies(estimator, data, n_copies):
    """Return the codes of images and of moved copies, and their labels."""
    images = np.rint(data.X * 255).astype(np.uint8).reshape(-1, *IMAGE_SHAPE)
    codes = [estimator.encode(data.X)]
    for seed in range(n_copies):
        copies = wiggled(images, np.random.default_rng(seed)).reshape(len(images), -1)
        codes.append(estimator.encode(copies / np.float32(255)))
    return np.concatenate(codes), np.tile(data.y, n_copies + 1)


def trained(codes, y, n_own, seconds):
    """Return a prior that learned all codes, and at last the first ones only."""
    prior = AutoregressivePrior(
        64, max_steps=None, early_stopping=False, batch_size=256, warm_start=True, random_state=0
    )
    prior.set_params(max_time=seconds[0]).fit(codes, y)
    prior.set_params(max_time=seconds[1], learning_rate=LAST_LEARNING_RATE)
    return prior.fit(codes[:n_own], y[:n_own])


def bits(report, name, estimator, data, quick):
    """Report the bits of all priors of an estimator's codes; return the best one."""
    n_copies, seconds = (1, (3, 1)) if quick else (N_COPIES[name], PRIOR_SECONDS[name])
    codes, y = codes_of_copies(estimator, data, n_copies)
    n, test = len(data.X), estimator.encode(data.X_test)
    fits = {
        "MarginalPrior": lambda: MarginalPrior(64).fit(codes[:n], data.y),
        "MarkovPrior": lambda: MarkovPrior(n_options=64).fit(codes[:n], data.y),
        "AutoregressivePrior": lambda: trained(codes, y, n, seconds),
    }
    for title, fit in fits.items():
        started = time.perf_counter()
        prior = fit()
        row = {"fit_seconds": round(time.perf_counter() - started, 1)}
        by_stage = prior_bits(prior, test)
        row["bits"] = round(float(by_stage.sum()), 2)
        row["bits_given_class"] = round(float(prior_bits(prior, test, data.y_test).sum()), 2)
        started = time.perf_counter()
        prior.sample(len(test), random_state=0)
        row["samples_per_second"] = round(len(test) / (time.perf_counter() - started))
        row["bits_by_stage"] = [round(float(b), 3) for b in by_stage]
        report.add(f"{name}, {title}", row, within="bits")
    return prior


def told_apart(report, vq, prior, boosting, data):
    """Report how well an RBF SVM tells samples from reconstructions and from real rows."""
    n = min(2000, len(data.X_test) // 2)
    real, others = data.X_test[:n], data.X_test[n : 2 * n]
    samples = {
        "uniform codes": vq.sample(n, random_state=0),
        "prior": vq.sample(n, prior=prior, random_state=0),
        "reconstructions": vq.decode(vq.encode(others)),
        "ClusterBoosting, uniform codes": boosting.sample(n, random_state=0),
    }
    reconstructions = vq.decode(vq.encode(real))
    for name, rows in samples.items():
        row = {
            "from_reconstructions": two_sample_score(rows, reconstructions, random_state=0),
            "from_real_rows": two_sample_score(rows, real, random_state=0),
        }
        report.add(name, row, within="told_apart")


def synthetic(report, vq, prior, data, quick):
    """Report the accuracies of classifiers that saw samples, or what these are compared with."""
    for name, rows in (("real rows", data.X), ("reconstructions", vq.decode(vq.encode(data.X)))):
        report.add(name, [accuracies(rows, data.y, data, 0, quick)], within="accuracy")
    found = []
    for seed in SEEDS[:1] if quick else SEEDS:
        rows = vq.sample(len(data.X), prior=prior, y=data.y, random_state=seed)
        found.append(accuracies(rows, data.y, data, seed, quick))
        report.add("prior, given the class", found, within="accuracy")
    judge = SmallCNN(9, 10 if quick else 2000).fit(data.X, data.y)
    rows = vq.sample(len(data.X), random_state=0)
    found = accuracies(rows, judge.predict(rows), data, 0, quick)
    report.add("uniform codes, labelled by a CNN", [found], within="accuracy")
    return judge


def guided(report, vq, prior, judge, data, quick):
    """Report whether samples are what a classifier's wish asked for, by an independent judge."""
    linear = LogisticRegression(max_iter=100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        linear.fit(data.X, data.y)
    n = 100 if quick else N_GUIDED
    y = np.random.default_rng(0).choice(data.y, n)
    for name, how in (
        ("guided", {}),
        ("guided, temperature 0.3", {"temperature": 0.3}),
        ("guided, and prior", {"prior": prior}),
    ):
        of_prior = {"prior": how.pop("prior"), "y": y} if "prior" in how else {}
        started = time.perf_counter()
        rows = vq.sample(n, guide=ClassGuide(linear, y, **how), **of_prior, random_state=0)
        row = {"samples": n, "samples_per_second": n / (time.perf_counter() - started)}
        row["as_asked"] = judge.score(rows, y)
        row["accuracy"] = accuracies(rows, y, data, 0, quick)
        report.add(name, row, within="guided")


def completed(report, vq, data, quick):
    """Report the errors of what is hidden: of the lower half, and of small images."""
    n = 10 if quick else 200
    rows, upper = data.X_test[:n], np.arange(784) < 392
    nearest = NearestNeighbors(n_neighbors=8, algorithm="brute").fit(data.X[:, upper])
    neighbours = data.X[nearest.kneighbors(rows[:, upper], return_distance=False)]
    found = {"8 nearest training rows": neighbours}
    for beam_size in (1, 4, 16, 64):
        guide = MaskGuide(rows.repeat(8, axis=0), upper, beam_size=beam_size)
        drawn = vq.sample(8 * n, guide=guide, random_state=0)
        found[f"8 samples, beam_size={beam_size}"] = drawn.reshape(n, 8, -1)
    for name, eight in found.items():
        errors = np.square(eight - rows[:, None])
        hidden = errors[:, :, ~upper].mean(axis=2)
        row = {"known": errors[:, :, upper].mean(), "best_of_8": hidden.min(axis=1).mean()}
        row["mean"] = hidden.mean()
        report.add(name, {k: float(v) for k, v in row.items()}, within="completed")
    matrix = shrinking_matrix(IMAGE_SHAPE, 2)
    small = (matrix @ rows.T).T
    guide = LinearGuide(small, matrix, temperature=0, beam_size=16)
    sizes = {
        "14 x 14 repeated": np.kron(small.reshape(n, 14, 14), np.ones((2, 2))).reshape(n, -1),
        "guided by 14 x 14, beam_size=16": vq.sample(n, guide=guide, random_state=0),
        "reconstructions, beam_size=1": vq.decode(vq.encode(rows)),
    }
    for name, found in sizes.items():
        report.add(name, float(np.square(found - rows).mean()), within="enlarged")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", help="the JSON file to write, section by section")
    parser.add_argument("--quick", action="store_true", help="only see that it runs: no figures")
    arguments = parser.parse_args()
    quick, data = arguments.quick, load_images(arguments.quick)
    report = Report(arguments.out, benchmark="samples", quick=quick, seeds=SEEDS)
    vq = load_pretrained("mnist-60bit")
    boosting = ClusterBoosting(10, 64, random_state=0).fit(data.X)
    bits(report, "ClusterBoosting", boosting, data, quick)
    prior = bits(report, "VQDRAW", vq, data, quick)
    told_apart(report, vq, prior, boosting, data)
    completed(report, vq, data, quick)
    judge = synthetic(report, vq, prior, data, quick)
    guided(report, vq, prior, judge, data, quick)


if __name__ == "__main__":
    main()

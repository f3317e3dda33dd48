"""An estimator whose training needs what VQDRAW's does not: integer rows, labels, moving buffers."""

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import column_or_1d
from sklearn.utils.validation import validate_data

from skvqdraw.base import Task, TrainedMixin


class MovingMeans(TrainedMixin, BaseEstimator):
    """Means of rows of counts of each class: a moving one, without gradients, and one with."""

    def __init__(
        self,
        n_classes=10,
        *,
        max_steps=20,
        batch_size=50,
        gradient_accumulation=1,
        early_stopping=False,
        checkpoint=None,
        checkpoint_every=0.0,
        random_state=0,
    ):
        self.n_classes = n_classes
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.gradient_accumulation = gradient_accumulation
        self.early_stopping = early_stopping
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every
        self.random_state = random_state

    def _validate_X(self, X, *, reset):
        return validate_data(self, X, reset=reset, dtype=[np.int64, np.uint8])

    def _labels(self, X, y):
        return column_or_1d(y)

    def _task(self, resume):
        task = Means(self)
        if resume:
            task.mean = self.mean_
        return task


class Means(Task):
    crash_at = None

    def __init__(self, estimator):
        self.estimator = estimator
        self.n_steps = 0

    def build(self):
        network = torch.nn.Linear(self.estimator.n_features_in_, self.estimator.n_classes)
        network.register_buffer("means", torch.zeros_like(network.weight.data))
        return network

    def learn(self, X, y, rows, sample_weight, rng):
        self.mean = np.average(X, axis=0, weights=sample_weight)

    def arrays(self):
        return {"mean": self.mean}

    def load_arrays(self, arrays):
        self.mean = arrays["mean"]

    def prepare(self, X, y):
        assert X.dtype.kind in "iu"
        return torch.tensor(X - self.mean).float(), torch.tensor(y).long()

    def sums(self):
        means, counts = self.network.means, self.network.bias
        return {**super().sums(), "rows": torch.zeros_like(means), "n": torch.zeros_like(counts)}

    def gradients(self, batch, weight, sums):
        super().gradients(batch, weight, sums)
        rows, labels = batch
        sums["rows"].index_add_(0, labels, weight[:, None] * rows)
        sums["n"].index_add_(0, labels, weight)

    def loss(self, batch, weight):
        rows, labels = batch
        return weight @ (rows - self.network.weight[labels]).square().mean(1)

    def after_step(self, sums):
        self.n_steps += 1
        if self.n_steps == Means.crash_at:
            raise KeyError("crash")
        seen = sums["n"] > 0
        means = sums["rows"][seen] / sums["n"][seen, None]
        self.network.means[seen] = torch.lerp(self.network.means[seen], means, 0.3)

    def record(self, sums, n_steps):
        return {"loss": float(sums["loss"]) / n_steps, "weight": float(sums["n"].sum()) / n_steps}

    def errors(self, X, y, rows):
        with torch.no_grad():
            some, labels = self.prepare(X[rows], y[rows])
            return (some - self.network.means[labels]).square().mean(1).numpy()

    def learned(self):
        return {"mean_": self.mean}

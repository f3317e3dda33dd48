"""An estimator of codes: k-means on each part of a row."""

from numbers import Integral

import numpy as np
from sklearn.cluster import KMeans
from sklearn.utils import check_random_state, check_scalar, gen_batches

from skvqdraw.base import Array, CodeTransformer
from skvqdraw.metrics import code_usage


class ProductQuantizer(CodeTransformer):
    """Cut rows into `n_stages` parts, and code each by the nearest of `n_options` centres."""

    _learned = {"mean_": Array("D", "float64"), "centres_": Array("SKD", "mean_")}

    def __init__(self, n_stages=4, n_options=16, *, encoding="onehot", random_state=None):
        self.n_stages = n_stages
        self.n_options = n_options
        self.encoding = encoding
        self.random_state = random_state

    def fit(self, X, y=None):
        check_scalar(self.n_stages, "n_stages", Integral, min_val=1)
        check_scalar(self.n_options, "n_options", Integral, min_val=2)
        X = self._validate_X(X, reset=True)
        rng = check_random_state(self.random_state)
        self.mean_ = X.mean(axis=0, dtype=np.float64)
        self.centres_ = np.zeros((self.n_stages, self.n_options, X.shape[1]))
        n_centres = min(self.n_options, len(np.unique(X, axis=0)))
        for centres, part in zip(self.centres_, self._parts(), strict=True):
            if len(part):  # there may be more stages than features
                kmeans = KMeans(n_centres, n_init=1, random_state=rng)
                kmeans.fit(X[:, part] - self.mean_[part])
                centres[:n_centres, part] = kmeans.cluster_centers_
        codes = np.empty((len(X), self.n_stages), dtype=np.intp)
        self._encode(X, codes)
        self.code_usage_ = code_usage(codes, self.n_options)
        return self

    def _parts(self):
        return np.array_split(np.arange(len(self.mean_)), len(self.centres_))

    def _encode(self, X, codes):
        for rows in gen_batches(len(X), 256):
            left = X[rows] - self.mean_
            for stage, part in enumerate(self._parts()):
                errors = np.square(left[:, None, part] - self.centres_[stage][:, part]).sum(axis=2)
                codes[rows, stage] = errors.argmin(axis=1)

    def _decode(self, codes):
        moves = [centres[column] for centres, column in zip(self.centres_, codes.T, strict=False)]
        return self.mean_ + np.sum(moves, axis=0)

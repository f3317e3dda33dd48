"""An estimator that trains a network: the codebooks of a residual quantizer, by gradients."""

import torch
from sklearn.utils import gen_batches

from skvqdraw.base import CodeTransformer, Task, TrainedMixin
from skvqdraw.metrics import code_usage


class GradientQuantizer(TrainedMixin, CodeTransformer):
    """Sums of a vector of each of `n_stages` codebooks, all of them learned at once."""

    def __init__(self, n_stages=4, n_options=16, *, encoding="onehot", random_state=None):
        self.n_stages = n_stages
        self.n_options = n_options
        self.encoding = encoding
        self.random_state = random_state

    def _network(self):
        return torch.nn.ParameterList([*torch.randn(*self._code_shape, self.n_features_in_)])

    def _task(self, resume):
        return Learning(self.n_stages, self.n_options, self.n_features_in_)

    def _encode(self, X, codes):
        for rows in gen_batches(len(X), 256):
            codes[rows] = follow(self.network_, torch.tensor(X[rows]).float())[0]

    def _decode(self, codes):
        columns = zip(self.network_, torch.tensor(codes.T).long(), strict=False)
        start = torch.zeros(len(codes), self.n_features_in_)
        return sum((book[column] for book, column in columns), start).detach().numpy()


class Learning(Task):
    def __init__(self, *shape):
        self.shape = shape

    def build(self):
        return torch.nn.ParameterList([*torch.randn(*self.shape) / 5])

    def prepare(self, X, y):
        return (torch.tensor(X).float(),)

    def loss(self, batch, weight):
        return weight @ follow(self.network, batch[0])[1].square().mean(1)

    def finish(self, X, y, rows, processes):
        self.codes = follow(self.network, torch.tensor(X[rows]).float())[0]

    def learned(self):
        return {"code_usage_": code_usage(self.codes, self.shape[1])}


def follow(books, left):
    codes = []
    for book in books:
        codes.append((left[:, None] - book).square().sum(2).argmin(1))
        left = left - torch.nn.functional.embedding(codes[-1], book)
    return torch.stack(codes, 1), left

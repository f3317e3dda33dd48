"""From rows of X to tensors that a network sees, and in which order.

Axes: N rows of a batch, D features.
"""

import numpy as np
import torch

from .._rows import float_dtype, pieces, take_rows, weighted_mean

_OUT_OF_RANGE = (
    "the variance of X is too {} for float64; rescale X, for example with "
    "sklearn.preprocessing.RobustScaler."
)
# Squares below this have lost digits.
_SMALLEST_VARIANCE = np.finfo(np.float64).tiny / np.finfo(np.float64).eps


class Preparation:
    """Centre, divide by one scalar, put features in the network's order; and back.

    Parameters
    ----------
    mean_D : ndarray of shape (n_features,)
        Subtracted from each row; its dtype is that of the rows given back.
    scale : float
        One divisor for all features, so that squared errors keep their proportions.
    feature_order : ndarray of shape (n_features,), default=None
        The order in which the network wants its features.
    """

    def __init__(self, mean_D, scale, feature_order=None):
        self.mean_D = mean_D
        self.scale = scale
        self.feature_order = feature_order

    def forward(self, X):
        """Rows of X as a float32 tensor on the CPU. The difference is taken in float64."""
        rows_ND = np.array(X, dtype=np.float64)
        rows_ND -= self.mean_D
        rows_ND /= self.scale
        if self.feature_order is not None:
            rows_ND = rows_ND[:, self.feature_order]
        # One layout in memory, whatever that of X: sums in another order round another way.
        return torch.from_numpy(np.ascontiguousarray(rows_ND, dtype=np.float32))

    def inverse(self, rows_ND):
        """A tensor of the network's as rows in X's own units."""
        rows_ND = rows_ND.cpu().numpy().astype(np.float64)
        if self.feature_order is not None:
            unordered_ND = np.empty_like(rows_ND)
            unordered_ND[:, self.feature_order] = rows_ND
            rows_ND = unordered_ND
        rows_ND *= self.scale
        rows_ND += self.mean_D
        return rows_ND.astype(self.mean_D.dtype)


def mean_and_scale(X, sample_weight):
    """Return the weighted mean per feature and the root of the mean variance, in one dtype.

    In float64 over pieces: X may be a memory map and is never copied whole. Constant data have no
    unit of their own: what is left of them is nothing beside the scale that they get.
    """
    variance = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean_D = weighted_mean(X, sample_weight)
        for piece in pieces(*X.shape, whole_tiles=False):
            left = np.asarray(X[piece] - mean_D, dtype=np.float64)
            variance += sample_weight[piece] @ np.square(left, out=left).mean(axis=1)
    variance /= sample_weight.sum()
    if not np.isfinite(variance):
        raise ValueError(_OUT_OF_RANGE.format("large"))
    if variance > _SMALLEST_VARIANCE:
        scale = np.sqrt(variance)
    elif any(
        np.any(X[piece][sample_weight[piece] > 0] != mean_D)
        for piece in pieces(*X.shape, whole_tiles=False)
    ):
        raise ValueError(_OUT_OF_RANGE.format("small"))
    else:
        scale = np.finfo(np.float32).eps * (np.abs(mean_D).max() or 1.0)
    return mean_D.astype(float_dtype(X.dtype)), float(scale)


def endless_order(rows, batch_size, rng, *, n_taken=0):
    """Yield arrays of rows for ever: one random order after another, cut into equal batches.

    The order is drawn by a numpy Generator, so it is the same whatever device computes. With a
    generator in its first state it goes on after `n_taken` batches: a position is one number,
    also where batches are read ahead.
    """
    batch_size = min(batch_size, len(rows))
    n_orders, n_rows_taken = divmod(n_taken * batch_size, len(rows))
    for _ in range(n_orders):
        rng.permutation(rows)
    waiting = rng.permutation(rows)[n_rows_taken:]
    while True:
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, rng.permutation(rows)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


def one_pass(rows, batch_size, rng):
    """Return the batches, as equal as can be, of one pass over the rows in random order."""
    return np.array_split(rng.permutation(rows), -(-len(rows) // batch_size))


def prepared_batches(X, order, sample_weight, preparation, processes, device, *, n_parts=1):
    """Yield for each array of rows in `order` a list of parts, to be computed one by one.

    A part is (target_ND, weight_N, n_rows): what this process has of it, and of how many rows. The
    weights are divided by the number of rows of the whole array.
    """
    for rows in order:
        part_size = -(-len(rows) // n_parts)
        parts = [rows[start : start + part_size] for start in range(0, len(rows), part_size)]
        shares = [processes.share(part) for part in parts]
        own = np.concatenate(shares)
        target_ND = preparation.forward(take_rows(X, own)).to(device)
        weight_N = torch.from_numpy(sample_weight[own].astype(np.float32)).to(device) / len(rows)
        sizes = [len(share) for share in shares]
        yield list(zip(target_ND.split(sizes), weight_N.split(sizes), map(len, parts), strict=True))

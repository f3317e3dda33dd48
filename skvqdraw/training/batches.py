"""From rows of X to tensors that a network sees, and in which order.

Axes: N rows of a batch.
"""

import numpy as np
import torch

from .._rows import take_rows


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


def prepared_batches(task, X, y, sample_weight, order, processes, *, n_parts=1):
    """Yield for each array of rows in `order` a list of parts, to be computed one by one.

    A part is what this process has of it: (tensors, weight_N). The weights are divided by the
    number of rows of the whole array.
    """
    for rows in order:
        part_size = -(-len(rows) // n_parts)
        parts = np.split(np.arange(len(rows)), range(part_size, len(rows), part_size))
        shares = [processes.share(part) for part in parts]
        places, sizes = np.concatenate(shares), [len(share) for share in shares]
        own = rows[places]
        weight_N = torch.from_numpy(sample_weight[own].astype(np.float32)) / len(rows)
        tensors = *task.prepare(take_rows(X, own), None if y is None else y[own]), weight_N
        if task.wants_places:
            tensors = torch.from_numpy(places / len(rows)).float(), *tensors
        pieces = zip(*(tensor.to(task.device).split(sizes) for tensor in tensors), strict=True)
        yield [(batch, weight_N) for *batch, weight_N in pieces]

"""Where the options of the first stage start: centres of k-means on some rows.

Axes: N rows, K options, D features, P projections.
"""

import numpy as np

from .._rows import pieces, tiles
from ..boosting.kmeans import cluster, nearest

# Rows to cluster, and k-means iterations on them.
_ROWS, _ITERATIONS = 10_000, 10
# Most values of these rows to hold, and most multiplications of an iteration. Where that is too
# little, rows are clustered by random projections, and centres are means of whole rows.
_VALUES_HELD, _MULTIPLICATIONS, _PROJECTIONS = 2**25, 2**32, 64
# Most values to read twice for that, but some rows for each option.
_VALUES_READ, _ROWS_PER_OPTION = 2**27, 4


def first_options(prepared, rows, n_features, n_options, rng, sample_weight):
    """Return centres (K, D) of k-means on some of the rows, in float32.

    `prepared(rows)` returns rows (N, D) as the network sees them. However many they are, this takes
    no more than 150 MB beside the centres, or 256 bytes for each feature where that is more.
    """
    n_rows, n_options = min(_ROWS, len(rows)), int(n_options)
    if n_rows * n_features <= _VALUES_HELD and n_rows * n_features * n_options <= _MULTIPLICATIONS:
        rows = _some(rows, n_rows, rng)
        return _cluster(prepared(rows), n_options, rng, sample_weight[rows])
    least = _ROWS_PER_OPTION * n_options
    rows = _some(rows, min(n_rows, max(_VALUES_READ // n_features, least)), rng)
    return _cluster_by_sketch(prepared, rows, n_features, n_options, rng, sample_weight[rows])


def _some(rows, n_rows, rng):
    return np.sort(rng.choice(rows, n_rows, replace=False))


def _cluster(X_ND, n_options, rng, weight_N):
    # A tolerance would be a share of the variance, and that takes a copy of the rows.
    centres_KD, _ = cluster(
        X_ND, n_options, rng, max_iter=_ITERATIONS, tol=0, sample_weight=weight_N
    )
    return centres_KD


def _cluster_by_sketch(prepared, rows, n_features, n_options, rng, weight_N):
    parts = pieces(len(rows), n_features, whole_tiles=False)
    projections_DP = np.empty((n_features, _PROJECTIONS), dtype=np.float32)
    for p in range(_PROJECTIONS):
        projections_DP[:, p] = rng.standard_normal(n_features)
    sketch_NP = np.concatenate([prepared(rows[part]) @ projections_DP for part in parts])
    centres_KP = _cluster(sketch_NP, n_options, rng, weight_N)
    labels_N = np.concatenate([nearest(sketch_NP[tile], centres_KP) for tile in tiles(len(rows))])
    # One option's rows after another's: so a piece of them adds to few options.
    order = np.argsort(labels_N, kind="stable")
    rows, labels_N, weight_N = rows[order], labels_N[order], weight_N[order]
    sums_KD = np.zeros((n_options, n_features), dtype=np.float32)
    for part in parts:
        piece_ND = prepared(rows[part]) * weight_N[part, None].astype(np.float32)
        options, firsts = np.unique(labels_N[part], return_index=True)
        sums_KD[options] += np.add.reduceat(piece_ND, firsts)
    weight_K = np.bincount(labels_N, weight_N, n_options).astype(np.float32)
    mean_D = sums_KD.sum(axis=0) / weight_K.sum()
    sums_KD /= np.where(weight_K > 0, weight_K, 1)[:, None]
    sums_KD[weight_K == 0] = mean_D  # options without rows
    return sums_KD

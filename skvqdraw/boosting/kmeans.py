"""k-means, and codebooks refitted to codes.

Axes: N rows, S stages, K options, D features.
"""

import warnings
from contextlib import nullcontext

import numpy as np
from scipy import linalg, sparse
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from .._fork import is_forked
from .._products import product

# k-means++ looks at no more than so many rows per centre: with fewer, outliers seem to matter more.
_SEEDING_ROWS_PER_CENTRE = 512
# k-means++ looks at rows of more than twice so many features through as many random projections,
# which keep distances well enough to choose by, for a tenth of the time.
_SKETCH_FEATURES = 32
# How firmly a refit holds on to the codebooks, as a share of an option's average number of rows:
# the same vector added at one stage and subtracted at another changes no reconstruction, so the
# codebooks that fit best are many.
_REFIT_RIDGE = 0.1


def cluster(X_ND, n_options, rng, *, max_iter, tol, sample_weight=None):
    """Return centres (K, D) of k-means, and its iterations. X_ND comes back but for rounding.

    With fewer rows than options the last centres repeat: the first of equals is the one chosen.
    """
    n_clusters = min(n_options, len(X_ND))
    seeds = X_ND[_seed_rows(X_ND, n_clusters, rng, sample_weight)]
    # A copy of X would take as long as ten iterations.
    kmeans = KMeans(n_clusters, init=seeds, n_init=1, max_iter=max_iter, tol=tol, copy_x=False)
    one_thread = threadpool_limits(1, user_api="openmp") if is_forked() else nullcontext()
    with one_thread, warnings.catch_warnings():
        # Fewer distinct rows than clusters: the spare centres are harmless.
        warnings.simplefilter("ignore", ConvergenceWarning)
        centres_KD = kmeans.fit(X_ND, sample_weight=sample_weight).cluster_centers_
    return centres_KD[np.minimum(np.arange(n_options), n_clusters - 1)], kmeans.n_iter_


def _seed_rows(X_ND, n_clusters, rng, sample_weight):
    """Return the rows that k-means++ chooses."""
    n_rows, n_features = X_ND.shape
    n_seen = n_clusters * _SEEDING_ROWS_PER_CENTRE
    if n_features > 2 * _SKETCH_FEATURES:
        projections = rng.standard_normal((n_features, _SKETCH_FEATURES)).astype(X_ND.dtype)
        X_ND = (X_ND @ projections).astype(np.float64)  # scikit-learn's distances are, anyway
    rows = np.arange(n_rows)
    if n_rows > n_seen:
        rows = np.sort(rng.choice(n_rows, n_seen, replace=False))
        X_ND = X_ND[rows]
        sample_weight = None if sample_weight is None else sample_weight[rows]
    _, chosen = kmeans_plusplus(X_ND, n_clusters, sample_weight=sample_weight, random_state=rng)
    return rows[chosen]


def nearest(left_ND, codebook_KD):
    """Return the nearest centre of each row: |x - c|^2 is least where |c|^2 / 2 - x.c is."""
    half_norms_K = np.einsum("kd,kd->k", codebook_KD, codebook_KD) / 2
    return (half_norms_K - product(left_ND, codebook_KD.T)).argmin(axis=1)


def refit(x_ND, codes_NS, codebooks_SKD, sample_weight):
    """Return the codebooks whose sums along the codes are nearest to the rows, by least squares.

    All codebooks at once; a ridge keeps them near those given. Solved in float64.
    """
    S, K, D = codebooks_SKD.shape
    columns = (codes_NS + K * np.arange(S)).ravel()
    starts = np.arange(0, columns.size + 1, S)
    Z = sparse.csr_array((np.ones(columns.size), columns, starts), shape=(len(codes_NS), S * K))
    weighted = sparse.csr_array((np.repeat(sample_weight, S), columns, starts), shape=Z.shape)
    ridge = _REFIT_RIDGE * sample_weight.sum() / K
    gram = (weighted.T @ Z).toarray()
    gram[np.diag_indices_from(gram)] += ridge
    right = weighted.astype(x_ND.dtype).T @ x_ND + ridge * codebooks_SKD.reshape(S * K, D)
    solution = linalg.solve(gram, right.astype(np.float64), assume_a="pos", overwrite_a=True)
    return solution.reshape(codebooks_SKD.shape).astype(codebooks_SKD.dtype)

"""Residual k-means: stages of centres that are summed, found and followed.

Axes: N rows, S stages, K options, D features, B hypotheses of a row.
"""

import warnings
from contextlib import nullcontext

import numpy as np
from scipy import linalg, sparse
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from ._fork import is_forked
from ._rows import TILE_ROWS

# k-means++ looks at no more than so many rows per centre: with fewer, outliers seem to matter more.
_SEEDING_ROWS_PER_CENTRE = 512
# k-means++ looks at rows of more than twice so many features through as many random projections,
# which keep distances well enough to choose by, for a tenth of the time.
_SKETCH_FEATURES = 32
# How firmly a refit holds on to the codebooks, as a share of an option's average number of rows:
# the same vector added at one stage and subtracted at another changes no reconstruction, so the
# codebooks that fit best are many.
_REFIT_RIDGE = 0.1
# Most bytes of the tables of a beam search. They grow with the square of the options.
_TABLE_BYTES = 2**24
# Most values of what the hypotheses of some rows leave of them.
_LEFT_VALUES = 2**22


def padded(rows):
    """Return an array of at most TILE_ROWS rows with zeros to that many."""
    if len(rows) == TILE_ROWS:
        return rows
    return np.concatenate([rows, np.zeros((TILE_ROWS - len(rows), *rows.shape[1:]), rows.dtype)])


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
    return (half_norms_K - left_ND @ codebook_KD.T).argmin(axis=1)


class BeamSearch:
    """Codes whose sums of centres lie near rows.

    With x the row and y the sum of the centres so far, a centre c adds to the error |x - y|^2 the
    amount |c|^2 - 2 x.c + 2 y.c. There are two ways to know y.c:

    - In tables: y.c is a sum of products of centres, which do not depend on the row. After one
      product of the rows with all centres, a hypothesis costs K additions per stage, whatever D.
      What is left of a row is known to the precision of the row itself.
    - From what is left: as (x - y).c, one more product for each hypothesis. That is as exact as
      can be, and takes no tables.

    Tables serve where they are small; then rows of which they leave next to nothing are searched
    again.
    """

    def __init__(self, codebooks_SKD, beam_size):
        self.codebooks_SKD = codebooks_SKD
        self.beam_size = beam_size
        self.norms_SK = np.einsum("skd,skd->sk", codebooks_SKD, codebooks_SKD)
        S, K, _ = codebooks_SKD.shape
        self.products = None
        if S * (S - 1) // 2 * K**2 * codebooks_SKD.itemsize <= _TABLE_BYTES:
            # For each stage: with every earlier stage, (s, K, K).
            self.products = [2 * (codebooks_SKD[:s] @ codebooks_SKD[s].T) for s in range(S)]

    def codes(self, x_ND):
        """Return codes (N, S) of TILE_ROWS rows."""
        return self.best(x_ND, 1)[:, 0]

    def best(self, x_ND, n_best):
        """Return the best hypotheses (N, at most n_best, S) that the search ends with."""
        if self.products is None:
            return self._from_what_is_left(x_ND, n_best)
        codes_NBS, change_N = self._by_tables(x_ND, n_best)
        # The squares that the error is the difference of.
        squares_N = np.einsum("nd,nd->n", x_ND, x_ND)
        error_N = change_N + squares_N
        squares_N += self.norms_SK[np.arange(codes_NBS.shape[2]), codes_NBS[:, 0]].sum(axis=1)
        (vague,) = np.nonzero(error_N < np.sqrt(np.finfo(x_ND.dtype).eps) * squares_N)
        if len(vague):
            codes_NBS[vague] = self._from_what_is_left(padded(x_ND[vague]), n_best)[: len(vague)]
        return codes_NBS

    def _by_tables(self, x_ND, n_best):
        """Return the best hypotheses, and what the best adds to the square of each row."""
        S, K, D = self.codebooks_SKD.shape
        N = len(x_ND)
        products_NSK = 2 * (x_ND @ self.codebooks_SKD.reshape(S * K, D).T).reshape(N, S, K)
        codes_NBS = np.zeros((N, 1, S), dtype=np.intp)
        error_NB = np.zeros((N, 1), dtype=x_ND.dtype)
        for s in range(S):
            error_NBK = error_NB[:, :, None] + (self.norms_SK[s] - products_NSK[:, s])[:, None]
            for t in range(s):
                error_NBK += self.products[s][t].take(codes_NBS[:, :, t], axis=0)
            error_NB, codes_NBS, _ = self._kept(s, error_NBK, codes_NBS, n_best)
        return codes_NBS, error_NB.min(axis=1)

    def _from_what_is_left(self, x_ND, n_best):
        """Return the best hypotheses of TILE_ROWS rows, as many at a time as take little room."""
        row_values = self.beam_size * x_ND.shape[1]
        size = TILE_ROWS
        while size > 1 and size * row_values > _LEFT_VALUES:
            size //= 2  # of the tile, so that all products are of one shape
        parts = [x_ND[i : i + size] for i in range(0, len(x_ND), size)]
        return np.concatenate([self._search_what_is_left(part, n_best) for part in parts])

    def _search_what_is_left(self, x_ND, n_best):
        S, K, D = self.codebooks_SKD.shape
        left_NBD = x_ND[:, None]
        codes_NBS = np.zeros((len(x_ND), 1, S), dtype=np.intp)
        for s, codebook_KD in enumerate(self.codebooks_SKD):
            N, B, _ = left_NBD.shape
            error_NBK = (left_NBD.reshape(-1, D) @ (-2 * codebook_KD.T)).reshape(N, B, K)
            error_NBK += self.norms_SK[s]
            error_NBK += np.einsum("nbd,nbd->nb", left_NBD, left_NBD)[:, :, None]
            _, codes_NBS, parents_NB = self._kept(s, error_NBK, codes_NBS, n_best)
            left_NBD = np.take_along_axis(left_NBD, parents_NB[:, :, None], axis=1)
            left_NBD -= codebook_KD[codes_NBS[:, :, s]]
        return codes_NBS

    def _kept(self, s, error_NBK, codes_NBS, n_best):
        """Return errors, codes and parents of the hypotheses that a stage keeps."""
        K = error_NBK.shape[2]
        error_NC = error_NBK.reshape(len(error_NBK), -1)
        n_kept = n_best if s == len(self.codebooks_SKD) - 1 else self.beam_size
        n_kept = min(n_kept, error_NC.shape[1])
        if n_kept == 1:  # of equals the first
            best_NB = error_NC.argmin(axis=1)[:, None]
        else:
            best_NB = error_NC.argpartition(n_kept - 1, axis=1)[:, :n_kept]
        parents_NB, options_NB = np.divmod(best_NB, K)
        codes_NBS = np.take_along_axis(codes_NBS, parents_NB[:, :, None], axis=1)
        codes_NBS[:, :, s] = options_NB
        return np.take_along_axis(error_NC, best_NB, axis=1), codes_NBS, parents_NB


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

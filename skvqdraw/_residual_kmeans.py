"""Residual k-means: each stage clusters what the stages before it left over."""

import warnings

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits


def residual_kmeans(X, n_stages, n_options, random_state, *, max_iter, sample_weight=None):
    """Return codebooks (n_stages, n_options, n_features), float32.

    With fewer rows than options the last centres repeat: the first of equals is the one chosen.
    """
    residual = np.array(X, dtype=np.float32)
    codebooks = np.empty((n_stages, n_options, residual.shape[1]), dtype=np.float32)
    n_clusters = min(n_options, len(residual))
    for codebook in codebooks:
        kmeans = KMeans(n_clusters, n_init=1, max_iter=max_iter, random_state=random_state)
        with warnings.catch_warnings(), threadpool_limits(1, user_api="openmp"):
            # Fewer distinct rows than clusters: the spare centres are harmless. One thread,
            # because sums over several come in any order, and refits must be equal to the bit.
            warnings.simplefilter("ignore", ConvergenceWarning)
            labels = kmeans.fit(residual, sample_weight=sample_weight).labels_
        centres = kmeans.cluster_centers_
        codebook[:] = centres[np.minimum(np.arange(n_options), n_clusters - 1)]
        residual -= centres[labels]
    return codebooks

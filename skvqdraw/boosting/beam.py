"""Beam search for codes whose sums of centres lie near rows.

Axes: N rows, S stages, K options, D features, B hypotheses of a row.
"""

from weakref import WeakKeyDictionary

import numpy as np

from .._products import product

# Most bytes of the tables of a beam search. They grow with the square of the options.
_TABLE_BYTES = 2**24
# Most values of what the hypotheses of some rows leave of them.
_LEFT_VALUES = 2**22


_kept = WeakKeyDictionary()


def kept_search(owner, codebooks_SKD, beam_size):
    """Return a beam search whose tables are kept with their owner, made anew if they differed."""
    kept = _kept.get(owner)
    if (
        kept is None
        or kept.beam_size != beam_size
        or kept.codebooks_SKD.dtype != codebooks_SKD.dtype
        or not np.array_equal(kept.codebooks_SKD, codebooks_SKD)
    ):
        _kept[owner] = kept = BeamSearch(codebooks_SKD.copy(), beam_size)
    return kept


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
        """Return codes (N, S) of rows."""
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
            codes_NBS[vague] = self._from_what_is_left(x_ND[vague], n_best)
        return codes_NBS

    def _by_tables(self, x_ND, n_best):
        """Return the best hypotheses, and what the best adds to the square of each row."""
        S, K, D = self.codebooks_SKD.shape
        N = len(x_ND)
        products_NSK = 2 * product(x_ND, self.codebooks_SKD.reshape(S * K, D).T).reshape(N, S, K)
        codes_NBS = np.zeros((N, 1, S), dtype=np.intp)
        error_NB = np.zeros((N, 1), dtype=x_ND.dtype)
        for s in range(S):
            error_NBK = error_NB[:, :, None] + (self.norms_SK[s] - products_NSK[:, s])[:, None]
            for t in range(s):
                error_NBK += self.products[s][t].take(codes_NBS[:, :, t], axis=0)
            error_NB, codes_NBS, _ = self._kept(s, error_NBK, codes_NBS, n_best)
        return codes_NBS, error_NB.min(axis=1)

    def _from_what_is_left(self, x_ND, n_best):
        """Return the best hypotheses of rows, of as many at a time as take little room."""
        size = max(1, _LEFT_VALUES // (self.beam_size * x_ND.shape[1]))
        parts = [x_ND[i : i + size] for i in range(0, len(x_ND), size)]
        return np.concatenate([self._search_what_is_left(part, n_best) for part in parts])

    def _search_what_is_left(self, x_ND, n_best):
        S, K, D = self.codebooks_SKD.shape
        left_NBD = x_ND[:, None]
        codes_NBS = np.zeros((len(x_ND), 1, S), dtype=np.intp)
        for s, codebook_KD in enumerate(self.codebooks_SKD):
            N, B, _ = left_NBD.shape
            error_NBK = product(left_NBD.reshape(-1, D), -2 * codebook_KD.T).reshape(N, B, K)
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

"""A character n-gram model, the baseline for short texts at a budget of bits.

The model interpolates contexts of every length up to the order by Witten and Bell's rule,

    P(c | h) = (count(hc) + T(h) P(c | h')) / (count(h) + T(h)),

where T(h) is the number of different characters seen after the context h, and h' is h without its
oldest character; below the empty context every character is equally likely. A context that was
never seen leaves P(c | h').
"""

import numpy as np


class NGram:
    """Interpolated n-gram model of the characters 0 to n_symbols - 1.

    ``order`` is the length of the longest context: at order 5 a character is predicted from the
    five before it.
    """

    def __init__(self, order, n_symbols):
        if n_symbols ** (order + 1) >= 2**63:
            raise ValueError("contexts of this order do not fit 64-bit integers")
        self.order = order
        self.n_symbols = n_symbols

    def fit(self, tokens):
        """Count what follows each context in a long text, a 1-D array of integers."""
        self.levels_ = []
        for length in range(self.order + 1):
            grams = np.lib.stride_tricks.sliding_window_view(tokens, length + 1)
            keys, counts = np.unique(self._numbers(grams), return_counts=True)
            contexts, starts = np.unique(keys // self.n_symbols, return_index=True)
            self.levels_.append(
                {
                    "contexts": contexts,
                    "starts": starts,  # of each context's characters in the next two arrays
                    "characters": keys % self.n_symbols,
                    "counts": counts,
                    "kinds": np.diff(starts, append=len(keys)),  # T(h)
                    "totals": np.add.reduceat(counts, starts),  # count(h)
                }
            )
        return self

    def probabilities(self, contexts):
        """Return P(c | h), one row for each row of contexts, all of one length.

        Of contexts longer than the order only the last characters count.
        """
        contexts = np.asarray(contexts)
        n, length = contexts.shape
        P = np.full((n, self.n_symbols), 1 / self.n_symbols)
        for k in range(min(length, self.order) + 1):
            level = self.levels_[k]
            wanted = self._numbers(contexts[:, length - k :])
            at = np.searchsorted(level["contexts"], wanted)
            at = np.minimum(at, len(level["contexts"]) - 1)
            rows = np.flatnonzero(level["contexts"][at] == wanted)
            at = at[rows]
            kinds = level["kinds"][at]
            P[rows] *= (kinds / (level["totals"][at] + kinds))[:, None]
            # The places of all counts of these contexts: runs of `kinds` from each start.
            places = np.arange(kinds.sum()) + np.repeat(
                level["starts"][at] - np.cumsum(kinds) + kinds, kinds
            )
            shares = level["counts"][places] / np.repeat(level["totals"][at] + kinds, kinds)
            P[np.repeat(rows, kinds), level["characters"][places]] += shares
        return P

    def bits(self, windows):
        """Return the bits of each character given those before it in its own window."""
        windows = np.asarray(windows)
        bits = np.empty(windows.shape)
        for t in range(windows.shape[1]):
            P = self.probabilities(windows[:, max(t - self.order, 0) : t])
            bits[:, t] = -np.log2(np.take_along_axis(P, windows[:, t : t + 1], axis=1)[:, 0])
        return bits

    def continue_(self, windows, n_known):
        """Return the windows with all but their first n_known characters guessed.

        Each guess is the most likely character after those known or guessed before it.
        """
        guessed = np.array(windows)
        for t in range(guessed.shape[1]):
            rows = np.flatnonzero(n_known <= t)
            contexts = guessed[rows, max(t - self.order, 0) : t]
            guessed[rows, t] = self.probabilities(contexts).argmax(axis=1)
        return guessed

    def _numbers(self, texts):
        """Return each row as one integer, its characters the digits, the oldest first."""
        numbers = np.zeros(len(texts), dtype=np.int64)
        for column in texts.T:
            numbers = numbers * self.n_symbols + column
        return numbers


def accuracy_at_bits(model, windows, budgets):
    """Return the mean share of characters that are right at each budget of bits a window.

    The bits are spent on as many first characters as fit, which come back exactly; the rest is
    the model's most likely continuation. Fractions of a bit count as such, as in an ideal
    arithmetic code, and that code's end costs nothing.
    """
    windows = np.asarray(windows)
    spent = np.cumsum(model.bits(windows), axis=1)
    shares = []
    for budget in budgets:
        n_known = (spent <= budget).sum(axis=1)
        shares.append(np.mean(model.continue_(windows, n_known) == windows))
    return np.array(shares)

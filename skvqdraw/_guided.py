"""Guided sampling: codes drawn stage by stage, by what a guide says of the candidates.

Axes: N samples, B hypotheses of each, M = N x B, T stages of a prefix, K options, D features, C
continuations of a sample.
"""

import numpy as np

from .guides import Guide

# Values of candidates that are written out at a time, about; each is a number of 8 bytes.
MOST_VALUES = 2**23


class Walk:
    """Where the hypotheses of some samples are, M of them, sample by sample.

    At first each sample has one hypothesis, which has chosen nothing.
    """

    def candidates(self):
        """Yield (slice of hypotheses, what each of their options leads to (m, K, D))."""
        raise NotImplementedError

    def go(self, parents_M, options_M):
        """Let hypotheses of these numbers, any number of times each, choose options."""
        raise NotImplementedError

    def scores(self, guide, stage, samples_M):
        """Return the scores (M, K) that a guide gives the options of a stage."""
        scores = []
        for some, candidates in self.candidates():
            found = np.asarray(guide.scores(candidates, stage, samples_M[some]))
            _check_scores(found, candidates.shape[:2], guide)
            scores.append(found.astype(np.float64))
        return np.concatenate(scores)


class PrefixWalk(Walk):
    """A walk of any estimator of codes, which is asked for the proposals of prefixes.

    Parameters
    ----------
    estimator : CodeTransformer
        The fitted estimator.
    n_samples : int
        How many samples.
    dtype : dtype
        That of codes.
    """

    def __init__(self, estimator, n_samples, dtype):
        self.estimator = estimator
        self.codes_MT = np.empty((n_samples, 0), dtype)

    def candidates(self):
        n_values = self.estimator._code_shape[1] * self.estimator.n_features_in_
        for some in slices(len(self.codes_MT), n_values):
            yield some, self.estimator._propose(self.codes_MT[some])

    def go(self, parents_M, options_M):
        self.codes_MT = np.column_stack([self.codes_MT[parents_M], options_M])


def slices(n_rows, n_values):
    """Return slices of as many rows, of so many values each, as are written out at a time."""
    size = max(MOST_VALUES // n_values, 1)
    return [slice(start, min(start + size, n_rows)) for start in range(0, n_rows, size)]


class Drawing:
    """How guided codes are drawn.

    At each stage the options of all hypotheses of a sample are compared: by the guide's scores
    divided by its temperature, the log probabilities of a prior, and noise of the Gumbel
    distribution, so that of one hypothesis an option is drawn as often as it is likely. The best
    ones go on, as many as the guide's beam has.

    Parameters
    ----------
    guide : Guide
        Prepared.
    prefix_NT : ndarray
        What the codes of all samples begin with.
    n_stages : int
        Stages of a code.
    seed : int
        Decides the noise; that of a sample does not depend on which others are drawn with it.
    log_chances : callable or None
        Called with prefixes (M, T) and the numbers of their samples, it returns the log
        probabilities (M, K) of options.
    """

    def __init__(self, guide, prefix_NT, n_stages, seed, log_chances=None):
        self.guide = guide
        self.prefix_NT = prefix_NT
        self.n_stages = n_stages
        self.seed = seed
        self.log_chances = log_chances

    def codes(self, walk, samples):
        """Return the codes of some samples, with a walk that has not begun."""
        N, guide = len(samples), self.guide
        codes_MT, logs_M1 = self.prefix_NT[samples], np.zeros((N, 1))
        for options_N in codes_MT.T[: self.n_stages - 1]:  # after the last there is nothing to see
            walk.go(np.arange(N), options_N)
        noises = [np.random.default_rng((self.seed, sample)) for sample in samples]
        for stage in range(codes_MT.shape[1], self.n_stages):
            samples_M = samples.repeat(len(codes_MT) // N)
            scores_MK = walk.scores(guide, stage, samples_M)
            keys_NC = scores_MK.reshape(N, -1)
            if guide.temperature > 0:
                keys_NC = guide.log_weights(keys_NC)
                keys_NC = keys_NC + [rng.gumbel(size=keys_NC.shape[1]) for rng in noises]
                if self.log_chances is not None:
                    logs_MK = logs_M1 + self.log_chances(codes_MT, samples_M)
                    keys_NC = keys_NC + logs_MK.reshape(N, -1)
            n_kept = guide.beam_size if stage < self.n_stages - 1 else 1
            parents_M, options_M = _best(keys_NC, n_kept, scores_MK.shape[1])
            codes_MT = np.column_stack([codes_MT[parents_M], options_M.astype(codes_MT.dtype)])
            if guide.temperature > 0 and self.log_chances is not None:
                logs_M1 = logs_MK[parents_M, options_M, None]
            if stage < self.n_stages - 1:
                walk.go(parents_M, options_M)
        return codes_MT


def _best(keys_NC, n_kept, n_options):
    """Return hypotheses and options of the highest keys; of equals the first."""
    n_kept = min(n_kept, keys_NC.shape[1])
    best_NB = np.argsort(-keys_NC, axis=1, kind="stable")[:, :n_kept]
    first_N1 = keys_NC.shape[1] // n_options * np.arange(len(keys_NC))[:, None]
    return (first_N1 + best_NB // n_options).ravel(), (best_NB % n_options).ravel()


def _check_scores(scores, shape, guide):
    """Refuse scores that say nothing."""
    if scores.shape != shape:
        raise ValueError(
            f"{type(guide).__name__} must score candidates by an array of shape (n, n_options) = "
            f"{shape}; got {scores.shape}. Return one number for each candidate."
        )
    if np.isnan(scores).any() or (scores == np.inf).any() or (scores == -np.inf).all(1).any():
        raise ValueError(
            f"scores of {type(guide).__name__} must be numbers, finite for one option of each row "
            "at least; some are NaN or infinite. Minus infinity rules out an option."
        )


def check_guide(guide, n_samples, n_features):
    """Return a guide that is prepared, or say what is wrong with it."""
    if not isinstance(guide, Guide):
        raise TypeError(
            f"guide must be one of skvqdraw.guides, such as FunctionGuide(function); got {guide!r}."
        )
    return guide.prepared(n_samples, n_features)

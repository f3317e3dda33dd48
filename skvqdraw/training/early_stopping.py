"""When to stop early, and with which network."""

import numpy as np

from ..nn.arrays import load_network_arrays, network_arrays


class EarlyStopping:
    """Counts evaluation points without improvement and keeps the best network seen."""

    def __init__(self, least_improvement, network):
        self.least_improvement = least_improvement
        self.network = network
        self.best_error = self.reference = np.inf
        self.best_arrays = {}
        self.n_bad = 0

    def note(self, error):
        """Count in `n_bad` how many points in a row have not improved by enough."""
        if error < self.best_error:
            self.best_error, self.best_arrays = error, network_arrays(self.network)
        if error < self.reference - self.least_improvement:
            self.reference, self.n_bad = error, 0
        else:
            self.n_bad += 1

    def restore_best(self):
        """Put the best network back, if there was one."""
        if self.best_arrays:
            load_network_arrays(self.network, self.best_arrays)

    def numbers(self):
        """Return all but the network as an array."""
        return np.array([self.best_error, self.reference, self.n_bad])

    def load(self, numbers, best_arrays):
        """Go on from what `numbers` returned, and `best_arrays`."""
        best_error, reference, n_bad = numbers.tolist()
        self.best_error, self.reference, self.n_bad = best_error, reference, int(n_bad)
        self.best_arrays = best_arrays

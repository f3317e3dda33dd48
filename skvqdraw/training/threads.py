"""How many threads share the operators of a training step: as many as meet without waiting.

A step has hundreds of operators. Where threads wait at the end of each, a step of two threads on
two cores may take a hundred times as long as one of one thread.
"""

import time

from .._meeting import PATIENCE, threads_meet
from .._threads import set_threads_here, threads_here

# A step that takes so many times as long as the fastest is a reason for another trial.
_SUSPICIOUS = 1.5


class StepThreads:
    """The threads that share the operators of each step of a training.

    All threads do, as long as they meet at once: that is tried before the first two steps, and
    after a slow one. Otherwise fewer do, at last one, and more are tried again from time to time.
    So a machine that has nothing else to do makes every step with all threads.

    Parameters
    ----------
    most : int or None
        Threads that steps are worth. None leaves the number of threads alone.
    meet : callable, default=None
        Returns whether so many threads meet at once; None tries it.
    clock : callable
        Returns seconds.
    """

    def __init__(self, most, *, meet=None, clock=time.perf_counter):
        self.most = self.n = most
        self._meet, self._clock = meet or meet_at_once, clock
        self._n_first, self._next_trial = 2, 0.0
        self._seconds = self._fastest = float("inf")  # of a step with all threads

    def before_step(self):
        """Choose the number of threads of the next step."""
        if self.most in (None, 1):
            return
        began = self._clock()
        if self._trial_is_due(began):
            halves = {self.most >> i for i in range(self.most.bit_length())}
            numbers = sorted(halves | {self.most - 1}, reverse=True)
            self.n = next(n for n in numbers if n == 1 or self._meet(n))
            seconds = self._clock() - began
            self._next_trial = began + PATIENCE * seconds
            self._fastest = max(self._fastest, self._seconds)
        set_threads_here(self.n)
        self._step_began = self._clock()

    def _trial_is_due(self, now):
        if self.n < self.most:
            return now >= self._next_trial
        self._n_first -= 1
        return self._n_first >= 0 or self._seconds > _SUSPICIOUS * self._fastest

    def after_step(self):
        """Note how long the step took."""
        if self.most not in (None, 1) and self.n == self.most:
            self._seconds = self._clock() - self._step_began
            self._fastest = min(self._fastest, self._seconds)

    def each(self, items):
        """Yield what an iterator yields; while it computes, this thread has as many threads."""
        end = object()
        while True:
            with threads_here(self.n):
                item = next(items, end)
            if item is end:
                return
            yield item


def meet_at_once(n_threads):
    """Return whether so many threads, which this one has from now on, meet without waiting."""
    set_threads_here(n_threads)
    return threads_meet()

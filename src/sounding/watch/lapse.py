"""Whether a loss has risen again by half of what it had fallen: heard of while the run goes on.

A first look, so that the steps before it are kept; whether it is a fault is judged at the end.
"""

from __future__ import annotations

import math

import numpy as np

WINDOW = 16  # steps of a mean
ERRORS = 3.0  # standard errors of the first mean, beyond which something has been learnt
SHARE = 0.5  # of what was learnt


class Lapse:
    """Feed it losses; `now` tells whether the last whole window was lost ground."""

    def __init__(self) -> None:
        self.now = False
        self._rest = np.zeros(0)
        self._first, self._error, self._best = math.nan, math.nan, math.inf

    def feed(self, losses: np.ndarray) -> None:
        """Some more of them, in order."""
        losses = np.concatenate([self._rest, losses])
        whole = len(losses) // WINDOW * WINDOW
        self._rest = losses[whole:]
        windows = losses[:whole].reshape(-1, WINDOW)
        with np.errstate(invalid="ignore", over="ignore"):  # losses may be infinite
            means, spreads = windows.mean(1).tolist(), windows.std(1).tolist()
        for mean, spread in zip(means, spreads, strict=True):
            if math.isnan(self._first):
                self._first, self._error = mean, spread / math.sqrt(WINDOW)
            self._best = min(self._best, mean)
            learnt = self._first - self._best
            lost = mean - self._best > SHARE * learnt
            self.now = lost and learnt > ERRORS * self._error

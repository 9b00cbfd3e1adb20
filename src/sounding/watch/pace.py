"""What watching a training has cost so far, and what it may do next."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

SPARING, GENEROUS, LONG = 0.01, 0.03, 0.01  # budgets of longer and shorter steps; seconds
# What an unexamined step costs for each second in our code, and besides: torch's way to it, and
# caches left cold, cannot be timed there. Both from runs beside others without us: steps of 0.4 to
# 11 ms of which nothing, the norms, the ring or both were kept.
WHOLE, WAY = 1.6, 15e-6
GRACE = 0.25  # seconds that every run may lose, however short it is
USUAL = 32  # unexamined steps from whose durations the usual one is taken
SHARE = 1 / 3  # of what is allowed, for rare examinations
STRIDE, BLINK = 64, 0.1  # steps between two decisions, and the seconds that they take, at most


class Pace:
    """A budget of time, and an account of it.

    Examining a step costs what it takes above a usual one.

    Args:
        budget: Fraction of the time since the start; None: by the length of a step.
        every: Steps from one examination to the next, whatever it costs.
    """

    def __init__(self, budget: float | None, every: int | None) -> None:
        self.fixed, self.every = budget, every
        self.start = self.last = time.perf_counter()  # of the training; of the step before
        self.usual = 0.0  # seconds of a step that is not examined
        self._said = 0.0  # seconds that examining has taken, as they are reported
        self._spent = 0.0  # on steps that were examined, seconds
        self._idle = 0.0  # on the others
        self._plain: list[float] = []  # durations of the last steps that were not examined

    @property
    def budget(self) -> float:
        """Fraction of the time that examining may take."""
        if self.fixed is not None:
            return self.fixed
        return SPARING if self.usual >= LONG else GENEROUS

    def begins(self) -> None:
        """The first forward pass: what came before it was no step."""
        self.start = self.last = min(self.last, time.perf_counter())

    def affords(self, share: float) -> bool:
        """Whether unexamined steps have cost less than so much of what is allowed."""
        return self._idle < share * self._allowed(time.perf_counter())

    def _allowed(self, now: float) -> float:
        return GRACE + self.budget * (now - self.start)

    def due(self, steps: int, *, wanted: bool, rare: bool) -> bool:
        """Whether the step after so many may be examined; at a fixed cadence if it is `wanted`.

        A `rare` examination has a share that plain steps cannot use up, short as they may be.
        """
        if self.every is not None:
            return wanted and steps % self.every == 0
        allowed = self._allowed(self.last)
        return self._spent + self._idle < allowed or (rare and self._spent < SHARE * allowed)

    def stride(self, steps: int, *, wanted: bool) -> int:
        """Steps that may be made, after so many, before the next decision."""
        most = min(STRIDE, int(BLINK / self.usual)) if self.usual else 0
        return min(most, -steps % self.every) if self.every and wanted else most

    def looked(self, own: float) -> None:
        """An examined step ends now; code of ours took `own` seconds of it.

        The first ones are compared with no usual step: what torch loads at them is not ours.
        """
        now = time.perf_counter()
        self._spent += max(now - self.last - self.usual, own) if self.usual else own
        self._said += own
        self.last = now

    def passed(self, own: float, durations: Sequence[float], end: float) -> None:
        """Steps that were not examined, the last of which ended at `end`."""
        self._plain += durations
        self._idle += WHOLE * own + WAY * len(durations)
        if len(self._plain) >= USUAL or not self.usual:
            self.usual = statistics.median_low(self._plain[-USUAL:])  # soon done; numpy's is not
            self._plain.clear()
        self.last = end

    def overhead(self) -> float:
        """Fraction of the time since the start that examining took.

        Our own code is timed, and at unexamined steps what no clock sees allowed for (WHOLE, WAY);
        what torch loads at its first step is not ours.
        """
        return (self._said + self._idle) / max(self.last - self.start, 1e-9)

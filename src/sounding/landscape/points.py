"""The loss at many points of a line or plane, by the way that is fastest here and just as right.

Three ways: one call a point (the reference); a private copy of the model, folded (`folded.py`);
several points stacked and run as one program by `torch.vmap`. All are timed on the first points.
A way is used only if it gives the reference's numbers there to 1e-5, and again on points that are
drawn at the end.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch

from sounding.curvature.setting import samples
from sounding.landscape.folded import Folded
from sounding.landscape.ground import Ground, close

SHARE = 0.2  # of the plain loop's time that may be spent on trying the other ways
LARGEST_STACK = 2**28  # bytes of stacked parameters
QUICK = 5e-3  # seconds of a point below which calls, not sums, may take the time
PART = 0.05  # seconds of points that are computed between two reports of progress
TIMED = 0.01  # seconds of points that a way is timed on, or `probes` points where these take longer
STACKABLE = 2e-2  # seconds above which sums take the time, so that stacking saves nothing
BETTER = 0.95  # of the time of the best way so far: less is no reason to change it
CHUNKS = (64, 16)  # samples at once
STACKS = (16, 64)  # points at once
FAILURES = (RuntimeError, ValueError, ArithmeticError, IndexError)

Evaluate = Callable[[np.ndarray], list[float]]  # (P, d) coordinates -> P losses


class Way:
    """One way to compute losses."""

    def __init__(self, name: str, evaluate: Evaluate, stack: int = 1) -> None:
        self.name, self.evaluate, self.stack = name, evaluate, stack
        self.seconds = math.inf  # a point


class Points:
    """Losses at ``centre + coordinates @ directions``; use it inside :meth:`Ground.prepared`."""

    def __init__(
        self, ground: Ground, centre: torch.Tensor, directions: torch.Tensor, *, way: str = "auto"
    ) -> None:
        """`directions` are rows, (d, n); `way` is 'auto', 'plain', 'folded' or 'stacked'."""
        self.ground, self.centre, self.directions = ground, centre, directions
        self.asked = way
        self.plain = Way("one call a point", self._each(lambda vector, _: ground.loss(vector)))
        self.way = self.plain
        self.failure = ""  # what was raised at a point that became a hole
        self.deviation = 0.0  # largest difference from the reference that was seen

    def at(self, coordinates: np.ndarray) -> torch.Tensor:
        """(P, d) -> (P, n)."""
        found = self.centre.new_empty(len(coordinates), len(self.centre))
        for row, place in zip(found, coordinates.tolist(), strict=True):
            self._put(row, place)
        return found

    def _put(self, row: torch.Tensor, place: list[float]) -> torch.Tensor:
        """One point into (n,) `row`: alone, so that it is the same whatever it is computed with."""
        row.copy_(self.centre)
        for c, direction in zip(place, self.directions, strict=True):
            row.add_(direction, alpha=c)
        return row

    def losses(self, coordinates: np.ndarray) -> Iterator[tuple[int, list[float]]]:
        """(P, d) -> parts of the answer: where each starts, and its losses."""
        way, count = self.way, self.way.stack
        if count == 1:
            count = _fitting(PART, way.seconds)
        for i in range(0, len(coordinates), count):
            yield i, self._by(way, coordinates[i : i + count])

    def choose(self, probes: np.ndarray, planned: int) -> list[float]:
        """The losses at some of the points, after which the fastest way is known.

        `planned` points in all are to come, which limits what trying costs.
        """
        known = self._timed(probes)
        count = max(len(probes), _fitting(TIMED, self.plain.seconds))
        rows = np.resize(probes, (count, probes.shape[1]))
        if self.plain.seconds < STACKABLE:
            self._timed(rows)  # a quick point is timed once it is warm
        allowance = SHARE * self.plain.seconds * planned
        for make, count in self._candidates():
            if self.asked == "auto" and allowance < max(count, len(rows)) * self.plain.seconds:
                continue
            started = self._clock()
            way = self._tried(make, rows, known)
            allowance -= self._clock() - started
            if way is None:
                continue
            demanded = self.way is self.plain and self.asked != "auto"
            if demanded or way.seconds < BETTER * self.way.seconds:
                self.way = way
        if self.way is self.plain:
            self.deviation = 0.0
        return known

    def _timed(self, rows: np.ndarray) -> list[float]:
        """The reference's losses; its time is kept."""
        started = self._clock()
        known = self._by(self.plain, rows)
        self.plain.seconds = (self._clock() - started) / len(rows)
        return known

    def audit(self, coordinates: np.ndarray, losses: Sequence[float]) -> bool:
        """Whether the reference gives these losses too."""
        if self.way is self.plain:
            return True
        return self._agree(self._by(self.plain, coordinates), losses)

    def _clock(self) -> float:
        """Seconds of this process's own work; of the wall, where a device works on its own."""
        if self.centre.device.type == "cpu":
            return time.process_time()
        torch.cuda.synchronize() if self.centre.is_cuda else None
        return time.perf_counter()

    def _candidates(self) -> list[tuple[Callable[[], Way], int]]:
        """What to try in this order, with the points that trying it takes."""
        if self.ground.batch_norm == "recalibrated" or self.asked == "plain":
            return []
        item = self.centre.element_size() * self.ground.size
        stacked = [(partial(self._stack, k), 2 * k) for k in STACKS if k * item < LARGEST_STACK]
        whole = (partial(self._folded, None), 1)
        chunked = [
            (partial(self._folded, c), 1)
            for c in CHUNKS
            if any((samples(part.batch) or 0) > c for part in self.ground.parts)
        ]
        if self.asked == "stacked":
            return stacked
        if self.asked == "folded":
            return [*chunked, whole]
        if self.plain.seconds > STACKABLE:
            return [*chunked[:1], whole, *chunked[1:]]
        return [whole, *stacked, *chunked]

    def _tried(self, make: Callable[[], Way], rows: np.ndarray, known: list[float]) -> Way | None:
        """The way with its time, or None where it fails or gives other numbers."""
        try:
            way = make()
            rows = np.resize(rows, (max(way.stack, len(rows)), rows.shape[1]))
            if way.stack > 1 or self.plain.seconds < QUICK:
                way.evaluate(rows)  # the first call prepares kernels
            started = self._clock()
            found = way.evaluate(rows)
            way.seconds = (self._clock() - started) / len(rows)
        except Exception:  # foreign modules raise anything where they cannot be copied or stacked
            return None
        return way if self._agree(known, found[: len(known)]) else None

    def _agree(self, known: Sequence[float], found: Sequence[float]) -> bool:
        same = all(close(a, b) for a, b in zip(known, found, strict=True))
        if same:
            apart = [abs(a - b) / max(abs(a), 0.1) for a, b in zip(known, found, strict=True)]
            self.deviation = max(self.deviation, *(a for a in apart if math.isfinite(a)), 0.0)
        return same

    def _by(self, way: Way, coordinates: np.ndarray) -> list[float]:
        """Losses; where a pass raises, each point alone, and NaN where it raises again."""
        try:
            return way.evaluate(coordinates)
        except torch.OutOfMemoryError:
            raise
        except FAILURES as error:
            if len(coordinates) == 1:
                self.failure = str(error).strip().splitlines()[0][:160] if str(error) else "error"
                return [math.nan]
        return [self._by(self.plain, row[None])[0] for row in coordinates]

    def _each(self, loss: Callable[[torch.Tensor, list[float]], torch.Tensor]) -> Evaluate:
        row = torch.empty_like(self.centre)

        def evaluate(coordinates: np.ndarray) -> list[float]:
            places = coordinates.tolist()
            with torch.no_grad():
                return torch.stack([loss(self._put(row, p), p) for p in places]).tolist()

        return evaluate

    def _folded(self, chunk: int | None) -> Way:
        copied = Folded(self.ground, self.centre, self.directions, chunk)
        said = "a folded copy" + (f", {chunk} samples at once" if chunk else "")
        return Way(said, self._each(copied.loss))

    def _stack(self, count: int) -> Way:
        """Several points as one program: of the folded copy, where that saves a layer."""
        losses = self._losses
        with contextlib.suppress(Exception):  # of foreign modules that cannot be copied
            copied = Folded(self.ground, self.centre, self.directions, None)
            losses = copied.losses if copied.combined and not copied.pairs else losses

        def evaluate(coordinates: np.ndarray) -> list[float]:
            places = torch.as_tensor(coordinates).to(self.centre)
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns of what is slow when it is stacked
                return losses(self.at(coordinates), places).tolist()

        return Way(f"{count} points stacked", evaluate, count)

    def _losses(self, vectors: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return torch.vmap(self.ground.loss, randomness="same")(vectors)


def _fitting(seconds: float, each: float) -> int:
    """How many points fit into some time; 64 at most, so that memory stays small."""
    return int(min(max(seconds / each, 1), 64)) if each > 0 else 64

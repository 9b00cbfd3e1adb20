"""The loss at many points of a line or plane, by the way that is fastest here and just as right.

Three ways: one call a point (the reference); a private copy of the model, folded (`folded.py`);
several points stacked and run as one program by `torch.vmap`. All are timed on the first points.
A way is used only if it gives the reference's numbers there to 1e-5, and again on points that are
drawn at the end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.func import functional_call

from sounding.landscape.folded import Folded
from sounding.landscape.ground import Ground, check_value, close, seed_passes

SHARE = 0.2  # of the plain loop's time that may be spent on trying the other ways
LARGEST_STACK = 2**28  # bytes of stacked parameters
CHUNKS = (128, 16)  # samples at once
STACKS = (16, 64)  # points at once
FAILURES = (RuntimeError, ValueError, ArithmeticError, IndexError)

Evaluate = Callable[[torch.Tensor], list[float]]  # (P, n) vectors -> P losses


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
        self.plain = Way("one call a point", self._each(ground.loss))
        self.way = self.plain
        self.failure = ""  # what was raised at a point that became a hole
        self.deviation = 0.0  # largest difference from the reference that was seen

    def at(self, coordinates: np.ndarray) -> torch.Tensor:
        """(P, d) -> (P, n)."""
        c = torch.as_tensor(coordinates, dtype=torch.float64)
        rows = c.to(self.centre.device, self.centre.dtype)
        return torch.addmm(self.centre[None], rows, self.directions)

    def losses(self, coordinates: np.ndarray) -> Iterator[tuple[int, list[float]]]:
        """(P, d) -> parts of the answer: where each starts, and its losses."""
        for i in range(0, len(coordinates), self.way.stack):
            yield i, self._by(self.way, coordinates[i : i + self.way.stack])

    def choose(self, probes: np.ndarray, planned: int) -> list[float]:
        """The losses at some of the points, after which the fastest way is known.

        `planned` points in all are to come, which limits what trying costs.
        """
        started = time.perf_counter()
        known = self._by(self.plain, probes)
        self.plain.seconds = (time.perf_counter() - started) / len(probes)
        allowance = SHARE * self.plain.seconds * planned
        for make in self._candidates():
            started = time.perf_counter()
            way = self._tried(make, probes, known)
            allowance -= time.perf_counter() - started
            if way is not None and way.seconds < self.way.seconds:
                self.way = way
            if allowance <= 0 and self.asked == "auto":
                break
        if self.way is self.plain:
            self.deviation = 0.0
        return known

    def audit(self, coordinates: np.ndarray, losses: Sequence[float]) -> bool:
        """Whether the reference gives these losses too."""
        if self.way is self.plain:
            return True
        return self._agree(self._by(self.plain, coordinates), losses)

    def _candidates(self) -> list[Callable[[], Way]]:
        stacked = [lambda k=k: Way(f"{k} points stacked", self._stacked, k) for k in STACKS]
        whole = lambda: Way("a folded copy", self._each(Folded(self.ground, None).loss))  # noqa: E731
        chunked = [
            lambda c=c: Way(
                f"a folded copy, {c} samples at once", self._each(Folded(self.ground, c).loss)
            )
            for c in CHUNKS
            if any(_larger(part.batch, c) for part in self.ground.parts)
        ]
        item = self.centre.element_size() * self.ground.size
        stacked = [
            make for make, k in zip(stacked, STACKS, strict=True) if k * item < LARGEST_STACK
        ]
        if self.ground.batch_norm == "recalibrated" or self.asked == "plain":
            return []
        if self.asked == "folded":
            return [*chunked, whole]
        if self.asked == "stacked":
            return [*stacked]
        small = self.plain.seconds < 5e-3
        return (
            [*stacked, whole, *chunked] if small else [*chunked[:1], whole, *chunked[1:], *stacked]
        )

    def _tried(self, make: Callable[[], Way], probes: np.ndarray, known: list[float]) -> Way | None:
        """The way with its time, or None where it fails or gives other numbers."""
        try:
            way = make()
            rows = np.resize(probes, (max(way.stack, len(probes)), probes.shape[1]))
            if way.stack > 1 or self.plain.seconds < 5e-3:
                way.evaluate(self.at(rows))  # the first call prepares kernels
            started = time.perf_counter()
            found = way.evaluate(self.at(rows))
            way.seconds = (time.perf_counter() - started) / len(rows)
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
            return way.evaluate(self.at(coordinates))
        except torch.OutOfMemoryError:
            raise
        except FAILURES as error:
            if len(coordinates) == 1:
                self.failure = str(error).strip().splitlines()[0][:160] if str(error) else "error"
                return [math.nan]
        return [self._by(self.plain, row[None])[0] for row in coordinates]

    @staticmethod
    def _each(loss: Callable[[torch.Tensor], torch.Tensor]) -> Evaluate:
        def evaluate(vectors: torch.Tensor) -> list[float]:
            with torch.no_grad():
                return torch.stack([loss(v) for v in vectors]).tolist()

        return evaluate

    def _stacked(self, vectors: torch.Tensor) -> list[float]:
        with torch.no_grad():
            one = torch.vmap(self._one, randomness="same")
            return one(vectors).tolist()

    def _one(self, vector: torch.Tensor) -> torch.Tensor:
        ground, total = self.ground, torch.zeros((), dtype=torch.float64, device=vector.device)
        seed_passes(ground.seed)
        given = ground._tensors(vector)
        for part in ground.parts:
            value = check_value(functional_call(ground.caller, given, (part.batch,)))
            total = total + part.weight * value.reshape(()).double()
        return total


def _larger(batch: object, size: int) -> bool:
    from sounding.curvature.setting import samples

    count = samples(batch)
    return count is not None and count > size

"""Turn the ring of the last steps on, and stop it where something has gone wrong."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from sounding.capture.outermost import Outermost
from sounding.watch.record import Now, Record
from sounding.watch.ring import Ring
from sounding.watch.unsent import is_nan, no_number


class Rings:
    """Of a record's ring; `affords` tells whether there is time for more of it."""

    def __init__(self, outermost: Outermost, affords: Callable[[Record], bool]) -> None:
        self._outermost, self._affords = outermost, affords

    def turn(self, record: Record, now: Now, norm: torch.Tensor | float, *, alone: bool) -> None:
        """A step is made; `alone` says that no other optimiser trains this model."""
        ring = record.ring
        if ring is None:
            if record.count == 1 and alone and _repeatable(record):
                assert record.optimizer is not None
                ring = Ring(record.model, record.optimizer)
                record.ring = ring if ring.fits else None
                if ring.fits:
                    self._begin(record, ring)
        elif ring.generations:
            self._turned(ring, record, now, norm)
        else:
            self.begin(record)

    def begin(self, record: Record) -> None:
        """The next generation of steps, where there is time for it; else the last one is let go."""
        ring = record.ring
        if ring is None or record.several:
            return
        if self._affords(record):
            self._begin(record, ring)
        elif ring.generations:
            ring.clear()
            self._outermost.remove(record.model)

    def _begin(self, record: Record, ring: Ring) -> None:
        ring.begin()
        self._outermost.add(record.model)

    def _turned(self, ring: Ring, record: Record, now: Now, norm: torch.Tensor | float) -> None:
        """By one step; it is stopped where a number is none any more."""
        broken = record.rows.broken or any(map(no_number, now.losses)) or is_nan(norm)
        lapsed = record.rows.lapse.now
        if record.several or (ring.stopped and not broken and not lapsed):
            ring.clear()
        if ring.stopped:
            return
        groups = [] if record.optimizer is None else record.optimizer.param_groups
        rates = tuple(group.get("lr", math.nan) for group in groups)
        going = ring.step(record.count - 1, rates, now.bound)
        ring.stopped = bool(ring.generations) and (broken or (lapsed and not going))
        ring.broken = ring.stopped and broken
        if ring.stopped or record.several:
            self._outermost.remove(record.model)
        elif not going:
            self.begin(record)


def _repeatable(record: Record) -> bool:
    """Whether steps of this training can be made again from what a ring holds."""
    plain = record.optimizer is not None and not isinstance(record.optimizer, torch.optim.LBFGS)
    kept = record.begin is not None and not isinstance(record.model, torch.jit.ScriptModule)
    return plain and kept

"""The numbers of every step, in little memory and without waiting for a device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sounding.watch.crossing import Crossing
from sounding.watch.lapse import Lapse


class Row(NamedTuple):
    """What is noted of one step; a value may be a tensor on a device."""

    loss: Any
    gradient_norm: Any = math.nan
    lr: Any = math.nan
    backwards: int = 1
    carried: Any = math.nan
    clipped_from: Any = math.nan
    bound: Any = math.nan
    seconds: float = 0.0
    waited: float = 0.0


COLUMNS = Row._fields
MOST = 2**17  # rows that are kept: 9 MB
FIRST = 4096  # of them the first ones, which are never thinned out
PENDING = 256  # rows that wait together to become numbers
WAIT = 0.5  # seconds that a row waits at most, where the device is the CPU

Block = dict[str, np.ndarray]


class Rows:
    """One row a step of one training; ask for the columns by name.

    A tensor on a device crosses to the CPU together with others, while the training goes on, and
    nothing waits for it unless the columns are asked for. Of more than MOST rows those in the
    middle are thinned out.
    """

    def __init__(self) -> None:
        self.count = 0  # of all steps
        self.broken = False  # the newest loss that became a number is none
        self.lapse = Lapse()
        self.heard: Callable[[int, Block], None] | None = None  # told of every block of new rows
        self._blocks: list[Block] = []
        self._stored = 0
        self._told = 0
        self._pending: list[Row] = []
        self._crossing: list[Crossing] = []
        self._since = time.perf_counter()

    def append(self, *rows: Row) -> None:
        """One more step, or some."""
        self.count += len(rows)
        self._pending += rows
        now = time.perf_counter()
        slow = rows[-1].seconds > WAIT / 10
        if len(self._pending) >= PENDING or slow or now - self._since > WAIT:
            self._since = now
            self.send()

    def send(self, *, wait: bool = False) -> None:
        """Begin to make numbers of the rows that wait; end it too, if told to `wait`."""
        if self._pending:
            columns = zip(COLUMNS, zip(*self._pending, strict=True), strict=True)
            self._crossing.append(Crossing(dict(columns)))
            self._pending = []
        while self._crossing and (wait or self._crossing[0].there):
            self._store(self._crossing.pop(0).numbers())

    def column(self, name: str) -> np.ndarray:
        """One number a row; waits for what is still on a device."""
        self.send(wait=True)
        parts = [block[name] for block in self._blocks]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _store(self, block: Block) -> None:
        rows = len(block["loss"])
        self.broken = not np.isfinite(block["loss"][-1])
        self.lapse.feed(block["loss"])
        if self.heard is not None:
            self.heard(self._told, block)
        self._told += rows
        self._blocks.append(block)
        self._stored += rows
        if self._stored > MOST or len(self._blocks) > 1024:
            whole = {n: np.concatenate([b[n] for b in self._blocks]) for n in COLUMNS}
            if self._stored > MOST:
                whole = {name: _thinned(values) for name, values in whole.items()}
            self._blocks, self._stored = [whole], len(whole["loss"])


def _thinned(values: np.ndarray) -> np.ndarray:
    recent = len(values) // 2
    return np.concatenate([values[:FIRST], values[FIRST:recent:2], values[recent:]])

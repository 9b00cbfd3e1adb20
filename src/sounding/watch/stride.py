"""Steps of a training that goes its even way: noted as they come, looked at together."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch.optim import Optimizer

from sounding.capture.waiting import Waiting
from sounding.watch.rows import Row

NAN = math.nan


class Stride:
    """Some steps of one optimiser, each one backward, perhaps one clipping, and the step.

    Of these only that is noted which cannot be known afterwards, in a few microseconds. Whatever
    else happens is not taken: False is answered, and the stride is over.
    """

    def __init__(self, optimizer: Optimizer, waiting: Waiting, most: int, last: float) -> None:
        self.optimizer = optimizer
        self.loss: torch.Tensor | float | None = None  # of the coming step
        self.clipped_from: Any = NAN
        self.bound = NAN
        self.last = last  # when the step before had ended
        self.own = 0.0  # seconds in here
        self.left = most  # steps until it is time for a decision
        self._first = first_of(optimizer)
        self.version = version_of(self._first)  # after the last step
        self._waiting = waiting
        self.rows: list[Row] = []  # of whole steps

    def lost(self, value: torch.Tensor) -> bool:
        """`backward` is called on a loss; nothing waits for a device here."""
        if self.loss is not None:
            return False
        began = time.perf_counter()
        self.loss = value.item() if value.is_cpu else value.detach().clone()
        self.own += time.perf_counter() - began
        return True

    def clipped(self, norm: torch.Tensor, bound: float) -> bool:
        """Gradients are clipped between the two."""
        if self.loss is None or self.clipped_from is not NAN:
            return False
        self.clipped_from, self.bound = norm, bound
        return True

    def stepped(self, optimizer: Optimizer) -> bool:
        """The parameters have been changed."""
        if optimizer is not self.optimizer or self.loss is None:
            return False
        now = time.perf_counter()
        waited = 0.0 if self._waiting.workers < 0 else self._waiting.take(self._first)
        lr = optimizer.param_groups[0].get("lr", NAN)
        seconds, self.last = now - self.last, now
        # by place and not by name, which takes a microsecond more
        self.rows.append(
            Row(self.loss, NAN, lr, 1, NAN, self.clipped_from, self.bound, seconds, waited)
        )
        self.loss, self.clipped_from, self.bound = None, NAN, NAN
        self.left -= 1
        self.version = version_of(self._first)
        self.own += time.perf_counter() - now
        return True


def first_of(optimizer: Optimizer | None) -> torch.Tensor | None:
    """Its first parameter."""
    groups = [] if optimizer is None else optimizer.param_groups
    return next((p for group in groups for p in group["params"]), None)


def version_of(parameter: torch.Tensor | None) -> int:
    """How often it has been changed in place."""
    return -1 if parameter is None or parameter.is_inference() else parameter._version

"""The last steps of a training, so that they can be made again after something has gone wrong.

A snapshot of weights and optimiser at a cadence, and for every step since then what it takes to
repeat it: the inputs of the model's calls, the state of the random generators, the gradient that
came back to the outputs, the learning rates. No tensor is copied but in the snapshot, and the
gradient stands for the loss, which so need not be known. The user's run is not touched by any of
it: the steps are made again when it is over (`replay.py`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from sounding.capture.outermost import ModelCall
from sounding.measure.intervene import Snapshot

BYTES = 32 * 2**20  # of all generations together, snapshots included
STEPS = 256  # of a generation


@dataclasses.dataclass(frozen=True, eq=False)
class Past:
    """One step that was made."""

    number: int  # of the optimiser's steps, from 0
    calls: tuple[ModelCall, ...]
    rates: tuple[float, ...]  # of the optimiser's groups
    clip: float  # the norm that gradients were clipped to, nan: they were not

    @property
    def whole(self) -> bool:
        """Whether there is all that it takes to make it again."""
        return bool(self.calls) and all(call.whole for call in self.calls)


@dataclasses.dataclass(eq=False)
class Generation:
    """A state, and the steps that were made from there."""

    begin: Snapshot
    steps: list[Past] = dataclasses.field(default_factory=list)
    bytes: int = 0


class Ring:
    """Generations of steps: when the last one is full a new one begins, and older ones are let go.

    The one before the last is kept where it fits: on a GPU one hears of a NaN some steps later.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model, self.optimizer = model, optimizer
        self.generations: list[Generation] = []
        self.stopped = False  # something went wrong in the last of these steps:
        self.broken = False  # a number was none
        self._calls: list[ModelCall] = []
        state = _bytes(model, optimizer)
        self._most = 2 if 4 * state <= BYTES else 1  # generations
        self._room = BYTES / self._most - state  # bytes of the steps of one

    @property
    def fits(self) -> bool:
        """Whether the states leave room for steps."""
        return self._room >= BYTES / 8

    def call(self, call: ModelCall) -> None:
        """The model was called once more for the coming step."""
        self._calls.append(call)

    def step(self, number: int, rates: tuple[float, ...], clip: float) -> bool:
        """The step `number` is made; False: this generation is full, the next one may `begin`."""
        calls, self._calls = self._calls, []
        for call in calls:
            call.closed = True
        if not self.generations:
            return False
        now = self.generations[-1]
        now.steps.append(Past(number, tuple(calls), rates, clip))
        now.bytes += sum(call.bytes for call in calls)
        return len(now.steps) < STEPS and now.bytes < self._room

    def begin(self) -> None:
        """The next generation, from the state of this moment."""
        older = self.generations[-1:] if self._most > 1 else []
        self.generations = [*older, Generation(Snapshot(self.model, self.optimizer))]

    def clear(self) -> None:
        """Forget everything: steps are missing, or what went wrong has come right again."""
        self.generations, self._calls, self.stopped = [], [], False
        self.broken = False


def _bytes(model: nn.Module, optimizer: Optimizer) -> float:
    own = [*model.parameters(), *model.buffers()]
    if any(map(is_lazy, own)):
        return float("inf")
    state = [v for s in optimizer.state.values() for v in s.values()]
    return sum(t.numel() * t.element_size() for t in (*own, *_tensors(state)))


def _tensors(values: list[Any]) -> list[torch.Tensor]:
    return [v for v in values if isinstance(v, torch.Tensor)]

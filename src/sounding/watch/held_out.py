"""Keep the losses that a script computes without gradients, in little memory, without waiting."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable

import numpy as np
import torch

from sounding.measure.held_out import HeldOut
from sounding.watch.crossing import Crossing

SETS = 4  # blocks between two steps that are told apart: a validation set, a test set, ...
MOST = 2048  # evaluations; of more, every second one is forgotten
PENDING, WAIT = 256, 0.5  # evaluations, and seconds, that wait together to become numbers

Heard = Callable[[int, str, list[int], list[float]], None]  # a set, its function, steps, losses


@dataclasses.dataclass
class _Block:
    """The mean of what one block without gradients computes."""

    function: str
    total: torch.Tensor | float = 0.0
    count: int = 0

    def add(self, value: torch.Tensor) -> None:
        on_cpu = value.device.type == "cpu"
        self.total = self.total + (value.item() if on_cpu else value.detach().float())
        self.count += 1


@dataclasses.dataclass
class _Evaluation:
    """The blocks between two steps; a mean each, once it is over."""

    step: int
    blocks: list[_Block] = dataclasses.field(default_factory=list)
    number: int = -1  # of the last block
    whole: bool = False  # more blocks than there are sets: they are the batches of one
    losses: list[float] = dataclasses.field(default_factory=list)  # once they are numbers

    def add(self, function: str, value: torch.Tensor, number: int) -> None:
        if number != self.number and not self.whole:
            if len(self.blocks) == SETS:
                self.whole, self.blocks = True, [_joined(self.blocks)]
            else:
                self.blocks.append(_Block(function))
        self.number = number
        if function == self.blocks[-1].function:
            self.blocks[-1].add(value)


class HeldOutLosses:
    """Of one training: told of losses and of copies of weights, asked for the whole at the end."""

    def __init__(self) -> None:
        self.heard: Heard | None = None  # told of every evaluation, soon after it
        self._kept: list[_Evaluation] = []
        self._copies: list[int] = []
        self._open: _Evaluation | None = None
        self._closed: list[_Evaluation] = []  # not sent yet
        self._crossing: list[tuple[list[_Evaluation], Crossing]] = []
        self._since = 0.0

    def loss(self, function: str, value: torch.Tensor, number: int, step: int) -> None:
        """A loss of the block with this number, after `step` steps."""
        if self._open is None or self._open.step != step:
            self.stepped()
            self._open = _Evaluation(step)
        self._open.add(function, value, number)

    def copied(self, step: int) -> None:
        """A net's weights were copied."""
        if not self._copies or self._copies[-1] != step:
            self._copies.append(step)
            self._copies = self._copies[-2 * MOST :]

    def stepped(self) -> None:
        """The training goes on, so the evaluation is over."""
        if self._open is not None:
            self._closed.append(self._open)
            self._open = None
        if self._closed or self._crossing:
            now = time.perf_counter()
            if len(self._closed) >= PENDING or now - self._since > WAIT:
                self._since = now
                self._send()

    def send(self, *, wait: bool = False) -> None:
        """Tell all that is known by now; of what is still on a device too, if told to `wait`."""
        if self._open is not None:
            self._closed.append(self._open)
            self._open = None
        self._send(wait=wait)

    def result(self, *, put_back: bool) -> tuple[HeldOut, ...]:
        """One for each set of samples; waits for what is still on a device."""
        self.send(wait=True)
        found = []
        for place in range(SETS):
            held = [e for e in self._kept if len(e.blocks) > place]
            held = [e for e in held if e.blocks[place].function == held[-1].blocks[place].function]
            if held:
                found.append(
                    HeldOut(
                        function=held[-1].blocks[place].function,
                        steps=np.array([e.step for e in held]),
                        loss=np.array([e.losses[place] for e in held]),
                        copies=np.array(self._copies, dtype=np.int64),
                        put_back=put_back,
                    )
                )
        return tuple(found)

    def _send(self, *, wait: bool = False) -> None:
        if self._closed:
            means = [block.total / block.count for e in self._closed for block in e.blocks]
            self._crossing.append((self._closed, Crossing({"loss": means})))
            self._closed = []
        while self._crossing and (wait or self._crossing[0][1].there):
            evaluations, crossing = self._crossing.pop(0)
            losses = iter(crossing.numbers()["loss"].tolist())
            for evaluation in evaluations:
                evaluation.losses = [next(losses) for _ in evaluation.blocks]
            self._kept += evaluations
            self._tell(evaluations)
        if len(self._kept) > MOST:
            self._kept = self._kept[::2]

    def _tell(self, evaluations: list[_Evaluation]) -> None:
        told: dict[tuple[int, str], tuple[list[int], list[float]]] = {}
        for evaluation in evaluations:
            for place, block in enumerate(evaluation.blocks):
                steps, losses = told.setdefault((place, block.function), ([], []))
                steps.append(evaluation.step)
                losses.append(evaluation.losses[place])
        for (place, function), (steps, losses) in told.items():
            if self.heard is not None:
                self.heard(place, function, steps, losses)


def _joined(blocks: Iterable[_Block]) -> _Block:
    """The blocks with the first one's function as one."""
    first, *others = blocks
    for block in others:
        if block.function == first.function:
            first.total, first.count = first.total + block.total, first.count + block.count
    return first

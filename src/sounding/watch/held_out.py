"""Keep the losses that a script computes without gradients, in little memory, without waiting."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from sounding.measure.held_out import HeldOut

SETS = 4  # blocks between two steps that are told apart: a validation set, a test set, ...
MOST = 2048  # evaluations; of more, every second one is forgotten
CALLS = 1024  # of a block that count


@dataclasses.dataclass
class _Block:
    step: int
    place: int  # among the blocks after the same step
    function: str
    losses: list[torch.Tensor | float]

    def close(self) -> None:
        """One number is left, on its device."""
        if len(self.losses) > 1:
            numbers = all(isinstance(value, float) for value in self.losses)
            whole = torch.tensor(self.losses) if numbers else torch.stack(self.losses)  # type: ignore
            self.losses = [float(whole.mean()) if numbers else whole.mean()]


class HeldOutLosses:
    """Told of losses and of copies of weights as they come, asked for the whole at the end."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._copies: list[int] = []
        self._number = 0  # of the block that is open

    def loss(self, function: str, value: torch.Tensor, number: int, step: int) -> None:
        """A loss of the block with this number, after `step` steps."""
        if number != self._number or not self._blocks:
            self._open(function, number, step)
        block = self._blocks[-1]
        if function == block.function and len(block.losses) < CALLS:
            on_cpu = value.device.type == "cpu"
            block.losses.append(value.item() if on_cpu else value.detach().clone())

    def copied(self, step: int) -> None:
        """A net's weights were copied."""
        if not self._copies or self._copies[-1] != step:
            self._copies.append(step)
            self._copies = self._copies[-2 * MOST :]

    def result(self, *, put_back: bool) -> tuple[HeldOut, ...]:
        """One for each set of samples."""
        found = []
        for place in range(SETS):
            blocks = [b for b in self._blocks if b.place == place]
            if not blocks:
                continue
            blocks = [b for b in blocks if b.function == blocks[-1].function]
            for block in blocks:
                block.close()
            found.append(
                HeldOut(
                    function=blocks[-1].function,
                    steps=np.array([b.step for b in blocks]),
                    loss=np.array([float(b.losses[0]) for b in blocks]),
                    copies=np.array(self._copies, dtype=np.int64),
                    put_back=put_back,
                )
            )
        return tuple(found)

    def _open(self, function: str, number: int, step: int) -> None:
        last = self._blocks[-1] if self._blocks else None
        place = last.place + 1 if last is not None and last.step == step else 0
        if last is not None:
            last.close()
        if len(self._blocks) > MOST:
            self._blocks = [b for k, b in enumerate(self._blocks) if k % 2 or b.place]
        self._number = number
        self._blocks.append(_Block(step, min(place, SETS - 1), function, []))

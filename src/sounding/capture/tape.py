"""What was computed from a model's output up to the loss, to be computed again from another output.

A script's loss is no function that one could call: it is whatever stands between the model's call
and `backward`. The tape writes these calls down as they run. Tensors made on the way are known by
number and not kept; what comes from elsewhere (targets, masks, parameters) is.

Where only a part of the model is called (an encoder, whose output goes through a decoder later, or
through a product with the embeddings), the tape has layers on it. It is then parted behind the last
one: what stands before that makes the output from what the part returned.
"""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from sounding.capture.nested import mapped, tensors
from sounding.capture.operations import QUESTIONS, canonical

LONGEST = 5_000  # calls; a longer one is no loss but a program, and is given up


@dataclasses.dataclass(frozen=True)
class _Slot:
    number: int


class Tape(TorchFunctionMode):
    """Records while it is pushed as a mode, from the model's `output` to `ends_with(loss)`."""

    def __init__(self, inputs: Any, output: Any) -> None:
        super().__init__()
        self._known: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        self._calls: list[tuple[Callable, tuple, dict[str, Any], tuple[int, ...]]] = []
        self._count = 0
        self._loss: int | None = None
        self._split = 0  # calls that still belong to the model
        self._handed: list[int] = []  # what they leave to those behind them, the latest first
        self.ended = False
        self.outputs = self._returned = len(tensors(output))
        for tensor in (*tensors(output), *tensors(inputs)):
            self._claim(tensor)

    @property
    def whole(self) -> bool:
        """Whether the loss was seen to come from what is on the tape."""
        return self._loss is not None

    @property
    def constants(self) -> list[torch.Tensor]:
        """The tensors from elsewhere that the loss takes, in order: targets, masks, parameters."""
        found = [t for _, *given, _ in self._calls[self._split :] for t in tensors(given)]
        return list({id(t): t for t in found}.values())

    @property
    def operations(self) -> set[str]:
        """The names of what is called on the way to the loss."""
        return {canonical(getattr(f, "__name__", "")) for f, *_ in self._calls[self._split :]}

    def part(self, weights: set[int]) -> None:
        """Everything up to the last call with one of these parameters belongs to the model.

        Args:
            weights: Their identities.
        """
        if self._split or self._loss is None:
            return
        weighing = [
            at
            for at, (_, args, kwargs, _) in enumerate(self._calls)
            if any(id(t) in weights for t in tensors((args, kwargs)))
        ]
        if not weighing:
            return
        self._split = weighing[-1] + 1
        made = {n for *_, numbers in self._calls[: self._split] for n in numbers}
        known = made | set(range(self._returned))
        used = {self._loss}
        for _, args, kwargs, _ in self._calls[self._split :]:
            used |= _numbers((args, kwargs))
        self._handed = sorted(known & used, reverse=True)
        self.outputs = len(self._handed)

    def lead(self, inputs: Any, returned: Any) -> Any:
        """The model's output, of what the part of it that was called has returned."""
        if not self._split:
            return returned
        values = self._run(self._calls[: self._split], self._given(inputs, returned), {})
        return tuple(values[number] for number in self._handed)

    def depends(self, rows: int) -> bool:
        """Whether the model is given more of the batch behind the part that was called."""
        held = [t for _, *given, _ in self._calls[: self._split] for t in tensors(given)]
        data = [t for t in held if t.dim() and not isinstance(t, torch.nn.Parameter)]
        return any(t.shape[0] == rows for t in data)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Run the call, and write it down if it makes a tensor out of a known one."""
        kwargs = kwargs or {}
        name = canonical(getattr(func, "__name__", ""))
        if self.ended or name in QUESTIONS:
            return func(*args, **kwargs)
        held = self._held(args), self._held(kwargs)
        result = func(*args, **kwargs)
        made = tensors(result) if held[0] is not args or held[1] is not kwargs else []
        if made:
            self._calls.append((func, held[0], held[1], tuple(self._claim(t) for t in made)))
            self.ended = len(self._calls) > LONGEST
        return result

    def ends_with(self, loss: torch.Tensor) -> None:
        """`backward` is called on `loss`; nothing is written any more."""
        self._loss = None if self.ended else self._number(loss)
        self.ended = True
        self._known.clear()

    def replay(
        self,
        inputs: Any,
        output: Any,
        *,
        exchanged: Mapping[int, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """The loss of another `output`, with its graph.

        Args:
            inputs: What the model was given, in the form in which it was recorded.
            output: What it made of it, in that form too.
            exchanged: Other tensors for some of `constants`, by their identity.

        Raises:
            ValueError: If the output has another form, or the loss was not seen.
        """
        given = tensors(output)
        if self._loss is None or len(given) != self.outputs:
            raise ValueError("the way from the model's output to the loss was not seen")
        values = self._given(inputs, () if self._split else given)
        values |= dict(zip(self._handed, given, strict=False))
        return self._run(self._calls[self._split :], values, exchanged or {})[self._loss]

    def _given(self, inputs: Any, returned: Any) -> dict[int, torch.Tensor]:
        """The values of the slots that are there before the first call."""
        return dict(enumerate(tensors(returned))) | dict(
            enumerate(tensors(inputs), start=self._returned)
        )

    def _run(
        self, calls: list[Any], values: dict[int, torch.Tensor], exchanged: Mapping[int, Any]
    ) -> dict[int, torch.Tensor]:
        def filled(held: Any) -> Any:
            if isinstance(held, _Slot):
                return values[held.number]
            if isinstance(held, torch.Tensor):
                return exchanged.get(id(held), held)
            return mapped(held, filled)

        for function, args, kwargs, made in calls:
            name = getattr(function, "__name__", "")
            if _in_place(name) and isinstance(args[0], torch.Tensor):
                args = (args[0].clone(), *args[1:])
            result = function(*filled(args), **filled(kwargs))
            values.update(zip(made, tensors(result), strict=False))
        return values

    def _claim(self, tensor: torch.Tensor) -> int:
        self._known[id(tensor)] = (weakref.ref(tensor), self._count)
        self._count += 1
        return self._count - 1

    def _number(self, tensor: torch.Tensor) -> int | None:
        entry = self._known.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def _held(self, value: Any) -> Any:
        """`value` with the tensors that are known as slots; itself where there is none."""
        if isinstance(value, torch.Tensor):
            number = self._number(value)
            return value if number is None else _Slot(number)
        return mapped(value, self._held)


def _numbers(held: Any) -> set[int]:
    """The slots in a call's arguments."""
    found: set[int] = set()

    def note(value: Any) -> Any:
        if isinstance(value, _Slot):
            found.add(value.number)
            return value
        return mapped(value, note)

    note(held)
    return found


def _in_place(name: str) -> bool:
    if name.startswith("__"):
        return name.startswith("__i") and name not in ("__invert__", "__index__", "__int__")
    return name.endswith("_")

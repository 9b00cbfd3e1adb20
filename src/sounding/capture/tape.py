"""What was computed from a model's output up to the loss, to be computed again from another output.

A script's loss is no function that one could call: it is whatever stands between the model's call
and `backward`. The tape writes these calls down as they run. Tensors made on the way are known by
number and not kept; what comes from elsewhere (targets, masks, parameters) is.
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
        self.ended = False
        self.outputs = len(tensors(output))
        for tensor in (*tensors(output), *tensors(inputs)):
            self._claim(tensor)

    @property
    def whole(self) -> bool:
        """Whether the loss was seen to come from what is on the tape."""
        return self._loss is not None

    @property
    def constants(self) -> list[torch.Tensor]:
        """The tensors from elsewhere that the calls take, in order: targets, masks, parameters."""
        found = [t for _, args, kwargs, _ in self._calls for t in tensors((args, kwargs))]
        return list({id(t): t for t in found}.values())

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
        values: dict[int, torch.Tensor] = dict(enumerate((*given, *tensors(inputs))))

        def filled(held: Any) -> Any:
            if isinstance(held, _Slot):
                return values[held.number]
            if isinstance(held, torch.Tensor):
                return (exchanged or {}).get(id(held), held)
            return mapped(held, filled)

        for function, args, kwargs, made in self._calls:
            name = getattr(function, "__name__", "")
            if _in_place(name) and isinstance(args[0], torch.Tensor):
                args = (args[0].clone(), *args[1:])
            result = function(*filled(args), **filled(kwargs))
            values.update(zip(made, tensors(result), strict=False))
        return values[self._loss]

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


def _in_place(name: str) -> bool:
    if name.startswith("__"):
        return name.startswith("__i") and name not in ("__invert__", "__index__", "__int__")
    return name.endswith("_")

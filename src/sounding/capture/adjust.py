"""Change weights, and only weights, while a forward pass runs through them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from sounding.capture import operations
from sounding.capture.weighted import weight_of

Adjust = Callable[[torch.Tensor, torch.Tensor | None, torch.Tensor], bool]


@contextlib.contextmanager
def adjusting(adjust: Adjust, *, rounds: int = 10) -> Iterator[None]:
    """Inside, `adjust(weight, bias, output)` sees every weighted call as it runs.

    While it returns True (it changed the weight) the call is repeated, up to `rounds` times, so
    later layers see the output of the adjusted one.
    """
    with _Adjusting(adjust, rounds):
        yield


class _Adjusting(TorchFunctionMode):
    def __init__(self, adjust: Adjust, rounds: int) -> None:
        super().__init__()
        self.adjust = adjust
        self.rounds = rounds
        self.seen: set[int] = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        name = operations.canonical(getattr(func, "__name__", ""))
        if name not in operations.WEIGHTED or name.startswith("embedding"):
            return output
        return self._settle(name, func, args, kwargs, output)

    def _settle(
        self, name: str, func: Callable, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> Any:
        weight, bias = weight_of(name, args, kwargs)
        if not isinstance(weight, torch.nn.Parameter) or id(weight) in self.seen:
            return output  # a tied or repeated layer is settled at its first call
        self.seen.add(id(weight))
        for _ in range(self.rounds):
            with torch.no_grad():
                if not self.adjust(weight, bias, output):
                    break
            output = func(*args, **kwargs)
        return output

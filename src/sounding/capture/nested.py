"""The tensors in whatever goes into a call or comes out of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch

DEPTH = 6  # of nesting that is looked through; deeper structures are no arguments any more


def tensors(value: Any) -> list[torch.Tensor]:
    """The tensors in `value`, through tuples, lists, mappings and dataclasses, in their order."""
    found: list[torch.Tensor] = []
    for item in value if isinstance(value, tuple | list) else (value,):
        if isinstance(item, torch.Tensor):  # nearly always
            found.append(item)
        elif item is not None:
            _collect(item, found, DEPTH)
    return found


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """`value` with `function` applied inside tuples, lists and dicts; itself if nothing changed."""
    if isinstance(value, dict):
        changed = {key: function(item) for key, item in value.items()}
        return changed if any(changed[key] is not value[key] for key in value) else value
    if isinstance(value, tuple | list):
        items = [function(item) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def with_tensors(value: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """`value` with every tensor in its tuples, lists and dicts replaced by `function` of it."""
    if isinstance(value, torch.Tensor):
        return function(value)
    return mapped(value, lambda item: with_tensors(item, function))


def _collect(value: Any, found: list[torch.Tensor], depth: int) -> None:
    if isinstance(value, torch.Tensor):
        found.append(value)
    elif value is None or isinstance(value, bool | int | float | str) or not depth:
        return
    elif isinstance(value, tuple | list):
        for item in value:
            _collect(item, found, depth - 1)
    elif isinstance(value, Mapping):
        for item in value.values():
            _collect(item, found, depth - 1)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            _collect(getattr(value, field.name, None), found, depth - 1)

"""The tensors in whatever goes into a call or comes out of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
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

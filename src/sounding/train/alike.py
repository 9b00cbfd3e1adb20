"""Whether two networks, or two losses, differ in nothing but the numbers in their parameters."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

COMPARED_APART = ("_parameters", "_buffers", "_modules")  # of a module's attributes
PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device, types.CodeType)
DEPTH = 20  # of objects within objects; beyond it nothing is called the same


def alike(one: nn.Module, other: nn.Module, depth: int = 0) -> bool:
    """Whether both compute the same function of their parameters, their buffers and the input.

    That is so where all modules have the same classes, modes and attributes, and parameters and
    buffers the same names, shapes and types. Functions among the attributes are compared by what
    they do; what cannot be compared, a random generator for instance, makes two networks differ.
    Costs some ten microseconds a module.
    """
    first, second = dict(one.named_modules()), dict(other.named_modules())
    return first.keys() == second.keys() and all(
        _alike_alone(module, second[name], depth) for name, module in first.items()
    )


def _alike_alone(one: nn.Module, other: nn.Module, depth: int) -> bool:
    return (
        type(one) is type(other)
        and _shapes(one) == _shapes(other)
        and same(_attributes(one), _attributes(other), depth)
    )


def _shapes(module: nn.Module) -> list[Any]:
    return [
        (name, None if t is None else (t.shape, t.dtype, t.device, t.requires_grad))
        for name, t in (*module._parameters.items(), *module._buffers.items())
    ]


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if name not in COMPARED_APART}


def same(one: Any, other: Any, depth: int = 0) -> bool:
    """Whether two values can take each other's place; in doubt they cannot."""
    if one is other:
        return True
    if type(one) is not type(other) or depth > DEPTH:
        return False
    if isinstance(one, PLAIN):
        return one == other
    compare = next((how for kind, how in _COMPARISONS if isinstance(one, kind)), _same_objects)
    return compare(one, other, depth + 1)


def _same_tensors(one: torch.Tensor, other: torch.Tensor, depth: int) -> bool:
    return one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)


def _same_arrays(one: np.ndarray, other: np.ndarray, depth: int) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)


def _same_modules(one: nn.Module, other: nn.Module, depth: int) -> bool:
    """One that is nobody's child: its numbers are not stacked, so it may have none."""
    return not [*one.parameters(), *one.buffers()] and alike(one, other, depth)


def _same_mappings(one: Mapping, other: Mapping, depth: int) -> bool:
    return one.keys() == other.keys() and all(same(one[key], other[key], depth) for key in one)


def _same_lists(one: list | tuple, other: list | tuple, depth: int) -> bool:
    return len(one) == len(other) and all(
        same(first, second, depth) for first, second in zip(one, other, strict=True)
    )


def _same_sets(one: set, other: set, depth: int) -> bool:
    return one == other


def _same_partials(one: functools.partial, other: functools.partial, depth: int) -> bool:
    return all(
        same(getattr(one, p), getattr(other, p), depth) for p in ("func", "args", "keywords")
    )


def _same_methods(one: types.MethodType, other: types.MethodType, depth: int) -> bool:
    return one.__func__ is other.__func__ and same(one.__self__, other.__self__, depth)


def _same_functions(one: types.FunctionType, other: types.FunctionType, depth: int) -> bool:
    """The same code with the same surroundings, as of a lambda that `build` makes each time."""

    def parts(function: types.FunctionType) -> list[Any]:
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        return [function.__code__, function.__defaults__, function.__kwdefaults__, cells]

    return one.__globals__ is other.__globals__ and same(parts(one), parts(other), depth)


def _same_objects(one: Any, other: Any, depth: int) -> bool:
    return hasattr(one, "__dict__") and same(vars(one), vars(other), depth)


_COMPARISONS: tuple[tuple[Any, Callable[[Any, Any, int], bool]], ...] = (
    (torch.Tensor, _same_tensors),
    (np.ndarray, _same_arrays),
    (nn.Module, _same_modules),
    (Mapping, _same_mappings),
    ((list, tuple), _same_lists),
    ((set, frozenset), _same_sets),
    (functools.partial, _same_partials),
    (types.MethodType, _same_methods),
    (types.FunctionType, _same_functions),
)

"""Weighted calls: which tensors are the weight and the bias, and how many inputs a unit sums."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from sounding.capture import operations
from sounding.capture.nested import tensors
from sounding.capture.node import Node
from sounding.capture.operations import Args, Kwargs, argument
from sounding.capture.sample import norm
from sounding.theory.initialisation import fans

Own = Callable[[torch.Tensor], str]  # the parameter's name, '' for a tensor that is none


@dataclasses.dataclass(slots=True)
class Weighting:
    """What a weighted call does to its data."""

    data: torch.Tensor | None  # the tensor that it weighs
    weight: torch.Tensor
    bias: torch.Tensor | None
    fan_in: float  # inputs summed by one output unit
    fan_out: float  # outputs fed by one input unit
    units: int  # output units; 0 where the weight's shape does not tell
    others: tuple[torch.Tensor, ...] = ()  # further weights, of a recurrent call


def weighting(name: str, args: Args, kwargs: Kwargs, own: Own) -> Weighting | None:
    """How the operation weighs its input; ``None`` for one that has no weight."""
    if name in operations.WEIGHTED:
        return _layer(name, args, kwargs)
    if name in operations.PRODUCTS:
        return _product(name, args, own)
    if name in operations.RECURRENT:
        return _recurrent(args)
    return None


def weigh(node: Node, found: Weighting, own: Own) -> None:
    """Write down on the call how it weighs."""
    node.fan_in, node.fan_out, node.units = found.fan_in, found.fan_out, found.units
    node.weight = own(found.weight)
    node.others = tuple(own(weight) for weight in found.others)
    if not node.weight:  # the size of the model's own is read at the end, for all at once
        node.weight_second_moment = _mean_square(found.weight)
    if found.bias is None:
        node.bias_second_moment = 0.0
        return
    node.bias = own(found.bias)
    if not node.bias:
        node.bias_second_moment = _mean_square(found.bias)


def _mean_square(tensor: torch.Tensor) -> float:
    return float(norm(tensor)) ** 2 / max(tensor.numel(), 1)


def weight_of(name: str, args: Args, kwargs: Kwargs) -> tuple[Any, Any]:
    """The weight and bias tensors of a linear, convolution or embedding call."""
    where, where_bias = operations.WEIGHTED[name]
    weight = argument("weight", where, None, args, kwargs)
    bias = None if where_bias is None else argument("bias", where_bias, None, args, kwargs)
    return weight, bias


def _layer(name: str, args: Args, kwargs: Kwargs) -> Weighting | None:
    weight, bias = weight_of(name, args, kwargs)
    data = argument("input", 0, None, args, kwargs)
    if not isinstance(weight, torch.Tensor) or weight.dim() < 2:
        return None
    if name.startswith("embedding"):  # a row is looked up, nothing is summed
        if name == "embedding_bag" and data is not None and data.is_floating_point():
            data, weight = weight, data  # torch.embedding_bag takes them the other way round
        return Weighting(data, weight, None, 1, weight.shape[1], weight.shape[1])
    if name == "bilinear":
        out, first, second = weight.shape
        return Weighting(data, weight, bias, first * second, out, out)
    if name.startswith("conv"):
        return _convolution(name, data, weight, bias, args, kwargs)
    return Weighting(data, weight, bias, weight.shape[1], weight.shape[0], weight.shape[0])


def _convolution(
    name: str, data: Any, weight: torch.Tensor, bias: Any, args: Args, kwargs: Kwargs
) -> Weighting:
    transposed = "transpose" in name
    groups = int(argument("groups", 6, 1, args, kwargs))
    stride = argument("stride", 3, 1, args, kwargs)
    steps = stride if isinstance(stride, tuple | list) else (stride,)
    one = steps[0] if len(set(steps)) == 1 else 1  # a stride that differs by side: not counted
    counted = fans(weight.shape, transposed=transposed, groups=groups, stride=int(one))
    units = weight.shape[1] * groups if transposed else weight.shape[0]
    return Weighting(data, weight, bias, counted.fan_in, counted.fan_out, units)


def _product(name: str, args: Args, own: Own) -> Weighting | None:
    """A matrix product with a parameter as one factor: ``x @ W``, ``W @ x``, einsum."""
    factors = tensors(args)
    bias = factors.pop(0) if name.startswith("add") and len(factors) == 3 else None
    if len(factors) != 2:
        return None
    at = next((i for i in (1, 0) if own(factors[i]) and factors[i].dim() >= 2), -1)
    if at < 0 or own(factors[1 - at]):
        return None
    weight, data = factors[at], factors[1 - at]
    if name == "einsum":
        return _einsum(args[0], at, data, weight)
    summed, kept = weight.shape[-2:] if at == 1 else weight.shape[:-3:-1]
    return Weighting(data, weight, bias, summed, kept, kept)


def _einsum(equation: Any, at: int, data: torch.Tensor, weight: torch.Tensor) -> Weighting | None:
    if not isinstance(equation, str) or "->" not in equation or "." in equation:
        return None
    operands, result = equation.replace(" ", "").split("->")
    letters = operands.split(",")[at]
    if len(letters) != weight.dim():
        return None
    sizes = dict(zip(letters, weight.shape, strict=True))
    inputs = operands.split(",")[1 - at]
    summed = kept = 1
    for letter, size in sizes.items():
        summed *= size if letter in inputs and letter not in result else 1
        kept *= size if letter not in inputs else 1
    return Weighting(data, weight, None, summed, kept, kept)


def _recurrent(args: Args) -> Weighting | None:
    found = [t for t in tensors(args) if isinstance(t, torch.nn.Parameter)]
    matrices = [t for t in found if t.dim() == 2]
    biases = [t for t in found if t.dim() == 1]
    if not matrices:
        return None
    first = matrices[0]
    data = next((t for t in tensors(args[0])), None)
    return Weighting(
        data,
        first,
        biases[0] if biases else None,
        first.shape[1],
        first.shape[0],
        matrices[1].shape[1] if len(matrices) > 1 else first.shape[0],
        tuple(matrices[1:]),
    )

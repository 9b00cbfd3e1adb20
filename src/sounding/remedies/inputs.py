"""A remedy for what goes into the net: standardised in front of its first layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sounding.remedies.calls import hearing
from sounding.remedies.selection import entrances
from sounding.remedies.weights import Forward, Trace
from sounding.result import NotApplicable

MAPS = ("Conv", "BatchNorm", "InstanceNorm")  # channels stand second


def standardise_inputs(
    model: nn.Module, trace: Trace, forward: Forward, *, batches: int = 8
) -> None:
    """The first layers get their inputs with mean 0 and deviation 1, feature by feature.

    Touches the architecture. Steps of gradient descent grow with the condition number of the
    inputs' second moments (LeCun et al. 1998, "Efficient backprop", section 4.3). Mean and
    deviation are those of the first `batches` batches (of a script, of the first one), a number a
    channel for convolutions; they are buffers of the layers. A constant feature is only shifted.

    Raises:
        ValueError: If `batches` is not at least 1.
        NotApplicable: If no layer is given the inputs themselves, because they are indices, are
            normalised already, or go into functional calls.
    """
    if batches < 1:
        raise ValueError(f"batches is {batches!r}; it must be at least 1")
    nodes = trace()
    names = dict.fromkeys(nodes[at].module for at in entrances(nodes) if nodes[at].module)
    alone = not any(model.children())
    layers = [model] if alone else [model.get_submodule(name) for name in names]
    sums: dict[nn.Module, list[Any]] = {}

    def hear(layer: nn.Module, args: Any, _: Any) -> None:
        if args and isinstance(args[0], torch.Tensor) and args[0].is_floating_point():
            rows = args[0].detach().movedim(_features(layer), -1).flatten(0, -2).double()
            count, total, squares = sums.get(layer, (0, 0, 0))
            sums[layer] = [count + len(rows), total + rows.sum(0), squares + (rows**2).sum(0)]

    hearing(layers, hear, forward, times=batches)
    if not sums:
        raise NotApplicable("no layer is given the inputs themselves as floating point numbers")
    for layer, (count, total, squares) in sums.items():
        mean = total / count
        deviation = (squares / count - mean**2).clamp_min(0).sqrt()
        tiny = deviation <= 1e-6 * mean.abs()  # a constant, up to rounding
        deviation = torch.where(tiny, torch.ones_like(deviation), deviation)
        place = next(layer.parameters())
        layer.register_buffer("input_mean", mean.to(place.dtype))
        layer.register_buffer("input_deviation", deviation.to(place.dtype))
        layer.register_forward_pre_hook(_standardise)


def _standardise(layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    mean, deviation = layer.get_buffer("input_mean"), layer.get_buffer("input_deviation")
    if _features(layer) == 1:
        shape = (-1, *[1] * (args[0].dim() - 2))
        mean, deviation = mean.view(shape), deviation.view(shape)
    return ((args[0] - mean) / deviation, *args[1:])


def _features(layer: nn.Module) -> int:
    return 1 if type(layer).__name__.startswith(MAPS) else -1

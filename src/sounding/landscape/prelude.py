"""The layers that see the data alone: linear in their weights, so computed once for a whole plane.

At centre + a d1 + b d2 the output of such a layer is out0 + a out1 + b out2: three passes of the
layer for all points instead of one for each.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.func import functional_call

from sounding.landscape.ground import Ground

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
WITHOUT_WEIGHTS = (nn.Flatten, nn.Unflatten, nn.Identity)
FUNCTIONS = {torch.flatten, operator.truediv, operator.mul, operator.sub, operator.add}
METHODS = {"flatten", "view", "reshape", "size", "float", "unsqueeze", "permute", "transpose"}
MOST = 2**30  # bytes of kept outputs


class Combined(nn.Module):
    """In the layer's place: a weighted sum of outputs that are known."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[list[torch.Tensor]] = []  # of each part: at the centre, each direction
        self.part = 0
        self.coordinates: Sequence[float] | torch.Tensor = ()

    def forward(self, _: torch.Tensor) -> torch.Tensor:
        """The layer's output for the present part, at the present coordinates."""
        total, *rest = self.outputs[self.part]
        if isinstance(self.coordinates, torch.Tensor):  # of many points, by vmap
            return total + torch.tensordot(self.coordinates, torch.stack(rest), 1)
        for c, output in zip(self.coordinates, rest, strict=True):
            total = torch.add(total, output, alpha=c)
        return total


class _Seen(Exception):
    """Ends a pass where the layer's input is known."""


class _Listener(nn.Module):
    """In the layer's place: keeps what comes in."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.x = x
        raise _Seen


def first_layers(graph: fx.Graph, modules: dict[str, nn.Module]) -> list[str]:
    """Names of the layers whose input is the data, perhaps reshaped, scaled or shifted."""
    data: set[fx.Node] = set()
    calls: dict[str, int] = {}
    found = []
    for node in graph.nodes:
        known = bool(node.all_input_nodes) and all(n in data for n in node.all_input_nodes)
        if node.op == "call_module":
            name = str(node.target)
            calls[name] = calls.get(name, 0) + 1
            if known and type(modules[name]) in LAYERS:
                found.append(name)
        if node.op == "placeholder" or (known and _is_data(node, modules)):
            data.add(node)
    return [name for name in found if calls[name] == 1]


def _is_data(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """Whether the node makes data of data, without a weight and without a draw."""
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], WITHOUT_WEIGHTS)
    known = {"call_function": FUNCTIONS, "call_method": METHODS}.get(node.op, set())
    return node.target in known


def combine(
    ground: Ground,
    traced: nn.Module,
    names: Sequence[str],
    batches: Sequence[Any],
    vectors: Sequence[torch.Tensor],
) -> list[Combined]:
    """Put a `Combined` in the place of each layer; `vectors` are the centre and the directions.

    A layer stays as it is where the outputs would take more memory than `MOST`.
    """
    known = [dict(zip(ground.names, ground.layout.split(v), strict=True)) for v in vectors]
    known[0] = {**dict(ground.model.named_parameters()), **known[0]}
    made = []
    for name in names:
        layer, listener, combined = traced.get_submodule(name), _Listener(), Combined()
        traced.set_submodule(name, listener)
        size = 0
        for batch in batches:
            try:
                ground.objective(traced, batch)
            except _Seen:
                combined.outputs.append([_output(layer, name, k, listener.x) for k in known])
            size += sum(o.numel() * o.element_size() for o in combined.outputs[-1])
            if size > MOST:
                break
        fits = size <= MOST
        traced.set_submodule(name, combined if fits else layer)
        made += [combined] * fits
    return made


def _output(
    layer: nn.Module, name: str, known: dict[str, torch.Tensor], x: torch.Tensor
) -> torch.Tensor:
    """Of the layer with the weights in a vector; those that stay count at the centre alone."""
    given = {}
    for key, value in layer.named_parameters():
        full = f"{name}.{key}"
        given[key] = known[full].to(value.dtype) if full in known else torch.zeros_like(value)
    return functional_call(layer, given, (x,))

"""Remedies that touch the architecture: other activations, normalisation between layers."""

from __future__ import annotations

from torch import nn

from sounding.capture.node import Node
from sounding.remedies.selection import unnormalised
from sounding.remedies.weights import Trace, draw, drawable
from sounding.result import NotApplicable

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
}
REPLACED = (nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid, nn.Softsign, nn.ReLU, nn.ReLU6)
NORMS = ("batch", "layer", "group", "instance")
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def change_activation(model: nn.Module, trace: Trace, *, to: str = "relu") -> None:
    """Replace activation modules between layers, in place, and fit the weights before them.

    An output activation behind the last weights stays. The weights of the layers are drawn anew
    with the gain that the new activation needs (as `reinitialise` does), because another slope
    asks for another scale.

    Raises:
        ValueError: If `to` is unknown.
        NotApplicable: If the activations are functional calls: only the code can change those.
    """
    if to not in ACTIVATIONS:
        raise ValueError(f"no activation is called {to!r}; there are {', '.join(ACTIVATIONS)}")
    nodes = trace()
    last = max((n.index for n in nodes if n.role == "weight"), default=-1)
    hidden = {n.module for n in nodes if n.role == "activation" and n.index < last}
    replaced = [name for name in sorted(hidden) if isinstance(_get(model, name), REPLACED)]
    if not replaced:
        raise NotApplicable("the activations are functional calls; change them in the code")
    for name in replaced:
        _put(model, name, ACTIVATIONS[to]().train(_get(model, name).training))
    for found in drawable(model, trace()):
        draw(found, "kaiming")


def insert_norm(model: nn.Module, trace: Trace, *, kind: str = "batch") -> None:
    """Put a normalisation behind every layer that an activation follows, in place.

    A linear layer or convolution that already has a normalisation between it and its activation is
    left alone. `kind`: 'batch' (Ioffe and Szegedy 2015), 'layer' (Ba et al. 2016), 'group' (Wu and
    He 2018, at most 32 groups) or 'instance' (convolutions only).

    Raises:
        ValueError: If `kind` is unknown.
        NotApplicable: If there is no such layer, or the kind does not fit one.
    """
    if kind not in NORMS:
        raise ValueError(f"no normalisation is called {kind!r}; there are {', '.join(NORMS)}")
    nodes = trace()
    found = {n.module: n for n in nodes if n.role == "weight" and unnormalised(nodes, n.index)}
    norms = {}
    for name, node in found.items():
        layer = _get(model, name)
        if isinstance(layer, LAYERS):
            norms[name] = _norm(layer, kind, node)
    if not norms:
        raise NotApplicable("no layer is followed by an activation without a normalisation between")
    for name, norm in norms.items():
        layer = _get(model, name)
        weight = next(layer.parameters())
        norm.to(device=weight.device, dtype=weight.dtype)
        _put(model, name, nn.Sequential(layer, norm).train(layer.training))


def _norm(layer: nn.Module, kind: str, node: Node) -> nn.Module:
    if isinstance(layer, nn.Linear):
        flat = node.output is None or node.output.features == layer.out_features
        if kind == "layer" or (kind == "batch" and flat):
            return {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}[kind](layer.out_features)
        raise NotApplicable(f"no {kind} normalisation fits {node.name}; use kind='layer'")
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    channels, dimension = layer.out_channels, len(layer.kernel_size)
    return {
        "batch": lambda: getattr(nn, f"BatchNorm{dimension}d")(channels),
        "instance": lambda: getattr(nn, f"InstanceNorm{dimension}d")(channels, affine=True),
        "group": lambda: nn.GroupNorm(groups(channels), channels),
        "layer": lambda: nn.GroupNorm(1, channels),
    }[kind]()


def groups(channels: int) -> int:
    """The largest number of groups, at most 32, that divides the channels."""
    return max(g for g in range(1, min(32, channels) + 1) if channels % g == 0)


def _get(model: nn.Module, name: str) -> nn.Module:
    return model.get_submodule(name)


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)

"""Remedies that touch the architecture: other activations, normalisation between layers."""

from __future__ import annotations

import torch
from torch import nn

from sounding.capture.recorder import Node
from sounding.measure.examination import following_activation
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
    replaced = 0
    for name in sorted(hidden):
        module = model.get_submodule(name)
        if name and isinstance(module, REPLACED):
            _put(model, name, ACTIVATIONS[to]().train(module.training))
            replaced += 1
    if not replaced:
        raise NotApplicable("the activations are functional calls; change them in the code")
    with torch.no_grad():
        for weight, bias, gain, fan_in, fan_out in drawable(model, trace()):
            draw(weight, "kaiming", gain, fan_in, fan_out)
            if bias is not None:
                bias.zero_()


def insert_norm(model: nn.Module, trace: Trace, *, kind: str = "batch") -> None:
    """Put a normalisation behind every layer that an activation follows, in place.

    A linear layer or convolution that already has a normalisation between it and its activation is
    left alone. `kind`: 'batch' (Ioffe and Szegedy 2015), 'layer' (Ba et al. 2016), 'group' (Wu and
    He 2018, at most 32 groups) or 'instance' (convolutions only).

    Raises:
        ValueError: If `kind` is unknown.
        NotApplicable: If there is no such layer.
    """
    if kind not in NORMS:
        raise ValueError(f"no normalisation is called {kind!r}; there are {', '.join(NORMS)}")
    nodes = trace()
    names = dict.fromkeys(n.module for n in nodes if _bare(n, nodes, model))
    for name in names:
        layer = model.get_submodule(name)
        norm = _norm(layer, kind)
        if norm is None:
            raise NotApplicable(f"no {kind} normalisation fits {type(layer).__name__} {name}")
        _put(model, name, nn.Sequential(layer, norm.to(next(layer.parameters()).device)))
    if not names:
        raise NotApplicable("no layer is followed by an activation without a normalisation between")


def _bare(node: Node, nodes: list[Node], model: nn.Module) -> bool:
    """A layer's call whose output reaches an activation with no normalisation on the way."""
    if node.role != "weight" or not node.module or "@" in node.name:
        return False
    if not isinstance(model.get_submodule(node.module), LAYERS):
        return False
    follower = following_activation(node, nodes)
    at = follower.main if follower is not None else -1
    while at > node.index:
        if nodes[at].role == "normalisation":
            return False
        at = nodes[at].main
    return at == node.index


LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _norm(layer: nn.Module, kind: str) -> nn.Module | None:
    if isinstance(layer, nn.Linear):
        width = layer.out_features
        linear = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
        return linear[kind](width) if kind in linear else None
    assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    channels = layer.out_channels
    dimension = len(layer.kernel_size)
    groups = max(g for g in range(1, min(32, channels) + 1) if channels % g == 0)
    return {
        "batch": lambda: getattr(nn, f"BatchNorm{dimension}d")(channels),
        "instance": lambda: getattr(nn, f"InstanceNorm{dimension}d")(channels, affine=True),
        "group": lambda: nn.GroupNorm(groups, channels),
        "layer": lambda: nn.GroupNorm(1, channels),
    }[kind]()


def _put(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)

"""Remedies that touch only the weights: new random values of the right scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn

from sounding.capture.adjust import adjusting
from sounding.capture.node import Node
from sounding.remedies.fixup import fixup_factors
from sounding.remedies.selection import follower, selected
from sounding.result import NotApplicable
from sounding.theory.activations import activation
from sounding.theory.initialisation import required_gain

Forward = Callable[[], object]  # runs the model once on a batch
Trace = Callable[[], list[Node]]  # runs it once and returns the executed calls

SCHEMES = ("kaiming", "kaiming_fan_out", "xavier", "lecun", "orthogonal", "fixup")


class Drawable(NamedTuple):
    """A weight that may be drawn anew, with what its new values depend on."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    gain: float  # that the activation behind it needs
    fan_in: float
    fan_out: float


@torch.no_grad()
def reinitialise(model: nn.Module, trace: Trace, *, scheme: str = "kaiming") -> None:
    """Draw the weights of every linear layer and convolution anew, in place; biases become 0.

    Touches the weights. The gain is that of the activation which follows in the executed graph
    (functional ones, and through residual additions and normalisations), so the signal keeps its
    second moment. Embeddings and what is tied to them, the projections of an attention, recurrent
    layers, frozen and parametrised weights stay as their authors set them, and so do weights that
    are zero on purpose (the head, or the end of a residual branch).

    Sources: He et al. 2015 (kaiming); Glorot and Bengio 2010 (xavier); LeCun et al. 1998 (lecun);
    Saxe et al. 2014 (orthogonal); Zhang et al. 2019 (fixup: for residual nets without
    normalisation; the ends of the branches and the head become zero).

    Raises:
        ValueError: If `scheme` is unknown.
        NotApplicable: If there is no weight to draw, or 'fixup' does not fit the net.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"no scheme is called {scheme!r}; there are {', '.join(SCHEMES)}")
    if scheme == "fixup":
        _fixup(model, trace())
        return
    for found in drawable(model, trace()):
        draw(found, scheme)


@torch.no_grad()
def data_driven_init(model: nn.Module, trace: Trace, forward: Forward) -> None:
    """LSUV: orthogonal weights, then each layer scaled to unit output variance on one batch.

    Touches the weights. Mishkin and Matas, "All you need is a good init", ICLR 2016. Layers are
    settled in the order in which they run, in one forward pass; biases become 0. Leaves alone what
    `reinitialise` does.

    Raises:
        NotApplicable: If there is no weight to draw.
    """
    own = set()
    for found in drawable(model, trace()):
        draw(found, "orthogonal")
        own.add(id(found.weight))

    def to_unit_variance(
        weight: torch.Tensor, _: torch.Tensor | None, output: torch.Tensor
    ) -> bool:
        variance = float(output.float().var())
        if id(weight) not in own or not variance > 0 or abs(variance - 1) < 0.01:
            return False
        weight /= math.sqrt(variance)
        return True

    with adjusting(to_unit_variance):
        forward()


def drawable(model: nn.Module, nodes: list[Node], *, zeros: bool = False) -> list[Drawable]:
    """The weights that may be drawn anew, in the order of their first call.

    With `zeros` also those that are zero on purpose.

    Raises:
        NotApplicable: If there are none.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    zero = {name for name, p in parameters.items() if p.dim() > 1 and not p.any() and not zeros}
    trainable = {name for name, p in parameters.items() if p.requires_grad}
    found = []
    for index in selected(nodes, zero=zero, trainable=trainable):
        node, after = nodes[index], follower(nodes, index)
        kind, arguments = ("identity", {}) if after < 0 else _activation(nodes[after])
        gain = required_gain(activation(kind, **arguments))
        weight, bias = parameters[node.weight], parameters.get(node.bias)
        found.append(Drawable(weight, bias, gain, node.fan_in, node.fan_out))
    if not found:
        raise NotApplicable("no linear layer or convolution with weights of its own was called")
    return found


@torch.no_grad()
def _fixup(model: nn.Module, nodes: list[Node]) -> None:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    factors = {nodes[at].weight: factor for at, factor in fixup_factors(nodes).items()}
    if not set(factors) <= set(parameters):
        raise NotApplicable("weights of the branches are computed from others")
    for found in drawable(model, nodes, zeros=True):
        draw(found, "kaiming")
    for name, factor in factors.items():
        parameters[name].mul_(factor)


def _activation(node: Node) -> tuple[str, dict[str, float]]:
    return node.operation, node.arguments


@torch.no_grad()
def draw(found: Drawable, scheme: str) -> None:
    """Fill a weight in place and its bias with 0; draws from torch's global generator."""
    weight, bias, gain, fan_in, fan_out = found
    if bias is not None:
        bias.zero_()
    if scheme == "orthogonal":
        longer = max(weight.shape[0], weight[0].numel())  # an entry has variance 1 / longer
        nn.init.orthogonal_(weight, gain * math.sqrt(longer / fan_in))
        return
    fan = {"kaiming_fan_out": fan_out, "xavier": (fan_in + fan_out) / 2}.get(scheme, fan_in)
    factor = gain if scheme.startswith("kaiming") else 1.0
    nn.init.normal_(weight, std=factor / math.sqrt(fan))

"""Remedies that touch only the weights: new random values of the right scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import nn

from sounding.capture.adjust import adjusting
from sounding.capture.recorder import Node
from sounding.measure.examination import following_activation
from sounding.result import NotApplicable
from sounding.theory.activations import activation
from sounding.theory.initialisation import required_gain

Forward = Callable[[], object]  # runs the model once on a batch
Trace = Callable[[], list[Node]]  # runs it once and returns the executed calls

SCHEMES = ("kaiming", "kaiming_fan_out", "xavier", "lecun", "orthogonal")


@torch.no_grad()
def reinitialise(model: nn.Module, trace: Trace, *, scheme: str = "kaiming") -> None:
    """Draw the weights of every linear layer and convolution anew, in place; biases become 0.

    The gain is that of the activation which follows in the executed graph (functional ones, and
    through residual additions and normalisations), so the signal keeps its second moment.
    Embeddings, attention's own projections, recurrent layers and parametrised weights stay as their authors set
    them, and so do weights that are zero on purpose (a gate or the end of a residual branch).

    Sources: He et al. 2015 (kaiming); Glorot and Bengio 2010 (xavier); LeCun et al. 1998 (lecun);
    Saxe et al. 2014 (orthogonal).

    Raises:
        ValueError: If `scheme` is unknown.
        NotApplicable: If there is no weight to draw.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"no scheme is called {scheme!r}; there are {', '.join(SCHEMES)}")
    found = False
    for weight, bias, gain, fan_in, fan_out in drawable(model, trace()):
        found = True
        draw(weight, scheme, gain, fan_in, fan_out)
        if bias is not None:
            bias.zero_()
    if not found:
        raise NotApplicable("no linear layer or convolution with weights of its own was called")


@torch.no_grad()
def data_driven_init(model: nn.Module, trace: Trace, forward: Forward) -> None:
    """LSUV: orthogonal weights, then each layer scaled to unit output variance on one batch.

    Mishkin and Matas, "All you need is a good init", ICLR 2016. Layers are settled in the order in
    which they run, in one forward pass; biases become 0. Leaves alone what `reinitialise` does.

    Raises:
        NotApplicable: If there is no weight to draw.
    """
    own = {}
    for weight, bias, _, fan_in, fan_out in drawable(model, trace()):
        draw(weight, "orthogonal", 1.0, fan_in, fan_out)
        if bias is not None:
            bias.zero_()
        own[id(weight)] = weight
    if not own:
        raise NotApplicable("no linear layer or convolution with weights of its own was called")

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


def drawable(
    model: nn.Module, nodes: list[Node]
) -> Iterator[tuple[nn.Parameter, nn.Parameter | None, float, float, float]]:
    """(weight, bias, gain, fan_in, fan_out) of each weight that may be drawn anew."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    kept = _kept(model)
    seen: set[str] = set()
    for node in nodes:
        weight = parameters.get(node.weight)
        suited = node.role == "weight" and node.operation in DRAWN and node.weight not in seen
        if weight is None or not suited or node.weight in kept or not weight.requires_grad:
            continue
        seen.add(node.weight)
        follower = following_activation(node, nodes)
        phi = (
            activation(follower.operation, **follower.arguments)
            if follower is not None
            else activation("identity")
        )
        yield weight, parameters.get(node.bias), required_gain(phi), node.fan_in, node.fan_out


DRAWN = ("linear", *(f"conv{t}{d}d" for t in ("", "_transpose") for d in (1, 2, 3)))


def _kept(model: nn.Module) -> set[str]:
    """Weights that are shared with an embedding, or zero while others are not: on purpose."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    tables = {
        id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)
    }
    empty = {name for name, p in parameters.items() if p.dim() > 1 and not p.any()}
    matrices = [name for name, p in parameters.items() if p.dim() > 1]
    on_purpose = empty if len(empty) * 2 <= len(matrices) else set()
    return on_purpose | {name for name, p in parameters.items() if id(p) in tables}


def draw(weight: torch.Tensor, scheme: str, gain: float, fan_in: float, fan_out: float) -> None:
    """Fill `weight` in place; draws from torch's global generator, like torch.nn.init."""
    if scheme == "orthogonal":
        nn.init.orthogonal_(weight, gain * math.sqrt(max(weight.shape[0] / fan_in, 1.0)))
        return
    fan = {"kaiming_fan_out": fan_out, "xavier": (fan_in + fan_out) / 2}.get(scheme, fan_in)
    factor = gain if scheme.startswith("kaiming") else 1.0
    nn.init.normal_(weight, std=factor / math.sqrt(fan))

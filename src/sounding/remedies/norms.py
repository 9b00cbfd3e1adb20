"""Remedies that put normalisations between layers, or others in their place."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import PackedSequence

from sounding.capture.node import Node
from sounding.capture.operations import RECURRENT
from sounding.remedies.calls import hearing
from sounding.remedies.selection import unnormalised
from sounding.remedies.weights import Forward, Trace
from sounding.result import NotApplicable

INSERTED = ("batch", "layer", "group", "instance", "rms", "weight")
KINDS = ("group", "layer", "batch", "instance", "rms")
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
FEWEST = 16  # features that a group holds where there are no positions (Wu and He 2018, table 3)


class Moved(nn.Module):
    """A normalisation whose features stand in another dimension than the input's."""

    def __init__(self, norm: nn.Module, source: int, target: int) -> None:
        super().__init__()
        self.norm, self.source, self.target = norm, source, target

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of the shape of x."""
        return self.norm(x.movedim(self.source, self.target)).movedim(self.target, self.source)


class Normalised(nn.Module):
    """A recurrent layer whose outputs are normalised, its state not."""

    def __init__(self, layer: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.layer, self.norm = layer, norm

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """As the layer's."""
        output, state = self.layer(*args, **kwargs)
        if isinstance(output, PackedSequence):
            return output._replace(data=self.norm(output.data)), state
        return self.norm(output), state


def insert_norm(model: nn.Module, trace: Trace, *, kind: str = "batch") -> None:
    """Put a normalisation behind every layer that an activation follows, in place.

    Touches the architecture. A linear layer or convolution that already has a normalisation between
    it and its activation is left alone. `kind`: 'batch' (Ioffe and Szegedy 2015), 'layer' (Ba et
    al. 2016; behind a recurrent layer of torch's as well), 'group' (Wu and He 2018, at most 32
    groups), 'instance' (both convolutions only), 'rms' (Zhang and Sennrich 2019; features last) or
    'weight' (Salimans and Kingma 2016: direction and length of each unit's weights are trained; the
    function stays the same).

    Raises:
        ValueError: If `kind` is unknown.
        NotApplicable: If there is no such layer, or the kind does not fit one.
    """
    if kind not in INSERTED:
        raise ValueError(f"no normalisation is called {kind!r}; there are {', '.join(INSERTED)}")
    nodes = trace()
    found = {n.module: n for n in nodes if n.role == "weight" and unnormalised(nodes, n.index)}
    if kind in ("layer", "rms"):
        found |= {n.module: n for n in nodes if _bare_recurrent(model, n, nodes)}
    norms: dict[str, Callable[[Any], nn.Module]] = {}
    for name, node in found.items():
        layer = model.get_submodule(name)
        if isinstance(layer, LAYERS) and hasattr(layer, "parametrizations") and kind == "weight":
            continue
        if isinstance(layer, (*LAYERS, nn.RNNBase)):
            norms[name] = _behind(layer, kind, node)
    if not norms:
        raise NotApplicable("no layer is followed by an activation without a normalisation between")
    for name, wrap in norms.items():
        put(model, name, wrap(model.get_submodule(name)))


def exchange_norm(model: nn.Module, forward: Forward, *, to: str = "group") -> None:
    """Every normalisation of another kind becomes one of kind `to`, in place.

    Touches the architecture. For activations of shape (N, C), (N, C, positions) and
    (N, positions, C). Scales and shifts stay the same parameters where their shapes agree; a
    'layer' norm of maps is over channels and positions, as in Wu and He 2018, an 'rms' norm
    of maps over the channels of each position. Without positions a group holds 16 features at
    least.

    Raises:
        ValueError: If `to` is unknown.
        NotApplicable: If there is no such module, or the kind does not fit one.
    """
    if to not in KINDS:
        raise ValueError(f"no normalisation is called {to!r}; there are {', '.join(KINDS)}")
    new = {
        name: _instead(norm, to, shape, name)
        for name, (norm, shape) in _shapes(model, forward).items()
        if _kind(norm) != to
    }
    if not new:
        raise NotApplicable(f"there is no normalisation that could become a {to} norm")
    for name, norm in new.items():
        put(model, name, norm)


def features_norm(kind: str, features: int, shape: tuple[int, ...], *, last: bool) -> nn.Module:
    """A normalisation for activations of this shape, whose features stand last, or second.

    Raises:
        NotApplicable: If there is none of that kind.
    """
    positions = len(shape) - 2
    if kind == "rms" or (kind == "layer" and (last or not positions)):
        norm = nn.RMSNorm(features) if kind == "rms" else nn.LayerNorm(features)
        return norm if last or not positions else Moved(norm, 1, -1)
    if kind in ("batch", "instance") and positions > 3:
        raise NotApplicable(f"no {kind} normalisation fits an activation of shape {shape}")
    if kind == "instance" and not positions:
        raise NotApplicable("an instance normalisation needs positions")
    name = {"batch": "BatchNorm", "instance": "InstanceNorm"}.get(kind, "")
    if kind == "batch":
        norm = getattr(nn, f"{name}{max(positions, 1)}d")(features)
    elif kind == "instance":
        norm = getattr(nn, f"{name}{positions}d")(features, affine=True)
    else:
        most = 1 if kind == "layer" else groups(features, 1 if positions else FEWEST)
        norm = nn.GroupNorm(most, features)
    return Moved(norm, -1, 1) if last and positions else norm


def groups(channels: int, fewest: int = 1) -> int:
    """The largest number of groups, at most 32, that divides the channels; `fewest` in each."""
    most = max(1, min(32, channels // fewest))
    return max(g for g in range(1, most + 1) if channels % g == 0)


def put(model: nn.Module, name: str, module: nn.Module) -> None:
    """`module` takes the place of the one called `name`."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def _behind(layer: Any, kind: str, node: Node) -> Callable[[Any], nn.Module]:
    """What makes of the layer a normalised one.

    Raises:
        NotApplicable: If the kind does not fit.
    """
    if kind == "weight":
        return parametrizations.weight_norm
    norm = _norm(layer, kind, node)
    first = next(layer.parameters())
    norm.to(device=first.device, dtype=first.dtype).train(layer.training)
    if isinstance(layer, nn.RNNBase):
        return lambda layer: Normalised(layer, norm).train(layer.training)
    return lambda layer: nn.Sequential(layer, norm).train(layer.training)


def _norm(layer: Any, kind: str, node: Node) -> nn.Module:
    if isinstance(layer, nn.RNNBase):
        width = (layer.proj_size or layer.hidden_size) * (1 + layer.bidirectional)
        return features_norm(kind, width, (1, 1, width), last=True)
    if isinstance(layer, nn.Linear):
        flat = node.output is None or node.output.features == layer.out_features
        if kind in ("layer", "rms") or (kind == "batch" and flat):
            return features_norm(kind, layer.out_features, (1, layer.out_features), last=True)
        raise NotApplicable(f"no {kind} normalisation fits {node.name}; use kind='layer'")
    if kind == "rms":
        raise NotApplicable(f"no rms normalisation fits {node.name}; use kind='group'")
    channels, positions = layer.out_channels, len(layer.kernel_size)
    return features_norm(kind, channels, (1, channels, *[1] * positions), last=False)


def _bare_recurrent(model: nn.Module, node: Node, nodes: list[Node]) -> bool:
    if node.operation not in RECURRENT or not node.module:
        return False
    module = model.get_submodule(node.module)
    following = [nodes[index].role for index in node.consumers]
    return isinstance(module, nn.RNNBase) and "normalisation" not in following


def _shapes(model: nn.Module, forward: Forward) -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """The normalisations that are called, with the shape of what they are given."""
    norms: dict[nn.Module, str]
    norms = {m: name for name, m in model.named_modules() if isinstance(m, NORMS) and name}
    found: dict[str, tuple[nn.Module, tuple[int, ...]]] = {}

    def hear(norm: nn.Module, args: Any, _: Any) -> None:
        found[norms[norm]] = (norm, tuple(args[0].shape))

    hearing(norms, hear, forward)
    return found


def _kind(norm: nn.Module) -> str:
    if isinstance(norm, nn.GroupNorm):
        return "layer" if norm.num_groups == 1 else "group"
    names = ((_BatchNorm, "batch"), (_InstanceNorm, "instance"), (nn.LayerNorm, "layer"))
    return next((name for kind, name in names if isinstance(norm, kind)), "rms")


def _instead(old: Any, to: str, shape: tuple[int, ...], name: str) -> nn.Module:
    last = isinstance(old, nn.LayerNorm | nn.RMSNorm) and len(old.normalized_shape) == 1
    features = shape[-1] if last else shape[1]
    try:
        new = features_norm(to, features, shape, last=last)
    except NotApplicable as reason:
        raise NotApplicable(f"{name}: {reason}") from None
    place = next(chain(old.parameters(), old.buffers()), torch.zeros(0))
    new.to(device=place.device, dtype=place.dtype).train(old.training)
    inner: Any = new.norm if isinstance(new, Moved) else new
    for key in ("weight", "bias"):
        kept, made = getattr(old, key, None), getattr(inner, key, None)
        if kept is not None and made is not None and kept.shape == made.shape:
            setattr(inner, key, kept)
    return new

"""A private copy of a model that computes the same loss in less time, for the points of a plane.

What is saved: a batch norm with fixed statistics becomes part of the convolution before it;
convolutions work in channels-last layout; few samples at a time stay in the cache; and layers that
see the data alone are computed once for the whole plane (`prelude.py`).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map

from sounding.curvature.pieces import Piece
from sounding.curvature.setting import samples, sliced
from sounding.landscape.ground import Call, Ground, check_value, seed_passes, weighted
from sounding.landscape.prelude import combine, first_layers

CONVOLUTIONS = {nn.Conv1d: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d, nn.Conv3d: nn.BatchNorm3d}


class Folded:
    """The loss by a copy of the model whose weights are written at every point."""

    def __init__(
        self,
        ground: Ground,
        centre: torch.Tensor,
        directions: torch.Tensor,
        chunk: int | None,
    ) -> None:
        """Copy and fold the model; `chunk` samples go through at once, None for whole batches.

        Raises:
            Exception: Whatever copying or tracing a foreign module raises.
        """
        self.ground = ground
        self.model = copy.deepcopy(ground.model)
        self.traced, self.pairs, first = _traced(self.model)
        flat = any(isinstance(m, nn.Conv2d) for m in self.model.modules())
        self.format = torch.channels_last if flat else torch.contiguous_format
        if flat:
            self.traced.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.caller = Call(self.traced, ground.objective)
        self.targets = [_found(self.model, name).detach() for name in ground.names]
        self.parts = [p for part in ground.parts for p in _chunks(part, chunk)]
        self.parts = [Piece(_laid_out(p.batch, flat), p.weight) for p in self.parts]
        batches = [part.batch for part in self.parts]
        with torch.no_grad():
            self.combined = combine(ground, self.traced, first, batches, [centre, *directions])

    def loss(self, vector: torch.Tensor, coordinates: Sequence[float]) -> torch.Tensor:
        """() the loss at `vector`, whose coordinates on the plane are these; as `Ground.loss`."""
        self._write(vector)
        for one in self.combined:
            one.coordinates = coordinates
        if self.ground.draws:
            seed_passes(self.ground.seed)
        return weighted(self.parts, map(self._value, range(len(self.parts))))

    def losses(self, vectors: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
        """(P, n), (P, d) -> (P,) the same for many points as one program; without folded norms."""
        return torch.vmap(self._one, randomness="same")(vectors, coordinates)

    def _one(self, vector: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
        for one in self.combined:
            one.coordinates = coordinates
        there = {f"model.{name}" for name, _ in self.traced.named_parameters()}
        given = {k: v for k, v in self.ground.tensors(vector).items() if k in there}
        seed_passes(self.ground.seed)
        count = range(len(self.parts))
        return weighted(self.parts, (self._value(part, given) for part in count))

    def _value(self, part: int, given: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
        """The loss of one part, by the weights in the copy, or by given ones."""
        for one in self.combined:
            one.part = part
        batch = self.parts[part].batch
        if given is None:
            return check_value(self.ground.objective(self.traced, batch))
        return check_value(functional_call(self.caller, given, (batch,)))

    def _write(self, vector: torch.Tensor) -> None:
        for target, value in zip(self.targets, self.ground.layout.split(vector), strict=True):
            target.copy_(value)
        for conv, norm, weight, bias in self.pairs.values():
            _absorb(conv, norm, weight, bias)


Pair = tuple[nn.Module, nn.Module, torch.Tensor, torch.Tensor | None]


def _found(model: nn.Module, name: str) -> torch.Tensor:
    module, _, leaf = name.rpartition(".")
    return getattr(model.get_submodule(module), leaf)


def _traced(model: nn.Module) -> tuple[nn.Module, dict[str, Pair], list[str]]:
    """The model ready to be written: without foldable norms, and which layers see the data alone.

    Where its graph cannot be read it is used as it is.
    """
    try:
        traced = fx.symbolic_trace(model)
    except Exception:  # tracing runs the model's own code
        return model, {}, []
    modules = dict(model.named_modules())
    pairs = _pairs(traced.graph, modules)
    _fuse(traced, pairs)
    fused = {n for n, m in modules.items() for conv, *_ in pairs.values() if m is conv}
    first = [name for name in first_layers(traced.graph, modules) if name not in fused]
    if not pairs and not first:
        return model, {}, []
    for name, (conv, norm, weight, bias) in pairs.items():
        target = next(n for n in fused if modules[n] is conv)
        pairs[name] = (traced.get_submodule(target), norm, weight, bias)
    return traced, pairs, first


def _pairs(graph: fx.Graph, modules: dict[str, nn.Module]) -> dict[str, Pair]:
    """Convolutions with the batch norm that alone reads them, by the norm's name.

    The weight and bias as they are without the norm stay in the pair.
    """
    calls = [n for n in graph.nodes if n.op == "call_module"]
    once = {n.target for n in calls if sum(m.target == n.target for m in calls) == 1}
    pairs: dict[str, Pair] = {}
    for node in calls:
        norm, source = modules[str(node.target)], node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        conv: Any = modules[str(source.target)]
        fits = CONVOLUTIONS.get(type(conv)) is type(norm)
        if fits and {node.target, source.target} <= once and _fixed(norm):
            pairs[str(node.target)] = (conv, norm, conv.weight, conv.bias)
    return pairs


def _fixed(norm: nn.Module) -> bool:
    return not norm.training and norm.running_mean is not None


def _fuse(traced: fx.GraphModule, pairs: dict[str, Pair]) -> None:
    """Take these norms out of the graph, and give each convolution weights of its own."""
    for node in list(traced.graph.nodes):
        if node.op == "call_module" and str(node.target) in pairs:
            source = node.args[0]
            conv, norm, weight, _ = pairs[str(node.target)]
            fused: Any = copy.copy(conv)  # shares nothing that is written
            fused._parameters = dict(conv._parameters)
            fused.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
            fused.bias = nn.Parameter(torch.zeros_like(norm.running_mean), requires_grad=False)  # type: ignore[arg-type]
            traced.set_submodule(str(source.target), fused)
            node.replace_all_uses_with(source)
            traced.graph.erase_node(node)
    traced.recompile()


def _absorb(conv: Any, norm: Any, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Write the weight and bias of 'norm after convolution' into `conv`."""
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    if norm.bias is not None:
        shift = shift + norm.bias
    if bias is not None:
        shift = shift + bias * scale
    conv.weight.data.copy_(weight * scale.view(-1, *[1] * (weight.ndim - 1)))
    conv.bias.data.copy_(shift)


def _chunks(part: Piece, size: int | None) -> list[Piece]:
    """The batch in pieces of about `size` samples, with the weights of a mean."""
    count = samples(part.batch)
    if size is None or count is None or count <= size:
        return [part]
    pieces = []
    for i in range(0, count, size):
        n = min(size, count - i)
        pieces.append(Piece(sliced(part.batch, i, i + n), part.weight * n / count))
    return pieces


def _laid_out(batch: Any, flat: bool) -> Any:
    """The batch with its images in channels-last layout."""

    def convert(value: Any) -> Any:
        if flat and isinstance(value, torch.Tensor) and value.ndim == 4:
            return value.contiguous(memory_format=torch.channels_last)
        return value

    return tree_map(convert, batch)

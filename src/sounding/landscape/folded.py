"""A private copy of a model that computes the same loss in less time, for the points of a plane.

What is saved: a batch norm with fixed statistics becomes part of the convolution before it;
convolutions work in channels-last layout; and few samples at a time stay in the cache.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx, nn
from torch.utils._pytree import tree_map

from sounding.curvature.pieces import Piece
from sounding.curvature.setting import samples, sliced
from sounding.landscape.ground import Ground, check_value, seed_passes

CONVOLUTIONS = {nn.Conv1d: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d, nn.Conv3d: nn.BatchNorm3d}


class Folded:
    """The loss by a copy of the model whose weights are written at every point."""

    def __init__(self, ground: Ground, chunk: int | None) -> None:
        """Copy and fold the model; `chunk` samples go through at once, None for whole batches.

        Raises:
            Exception: Whatever copying or tracing a foreign module raises.
        """
        self.ground = ground
        self.model = copy.deepcopy(ground.model)
        self.pairs = _fold(self.model)
        self.traced: nn.Module = self.model
        if self.pairs:
            self.traced = _retraced(self.model, self.pairs)
        flat = any(isinstance(m, nn.Conv2d) for m in self.model.modules())
        self.format = torch.channels_last if flat else torch.contiguous_format
        if flat:
            self.traced.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.targets = {n: _found(self.model, n) for n in ground.names}
        self.parts = [p for part in ground.parts for p in _chunks(part, chunk)]
        self.parts = [Piece(_laid_out(p.batch, flat), p.weight) for p in self.parts]

    def loss(self, vector: torch.Tensor) -> torch.Tensor:
        """() the loss at `vector`, as of `Ground.loss`."""
        self._write(vector)
        total = torch.zeros((), dtype=torch.float64, device=vector.device)
        seed_passes(self.ground.seed)
        for part in self.parts:
            value = self.ground.objective(self.traced, part.batch)
            total = total + part.weight * check_value(value).reshape(()).double()
        return total

    def _write(self, vector: torch.Tensor) -> None:
        for target, value in zip(
            self.targets.values(), self.ground.layout.split(vector), strict=True
        ):
            target.data.copy_(value)
        for conv, norm, weight, bias in self.pairs.values():
            _absorb(conv, norm, weight, bias)


Pair = tuple[nn.Module, nn.Module, torch.Tensor, torch.Tensor | None]


def _found(model: nn.Module, name: str) -> torch.Tensor:
    module, _, leaf = name.rpartition(".")
    return getattr(model.get_submodule(module), leaf)


def _fold(model: nn.Module) -> dict[str, Pair]:
    """Convolutions with the batch norm that alone reads them, by the norm's name; {} without any.

    The convolution as it was stays in the pair: `_absorb` writes the fused weight.
    """
    if not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        return {}
    graph, modules = fx.Tracer().trace(model), dict(model.named_modules())
    calls = [n for n in graph.nodes if n.op == "call_module"]
    once = {n.target for n in calls if sum(m.target == n.target for m in calls) == 1}
    pairs: dict[str, Pair] = {}
    for node in calls:
        norm, source = modules[str(node.target)], node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) > 1:
            continue
        conv = modules[str(source.target)]
        fits = CONVOLUTIONS.get(type(conv)) is type(norm)  # type: ignore[call-overload]
        if fits and {node.target, source.target} <= once and _fixed(norm):
            pairs[str(node.target)] = (conv, norm, conv.weight, conv.bias)  # type: ignore[arg-type]
    return pairs


def _fixed(norm: nn.Module) -> bool:
    return not norm.training and norm.running_mean is not None


def _retraced(model: nn.Module, pairs: dict[str, Pair]) -> fx.GraphModule:
    """The model without these norms, on convolutions of its own."""
    traced = fx.symbolic_trace(model)
    for node in list(traced.graph.nodes):
        if node.op == "call_module" and str(node.target) in pairs:
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    for name, (conv, norm, weight, bias) in pairs.items():
        fused = copy.copy(conv)  # shares nothing that is written
        fused._parameters = dict(conv._parameters)
        fused.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
        fused.bias = nn.Parameter(torch.zeros_like(norm.running_mean), requires_grad=False)  # type: ignore[arg-type]
        target = next(n for n, m in model.named_modules() if m is conv)
        traced.set_submodule(target, fused)
        pairs[name] = (fused, norm, weight, bias)
    traced.recompile()
    return traced


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

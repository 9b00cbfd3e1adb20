"""Parameters that FSDP2 has sharded: the part of a vector that a rank holds, and the whole of it.

Letters: k vectors; w numbers of each on this rank, n in all; R ranks that hold them together.
"""

from __future__ import annotations

import contextlib
import sys
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from sounding.curvature.ranks import Ranks
from sounding.vectors import Layout, local

FSDP = "torch.distributed.fsdp"  # looked up, never imported: who has no such model pays nothing

# torch 2.13 has renamed them, and warns of the old names
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


class Shards:
    """How the ranks hold some parameters of an FSDP2 model.

    Attributes:
        ranks: All that share the model, each with batches of its own.
        parts: Those among them that hold one copy of the parameters together.
        place: Which part this rank holds.
        device: Where passes run; the shards may lie on the host.
    """

    def __init__(self, names: dict[str, nn.Parameter]) -> None:
        """`names` are parameters of a model that has a mesh."""
        plain = [name for name, p in names.items() if not is_sharded(p)]
        if plain:
            raise ValueError(
                f"{plain[0]} is not sharded, but others are; call fully_shard on the whole model "
                "as well, or leave it out with parameters=..."
            )
        first: Any = next(iter(names.values()))
        mesh, last = first.device_mesh, first.device_mesh.ndim - 1
        self._group = mesh.get_group(last)
        self._replicas = Ranks(*(mesh.get_group(i) for i in range(last)))
        self.ranks = Ranks(*(mesh.get_group(i) for i in range(last + 1)))
        self.parts = Ranks(self._group)
        self.place = mesh.get_local_rank(last)
        self.device = _passes_on(mesh)
        tensors: list[Any] = list(names.values())
        self._dims = [p.placements[last].dim for p in tensors]
        shapes = {name: torch.empty(p.shape, device="meta") for name, p in names.items()}
        self._whole = Layout(shapes)
        chunked = self._deal(list(shapes.values()), ahead=0)
        self._layouts = [Layout(dict(zip(names, held, strict=True))) for held in chunked]
        self._most = max(layout.size for layout in self._layouts)

    @property
    def size(self) -> int:
        """Numbers of a whole vector, n."""
        return self._whole.size

    def whole(self, block: torch.Tensor) -> torch.Tensor:
        """(k, w) -> (k, n): every rank gets the whole vectors; one all-gather."""
        k, width = block.shape
        own = torch.zeros(k, self._most, dtype=block.dtype, device=self.device)
        own[:, :width] = block
        every = own.new_empty(len(self._layouts), k, self._most)
        _all_gather(every.view(-1), own.view(-1), group=self._group)
        held = [
            layout.split(rows[:, : layout.size])
            for layout, rows in zip(self._layouts, every, strict=True)
        ]
        joined = [
            torch.cat(chunks, dim=1 + dim)
            for chunks, dim in zip(zip(*held, strict=True), self._dims, strict=True)
        ]
        return self._whole.join(joined, ahead=1)

    def summed(self, block: torch.Tensor) -> torch.Tensor:
        """(k, n) -> (k, w): this rank's part of the sum over all ranks; one reduce-scatter."""
        every = block.new_zeros(len(self._layouts), len(block), self._most)
        chunked = self._deal(self._whole.split(block), ahead=1)
        for rows, layout, held in zip(every, self._layouts, chunked, strict=True):
            rows[:, : layout.size] = layout.join(held, ahead=1)
        own = torch.empty_like(every[0])
        _reduce_scatter(own.view(-1), every.view(-1), group=self._group)
        return self._replicas.add(own[:, : self._layouts[self.place].size].contiguous())

    def _deal(self, tensors: list[torch.Tensor], *, ahead: int) -> list[tuple[torch.Tensor, ...]]:
        """What each rank gets of whole tensors; `ahead` counts the dimensions in front."""
        count = self._group.size()
        dims = [ahead + dim for dim in self._dims]
        return list(zip(*map(lambda t, dim: _dealt(t, count, dim), tensors, dims), strict=True))


@contextlib.contextmanager
def moved_shards(
    parameters: list[nn.Parameter], parts: list[torch.Tensor], by: float
) -> Iterator[None]:
    """Sharded parameters moved by a multiple of `parts`; given back to the bit.

    In place, as FSDP2 gathers from the same memory; `.data`, so that no version counts it.
    """
    before = [local(p).detach().clone() for p in parameters]
    try:
        for p, part in zip(parameters, parts, strict=True):
            local(p).data.add_(part.to(p.dtype), alpha=by)
        yield
    finally:
        for p, data in zip(parameters, before, strict=True):
            local(p).data.copy_(data)


# -- what FSDP2 has done to a model ---------------------------------------------------------


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether the ranks hold parts of it (or each the whole) as a DTensor."""
    return hasattr(tensor, "device_mesh")


def mesh_groups(model: nn.Module) -> tuple[dist.ProcessGroup, ...] | None:
    """The groups of processes over which FSDP2 has sharded `model`; None if it has not.

    Raises:
        ValueError: If it was made parallel in a way that is not supported.
    """
    _refuse_flat(model)
    sharded: list[Any] = [p for p in model.parameters() if is_sharded(p)]
    if not sharded:
        return None
    mesh = sharded[0].device_mesh
    once = mesh.ndim <= 2 and all(
        p.device_mesh == mesh
        and p.placements[-1].is_shard()
        and all(placement.is_replicate() for placement in p.placements[:-1])
        for p in sharded
    )
    if not once or not any(True for _ in _modules(model)):
        raise ValueError(
            "the model's parameters are spread in another way than by fully_shard over one mesh "
            "(tensor parallel, perhaps); measure it on one device, or sharded by fully_shard alone"
        )
    return tuple(mesh.get_group(i) for i in range(mesh.ndim))


def resharded(model: nn.Module) -> None:
    """Shard again what a forward pass without a backward has left whole."""
    for module in _modules(model):
        module.reshard()


@contextlib.contextmanager
def passes(model: nn.Module) -> Iterator[None]:
    """Forward and backward passes of a sharded model; it is sharded again afterwards."""
    try:
        yield
    except BaseException:  # a pass that broke off leaves traces; torch clears them since 2.13
        reset: Any = getattr(model, "reset_iter_state", None)
        with contextlib.suppress(RuntimeError):
            if reset is not None:
                reset()
        raise
    finally:
        resharded(model)


@torch.no_grad()
def whole_parameters(model: nn.Module, device: torch.device) -> dict[nn.Parameter, nn.Parameter]:
    """The whole of each sharded parameter, gathered on every rank."""
    from torch.distributed.tensor import DTensor

    found = {}
    for p in model.parameters():
        if isinstance(p, DTensor):
            here: Any = p.to_local().to(device)
            spread = DTensor.from_local(
                here, p.device_mesh, p.placements, shape=p.shape, stride=p.stride()
            )
            found[p] = nn.Parameter(spread.full_tensor(), requires_grad=p.requires_grad)
    return found


@contextlib.contextmanager
def unsharded(model: nn.Module, whole: dict[nn.Parameter, nn.Parameter]) -> Iterator[None]:
    """`model` as if it had never been sharded, with whole parameters and without FSDP2's hooks.

    To be used inside `given_back`, which puts the hooks and the sharded parameters back.
    """
    classes = [(module, type(module)) for module in _modules(model)]
    try:
        for module, sharded in classes:
            module.__class__ = sharded.__bases__[1]
        for module in model.modules():
            _unhook(module)
            for name, p in module._parameters.items():
                if p is not None:
                    module._parameters[name] = whole.get(p, p)
        for p in whole.values():
            p.grad = None
        yield
    finally:
        for module, sharded in classes:
            module.__class__ = sharded


def _unhook(module: nn.Module) -> None:
    """Without FSDP2's hooks and state; other hooks stay."""
    for key, value in list(module.__dict__.items()):
        if key.startswith("__composable_api_state_key"):
            del module.__dict__[key]
        elif isinstance(value, dict) and key.endswith("_hooks"):
            kept = {i: hook for i, hook in value.items() if not _is_fsdp(hook)}
            if len(kept) < len(value):
                module.__dict__[key] = OrderedDict(kept)


def _is_fsdp(hook: Any) -> bool:
    return getattr(getattr(hook, "hook", hook), "__module__", "").startswith(FSDP)


def _modules(model: nn.Module) -> Iterator[Any]:
    """Those that fully_shard was called on."""
    kind = getattr(sys.modules.get(FSDP), "FSDPModule", None)
    if kind is not None and isinstance(model, nn.Module):
        yield from (module for module in model.modules() if isinstance(module, kind))


def _refuse_flat(model: nn.Module) -> None:
    kind = getattr(sys.modules.get(FSDP), "FullyShardedDataParallel", None)
    if kind is not None and any(isinstance(module, kind) for module in model.modules()):
        raise ValueError(
            "FullyShardedDataParallel keeps flat parameters, of which no curvature can be measured "
            "here; shard the model with torch.distributed.fsdp.fully_shard"
        )


def _passes_on(mesh: Any) -> torch.device:
    if mesh.device_type == "cpu":
        return torch.device("cpu")
    return torch.device(
        mesh.device_type, torch.get_device_module(mesh.device_type).current_device()
    )


def _dealt(tensor: torch.Tensor, count: int, dim: int) -> list[torch.Tensor]:
    """A chunk for each rank, as FSDP2 deals a parameter out: the last ones may get nothing."""
    chunks = list(tensor.chunk(count, dim=dim))
    return chunks + [tensor.narrow(dim, 0, 0)] * (count - len(chunks))

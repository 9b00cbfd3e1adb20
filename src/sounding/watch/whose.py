"""Whose parameters an optimiser holds, and which model is the user's own inside its wrappers."""

from __future__ import annotations

from torch import nn
from torch.optim import Optimizer


def own(optimizer: Optimizer) -> list[int]:
    """The identities of its parameters."""
    return [id(p) for group in optimizer.param_groups for p in group["params"]]


def holds(optimizer: Optimizer, model: nn.Module) -> bool:
    """Whether the optimiser has a parameter of the model."""
    return not {id(p) for p in model.parameters()}.isdisjoint(own(optimizer))


def unwrapped(model: nn.Module) -> nn.Module:
    """The user's own model inside the wrappers of torch.compile and of data parallelism."""
    inner = getattr(model, "_orig_mod", None)
    if inner is None and type(model).__name__ in ("DataParallel", "DistributedDataParallel"):
        inner = getattr(model, "module", None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else model


def parallel(model: nn.Module) -> str:
    """How the model is spread over processes: 'DistributedDataParallel', 'FSDP' or ''."""
    names = [kind.__name__ for kind in type(model).__mro__]
    if "DistributedDataParallel" in names:
        return "DistributedDataParallel"
    return "FSDP" if {"FSDPModule", "FullyShardedDataParallel"} & set(names) else ""

"""Which processes share a model: those of DistributedDataParallel, of FSDP2, or of a group."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn

from sounding.curvature.ranks import Ranks
from sounding.curvature.shards import mesh_groups, resharded

SAMPLED = 16  # numbers of each tensor that are compared between the ranks
SAME = 1e-3  # relative: replicas that were trained together differ by rounding at most


def unwrapped(model: nn.Module) -> nn.Module:
    """The module itself, behind torch.compile and DistributedDataParallel."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif "_orig_mod" in getattr(model, "_modules", {}):
            model = model.get_submodule("_orig_mod")
        else:
            return model


def ranks_of(model: nn.Module, group: dist.ProcessGroup | None = None) -> Ranks:
    """The ranks that hold `model` and measure it together, each on batches of its own.

    Raises:
        TypeError: If `group` is no process group, or this process is not in it.
        ValueError: If `group` is given for a model that FSDP2 has sharded, or a layer of the model
            waits for other ranks.
    """
    ranks = _ranks(model, group)
    if (
        ranks.count > 1
        and isinstance(model, nn.Module)
        and any(
            isinstance(module, nn.SyncBatchNorm) and module.training for module in model.modules()
        )
    ):
        raise ValueError(
            "SyncBatchNorm in training mode has no second derivative, and its ranks would wait for "
            "one another; call model.eval()"
        )
    return ranks


def _ranks(model: nn.Module, group: dist.ProcessGroup | None) -> Ranks:
    inner = unwrapped(model)
    resharded(inner)
    groups = mesh_groups(inner)
    if groups is not None:
        if group is not None:
            raise ValueError(
                "the model is sharded, so its ranks are those of its mesh; leave group out"
            )
        return Ranks(*groups)
    wrapper = getattr(model, "_orig_mod", model)
    if group is None and isinstance(wrapper, nn.parallel.DistributedDataParallel):
        group = wrapper.process_group
    if group is None:
        return Ranks()
    if not isinstance(group, dist.ProcessGroup):
        raise TypeError(
            f"group is a {type(group).__name__}; pass torch.distributed.group.WORLD, or one from "
            "torch.distributed.new_group that this process belongs to"
        )
    return Ranks(group)


def check_replicas(ranks: Ranks, model: nn.Module) -> tuple[str, ...]:
    """What there is to say of differences between the ranks' copies of `model`.

    Raises:
        ValueError: If their parameters differ.
    """
    if ranks.count == 1:
        return ()
    parameters = ranks.gathered(_sample(list(model.parameters())))
    buffers = ranks.gathered(_sample(list(model.buffers())))
    for rank, other in enumerate(parameters):
        if not _alike(parameters[0], other):
            raise ValueError(
                f"rank {rank} holds other parameters than rank 0; load or broadcast the same ones "
                "(DistributedDataParallel does)"
            )
    if model.training or all(_alike(buffers[0], other) for other in buffers):
        return ()
    return ("buffers (running statistics) differ between ranks: each rank uses its own",)


def _sample(tensors: list[torch.Tensor]) -> list[list[float]]:
    """The first few numbers of each tensor."""
    if not tensors:
        return []
    with torch.no_grad():
        rows = [t.reshape(-1)[:SAMPLED].double().cpu() for t in tensors]
    return [row.tolist() for row in rows]


def _alike(one: list[list[float]], other: list[list[float]]) -> bool:
    if [len(row) for row in one] != [len(row) for row in other]:
        return False
    return all(
        torch.allclose(torch.tensor(a), torch.tensor(b), rtol=SAME, atol=1e-6, equal_nan=True)
        for a, b in zip(one, other, strict=True)
    )

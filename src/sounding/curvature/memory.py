"""How much memory there is, and how much a graph needs."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from sounding.curvature.products import saved_bytes
from sounding.curvature.setting import SLICE, Subject, samples, sliced
from sounding.objective import Batch

SHARE = 0.5  # of the free memory that graphs may fill unless told otherwise


def free_bytes(device: torch.device) -> float:
    """Memory that can still be had on the device; infinity where the system does not tell.

    Processes that torchrun has started on one host share its memory.
    """
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return _free_on_host() / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _free_on_host() -> float:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return float(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):
        return float("inf")


def advice(subject: Subject, batch: Batch, budget: float) -> str:
    """What would fit into `budget`, from the graph of a few samples."""
    size, few = samples(batch), sliced(batch, 0, SLICE)
    if size is None or few is None:
        return "pass smaller batches, or a larger memory="
    with subject.prepared(), saved_bytes(subject, float("inf")) as held:
        torch.autograd.grad(subject.loss(few), subject.parameters, create_graph=True,
                            materialize_grads=True)  # fmt: skip
    each = held[0] / min(SLICE, size)
    fits = int(budget / each)
    if fits < 1:
        return f"one sample needs {readable(each)}, so raise memory= to that at least"
    return f"micro_batch={fits} would fit, or memory={size * each:.0f} for the whole batch"


def readable(size: float) -> str:
    """Bytes in words: '1.5 GB'."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"

"""The batches of an operator, cut to fit, with the weight that each has in the whole loss."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from sounding.curvature.ranks import Ranks
from sounding.curvature.setting import Subject, samples, sliced
from sounding.objective import Batch
from sounding.train.batches import check_batches, is_data_set

SAME = 1e-3  # relative: parts that do not add up to the whole miss by far more


@dataclasses.dataclass(frozen=True)
class Piece:
    """A batch, or a part of one."""

    batch: Batch
    weight: float  # of its loss in the whole


def pieces(batches: Any, *, micro_batch: int | None, reduction: str) -> list[Piece]:
    """Batches with weights: by samples for a loss that is a mean ('mean'), one each for a 'sum'.

    Args:
        batches: As for :func:`listed`.
        micro_batch: Samples in a part, None for whole batches.
        reduction: What the loss does over the samples of a batch.

    Raises:
        ValueError: If there is no batch, or it cannot be cut.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}; it is 'mean' or 'sum', as the loss does it")
    every = listed(batches)
    sizes = [samples(batch) or 1 for batch in every]
    total = sum(sizes)
    found: list[Piece] = []
    for batch, size in zip(every, sizes, strict=True):
        share = size / total if reduction == "mean" else 1.0
        parts = [batch] if micro_batch is None else _cut(batch, micro_batch)
        for part in parts:
            inner = (samples(part) or 1) / size if reduction == "mean" else 1.0
            found.append(Piece(part, share * (inner if len(parts) > 1 else 1.0)))
    return found


def listed(batches: Any) -> list[Batch]:
    """A pair of tensors is one batch; anything else that can be iterated over, several.

    Raises:
        ValueError: If there is none.
    """
    check_batches(batches)
    every = [batches] if is_data_set(batches) or _is_pair(batches) else list(batches)
    if not every:
        raise ValueError("batches is empty; pass at least one")
    return every


def read_again(batches: Any, first: Batch) -> str:
    """A sentence where another reading of the batches begins with others than `first`; else ''."""
    if isinstance(batches, list | tuple) or _same(first, next(iter(batches))):
        return ""
    return (
        "the loader gives other batches each time it is read (it shuffles or augments); every "
        "point was measured on those of one reading"
    )


def _same(one: Any, other: Any) -> bool:
    """Whether two batches hold the same numbers; foreign things count as the same."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.shape == other.shape
        return same and bool(((one == other) | ((one != one) & (other != other))).all())
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return True


def shared(
    parts: list[Piece], ranks: Ranks, reduction: str, *, evenly: bool = False
) -> list[Piece]:
    """The same with their weights in the loss of all ranks.

    With `evenly` there are as many on every rank: some are repeated, without weight.
    """
    own = sum(samples(part.batch) or 1 for part in parts)
    every = ranks.gathered((own, len(parts)))
    share = own / sum(count for count, _ in every) if reduction == "mean" else 1.0
    found = [dataclasses.replace(part, weight=part.weight * share) for part in parts]
    missing = max(count for _, count in every) - len(parts) if evenly else 0
    return found + [dataclasses.replace(parts[0], weight=0.0)] * missing


def _is_pair(batches: Any) -> bool:
    """One batch (inputs, target) whose inputs are several tensors."""
    return (
        isinstance(batches, tuple | list)
        and len(batches) == 2
        and isinstance(batches[0], tuple | list | dict)
        and isinstance(batches[1], torch.Tensor)
    )


def _cut(batch: Batch, size: int) -> list[Batch]:
    count = samples(batch)
    if count is None:
        raise ValueError(
            "micro_batch needs batches that are pairs (input, target) with the samples along the "
            "first dimension; cut these batches yourself and pass a list of them"
        )
    if size < 1:
        raise ValueError(f"micro_batch is {size}; it is a number of samples, 1 at least")
    return [sliced(batch, i, min(i + size, count)) for i in range(0, count, size)]


def check_parts(
    subject: Subject, whole: Batch, micro_batch: int, reduction: str, *, passes: int = 0
) -> None:
    """The losses of the parts of a batch add up to the loss of the whole.

    `passes` are made at least, where every rank has to make as many.

    Raises:
        ValueError: If not.
    """
    parts = _cut(whole, micro_batch)
    with subject.prepared():
        at_once = float(subject.loss(whole).detach())
    count, total = samples(whole) or 1, 0.0
    idle = [parts[0]] * (passes - len(parts))
    for i, part in enumerate(parts + idle):
        with subject.prepared():
            share = (samples(part) or 1) / count if reduction == "mean" else 1.0
            total += share * float(subject.loss(part).detach()) * (i < len(parts))
    if abs(total - at_once) > SAME * max(abs(at_once), 1e-6):
        raise ValueError(
            f"the loss of the parts adds up to {total:.6g}, that of the whole batch is "
            f"{at_once:.6g}: the samples are not independent (batch norm in training mode, "
            "dropout), or the loss is no plain mean or sum; call model.eval(), set reduction, or "
            "leave micro_batch out"
        )

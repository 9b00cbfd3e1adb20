"""Matrices of a model that FSDP2 has sharded, as Operators on sharded vectors.

Two ways. On whole parameters, gathered on every rank: as exact as that of any other model, and the
vectors of a search stay sharded. Where whole parameters do not fit, for the Hessian alone:
differences of the gradient.
"""

from __future__ import annotations

from typing import Any

import torch

from sounding.curvature.differences import UNCHECKED, accuracy, check_gradient, over_shards
from sounding.curvature.memory import readable
from sounding.curvature.operator import Operator
from sounding.curvature.pieces import Piece, check_parts, shared
from sounding.curvature.products import METHODS, Product
from sounding.curvature.setting import Subject
from sounding.curvature.shards import Shards
from sounding.objective import Batch
from sounding.vectors import normal

WHOLE = 3  # whole vectors beside the parameters: a vector, its product, the gradient


def fits_whole(subject: Subject, budget: float, *, needed_by: str = "") -> bool:
    """Whether whole parameters fit into the budget of every rank; the same answer on all.

    Raises:
        ValueError: If they do not, and something needs them, which is named.
    """
    shards = _shards(subject)
    own = sum(p.numel() * p.element_size() for p in subject.model.parameters())
    need = own + WHOLE * shards.size * subject.dtype.itemsize
    fits = not shards.ranks.largest(float(need > budget), shards.device)
    if not fits and needed_by:
        raise ValueError(
            f"{needed_by} needs whole parameters and vectors on each rank, {readable(need)}, which "
            f"is more than the {readable(budget)} it may take; pass memory={need:.0f} or more, or "
            "use sounding.hessian with method='difference', for which nothing is whole"
        )
    return fits


def on_whole(
    subject: Subject,
    gathered: Subject,
    product: Product,
    *,
    name: str,
    method: str,
    notes: tuple[str, ...],
) -> Operator:
    """`product` multiplies whole vectors by the rank's share of a sum; `gathered` made it."""
    shards = _shards(subject)

    def apply(block: torch.Tensor) -> torch.Tensor:
        return shards.summed(product(shards.whole(block))).to(block.device)

    return _operator(subject, apply, name, f"{method}, on whole parameters", notes)


def by_differences(
    subject: Subject,
    first: Batch,
    parts: list[Piece],
    micro_batch: int | None,
    reduction: str,
    *,
    check: bool,
) -> Operator:
    """Two plain gradients a product, and nothing that is whole; `first` is the first batch.

    Raises:
        ValueError: If differences are no way to get products here.
    """
    shards = _shards(subject)
    if micro_batch is not None:
        passes = int(shards.ranks.largest(len(parts), shards.device))
        with shards.ranks.together():
            check_parts(subject, first, micro_batch, reduction, passes=passes)
    parts = shared(parts, shards.ranks, reduction, evenly=True)
    step = UNCHECKED.get(subject.dtype, UNCHECKED[torch.float32])
    note = "not checked"
    if check:
        kind: Any = {"dtype": subject.dtype, "device": subject.device}
        start = normal(1, subject.layout.size, seed=subject.seed, part=shards.place, **kind)
        check_gradient(subject, parts)
        found = accuracy(subject, parts, start[0])
        step, note = found.step, f"their relative error is about {found.error:.0e}"
    return _operator(
        subject,
        over_shards(subject, parts, step),
        f"Hessian of {type(subject.model).__name__}",
        METHODS["difference"],
        (f"products are differences of the gradient in {subject.dtype}; {note}",),
    )


def _operator(
    subject: Subject, apply: Product, name: str, method: str, notes: tuple[str, ...]
) -> Operator:
    shards = _shards(subject)
    return Operator(
        apply,
        shards.size,
        dtype=subject.dtype,
        device=subject.device,
        layout=subject.layout,
        total=shards.parts.add,
        width=subject.layout.size,
        place=shards.place,
        agree=lambda number: shards.ranks.largest(number, shards.device),
        name=name,
        method=method,
        notes=notes,
    )


def _shards(subject: Subject) -> Shards:
    assert subject.shards is not None
    return subject.shards

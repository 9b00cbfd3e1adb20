"""A loss on the batches of all ranks: what every matrix of it begins and ends with."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import torch
from torch import nn

from sounding.curvature.check import small
from sounding.curvature.memory import SHARE, free_bytes
from sounding.curvature.operator import Operator
from sounding.curvature.parallel import check_replicas
from sounding.curvature.pieces import Piece, check_parts, listed, pieces, shared
from sounding.curvature.products import METHODS, Product
from sounding.curvature.ranks import Ranks
from sounding.curvature.setting import Subject
from sounding.curvature.sharded import on_whole
from sounding.curvature.weighted import weighted
from sounding.objective import Batch, Objective
from sounding.train import check_model, check_numbers
from sounding.vectors import Pattern


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is differentiated, on which data, and by whom.

    Attributes:
        held: The loss as a function of what this rank holds of the parameters.
        subject: The same; once :meth:`gathered`, of whole parameters.
        first: The first batch of this rank.
        parts: All its batches, cut to fit, with their weights in the loss of this rank; once
            gathered, in the loss of all.
        reduction: What the loss does over the samples: 'mean' or 'sum'.
        micro_batch: Samples of a part; None for whole batches.
        budget: Bytes that graphs may fill.
        method: The way to make products that was asked for; None where it is to be chosen.
        check: Whether to check derivatives.
        notes: What there is to say of the ranks' copies of the model.
    """

    held: Subject
    subject: Subject
    first: Batch
    parts: list[Piece]
    reduction: str
    micro_batch: int | None
    budget: float
    method: str | None
    check: bool
    notes: tuple[str, ...] = ()

    @property
    def ranks(self) -> Ranks:
        """All that measure together."""
        return self.held.ranks

    def gathered(self) -> Problem:
        """The same with whole parameters on every rank.

        Raises:
            ValueError: If the ranks hold other parameters.
        """
        parts = shared(self.parts, self.ranks, self.reduction)
        if self.held.shards is None:
            notes = check_replicas(self.ranks, self.held.model)
            return dataclasses.replace(self, parts=parts, notes=notes)
        return dataclasses.replace(self, parts=parts, subject=self.held.gathered())

    @functools.cached_property
    def few(self) -> tuple[Subject, Batch]:
        """A small copy, as of :func:`small`, to check derivatives on."""
        return small(self.subject, self.parts[0].batch)

    def check_loss(self) -> None:
        """It is finite, adds up from its parts, and shortens no embedding's rows (`max_norm`).

        Raises:
            ValueError: If not.
        """
        if self.micro_batch is not None:
            check_parts(self.subject, self.first, self.micro_batch, self.reduction)
        tables = {
            f"{name} ({type(m).__name__})": m
            for name, m in self.subject.model.named_modules()
            if isinstance(m, nn.Embedding | nn.EmbeddingBag) and m.max_norm is not None
        }
        values = []
        for part in self.parts if tables else self.parts[:1]:
            with self.subject.prepared():
                before = {name: m.weight.detach().clone() for name, m in tables.items()}
                values.append(float(self.subject.loss(part.batch).detach()))
                changed = [n for n, m in tables.items() if not torch.equal(m.weight, before[n])]
            if changed:
                raise ValueError(
                    f"{changed[0]} has rows longer than its max_norm, which a pass shortens "
                    "without a gradient, so the loss has no derivative; run the batches through "
                    "the model once (the rows stay short), or freeze that weight"
                )
        if not math.isfinite(values[0]):
            raise ValueError(
                f"the loss of the first batch is {values[0]}, so there is no curvature to measure; "
                "run sounding.checkup on it to see which call made it"
            )

    def summed(self, own: torch.Tensor) -> torch.Tensor:
        """(k, n) of each rank -> (k, n) their sum; of sharded vectors (k, w), this rank's part."""
        shards = self.held.shards
        return self.ranks.add(own) if shards is None else shards.summed(own)

    def operator(
        self, products: list[Product], *, matrix: str, method: str, notes: tuple[str, ...]
    ) -> Operator:
        """The sum over all parts of all ranks; `products` are those of this rank's parts."""
        every = self.ranks.gathered((*self.notes, *notes))
        about: dict[str, Any] = {
            "name": f"{matrix} of {type(self.subject.model).__name__}",
            "notes": tuple(dict.fromkeys(note for each in every for note in each)),
        }
        apply, ranks, subject = weighted(self.held, products, self.parts), self.ranks, self.subject
        if self.held.shards is not None:
            return on_whole(self.held, subject, apply, method=method, **about)
        return Operator(
            apply if ranks.count == 1 else lambda block: ranks.add(apply(block)),
            subject.layout.size,
            dtype=subject.dtype,
            device=subject.device,
            layout=subject.layout,
            agree=lambda number: ranks.largest(number, subject.device),
            method=method,
            **about,
        )


def problem(
    model: nn.Module,
    objective: Objective,
    batches: Any,
    ranks: Ranks,
    *,
    parameters: Pattern,
    reduction: str,
    micro_batch: int | None,
    memory: float | None,
    method: str | None,
    check: bool,
    seed: int,
) -> Problem:
    """What can be said of the arguments without a pass; call it inside ``ranks.together()``.

    Raises:
        ValueError: As :func:`sounding.hessian`.
    """
    if method is not None and method not in METHODS:
        raise ValueError(f"method is {method!r}; there are {', '.join(METHODS)}")
    check_model(model)
    subject = Subject(model, objective, pattern=parameters, seed=seed, ranks=ranks)
    every = listed(batches)
    parts = pieces(every, micro_batch=micro_batch, reduction=reduction)
    for part in parts:
        check_numbers(part.batch)
    budget = SHARE * free_bytes(subject.passes_on) if memory is None else float(memory)
    return Problem(subject, subject, every[0], parts, reduction, micro_batch, budget, method, check)

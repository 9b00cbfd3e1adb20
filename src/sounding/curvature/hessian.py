"""The Hessian of a loss with respect to a model's parameters, as an Operator."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from sounding.curvature.blame import culprits
from sounding.curvature.check import Verification, small, verify
from sounding.curvature.memory import SHARE, advice, free_bytes, readable
from sounding.curvature.operator import Operator
from sounding.curvature.parallel import check_replicas, ranks_of
from sounding.curvature.pieces import Piece, check_parts, listed, pieces, shared
from sounding.curvature.products import (
    METHODS,
    OverBudget,
    Product,
    difference,
    double,
    forward,
    kept,
)
from sounding.curvature.ranks import Ranks
from sounding.curvature.setting import Subject
from sounding.curvature.sharded import by_differences, fits_whole, on_whole
from sounding.curvature.weighted import weighted
from sounding.objective import Batch, Loss, Objective, as_objective
from sounding.train import check_model, check_numbers
from sounding.vectors import Pattern

ORDER = tuple(METHODS)  # from the method that is tried first to the last resort


def hessian(
    model: nn.Module,
    loss: Loss | Objective,
    batches: Any,
    *,
    parameters: Pattern = None,
    reduction: str = "mean",
    micro_batch: int | None = None,
    memory: float | None = None,
    method: str | None = None,
    check: bool = True,
    seed: int = 0,
    group: dist.ProcessGroup | None = None,
) -> Operator:
    """The Hessian of the loss at the model's present parameters; the model is not changed.

    It is that of the function which the model's mode says: batch norm uses batch statistics in
    training mode and running ones in evaluation mode; dropout draws one fixed mask. Tied weights
    count once, frozen ones not at all. A product costs about two gradients where the graph of the
    gradient is kept, about 3.5 otherwise (benchmarks/curvature.py).

    Each new Hessian is checked on two random vectors (a few samples, double precision): symmetry,
    and agreement with finite differences of the gradient at two step sizes. Where double backward
    is wrong or missing, another method takes its place.

    Several processes measure together where they share the model, or a `group` is given: each
    passes batches of its own. Of a model that `fully_shard` has sharded each holds a part of the
    vectors too (docs/how-to/measure-curvature-on-several-devices.md).

    Args:
        model: Any module.
        loss: A function of (output, target), or an :class:`Objective` of (model, batch).
        batches: One batch as a pair of tensors; or several, in a list or a DataLoader, of which the
            loss is the mean over all samples (or the sum).
        parameters: Names or patterns, such as ``'layers.0.*'``; the block of the Hessian that
            belongs to them.
        reduction: 'mean' or 'sum': what the loss does over the samples of a batch.
        micro_batch: Samples that go through at once; less memory, the same Hessian.
        memory: Bytes that kept graphs may fill; half of what is free by default.
        method: 'kept', 'double', 'forward' or 'difference'; chosen by default.
        check: Whether to check; without it double backward is trusted.
        seed: Of the dropout masks and of the vectors of the check.
        group: Processes that each call this with batches of their own: the loss is that over all
            samples of all. By default those of a DistributedDataParallel or FSDP2 model.

    Raises:
        ValueError: If nothing can be trained, the batch or the loss does not fit or is not finite,
            the memory does not suffice (says what would), or no method gives right second
            derivatives (names the layer).

    Example:
        >>> net = nn.Linear(3, 1, bias=False)
        >>> x = torch.eye(3)
        >>> H = hessian(net, nn.functional.mse_loss, (x, torch.ones(3, 1)))
        >>> H @ torch.tensor([3.0, 0.0, 0.0])  # H = 2/N X'X
        tensor([2., 0., 0.])
    """
    ranks = ranks_of(model, group)
    with ranks.together():
        if method is not None and method not in METHODS:
            raise ValueError(f"method is {method!r}; there are {', '.join(METHODS)}")
        check_model(model)
        given = Subject(model, as_objective(loss), pattern=parameters, seed=seed, parallel=True)
        every = listed(batches)
        parts = pieces(every, micro_batch=micro_batch, reduction=reduction)
        for part in parts:
            check_numbers(part.batch)
    budget = SHARE * free_bytes(given.passes_on) if memory is None else float(memory)
    if given.shards is not None and not fits_whole(given, method, budget):
        return by_differences(given, every[0], parts, micro_batch, reduction, check=check)
    notes = check_replicas(ranks, given.model) if given.shards is None else ()
    subject = given.gathered()
    with ranks.together():
        if micro_batch is not None:
            check_parts(subject, every[0], micro_batch, reduction)
        _check_loss(subject, parts)
    chosen = method or "kept"
    if check:
        verification = _verified_together(subject, parts[0].batch, method, ranks)
        chosen, notes = verification.method, (*notes, *_notes(verification))
    with ranks.together():
        products, used = _products(subject, parts, chosen, budget)
    apply = weighted(given, products, shared(parts, ranks, reduction))
    if given.shards is not None:
        return on_whole(given, subject, apply, used, notes)
    return Operator(
        apply if ranks.count == 1 else lambda block: ranks.add(apply(block)),
        subject.layout.size,
        dtype=subject.dtype,
        device=subject.device,
        layout=subject.layout,
        agree=lambda number: ranks.largest(number, subject.device),
        name=f"Hessian of {type(subject.model).__name__}",
        method=", ".join(METHODS[m] for m in used),
        notes=notes,
    )


def _check_loss(subject: Subject, parts: list[Piece]) -> None:
    """The loss is finite, and no pass shortens the rows of an embedding (`max_norm`)."""
    shortening = {
        f"{name} ({type(m).__name__})": m
        for name, m in subject.model.named_modules()
        if isinstance(m, nn.Embedding | nn.EmbeddingBag) and m.max_norm is not None
    }
    value = math.nan
    for part in parts if shortening else parts[:1]:
        with subject.prepared():
            before = {name: m.weight.detach().clone() for name, m in shortening.items()}
            value = float(subject.loss(part.batch).detach())
            changed = [n for n, m in shortening.items() if not torch.equal(m.weight, before[n])]
        if changed:
            raise ValueError(
                f"{changed[0]} has rows longer than its max_norm, which a pass shortens without a "
                "gradient, so there is no Hessian of the loss; run the batches through the model "
                "once (the rows stay short), or freeze that weight"
            )
    if not math.isfinite(value):
        raise ValueError(
            f"the loss of the first batch is {value}, so there is no curvature to measure; run "
            "sounding.checkup on it to see which call made it"
        )


# -- which method ---------------------------------------------------------------------------


def _verified(subject: Subject, batch: Batch, method: str | None) -> Verification:
    """The first method that is right, in the order of their cost."""
    few, few_batch = small(subject, batch)
    order = (method,) if method else ("kept", "forward", "difference")
    tried: list[Verification] = []
    for candidate in order:
        tried.append(verify(few, few_batch, candidate))
        if tried[-1].outcome in ("right", "undecided"):
            return tried[-1]
    names = culprits(few, few_batch, order)
    where = ", ".join(names) or "the loss, a function between modules, or a kink just here"
    raise ValueError(
        f"no right second derivative of {where}: {'; '.join(map(_said, tried))}. Detached values "
        "and weights that a pass rewrites do this: take that out, call model.eval(), freeze its "
        "parameters, or leave them out with parameters=...; check=False trusts double backward"
    )


def _verified_together(
    subject: Subject, batch: Batch, method: str | None, ranks: Ranks
) -> Verification:
    """The first method that is right on every rank; undecided if it is on any."""
    with ranks.together():
        found = _verified(subject, batch, method)
    methods = ranks.gathered(found.method)
    last = max(methods, key=ORDER.index)
    if any(other != last for other in methods):
        with ranks.together():
            found = found if found.method == last else _verified(subject, batch, last)
    undecided = "undecided" in ranks.gathered(found.outcome)
    return dataclasses.replace(found, outcome="undecided" if undecided else found.outcome)


def _said(verification: Verification) -> str:
    how = METHODS[verification.method]
    if verification.outcome == "error":
        return f"{how} fails ({verification.words})"
    if verification.asymmetry > 1e-3:
        return f"{how} is not symmetric (by {verification.asymmetry:.1g})"
    return f"{how} is off the finite difference by {verification.deviation:.1g}"


def _notes(verification: Verification) -> tuple[str, ...]:
    if verification.outcome == "undecided":
        return (
            "could not be checked against finite differences: the loss has a kink right here "
            "(a rectifier at exactly zero), or only single precision",
        )
    if verification.method == "difference":
        return ("double backward is wrong or missing here; finite differences take its place",)
    return ()


# -- the sum over the batches ---------------------------------------------------------------


def _products(
    subject: Subject, parts: list[Piece], method: str, budget: float
) -> tuple[list[Product], list[str]]:
    """A product for each part, and the methods that were used; keeps graphs while they fit."""
    if method == "forward":
        return [forward(subject, p.batch) for p in parts], [method]
    if method == "difference":
        return [difference(subject, p.batch) for p in parts], [method]
    found: list[Product] = []
    used: list[str] = []
    left = budget
    for part in parts:
        product = None
        if method == "kept":
            with contextlib.suppress(OverBudget):
                product, size = kept(subject, part.batch, left)
                left -= size
        used.append("double" if product is None else "kept")
        found.append(product or double(subject, part.batch, budget))
    if "double" in used:
        _check_fits(subject, parts[used.index("double")].batch, budget)
    return found, list(dict.fromkeys(used))


def _check_fits(subject: Subject, batch: Batch, budget: float) -> None:
    """A graph that is built anew for each product fits into the budget on its own."""
    try:
        kept(subject, batch, budget)
    except OverBudget:
        raise ValueError(
            f"the graph of one batch needs more than the {readable(budget)} of memory it may "
            f"take; {advice(subject, batch, budget)}"
        ) from None

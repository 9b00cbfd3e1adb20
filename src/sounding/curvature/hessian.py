"""The Hessian of a loss with respect to a model's parameters, as an Operator."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import torch
from torch import nn

from sounding.curvature.blame import culprits
from sounding.curvature.check import Verification, small, verify
from sounding.curvature.memory import SHARE, advice, free_bytes, readable
from sounding.curvature.operator import Operator
from sounding.curvature.pieces import Piece, pieces
from sounding.curvature.products import (
    METHODS,
    OverBudget,
    Product,
    difference,
    double,
    forward,
    kept,
)
from sounding.curvature.setting import Subject, without_hooks
from sounding.objective import Batch, Loss, Objective, as_objective
from sounding.train import check_model, check_numbers
from sounding.vectors import Pattern


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
) -> Operator:
    """The Hessian of the loss at the model's present parameters; the model is not changed.

    It is that of the function which the model's mode says: batch norm uses batch statistics in
    training mode and running ones in evaluation mode; dropout draws one fixed mask. Tied weights
    count once, frozen ones not at all. A product costs about two gradients where the graph of the
    gradient is kept, about 3.5 otherwise (benchmarks/curvature.py).

    Each new Hessian is checked on two random vectors (a few samples, double precision): symmetry,
    and agreement with finite differences of the gradient at two step sizes. Where double backward
    is wrong or missing, another method takes its place.

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
    if method is not None and method not in METHODS:
        raise ValueError(f"method is {method!r}; there are {', '.join(METHODS)}")
    check_model(model)
    subject = Subject(model, as_objective(loss), pattern=parameters, seed=seed)
    parts = pieces(batches, micro_batch=micro_batch, reduction=reduction, subject=subject)
    for part in parts:
        check_numbers(part.batch)
    _check_loss(subject, parts)
    chosen, notes = method or "kept", ()
    if check:
        verification = _verified(subject, parts[0].batch, method)
        chosen, notes = verification.method, _notes(verification)
    budget = SHARE * free_bytes(subject.device) if memory is None else float(memory)
    products, used = _products(subject, parts, chosen, budget)
    return Operator(
        _weighted(subject, products, parts),
        subject.layout.size,
        dtype=subject.dtype,
        device=subject.device,
        layout=subject.layout,
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
    before = {name: m.weight.detach().clone() for name, m in shortening.items()}
    value = math.nan
    for part in parts if shortening else parts[:1]:
        with subject.prepared():
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


def _weighted(subject: Subject, products: list[Product], parts: list[Piece]) -> Product:
    before = subject.versions()

    def apply(block: torch.Tensor) -> torch.Tensor:
        if subject.versions() != before:
            raise ValueError(
                "the model's parameters have changed since this operator was made; make a new one"
            )
        total = torch.zeros_like(block)
        with without_hooks(subject.parameters):
            for product, part in zip(products, parts, strict=True):
                total += part.weight * product(block)
        return total

    return apply

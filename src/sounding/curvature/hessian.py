"""The Hessian of a loss with respect to a model's parameters, as an Operator."""

from __future__ import annotations

import contextlib
from typing import Any

import torch.distributed as dist
from torch import nn

from sounding.curvature.blame import culprits
from sounding.curvature.check import Verification, agreed, verify
from sounding.curvature.memory import advice, readable
from sounding.curvature.operator import Operator
from sounding.curvature.parallel import ranks_of
from sounding.curvature.pieces import Piece
from sounding.curvature.problem import Problem, problem
from sounding.curvature.products import (
    METHODS,
    OverBudget,
    Product,
    difference,
    double,
    forward,
    kept,
)
from sounding.curvature.setting import Subject
from sounding.curvature.sharded import by_differences, fits_whole
from sounding.objective import Batch, Loss, Objective, as_objective
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
        >>> import torch
        >>> net = nn.Linear(3, 1, bias=False)
        >>> x = torch.eye(3)
        >>> H = hessian(net, nn.functional.mse_loss, (x, torch.ones(3, 1)))
        >>> H @ torch.tensor([3.0, 0.0, 0.0])  # H = 2/N X'X
        tensor([2., 0., 0.])
    """
    ranks = ranks_of(model, group)
    with ranks.together():
        given = problem(
            model, as_objective(loss), batches, ranks, parameters=parameters, reduction=reduction,
            micro_batch=micro_batch, memory=memory, method=method, check=check, seed=seed,
        )  # fmt: skip
    if given.held.shards is not None and _by_differences(given):
        return by_differences(
            given.held, given.first, given.parts, micro_batch, reduction, check=check
        )
    given = given.gathered()
    with ranks.together():
        given.check_loss()
    chosen, notes = method or "kept", ()
    if check:
        found = agreed(ranks, lambda one: _verified(*given.few, one), method)
        chosen, notes = found.method, _notes(found)
    with ranks.together():
        products, used = _products(given.subject, given.parts, chosen, given.budget)
    how = ", ".join(METHODS[m] for m in used)
    return given.operator(products, matrix="Hessian", method=how, notes=notes)


def _by_differences(given: Problem) -> bool:
    """Whether nothing is to be whole of a model that is sharded; the same answer on all ranks."""
    needed_by = "" if given.method is None else f"method {given.method!r}"
    return given.method == "difference" or not fits_whole(
        given.held, given.budget, needed_by=needed_by
    )


# -- which method ---------------------------------------------------------------------------


def _verified(few: Subject, batch: Batch, method: str | None) -> Verification:
    """The first method that is right for a small copy, in the order of their cost."""
    order = (method,) if method else ("kept", "forward", "difference")
    tried: list[Verification] = []
    for candidate in order:
        tried.append(verify(few, batch, candidate))
        if tried[-1].outcome in ("right", "undecided"):
            return tried[-1]
    names = culprits(few, batch, order)
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

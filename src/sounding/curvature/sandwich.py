"""J'A J: what the Gauss-Newton matrix and the kinds of Fisher matrix have in common.

J is the derivative of a batch's output by the parameters, A a symmetric matrix between outputs. The
four differ only in A: the Hessian of the loss by the output, or outer products of its gradients.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from sounding.curvature.check import Verification, agreed
from sounding.curvature.memory import readable
from sounding.curvature.operator import Operator
from sounding.curvature.output_check import verified_output
from sounding.curvature.outputs import (
    METHODS,
    Linearised,
    linearised,
    loss_of_output,
    output_value,
)
from sounding.curvature.parallel import ranks_of
from sounding.curvature.problem import Problem, problem
from sounding.curvature.products import OverBudget, Product
from sounding.curvature.setting import SLICE, Subject, samples, sliced
from sounding.curvature.sharded import fits_whole
from sounding.objective import Batch, Loss, Objective, as_objective
from sounding.vectors import Pattern

# The i-th piece and its output -> A for it, (k, m) -> (k, m), and the bytes that it holds.
Middle = Callable[[int, torch.Tensor], tuple[Product, float]]

MIDDLE = 3  # outputs that an A holds at most, roughly: two for cross_entropy, one for mse_loss


def of_output(
    name: str,
    model: nn.Module,
    loss: Loss | Objective,
    batches: Any,
    *,
    parameters: Pattern,
    reduction: str,
    micro_batch: int | None,
    memory: float | None,
    method: str | None,
    check: bool,
    seed: int,
    group: dist.ProcessGroup | None,
) -> Problem:
    """The problem of a loss of (output, target), for the function of this name.

    Raises:
        ValueError: If the loss is an Objective or depends on parameters other than through the
            output, or as :func:`sounding.hessian` raises it.
    """
    ranks = ranks_of(model, group)
    with ranks.together():
        objective = as_objective(loss)
        if not hasattr(objective, "loss"):
            raise ValueError(
                f"{name} needs the model's output, which an Objective of (model, batch) hides; "
                "pass a loss of (output, target), or use sounding.hessian"
            )
        given = problem(
            model, objective, batches, ranks, parameters=parameters, reduction=reduction,
            micro_batch=micro_batch, memory=memory, method=method, check=check, seed=seed,
        )  # fmt: skip
    if given.held.shards is not None:
        fits_whole(given.held, given.budget, needed_by=name)
    given = given.gathered()
    with ranks.together():
        _check_way(given.subject, given.parts[0].batch)
        given.check_loss()
    return given


def _check_way(subject: Subject, batch: Batch) -> None:
    """The loss depends on the parameters through the output alone."""
    behind = loss_of_output(subject, output_value(subject, batch))
    with behind.prepared():
        reached = torch.autograd.grad(behind.loss(batch), subject.parameters, allow_unused=True)
    if any(g is not None for g in reached):
        raise ValueError(
            "the loss depends on the parameters not only through the output (a penalty on the "
            "weights, perhaps); take that out, and add its curvature: matrix + 2 * decay"
        )


def sandwich(
    given: Problem, middle: Middle, *, matrix: str, notes: tuple[str, ...] = ()
) -> Operator:
    """The weighted sum over the pieces of J'A J; graphs are kept while they fit into the memory.

    `matrix` is what it is called, such as 'Fisher matrix'.
    """
    chosen = given.method or "kept"
    if given.check:
        found = agreed(given.ranks, lambda one: verified_output(*given.few, one), given.method)
        chosen, notes = found.method, (*notes, *_notes(found))
    with given.ranks.together():
        products, used = _products(given, middle, chosen)
    how = ", ".join(METHODS[m] for m in used)
    return given.operator(products, matrix=matrix, method=how, notes=notes)


def _notes(verification: Verification) -> tuple[str, ...]:
    if verification.outcome == "undecided":
        return ("the output's derivative could not be checked: differences of it disagree",)
    return (verification.words,) if verification.words else ()


def _products(given: Problem, middle: Middle, method: str) -> tuple[list[Product], list[str]]:
    """A product for each piece, and the methods that were used."""
    found: list[Product] = []
    used: list[str] = []
    left, anew = given.budget, False
    for i in range(len(given.parts)):
        product = None
        if method != "double":
            with contextlib.suppress(OverBudget):
                product, size = _built(given, i, middle, method, left)
                left -= size
        if product is None and not anew:
            _check_fits(given, i, middle, method)
            anew = True
        found.append(product or _rebuilt(given, i, middle, method))
        used.append("double" if product is None and method == "kept" else method)
    return found, list(dict.fromkeys(used))


def _built(
    given: Problem, i: int, middle: Middle, method: str, budget: float = float("inf")
) -> tuple[Product, float]:
    """The product of the i-th piece on graphs that are kept, and the bytes that they hold."""
    j = linearised(given.subject, given.parts[i].batch, method, budget)
    if method == "forward":
        _try_forward(j, given.subject)
    apply, size = middle(i, j.output)
    if j.size + size > budget:
        raise OverBudget
    return lambda block: j.pull(apply(j.push(block))), j.size + size


def _try_forward(j: Linearised, subject: Subject) -> None:
    """Kernels may depend on the precision, so what was checked in another may be missing here."""
    try:
        j.push(torch.zeros(1, subject.layout.size, dtype=subject.dtype, device=subject.device))
    except NotImplementedError as error:
        raise ValueError(
            f"forward mode is missing for {subject.dtype} ({str(error).splitlines()[0]}); use "
            "another method="
        ) from error


def _rebuilt(given: Problem, i: int, middle: Middle, method: str) -> Product:
    return lambda block: _built(given, i, middle, method)[0](block)


def _check_fits(given: Problem, i: int, middle: Middle, method: str) -> None:
    """A graph that is built anew for each product fits into the budget on its own."""
    try:
        _built(given, i, middle, method, given.budget)
    except OverBudget:
        advice = _advice(given.subject, given.parts[i].batch, method, given.budget)
        raise ValueError(
            f"the graph of one batch needs more than the {readable(given.budget)} of memory it may "
            f"take; {advice}"
        ) from None


def _advice(subject: Subject, batch: Batch, method: str, budget: float) -> str:
    """What would fit into `budget`, from the graph of a few samples."""
    size, few = samples(batch), sliced(batch, 0, SLICE)
    if size is None or few is None:
        return "pass smaller batches, or a larger memory="
    j = linearised(subject, few, method)
    each = (j.size + MIDDLE * j.output.nbytes) / min(SLICE, size)
    fits = int(budget / each)
    if fits < 1:
        return f"one sample needs {readable(each)}, so raise memory= to that at least"
    return f"micro_batch={fits} would fit, or memory={size * each:.0f} for the whole batch"

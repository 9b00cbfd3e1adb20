"""J'A J: what the Gauss-Newton matrix and the kinds of Fisher matrix have in common.

J is the derivative of a batch's output by the parameters, A a symmetric matrix between outputs. The
four differ only in A: the Hessian of the loss by the output, or outer products of its gradients.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sounding.curvature.check import Verification, small
from sounding.curvature.memory import SHARE, free_bytes, readable
from sounding.curvature.operator import Operator
from sounding.curvature.output_check import verified_output
from sounding.curvature.outputs import (
    METHODS,
    Linearised,
    linearised,
    loss_of_output,
    output,
    output_value,
)
from sounding.curvature.pieces import Piece, pieces
from sounding.curvature.products import OverBudget, Product
from sounding.curvature.setting import SLICE, Subject, samples, sliced
from sounding.curvature.weighted import weighted
from sounding.objective import Batch, Loss, Objective, as_objective
from sounding.train import check_model, check_numbers
from sounding.vectors import Pattern

# The i-th piece and its output -> A for it, (k, m) -> (k, m), and the bytes that it holds.
Middle = Callable[[int, torch.Tensor], tuple[Product, float]]

MIDDLE = 3  # outputs that an A holds at most, roughly: two for cross_entropy, one for mse_loss


@dataclasses.dataclass(frozen=True)
class Problem:
    """A loss of (output, target) on some batches, ready to be differentiated."""

    subject: Subject
    parts: list[Piece]
    few: tuple[Subject, Batch] | None  # a small copy to check on; None where nothing is checked


def problem(
    name: str,
    model: nn.Module,
    loss: Loss | Objective,
    batches: Any,
    *,
    parameters: Pattern,
    reduction: str,
    micro_batch: int | None,
    check: bool,
    seed: int,
) -> Problem:
    """Everything that can be wrong with the arguments is said here.

    Raises:
        ValueError: If the loss is an Objective or depends on parameters other than through the
            output, or as :func:`sounding.hessian` raises it.
    """
    check_model(model)
    objective = as_objective(loss)
    if not hasattr(objective, "loss"):
        raise ValueError(
            f"{name} needs the model's output, which an Objective of (model, batch) hides; pass a "
            "loss of (output, target), or use sounding.hessian"
        )
    subject = Subject(model, objective, pattern=parameters, seed=seed)
    parts = pieces(batches, micro_batch=micro_batch, reduction=reduction, subject=subject)
    for part in parts:
        check_numbers(part.batch)
    _check_loss(subject, parts[0].batch)
    _check_lookups(subject, parts)
    return Problem(subject, parts, small(subject, parts[0].batch) if check else None)


def _check_loss(subject: Subject, batch: Batch) -> None:
    """The first batch has a finite loss that is a function of the output."""
    behind = loss_of_output(subject, output_value(subject, batch))
    with behind.prepared():
        loss = behind.loss(batch)
        reached = torch.autograd.grad(loss, subject.parameters, allow_unused=True)
    if not torch.isfinite(loss):
        raise ValueError(
            f"the loss of the first batch is {float(loss.detach())}, so there is no curvature to "
            "measure; run sounding.checkup on it to see which call made it"
        )
    if any(g is not None for g in reached):
        raise ValueError(
            "the loss depends on the parameters not only through the output (a penalty on the "
            "weights, perhaps); take that out, and add its curvature: matrix + 2 * decay"
        )


def _check_lookups(subject: Subject, parts: list[Piece]) -> None:
    """No pass shortens the rows of an embedding (`max_norm`), which few samples may not show."""
    for name, module in subject.model.named_modules():
        if not isinstance(module, nn.Embedding | nn.EmbeddingBag) or module.max_norm is None:
            continue
        for part in parts:
            before = module.weight.detach().clone()
            with subject.prepared():
                output(subject, part.batch)
                same = torch.equal(before, module.weight)
            if not same:
                raise ValueError(
                    f"{name} ({type(module).__name__}) has rows longer than its max_norm, which a "
                    "pass shortens without a gradient; run the batches through the model once (the "
                    "rows stay short), or freeze that weight"
                )


def sandwich(
    given: Problem,
    middle: Middle,
    *,
    method: str | None,
    memory: float | None,
    notes: tuple[str, ...] = (),
) -> Operator:
    """The weighted sum over the pieces of J'A J; graphs are kept while they fit into the memory."""
    if method is not None and method not in METHODS:
        raise ValueError(f"method is {method!r}; there are {', '.join(METHODS)}")
    subject, chosen = given.subject, method or "kept"
    if given.few is not None:
        verification = verified_output(*given.few, method)
        chosen, notes = verification.method, (*notes, *_notes(verification))
    budget = SHARE * free_bytes(subject.device) if memory is None else float(memory)
    products, used = _products(given, middle, chosen, budget)
    return Operator(
        weighted(subject, products, given.parts),
        subject.layout.size,
        dtype=subject.dtype,
        device=subject.device,
        layout=subject.layout,
        method=", ".join(METHODS[m] for m in used),
        notes=notes,
    )


def _notes(verification: Verification) -> tuple[str, ...]:
    if verification.outcome == "undecided":
        return ("the output's derivative could not be checked: differences of it disagree",)
    return (verification.words,) if verification.words else ()


def _products(
    given: Problem, middle: Middle, method: str, budget: float
) -> tuple[list[Product], list[str]]:
    """A product for each piece, and the methods that were used."""
    found: list[Product] = []
    used: list[str] = []
    left, anew = budget, False
    for i in range(len(given.parts)):
        product = None
        if method != "double":
            with contextlib.suppress(OverBudget):
                product, size = _built(given, i, middle, method, left)
                left -= size
        if product is None and not anew:
            _check_fits(given, i, middle, method, budget)
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


def _check_fits(given: Problem, i: int, middle: Middle, method: str, budget: float) -> None:
    """A graph that is built anew for each product fits into the budget on its own."""
    try:
        _built(given, i, middle, method, budget)
    except OverBudget:
        batch = given.parts[i].batch
        raise ValueError(
            f"the graph of one batch needs more than the {readable(budget)} of memory it may "
            f"take; {_advice(given.subject, batch, method, budget)}"
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

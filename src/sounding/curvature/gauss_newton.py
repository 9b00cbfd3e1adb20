"""The generalised Gauss-Newton matrix of a loss, as an Operator."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from sounding.curvature.check import verify
from sounding.curvature.operator import Operator
from sounding.curvature.outputs import loss_of_output, output_value
from sounding.curvature.problem import Problem
from sounding.curvature.products import Product, difference, forward, kept
from sounding.curvature.sandwich import of_output, sandwich
from sounding.curvature.setting import Subject
from sounding.objective import Batch, Loss, Objective
from sounding.vectors import Pattern, normal

VECTORS = 8  # random ones along which the loss is looked at
BENT = 1e-6  # relative: what rounding can make of a product that is zero in truth


def gauss_newton(
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
    """J'H J: the loss's Hessian by the output, H, carried to the parameters by the output's J.

    The Hessian of the loss is this plus what the curvature of the model adds: the two are equal
    where the model is linear, and this one has no negative eigenvalue where the loss is convex in
    the output (Schraudolph 2002; Martens 2020, "New insights and perspectives on the natural
    gradient method", section 8). A loss that is linear in the output, such as nll_loss behind a
    log-softmax that belongs to the model, has none at all; a note says so.

    A product costs about 1.5 gradients where the graph is kept, less than one of the Hessian. The
    same function is differentiated as in :func:`sounding.hessian`, and its arguments mean the same.

    Each new matrix is checked on a few samples in double precision: J v against finite differences
    of the output, J'u against J v, and H against finite differences of the loss's gradient.

    Args:
        model: Any module that returns one tensor.
        loss: A function of (output, target).
        batches: One batch as a pair of tensors; or several, in a list or a DataLoader, of which the
            loss is the mean over all samples (or the sum).
        parameters: Names or patterns, such as ``'layers.0.*'``; the block that belongs to them.
        reduction: 'mean' or 'sum': what the loss does over the samples of a batch.
        micro_batch: Samples that go through at once; less memory, the same matrix.
        memory: Bytes that kept graphs may fill; half of what is free by default.
        method: How J v is made: 'kept', 'double', 'forward' or 'difference'; chosen by default.
        check: Whether to check; without it the backward passes are trusted.
        seed: Of the dropout masks.
        group: Processes that measure together, as for :func:`sounding.hessian`.

    Raises:
        ValueError: If the loss is an :class:`Objective`, the output is not one tensor, or no method
            gives a right derivative (names the layer); or as :func:`sounding.hessian` raises it.

    Example:
        >>> net = nn.Linear(3, 1, bias=False)
        >>> x = torch.eye(3)
        >>> G = gauss_newton(net, nn.functional.mse_loss, (x, torch.ones(3, 1)))
        >>> G @ torch.tensor([3.0, 0.0, 0.0])  # 2/N X'X, as the model is linear
        tensor([2., 0., 0.])
    """
    given = of_output(
        "gauss_newton", model, loss, batches, parameters=parameters, reduction=reduction,
        micro_batch=micro_batch, memory=memory, method=method, check=check, seed=seed, group=group,
    )  # fmt: skip
    with given.ranks.together():
        how, notes = _verified_loss(given) if check else ("kept", ())

    def middle(i: int, output: torch.Tensor) -> tuple[Product, float]:
        return _hessian(loss_of_output(given.subject, output), given.parts[i].batch, how)

    return sandwich(given, middle, matrix="Gauss-Newton matrix", notes=notes)


def _verified_loss(given: Problem) -> tuple[str, tuple[str, ...]]:
    """The first method that is right for the loss alone, and what there is to say of it."""
    few, batch = given.few
    behind = loss_of_output(few, output_value(few, batch))
    tried = []
    for candidate in ("kept", "forward", "difference"):
        tried.append(verify(behind, batch, candidate))
        if tried[-1].outcome in ("right", "undecided"):
            return candidate, _notes(given, behind, candidate, tried[-1].outcome)
    raise ValueError(
        "no right second derivative of the loss by the output: "
        + "; ".join(f"{v.method} {v.words or f'is off by {v.deviation:.1g}'}" for v in tried)
        + ". Detached values do this: take that out; check=False trusts double backward"
    )


def _notes(given: Problem, behind: Subject, how: str, outcome: str) -> tuple[str, ...]:
    vectors = normal(VECTORS, behind.layout.size, seed=0, dtype=behind.dtype, device=behind.device)
    products = _hessian(behind, given.few[1], how)[0](vectors)
    notes = []
    if outcome == "undecided":
        notes.append("the loss has a kink right at these outputs, or only single precision")
    if not products.any():
        notes.append(
            "the loss is linear in the output, so this matrix is zero; give the loss what comes "
            "before the last function (logits), or use sounding.fisher"
        )
    elif ((vectors * products).sum(1) < -BENT * vectors.norm(dim=1) * products.norm(dim=1)).any():
        notes.append("the loss is not convex in the output, so there are negative eigenvalues")
    return tuple(notes)


def _hessian(behind: Subject, batch: Batch, how: str) -> tuple[Product, float]:
    if how == "kept":
        return kept(behind, batch)
    return {"forward": forward, "difference": difference}[how](behind, batch), 0.0

"""Fisher matrices of a model's predictions, and the covariance of its gradients, as Operators."""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.utils._pytree import tree_map

from sounding.curvature.operator import Operator
from sounding.curvature.output_check import check_gradient
from sounding.curvature.outputs import loss_of_output, output_value, pulled
from sounding.curvature.predictive import outer_products, predictive
from sounding.curvature.problem import Problem
from sounding.curvature.products import Product, gradient
from sounding.curvature.sandwich import of_output, sandwich
from sounding.curvature.setting import samples as samples_in
from sounding.objective import Batch, Loss, Objective
from sounding.vectors import Pattern, normal

BATCH_NORM = nn.modules.batchnorm._BatchNorm
SAME = 1e-3  # relative: gradients that depend on other samples differ by far more


def fisher(
    model: nn.Module,
    loss: Loss | Objective,
    batches: Any,
    *,
    samples: int = 1,
    parameters: Pattern = None,
    reduction: str = "mean",
    micro_batch: int | None = None,
    memory: float | None = None,
    method: str | None = None,
    check: bool = True,
    seed: int = 0,
    group: dist.ProcessGroup | None = None,
) -> Operator:
    """The Fisher matrix, with targets drawn from the model's own predictions.

    The mean of g g', where g is the gradient of one prediction's loss for a target drawn from the
    distribution that the model predicts. Over many draws its mean is :func:`gauss_newton` of the
    loss; with few it is noisy, but never has a negative eigenvalue. Each prediction (a sample, a
    token, a pixel; each number under mse_loss) is drawn by itself and has its own g: they are
    independent given the input, so products of two of them would add nothing but noise. Under
    mse_loss the distribution is the normal one with variance 1/2, of which it is the likelihood.

    Targets of the data are looked at only for their shape and for `ignore_index`. The draws depend
    on the seed and a sample's place in the data alone, not on how it is cut into micro-batches;
    where several processes measure together, their data count as one after another.

    Args:
        model: Any module that returns one tensor.
        loss: cross_entropy, nll_loss, mse_loss or binary_cross_entropy_with_logits, their modules,
            or a functools.partial that sets `ignore_index` or `reduction`. Classes are the second
            dimension of the output: (B, C) or, for sequences, (B, C, T).
        batches: As for :func:`gauss_newton`.
        samples: Draws for each prediction.
        parameters: Names or patterns; the block that belongs to them.
        reduction: 'mean' or 'sum', as the loss has it; the matrix under 'sum' belongs to the sum.
        micro_batch: Samples that go through at once; less memory, the same matrix.
        memory: Bytes that kept graphs may fill; half of what is free by default.
        method: How J v is made: 'kept', 'double', 'forward' or 'difference'; chosen by default.
        check: Whether to check the derivative of the output.
        seed: Of the draws and of the dropout masks.
        group: Processes that measure together, as for :func:`sounding.hessian`.

    Raises:
        ValueError: If the loss is not one of these (names them), or as :func:`gauss_newton` does.

    Example:
        >>> net = nn.Linear(1, 1, bias=False)
        >>> batch = (torch.ones(1000, 1), torch.zeros(1000, 1))
        >>> F = fisher(net, nn.functional.mse_loss, batch, samples=100)
        >>> round((F @ torch.ones(1)).item(), 1)  # the Hessian is 2/N X'X = 2
        2.0
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; it is a number of draws, 1 at least")
    given = of_output(
        "fisher", model, loss, batches, parameters=parameters, reduction=reduction,
        micro_batch=micro_batch, memory=memory, method=method, check=check, seed=seed, group=group,
    )  # fmt: skip
    kind = predictive(given.subject.objective.loss)  # type: ignore[attr-defined]
    if kind.reduction != reduction:
        raise ValueError(
            f"the loss has reduction={kind.reduction!r}, but reduction={reduction!r} was passed; "
            "make them the same"
        )
    targets = [part.batch[1] for part in given.parts]
    counts = [len(t) if t.ndim else 1 for t in targets]
    firsts = list(itertools.accumulate(counts, initial=given.ranks.ahead(sum(counts))))

    def middle(i: int, found: torch.Tensor) -> tuple[Product, float]:
        return outer_products(kind, found, targets[i], draws=samples, first=firsts[i], seed=seed)

    return sandwich(given, middle, matrix="Fisher matrix")


def empirical_fisher(
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
    """The mean of g g' over the samples, g the gradient of a sample's loss for its own target.

    Not the Fisher matrix, and no approximation of the Hessian away from a good fit (Kunstner,
    Balles and Hennig 2019). A sample is an entry of the output's first dimension; a sequence is one
    sample. g is N times the gradient of the sample's share of the loss, so the mean of g is the
    loss's gradient, also where padded or weighted samples count for less. Where batch norm uses
    batch statistics, g goes through the whole batch.

    Under ``reduction='sum'`` g is the gradient of the sample's term, and g g' are added, not
    averaged: the matrix is N times that of the mean.

    Arguments are those of :func:`gauss_newton`; the model's output has the samples along its first
    dimension. `check` looks also whether `reduction` is what the loss does, and at the mixing.

    Raises:
        ValueError: If the loss mixes the samples, or `reduction` is not what it does; or as
            :func:`gauss_newton` raises it.

    Example:
        >>> net = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.zeros_(net.weight)
        >>> x, y = torch.eye(2), torch.full((2, 1), -0.5)  # each residual is 1/2, g is x
        >>> empirical_fisher(net, nn.functional.mse_loss, (x, y)) @ torch.tensor([2.0, 4.0])
        tensor([1., 2.])
    """
    given = of_output(
        "empirical_fisher", model, loss, batches, parameters=parameters, reduction=reduction,
        micro_batch=micro_batch, memory=memory, method=method, check=check, seed=seed, group=group,
    )  # fmt: skip
    return _of_samples(given, "empirical Fisher matrix")


def gradient_covariance(
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
    """The covariance of the samples' gradients: :func:`empirical_fisher` around their mean.

    1/N sum (g - mean)(g - mean)'; 1/b of it is the covariance of the gradient of b samples drawn
    with replacement, the noise of stochastic gradient descent. Its rank is N - 1 at most.

    Under ``reduction='sum'`` it is N times as large: the covariance of the sum over N samples.

    Arguments and errors are those of :func:`empirical_fisher`.

    Example:
        >>> net = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.zeros_(net.weight)
        >>> x, y = torch.eye(2), torch.full((2, 1), -0.5)  # each residual is 1/2, g is x
        >>> gradient_covariance(net, nn.functional.mse_loss, (x, y)) @ torch.tensor([2.0, 4.0])
        tensor([-0.5000,  0.5000])
    """
    given = of_output(
        "gradient_covariance", model, loss, batches, parameters=parameters, reduction=reduction,
        micro_batch=micro_batch, memory=memory, method=method, check=check, seed=seed, group=group,
    )  # fmt: skip
    second = _of_samples(given, "covariance of the gradients")
    with given.ranks.together():
        own, count = _mean_gradient(given)
    mean = given.summed(own[None])[0].to(second.device)
    factor = 1 / sum(given.ranks.gathered(count)) if reduction == "sum" else 1.0
    around = Operator(
        lambda block: factor * second.total(block @ mean)[:, None] * mean,
        second.size,
        width=second.width,
        dtype=second.dtype,
        device=second.device,
    )
    found = second - around
    found.name = second.name
    return found


def _of_samples(given: Problem, matrix: str) -> Operator:
    """The matrix of the samples' own gradients."""
    with given.ranks.together():
        notes = _check_samples(given) if given.check else ()
    reduction = given.reduction  # so that no product holds on to `given`
    if any(isinstance(m, BATCH_NORM) and m.training for m in given.subject.model.modules()):
        notes += ("batch norm in training mode: a sample's gradient goes through the whole batch",)

    def middle(i: int, found: torch.Tensor) -> tuple[Product, float]:
        batch = given.parts[i].batch
        count = _count(found, batch)
        slopes = gradient(loss_of_output(given.subject, found), batch).view(count, -1)

        def apply(block: torch.Tensor) -> torch.Tensor:
            u = block.view(len(block), *slopes.shape)
            along = (u * slopes).sum(2, keepdim=True)  # (k, N, 1)
            if reduction == "mean":  # the N of g, twice, over the N of the mean
                along = along * count
            return (along * slopes).reshape(len(block), -1)

        return apply, float(slopes.nbytes)

    return sandwich(given, middle, matrix=matrix, notes=notes)


def _count(found: torch.Tensor, batch: Batch) -> int:
    """The samples of an output."""
    known = samples_in(batch)
    count = len(found) if found.ndim else 1
    if known is not None and known != count:
        raise ValueError(
            f"the output has {count} entries along its first dimension, the batch {known} samples; "
            "let the model return one entry for each sample"
        )
    return count


def _mean_gradient(given: Problem) -> tuple[torch.Tensor, int]:
    """(n,) this rank's share of the gradient of the whole loss, and its number of samples."""
    total, count = torch.zeros(given.subject.layout.size), 0
    total = total.to(given.subject.device, given.subject.dtype)
    for part in given.parts:
        found = output_value(given.subject, part.batch)
        count += _count(found, part.batch)
        slopes = gradient(loss_of_output(given.subject, found), part.batch)
        total += part.weight * pulled(given.subject, part.batch, slopes[None])[0]
    return total, count


# -- what a sample's gradient needs ---------------------------------------------------------


def _check_samples(given: Problem) -> tuple[str, ...]:
    """The gradient of the loss is right, and a sample's share of it is its own.

    The samples are joined by as many others with the same targets: a sum over samples leaves the
    gradient by the first ones as it was, a mean halves it, whatever else changes it mixes them.
    """
    (few, batch), reduction = given.few, given.reduction
    found = output_value(few, batch)
    behind = loss_of_output(few, found)
    check_gradient(behind, batch)
    count = _count(found, batch)
    noise = normal(1, found.numel(), seed=1, dtype=found.dtype, device=found.device)
    others = found + (found.std(correction=0) or 1.0) * noise.view_as(found)
    try:
        doubled = loss_of_output(few, torch.cat([found, others]))
        together = gradient(doubled, (batch[0], _twice(batch[1], count)))
    except Exception:  # a loss that takes one number of samples only
        return ("the loss could not be tried on other samples, to see that it does not mix them",)
    alone = gradient(behind, batch)
    together, size = together[: len(alone)], float(alone.norm())
    does = {"sum": float((together - alone).norm()), "mean": float((2 * together - alone).norm())}
    if does[reduction] <= SAME * size:
        return ()
    other = "sum" if reduction == "mean" else "mean"
    if does[other] <= SAME * size:
        raise ValueError(f"the loss is a {other} over the samples; pass reduction={other!r}")
    raise ValueError(
        "the loss mixes the samples: its gradient at one depends on the others, so that no sample "
        "has a loss of its own; use gauss_newton or hessian"
    )


def _twice(target: Any, count: int) -> Any:
    def double(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.ndim and len(value) == count:
            return torch.cat([value, value])
        return value

    return tree_map(double, target)

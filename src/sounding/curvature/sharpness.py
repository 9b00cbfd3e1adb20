"""Sharpness: how strongly the loss curves at these parameters, and what step that allows."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from sounding.curvature.eigenpairs import Eigenpairs, eigenpairs
from sounding.curvature.estimate import Estimate
from sounding.curvature.hessian import hessian
from sounding.curvature.operator import Operator
from sounding.curvature.parallel import ranks_of
from sounding.curvature.pieces import Piece, pieces, shared
from sounding.curvature.products import moved
from sounding.curvature.setting import Subject
from sounding.curvature.trace import trace
from sounding.curvature.weighted import height, slope
from sounding.objective import Loss, Objective, as_objective
from sounding.result import NotApplicable, Result
from sounding.train import Progress, silent

RHO = 0.05  # the radius that Foret et al. (2021) use on CIFAR-10


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Sharpness(Result):
    """Measures of sharpness at one point."""

    largest: Eigenpairs  # of the Hessian
    trace: Estimate | None  # of the Hessian
    ascent: float  # L(w + rho g/||g||) - L(w), the first-order measure of Foret et al. (2021)
    rho: float
    preconditioned: Eigenpairs | None  # of D^-1/2 H D^-1/2, D what the optimiser divides by
    optimizer: str  # '' where none was given
    lr: float  # nan where it is not known
    threshold: float  # above this (preconditioned) eigenvalue a step of lr is unstable
    seconds: float

    @property
    def ratio(self) -> float:
        """The eigenvalue that decides over stability, as a share of its threshold."""
        deciding = self.preconditioned or self.largest
        return float(deciding.values[0]) / self.threshold

    def __str__(self) -> str:
        said = f"sharpness {self.largest.values[0]:.4g} ± {self.largest.errors[0]:.1g}"
        if math.isfinite(self.ratio):
            said += f", {self.ratio:.2g} of the stability threshold at lr {self.lr:g}"
        return said


def sharpness(
    model: nn.Module,
    loss: Loss | Objective,
    batches: Any,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    rho: float = RHO,
    tol: float = 1e-3,
    with_trace: bool = True,
    seed: int = 0,
    group: dist.ProcessGroup | None = None,
    progress: Progress = silent,
) -> Sharpness:
    """The largest eigenvalue of the Hessian and its kin, beside what the optimiser can stand.

    Gradient descent with momentum b is unstable along an eigenvector of eigenvalue above
    2 (1 + b) / lr. For Adam and RMSprop the same holds of the Hessian between the square roots of
    what they divide by, with 2 (1 + b) / ((1 - b) lr) for Adam (Cohen et al. 2022, "Adaptive
    gradient methods at the edge of stability", eq. 2).

    Args:
        model: Any module.
        loss: A function of (output, target), or an :class:`Objective`.
        batches: As for :func:`hessian`.
        optimizer: Where given, its learning rate, momentum and second moments are read.
        rho: Radius of the ascent step.
        tol: Relative residual of the eigenvalues.
        with_trace: Whether to estimate the trace (to 5 %), the costlier part.
        seed: Of the random vectors.
        group: Processes that measure together, as for :func:`hessian`.
        progress: Told how far the eigenvalues are.

    Raises:
        ValueError: As :func:`hessian`.
    """
    begun = time.perf_counter()
    matrix = hessian(model, loss, batches, seed=seed, group=group)
    ranks = ranks_of(model, group)
    subject = Subject(model, as_objective(loss), seed=seed, ranks=ranks)
    parts = pieces(batches, micro_batch=None, reduction="mean")
    parts = shared(parts, ranks, "mean", evenly=subject.shards is not None)
    largest = eigenpairs(matrix, tol=tol, seed=seed, progress=progress)
    preconditioned = None
    if optimizer is not None:
        try:
            divisor = preconditioner(optimizer, subject)
        except NotApplicable:
            divisor = None
        if divisor is not None:
            scaled = matrix.preconditioned(divisor)
            preconditioned = eigenpairs(scaled, tol=tol, seed=seed, progress=progress)
    return Sharpness(
        largest=largest,
        trace=trace(matrix, seed=seed) if with_trace else None,
        ascent=_ascent(subject, parts, rho),
        rho=rho,
        preconditioned=preconditioned,
        optimizer="" if optimizer is None else type(optimizer).__name__,
        lr=math.nan if optimizer is None else float(optimizer.param_groups[0]["lr"]),
        threshold=math.nan if optimizer is None else threshold(optimizer),
        seconds=time.perf_counter() - begun,
    )


def threshold(optimizer: torch.optim.Optimizer) -> float:
    """The (preconditioned) eigenvalue above which the first group's steps are unstable."""
    group = optimizer.param_groups[0]
    lr = float(group["lr"])
    if not lr:
        return math.inf
    if "betas" in group:
        first = float(group["betas"][0])
        return 2 * (1 + first) / ((1 - first) * lr)
    return 2 * (1 + float(group.get("momentum", 0.0))) / lr


def preconditioner(optimizer: torch.optim.Optimizer, subject: Subject) -> torch.Tensor | None:
    """(n,) what each parameter's step is divided by; None for optimisers that divide by nothing.

    Raises:
        NotApplicable: If a parameter has no second moment yet: take a step first.
    """
    groups = {p: g for g in optimizer.param_groups for p in g["params"]}
    found = []
    for name, p in subject.names.items():
        state, group = optimizer.state.get(p, {}), groups.get(p, {})
        if "exp_avg_sq" in state:
            correction = 1 - float(group["betas"][1]) ** float(state["step"])
            moment = state["exp_avg_sq"] / correction
        elif "square_avg" in state:
            moment = state["square_avg"]
        elif "betas" in group or "alpha" in group:
            raise NotApplicable(f"{name} has no second moment yet; take a step first")
        else:
            return None
        found.append(moment.sqrt() + float(group["eps"]))
    return subject.layout.join(found)


def _ascent(subject: Subject, parts: list[Piece], rho: float) -> float:
    """L(w + rho g/||g||) - L(w) over all batches of all ranks; the parameters are given back."""
    along, here = slope(subject, parts), height(subject, parts)
    length = float(subject.norm(along))
    if not length:
        return 0.0
    with moved(subject.parameters, subject.layout.split(along), rho / length):
        there = height(subject, parts)
    return float(there - here)


def by_layer(matrix: Operator, *, tol: float = 1e-3, seed: int = 0) -> Any:
    """The largest eigenvalue of each parameter's own block of a Hessian, as a Profile.

    Costs a search of 5 to 20 full products a parameter.

    Raises:
        ValueError: If the matrix knows no parameter names.
    """
    import numpy as np

    from sounding.result import Profile

    if matrix.layout is None:
        raise ValueError("this Operator knows no parameter names; make it with sounding.hessian")
    found = {
        name: eigenpairs(matrix.restricted(name), tol=tol, seed=seed)
        for name in matrix.layout.shapes
    }
    return Profile(
        quantity="largest Hessian eigenvalue",
        unit="",
        layers=tuple(found),
        values=np.array([e.values[0] for e in found.values()]),
        error=np.array([e.errors[0] for e in found.values()]),
    )

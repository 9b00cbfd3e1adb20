"""Many students descend at once to the minima of their loss, and each end is certified.

Gradient descent with a fixed step, as Safran and Shamir (2018) ran it; once a run is so near a
minimum that the Hessian hardly changes any more, Newton takes it there in a few steps.

Letters: B runs, n neurons of the student, k of the teacher, d inputs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import torch

from sounding.problems.smooth_student import SmoothStudentTeacher
from sounding.problems.student_teacher import StudentTeacher
from sounding.verdict import proportion, two_proportion_z

STATIONARY = 1e-9 / (2 * math.pi)  # per neuron: Safran and Shamir's rule, who scale by 2 pi
GLOBAL = 1e-4  # a loss below is in the basin of the global minimum: bad minima are above 1e-2
BAD = 1e-3  # Safran and Shamir: a run that ends above has found a bad minimum
EVERY = 50  # steps between looks at the runs
IN_CACHE = 25_000  # pairs of neurons whose angles are computed at once: 200 kB a tensor
NEAR = 1e-3  # a gradient below invites Newton

Student = StudentTeacher | SmoothStudentTeacher

# Runs of 1000 that ended in a bad minimum: counted from the result files which Safran and Shamir
# released with their code, by (k, n).
PUBLISHED = {
    (6, 6): 3, (7, 7): 55, (8, 8): 126, (9, 9): 218, (10, 10): 346, (11, 11): 455, (12, 12): 585,
    (13, 13): 730, (14, 14): 736, (15, 15): 803, (16, 16): 851, (17, 17): 897, (18, 18): 900,
    (19, 19): 934, (20, 20): 949, (8, 9): 1, (10, 11): 1, (11, 12): 1, (12, 13): 3, (13, 14): 15,
    (14, 15): 55, (15, 16): 102, (16, 17): 180, (17, 18): 233, (18, 19): 369, (19, 20): 491,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Descents:
    """Where B runs ended."""

    points: np.ndarray  # (B, n, d)
    losses: np.ndarray  # (B,)
    gradients: np.ndarray  # (B,) the largest gradient norm of a neuron, unscaled
    smallest: (
        np.ndarray
    )  # (B,) a certified lower bound of the Hessian's smallest eigenvalue, or nan
    newton: np.ndarray  # (B,) length of a Newton step at the end: about the distance left, or nan
    steps: np.ndarray  # (B,) steps of gradient descent, whole multiples of EVERY
    ended: np.ndarray  # (B,) whether the stopping rule was met

    @property
    def bad(self) -> np.ndarray:
        """(B,) which ended above the loss that Safran and Shamir count as a bad minimum."""
        return self.ended & (self.losses >= BAD)


def descend(
    problem: Student,
    starts: torch.Tensor,
    *,
    lr: float = 0.1,
    max_steps: int = 200_000,
    newton: bool = True,
    stationary: float = STATIONARY,
    low: float = GLOBAL,
) -> Descents:
    """Descend from each of `starts` (B, n d) until it is stationary or in the global basin.

    A run ends in the global basin (loss below `low`), or where each neuron's gradient is
    below `stationary`. Newton may finish a run only from a point at which the Hessian differs
    from that at the end by less than half the smallest eigenvalue there: between the two the loss
    is then strictly convex, and gradient descent would have gone to the same end. The step of a
    run whose loss grew is halved.

    Args:
        problem: Its teacher may be any.
        starts: As from ``problem.starts``.
        lr: Step of gradient descent on F, which has the factor 1/2.
        max_steps: After as many a run is given up; it says so in `ended`.
        newton: Whether to finish by Newton; without it, plain descent to the end.
        stationary: Of each neuron's gradient; Safran and Shamir's by default.
        low: Loss below which a run is followed no further; it only falls.
    """
    n, d = problem.W.shape

    def slopes(w: torch.Tensor) -> torch.Tensor:
        return problem.gradients(w.flatten(1)).view_as(w)

    at_once = max(1, IN_CACHE // (n * (n + len(problem.teacher))))
    end = starts.detach().clone().view(-1, n, d)
    steps = np.zeros(len(end), dtype=np.int64)
    ended = np.zeros(len(end), dtype=bool)
    active = torch.arange(len(end))
    w, rate = end.clone(), torch.full((len(end), 1, 1), lr, dtype=end.dtype)
    invite = torch.full((len(end),), NEAR, dtype=end.dtype)  # of each run: below it Newton is tried
    before = torch.full_like(invite, math.inf)
    for step in range(EVERY, max_steps + EVERY, EVERY):
        for some, own in zip(w.split(at_once), rate.split(at_once), strict=True):
            for _ in range(EVERY):
                some.sub_(own * slopes(some))
        size = slopes(w).norm(dim=-1).amax(-1)
        losses = problem.losses(w.flatten(1)).detach()
        rate[(losses > before) & (size > 1e-6)] /= 2  # smaller gradients: the loss only rounds
        before = losses
        done = (losses < low) | (size < stationary)
        tried = newton & (size < invite) & ~done
        if tried.any():
            polished, sound = finish(problem, w[tried])
            w[tried] = torch.where(sound[:, None, None], polished, w[tried])
            invite[tried] /= 4
            done[tried.nonzero()[:, 0][sound]] = True
        end[active], steps[active] = w, step
        ended[active[done]] = True
        keep = ~done
        active, w, rate = active[keep], w[keep], rate[keep]
        invite, before = invite[keep], before[keep]
        if len(active) == 0:
            break
    return _described(problem, end, steps, ended)


def finish(problem: Student, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Newton from each of (B, n, d): where it leads, and whether descent would too, (B,)."""
    start = w.flatten(1)
    first = problem.hessians(start)
    point, hessian, size = start, first, torch.full((len(w),), math.inf, dtype=w.dtype)
    for _ in range(8):  # quadratic: from 1e-3 three or four lead to rounding
        gradient = problem.gradients(point)
        size = gradient.view_as(w).norm(dim=-1).amax(-1)
        if bool((size < STATIONARY / 1000).all()):
            break
        step, failed = torch.linalg.solve_ex(hessian, gradient)
        point = torch.where(failed[:, None] == 0, point - step, point)
        hessian = problem.hessians(point)
    smallest = torch.linalg.eigvalsh(hessian)[:, 0]
    changed = torch.linalg.matrix_norm(hessian - first)  # Frobenius: no less than the 2-norm
    sound = (size < STATIONARY) & (smallest > 0) & (changed < smallest / 2)
    return point.view_as(w), sound


def certified_smallest(hessians: torch.Tensor) -> torch.Tensor:
    """(B, n, n) -> (B,) numbers that the smallest eigenvalues exceed; nan where none is proved.

    An eigenvalue solver's number s is only an estimate. If Cholesky's decomposition of H - s' I
    runs to its end in floating point, H is at least s' - (n + 2) eps tr(H) (Rump, "Verification of
    Positive Definiteness", BIT 2006); s' is taken 1e-10 of the largest entry below s.
    """
    size = hessians.shape[-1]
    shift = torch.linalg.eigvalsh(hessians)[:, 0] - 1e-10 * hessians.abs().amax((1, 2))
    eye = torch.eye(size, dtype=hessians.dtype)
    _, failed = torch.linalg.cholesky_ex(hessians - shift[:, None, None] * eye)
    rounding = (size + 2) * torch.finfo(hessians.dtype).eps * hessians.diagonal(0, 1, 2).sum(-1)
    return torch.where(failed == 0, shift - rounding, math.nan)


def _described(
    problem: Student, end: torch.Tensor, steps: np.ndarray, ended: np.ndarray
) -> Descents:
    losses = problem.losses(end.flatten(1)).detach()
    gradients = problem.gradients(end.flatten(1)).view_as(end)
    smallest = torch.full_like(losses, math.nan)
    left = torch.full_like(losses, math.nan)
    for chunk in (losses >= BAD).nonzero()[:, 0].split(100):
        hessians = problem.hessians(end[chunk].flatten(1))
        smallest[chunk] = certified_smallest(hessians)
        step, _ = torch.linalg.solve_ex(hessians, gradients[chunk].flatten(1))
        left[chunk] = step.norm(dim=-1)
    return Descents(
        points=end.numpy(),
        losses=losses.numpy(),
        gradients=gradients.norm(dim=-1).amax(-1).numpy(),
        smallest=smallest.numpy(),
        newton=left.numpy(),
        steps=steps,
        ended=ended,
    )


# -- the published table ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """Runs at one size, beside what was published."""

    k: int
    n: int
    trials: int
    bad: int
    rate: float
    interval: tuple[float, float]  # of the rate, Wilson's at 95 %
    certified: int  # of the bad ones: Hessian proved positive definite
    unfinished: int  # runs that met no stopping rule
    smallest: float  # mean certified smallest eigenvalue of the bad minima; nan without any
    loss: float  # mean loss of the bad minima
    published: int | None  # bad runs of 1000
    z: float | None  # statistic of the difference of the two rates

    def __str__(self) -> str:
        published = "" if self.published is None else f"  published {self.published} of 1000"
        z = "" if self.z is None else f", z = {self.z:+.1f}"
        return (
            f"k = {self.k}, n = {self.n}: {self.bad} of {self.trials} bad "
            f"[{self.interval[0]:.3f}, {self.interval[1]:.3f}], {self.certified} certified"
            f"{published}{z}"
        )


def bad_minima(
    k: int, n: int | None = None, *, trials: int = 1000, seed: int = 0
) -> tuple[Row, Descents]:
    """How often descent from W0 ~ N(0, 1/d) ends in a bad minimum, for a teacher of k units."""
    problem = StudentTeacher(k, n)
    runs = descend(problem, problem.starts(trials, seed=seed))
    bad, size = int(runs.bad.sum()), (k, k if n is None else n)
    estimate, published = proportion(bad, trials), PUBLISHED.get(size)
    low, high = estimate.interval
    row = Row(
        k=size[0],
        n=size[1],
        trials=trials,
        bad=bad,
        rate=estimate.value,
        interval=(low, high),
        certified=int((runs.smallest[runs.bad] > 0).sum()),
        unfinished=int((~runs.ended).sum()),
        smallest=float(runs.smallest[runs.bad].mean()) if bad else math.nan,
        loss=float(runs.losses[runs.bad].mean()) if bad else math.nan,
        published=published,
        z=None if published is None else two_proportion_z(bad, trials, published, 1000),
    )
    return row, runs


def published_table(
    sizes: Iterable[int] = range(6, 21), *, excess: int = 0, trials: int = 1000, seed: int = 0
) -> list[Row]:
    """The table of Safran and Shamir for k in `sizes`, n = k + `excess`, run anew."""
    return [bad_minima(k, k + excess, trials=trials, seed=seed)[0] for k in sizes]

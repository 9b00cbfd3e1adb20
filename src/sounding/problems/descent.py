"""Many points of a problem descend at once, plainly or with noise where the gradient is small.

Letters: B points, n parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sounding.problems.problem import Problem

Until = Callable[[torch.Tensor], torch.Tensor]  # (B, n) -> (B,) which have arrived


@dataclasses.dataclass(frozen=True, kw_only=True)
class Noise:
    """When and how far the perturbed descent of Jin et al. (ICML 2017) is pushed."""

    radius: float  # of the ball that a push is drawn from
    threshold: float  # gradients up to this norm invite one
    interval: int = 50  # steps between two at least


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Ends:
    """Where B descents ended."""

    points: np.ndarray  # (B, n)
    steps: np.ndarray  # (B,) made until the run arrived; all of them where it did not
    arrived: np.ndarray  # (B,)


def descend_together(
    problem: Problem,
    starts: Any,
    *,
    lr: float,
    steps: int,
    until: Until | None = None,
    every: int = 1,
    noise: Noise | None = None,
    seed: int = 0,
) -> Ends:
    """Gradient descent from each of `starts` (B, n), all at once; the runs see nothing of another.

    Args:
        problem: Its whole loss is followed.
        starts: Rows, one a run.
        lr: The step.
        steps: As many at most.
        until: Says which points have arrived; those go no further.
        every: Steps between two questions to `until`.
        noise: Makes it :class:`sounding.optim.PerturbedSGD`, without its test of the fall.
        seed: Of the noise.
    """
    x = torch.as_tensor(starts, dtype=torch.float64).detach().clone()
    generator = torch.Generator().manual_seed(seed)
    ends, taken = x.clone(), np.full(len(x), steps)
    arrived, active = np.zeros(len(x), dtype=bool), torch.arange(len(x))
    pushed = torch.full((len(x),), -torch.inf)  # the step of the last push
    for step in range(steps + 1):
        if until is not None and step % every == 0:
            done = until(x)
            ends[active[done]] = x[done]
            taken[active[done]], arrived[active[done]] = step, True
            x, active, pushed = x[~done], active[~done], pushed[~done]
        if step == steps or not len(x):
            break
        gradient = problem.gradients(x)
        move = -lr * gradient
        if noise is not None:
            due = (gradient.norm(dim=1) <= noise.threshold) & (step - pushed > noise.interval)
            move[due] = noise.radius * ball(int(due.sum()), x.shape[1], generator)
            pushed[due] = step
        x = x + move
    ends[active] = x
    return Ends(points=ends.numpy(), steps=taken, arrived=arrived)


def ball(count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """(count, size) points uniform in the unit ball."""
    drawn = torch.randn(count, size, generator=generator, dtype=torch.float64)
    share = torch.rand(count, generator=generator, dtype=torch.float64)
    return drawn * (share ** (1 / size) / drawn.norm(dim=1))[:, None]

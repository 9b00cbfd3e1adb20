"""Himmelblau's and Rosenbrock's functions, the classics of optimisation."""

from __future__ import annotations

import numpy as np
import torch

from sounding.objective import Batch
from sounding.problems.known import Known, from_spectrum
from sounding.problems.problem import Problem

_HIMMELBLAU = {  # to six digits; Newton finds the rest
    "minimum (3, 2)": (3.0, 2.0),
    "minimum (-2.8, 3.1)": (-2.805118, 3.131313),
    "minimum (-3.8, -3.3)": (-3.779310, -3.283186),
    "minimum (3.6, -1.8)": (3.584428, -1.848127),
    "maximum (-0.3, -0.9)": (-0.270845, -0.923039),
    "saddle (-3.1, -0.1)": (-3.073026, -0.081353),
    "saddle (-0.1, -2.0)": (-0.127961, -1.953715),
    "saddle (0.1, 2.9)": (0.086678, 2.884255),
    "saddle (3.4, 0.1)": (3.385154, 0.073852),
}


class Himmelblau(Problem):
    """(x^2 + y - 11)^2 + (x + y^2 - 7)^2: four minima of value 0, four saddles, one maximum."""

    minimum = 0.0
    spread = 3.0

    def __init__(self) -> None:
        super().__init__({"x": np.zeros(2)})

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The function at x (..., 2)."""
        x, y = parameters[0].unbind(-1)
        return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2

    def critical_points(self) -> tuple[Known, ...]:
        """All nine."""
        return tuple(_polished(self, name, at) for name, at in _HIMMELBLAU.items())


class Rosenbrock(Problem):
    """Sum of 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2: a curved valley, badly conditioned.

    Its only stationary point in two and three dimensions is the minimum at (1, ..., 1); in four to
    seven there is one bad minimum near (-1, 1, ..., 1) (Kok and Sandrock, "Locating and
    Characterizing the Stationary Points of the Extended Rosenbrock Function", 2009).
    """

    minimum = 0.0

    def __init__(self, dimension: int = 2) -> None:
        """`dimension` is 2 at least; the start is the customary (-1.2, 1, -1.2, 1, ...)."""
        if dimension < 2:
            raise ValueError(f"Rosenbrock's function needs two variables at least, not {dimension}")
        super().__init__({"x": np.resize([-1.2, 1.0], dimension)})

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The function at x (..., d)."""
        here, there = parameters[0][..., :-1], parameters[0][..., 1:]
        return (100 * (there - here**2) ** 2 + (1 - here) ** 2).sum(-1)

    def critical_points(self) -> tuple[Known, ...]:
        """The minimum, and the bad one where there is one; saddles are left out."""
        ones = np.ones(self.size)
        found = [_polished(self, "minimum", tuple(ones))]
        if 4 <= self.size <= 7:
            ones[0] = -1
            found.append(_polished(self, "bad minimum", tuple(ones)))
        return tuple(found)


def _polished(problem: Problem, name: str, at: tuple[float, ...]) -> Known:
    """The stationary point that Newton reaches from close by."""
    point = torch.tensor(at, dtype=torch.float64)
    for _ in range(20):
        step = torch.linalg.solve(problem.hessians(point)[0], problem.gradients(point)[0])
        point = point - step
        if step.norm() < 1e-14 * point.norm():
            break
    eigenvalues = torch.linalg.eigvalsh(problem.hessians(point)[0])
    value = float(problem.losses(point).detach())
    return from_spectrum(name, point, value, eigenvalues, minimum=problem.minimum)

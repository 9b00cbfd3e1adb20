"""Losses with cliffs: gradients that explode, for which clipping was invented."""

from __future__ import annotations

import numpy as np
import torch

from sounding.objective import Batch
from sounding.problems.known import Known, from_spectrum
from sounding.problems.problem import Problem


class Recurrence(Problem):
    """(h_T - target)^2 after h_{t+1} = w h_t: flat for |w| < 1, a cliff beyond.

    Pascanu, Mikolov and Bengio, "On the Difficulty of Training Recurrent Neural Networks", ICML
    2013. At w = 0 the first T - 1 derivatives vanish: a plateau, not listed as a stationary point,
    as no instrument of double precision tells it from a constant.
    """

    minimum = 0.0
    spread = 0.02

    def __init__(
        self, steps: int = 50, *, first: float = 0.2, target: float = 0.7, start: float = 1.18
    ) -> None:
        """`first` is h_0; `start` the value of w, on the steep side by default."""
        if steps < 2 or first * target <= 0:
            raise ValueError("two steps at least, and first and target of one sign")
        super().__init__({"w": np.array([start])})
        self.steps, self.first, self.target, self.start = steps, first, target, start

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss of w (..., 1)."""
        return (self.first * parameters[0][..., 0] ** self.steps - self.target) ** 2

    def starts(self, count: int, *, seed: int = 0, spread: float | None = None) -> torch.Tensor:
        """(count, 1) normal numbers around the start, so on the steep side by default."""
        return self.start + super().starts(count, seed=seed, spread=spread)

    def critical_points(self) -> tuple[Known, ...]:
        """The minima at w = (target / first)^(1 / T), and its mirror image for even T."""
        w = (self.target / self.first) ** (1 / self.steps)
        curvature = [2 * (self.steps * self.target / w) ** 2]
        signs = (1, -1) if self.steps % 2 == 0 else (1,)
        return tuple(
            from_spectrum(f"w = {sign * w:.4f}", [sign * w], 0.0, curvature, minimum=0.0)
            for sign in signs
        )


class Cosh(Problem):
    """Sum of cosh x_j: curvature grows as the gradient, |H| <= 1 + |gradient|.

    The textbook (1, 1)-smooth function of Zhang, He, Sra and Jadbabaie, "Why Gradient Clipping
    Accelerates Training", ICLR 2020; with a fixed step the number of steps grows as e^|x_0|, with
    clipping as |x_0|.
    """

    def __init__(self, dimension: int = 1) -> None:
        """Starts at x = (5, ..., 5)."""
        super().__init__({"x": np.full(dimension, 5.0)})
        self.minimum = float(dimension)

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The function at x (..., d)."""
        return torch.cosh(parameters[0]).sum(-1)

    def critical_points(self) -> tuple[Known, ...]:
        """The minimum at zero."""
        zero = np.zeros(self.size)
        return (from_spectrum("origin", zero, self.size, np.ones(self.size), minimum=self.minimum),)

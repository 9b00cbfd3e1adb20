"""A staircase of d strict saddles, down which plain gradient descent takes e^(Omega(d)) steps.

Du, Jin, Lee, Jordan, Singh and Poczos, "Gradient Descent Can Take Exponential Time to Escape Saddle
Points", NIPS 2017. While x_i grows past one saddle the coordinates still waiting shrink, so that
each saddle is met closer than the one before: the time multiplies from stage to stage by
1 + |log(1 - 2 eta L)| / log(1 + 2 eta gamma). Descent that is perturbed needs a time linear in d.

With a = |x| and tau = e, the first i coordinates having passed 2 tau:

    a_j in [2 tau, 6 tau] for j <= i, and
    f = sum_{j<=i} L (a_j - 4 tau)^2 - gamma a_{i+1}^2 + sum_{j>i+1} L a_j^2 - i nu
        while a_{i+1} <= tau;
    from tau to 2 tau -gamma a^2 gives way to the cubic spline g1(a_{i+1}), and the next one's
    L a_{i+2}^2 to g2(a_{i+1}) a_{i+2}^2, g2 falling from L to -gamma.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from sounding.objective import Batch
from sounding.problems.known import Known, from_spectrum
from sounding.problems.problem import Problem

TAU = math.e


class Staircase(Problem):
    """The function on its tube, which holds the cube [-tau, tau]^d and descent's way from there.

    Elsewhere (a waiting coordinate beyond tau, say) the same formula is used, and jumps.
    """

    spread = 0.5

    def __init__(self, dimension: int = 5, *, L: float = 1.0, gamma: float = 1.0) -> None:
        """`L` is half the curvature across, `gamma` half that of a saddle's way down."""
        if dimension < 1 or min(L, gamma) <= 0:
            raise ValueError("dimension, L and gamma must be positive")
        super().__init__({"x": np.full(dimension, 0.5)})
        self.L, self.gamma = float(L), float(gamma)
        slope = np.array([-2 * gamma * TAU, -2 * gamma * TAU, -4 * L * TAU, 2 * L * TAU])
        # Hermite's cubic for g1' in u = a/tau - 1, from values and slopes at u = 0 and 1
        basis = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [-3, -2, 3, -1], [2, 1, -2, 1.0]])
        self._slope = basis @ slope  # coefficients of 1, u, u^2, u^3
        self.drop = 4 * L * TAU**2 - self._first(2 * TAU)  # nu
        self.minimum = -dimension * self.drop

    @property
    def lr(self) -> float:
        """The step of the paper, 1 / (4 L)."""
        return 1 / (4 * self.L)

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss of x (..., d)."""
        x = parameters[0]
        a, square = x.abs(), x**2  # the square, as |x| has no second derivative at 0
        past = (a.detach() >= 2 * TAU).long().cumprod(-1)  # (..., d) which have passed, in order
        stage = past.sum(-1, keepdim=True)  # the number of the active coordinate
        place = torch.arange(a.shape[-1], device=a.device)
        active, following = place == stage, place == stage + 1
        mover, bent = ((t * active).sum(-1, keepdim=True) for t in (a, square))  # 0 past the last
        seam = mover > TAU
        own = torch.where(seam, self._first(mover), -self.gamma * bent)
        weight = torch.where(seam, self._second(mover), self.L)  # of the next one's square
        others = torch.where(following, weight, self.L) * square
        passed = self.L * (a - 4 * TAU) ** 2
        terms = torch.where(active, own, torch.where(past.bool(), passed, others))
        return terms.sum(-1) - self.drop * stage[..., 0].to(terms.dtype)

    def _first(self, a: Any) -> Any:
        """g1 for a in [tau, 2 tau], a number or a tensor."""
        u = a / TAU - 1
        c = self._slope.tolist()
        integral = u * (c[0] + u * (c[1] / 2 + u * (c[2] / 3 + u * c[3] / 4)))
        return TAU * integral - self.gamma * TAU**2

    def _second(self, a: Any) -> Any:
        """g2 for a in [tau, 2 tau], a number or a tensor."""
        s = a / TAU - 2
        return -self.gamma - (self.L + self.gamma) * s**3 * (10 + s * (15 + 6 * s))

    def critical_points(self) -> tuple[Known, ...]:
        """Saddle i (from 0) has i coordinates at 4 tau; the last point is the minimum."""
        d, found = self.size, []
        for i in range(d + 1):
            point = np.where(np.arange(d) < i, 4 * TAU, 0.0)
            eigenvalues = [2 * self.L] * (d - 1) + [2 * self.L if i == d else -2 * self.gamma]
            name = "minimum" if i == d else f"saddle {i}"
            value = -i * self.drop
            found.append(from_spectrum(name, point, value, eigenvalues, minimum=self.minimum))
        return tuple(found)

    def _moved(self, known: Known, rng: np.random.Generator) -> Known:
        return known.moved(known.parameters * rng.choice([-1, 1], self.size))

    def growth(self, lr: float | None = None) -> float:
        """By how much the total time multiplies from a stage to the next, as d grows."""
        lr = self.lr if lr is None else lr
        return 1 + abs(math.log(abs(1 - 2 * lr * self.L))) / math.log1p(2 * lr * self.gamma)

    def descend(self, starts: torch.Tensor, *, lr: float | None = None) -> np.ndarray:
        """(B, d) -> (B, d) the number of steps after which plain descent has passed each saddle.

        Exact however many they are: a coordinate that waits is kept as its logarithm (in plain
        double precision it becomes 0 after about 1075 halvings, and descent would stand still for
        ever), and the steps in which all coordinates are multiplied by constants are counted at
        once. Costs a few hundred operations a stage.

        Args:
            starts: Inside the cube, no coordinate zero.
            lr: The step; 1 / (4 L) by default, below 1 / (2 L).

        Raises:
            ValueError: If a start is outside the cube or has a zero, or the step is too long.
        """
        lr = self.lr if lr is None else lr
        rows = self._rows(starts).detach().abs().cpu().numpy()
        if not 0 < lr < 1 / (2 * self.L):
            raise ValueError(f"the step {lr} is not between 0 and 1 / (2 L) = {0.5 / self.L:g}")
        if (rows == 0).any() or (rows > TAU).any():
            raise ValueError(
                f"starts must be within {TAU:.3f} of zero in each coordinate, not at 0"
            )
        return np.array([self._passed(np.log(row), lr) for row in rows])

    def _passed(self, logs: np.ndarray, lr: float) -> list[int]:
        """The step after which each coordinate of one run has passed 2 tau."""
        grow, shrink = math.log1p(2 * lr * self.gamma), math.log1p(-2 * lr * self.L)
        logs, steps, found = logs.copy(), 0, []
        for i in range(len(logs)):
            straight = max(0, math.floor((1 - logs[i]) / grow) + 1)  # log tau = 1
            if logs[i] + (straight - 1) * grow > 1:
                straight -= 1  # it was just about there
            steps += straight
            logs[i + 1 :] += straight * shrink
            a = math.exp(logs[i] + straight * grow)
            while a < 2 * TAU:
                weight = self._second(a) if a > TAU else self.L
                a, before = self._seam_step(a, logs[i + 1 : i + 2], lr), a
                logs[i + 1 : i + 2] += math.log1p(-2 * lr * weight)
                logs[i + 2 :] += shrink
                steps += 1
                if a <= before:
                    raise ValueError(f"descent does not pass saddle {i}: the step {lr} is too long")
            found.append(steps)
        return found

    def _seam_step(self, a: float, following: np.ndarray, lr: float) -> float:
        """One step of the active coordinate between tau and 2 tau."""
        u, s = a / TAU - 1, a / TAU - 2
        slope = float(np.polynomial.polynomial.polyval(u, self._slope))
        tilt = -(self.L + self.gamma) * 30 * s**2 * (1 + s) ** 2 / TAU  # g2'
        square = math.exp(2 * following[0]) if len(following) else 0.0
        return a - lr * (slope + tilt * square)


def medians(
    dimensions: range | list[int],
    *,
    L: float = 1.0,
    runs: int = 20,
    seed: int = 0,
) -> dict[int, float]:
    """Median number of steps of plain descent to the last basin, for each d, from U[-1, 1]^d."""
    found = {}
    for d in dimensions:
        starts = np.random.default_rng([seed, d]).uniform(-1, 1, (runs, d))
        steps = Staircase(d, L=L).descend(torch.from_numpy(starts))[:, -1]
        found[d] = float(np.median(steps))
    return found

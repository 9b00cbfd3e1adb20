"""The second-order model of a loss around a point, whole or on a Krylov subspace, and its steps.

In a basis of orthonormal vectors v_i, (m,) of them, the loss is modelled by

    f + sum c_i y_i + 1/2 sum theta_i y_i^2,

with c_i = g.v_i. In the whole space theta are the eigenvalues of the Hessian. In a Krylov subspace
of the gradient they are Ritz values, and H V y sticks out of the subspace by a vector of length
||S y||; S, (r, m), is `leak`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from sounding.curvature.lanczos import Lanczos
from sounding.curvature.operator import Operator


@dataclasses.dataclass(frozen=True)
class Quadratic:
    """A gradient and a Hessian, on the span of some orthonormal directions."""

    values: np.ndarray  # (m,) ascending
    vectors: torch.Tensor  # (m, n)
    slope: np.ndarray  # (m,) the gradient's coefficients
    leak: np.ndarray  # (r, m) no rows where nothing sticks out

    @property
    def curvature(self) -> float:
        """The largest eigenvalue in size."""
        return float(np.abs(self.values).max(initial=0.0))

    def step(self, y: np.ndarray) -> torch.Tensor:
        """(n,) the step with these coefficients, (m,)."""
        coefficients = torch.from_numpy(np.ascontiguousarray(y))
        return coefficients.to(self.vectors.device, self.vectors.dtype) @ self.vectors

    def residual(self, y: np.ndarray) -> float:
        """||H d + g|| of the step with these coefficients."""
        return float(
            np.hypot(np.linalg.norm(self.values * y + self.slope), np.linalg.norm(self.leak @ y))
        )

    def change(self, y: np.ndarray) -> float:
        """What the model says that a step changes the loss by."""
        return float(self.slope @ y + 0.5 * (self.values @ y**2))


def whole(matrix: torch.Tensor, gradient: torch.Tensor) -> Quadratic:
    """The model in the whole space, from a dense (n, n) Hessian."""
    values, vectors = torch.linalg.eigh(matrix)
    slope = (gradient @ vectors).double().cpu().numpy()
    values = values.double().cpu().numpy()
    return Quadratic(values, vectors.T.contiguous(), slope, np.zeros((0, len(values))))


def krylov(
    operator: Operator, gradient: torch.Tensor, most: int, *, seed: int | None = None
) -> Quadratic:
    """The model on the Krylov subspace of the gradient; costs `most` products at most.

    With a `seed` a random direction comes along, without which a subspace can miss the directions
    in which the gradient has no share (at a saddle: those that lead away).
    """
    start = [gradient[None]] if float(gradient.norm()) > 0 else []
    if seed is not None or not start:
        start.append(operator.normal(1, seed=seed or 0))
    lanczos = Lanczos(operator, torch.cat(start))
    while not lanczos.exhausted and lanczos.count < min(most, operator.size):
        lanczos.step()
    values, inside, _ = lanczos.ritz()
    vectors = lanczos.basis.combined(torch.from_numpy(np.ascontiguousarray(inside)))
    leak = lanczos.coupling @ inside[len(inside) - lanczos.coupling.shape[1] :]
    slope = (vectors @ gradient).double().cpu().numpy()
    return Quadratic(values, vectors, slope, leak)


def gauss_newton(model: Quadratic, damping: float) -> np.ndarray:
    """(m,) the minimiser of ||H d + g||^2 + damping ||d||^2: a step towards any stationary point.

    Levenberg (1944) and Marquardt (1963), for the equations g = 0.
    """
    theta, leak = model.values, model.leak
    squares = theta**2 + damping
    if not len(leak):
        safe = np.where(squares > 0, squares, 1.0)
        return np.where(squares > 0, -theta * model.slope / safe, 0.0)
    return -np.linalg.lstsq(np.diag(squares) + leak.T @ leak, theta * model.slope, rcond=None)[0]


def cubic(model: Quadratic, weight: float) -> np.ndarray:
    """(m,) the global minimiser of the model plus weight/3 ||d||^3.

    It solves (theta + weight r) y = -c, r = ||y||, with theta + weight r >= 0 (Nesterov & Polyak
    2006, section 5; Cartis, Gould & Toint 2011). In the hard case, where c has no share in the
    lowest direction, that direction is added with the length that is missing; either sign is as
    good, and the positive one is taken.
    """
    theta, c = model.values, model.slope
    least = max(0.0, -float(theta[0]) / weight)  # the shortest r that makes it convex

    def solved(r: float) -> np.ndarray:
        shifted = theta + weight * r
        tiny = 1e-14 * (np.abs(theta).max() + weight * r)
        return np.where(shifted > tiny, -c / np.where(shifted > tiny, shifted, 1.0), 0.0)

    at_least = solved(least)
    lowest = np.abs(theta - theta[0]) <= 1e-12 * np.abs(theta).max()
    if np.linalg.norm(at_least) <= least and not np.abs(c[lowest]).max() > 1e-14 * np.linalg.norm(
        c
    ):
        at_least[0] += np.sqrt(max(least**2 - at_least @ at_least, 0.0))
        return at_least
    low, high = least, max(2 * least, 1e-12)
    while np.linalg.norm(solved(high)) > high:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if np.linalg.norm(solved(middle)) > middle:
            low = middle
        else:
            high = middle
        if high - low <= 1e-14 * high:
            break
    return solved(high)

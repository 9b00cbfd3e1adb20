"""Sensing a matrix of low rank through linear measurements.

f(U) = scale sum_i (<A_i, UU'> - y_i)^2, U of shape (d, r). With restricted isometry below 1/5 there
are no bad minima (Bhojanapalli, Neyshabur and Srebro, NIPS 2016); at rank 1 below 1/2, and not
beyond (Zhang, Sojoudi and Lavaei, JMLR 2019): :class:`SpuriousSensing` is beyond.
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch

from sounding.objective import Batch
from sounding.problems.known import Known, from_spectrum
from sounding.problems.problem import Problem, orthogonal


class MatrixSensing(Problem):
    """The loss over m measurements; a batch is some of them, (A (N, d, d), y (N,))."""

    measurements: torch.Tensor
    labels: torch.Tensor
    minimum = 0.0

    def __init__(self, measurements: Any, truth: Any, *, scale: float | None = None) -> None:
        """Measures `truth` @ `truth`' without noise, `truth` being (d, r).

        Args:
            measurements: (m, d, d); only their symmetric parts count.
            truth: The planted U.
            scale: 1/(2m) by default, so that a batch estimates the whole.
        """
        a = np.asarray(measurements, dtype=np.float64)
        a = (a + a.transpose(0, 2, 1)) / 2
        truth = np.asarray(truth, dtype=np.float64)
        super().__init__({"U": np.zeros(truth.shape)})
        self.register_buffer("measurements", torch.tensor(a))
        self.register_buffer("labels", torch.tensor(np.einsum("mab,ar,br->m", a, truth, truth)))
        self.scale, self._truth = scale, truth

    @classmethod
    def gaussian(cls, d: int = 12, r: int = 2, m: int = 120, *, seed: int = 0) -> Self:
        """Symmetrised Gaussian matrices, m of them; a truth with standard normal numbers."""
        rng = np.random.default_rng(seed)
        return cls(rng.standard_normal((m, d, d)), rng.standard_normal((d, r)))

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss of U (..., d, r)."""
        (u,) = parameters
        a, y = (self.measurements, self.labels) if batch is None else batch
        misfit = (u @ u.mT).flatten(-2) @ a.flatten(1).mT - y
        scale = 1 / (2 * len(y)) if self.scale is None else self.scale
        return scale * misfit.square().sum(-1)

    def sample(self, count: int, *, seed: int = 0) -> Batch:
        """`count` of the measurements, with replacement.

        With a `scale` given the loss is a sum: multiply a batch's by m / count.
        """
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randint(len(self.labels), (count,), generator=generator)
        return self.measurements[chosen], self.labels[chosen]

    def critical_points(self) -> tuple[Known, ...]:
        """The origin and the truth."""
        a, y = self.measurements.cpu().numpy(), self.labels.cpu().numpy()
        scale = 1 / (2 * len(y)) if self.scale is None else self.scale
        (d, r), u = self._truth.shape, self._truth
        origin = np.repeat(np.linalg.eigvalsh(-4 * scale * np.einsum("m,mab->ab", y, a)), r)
        value = scale * (y**2).sum()
        slopes = 2 * np.einsum("mab,br->mar", a, u).reshape(len(a), -1)  # d<A, UU'>/dU
        truth = np.linalg.eigvalsh(2 * scale * slopes.T @ slopes)
        return (
            from_spectrum("origin", np.zeros(d * r), value, origin, minimum=0.0),
            from_spectrum("truth", u, 0.0, truth, minimum=0.0),
        )

    def _moved(self, known: Known, rng: np.random.Generator) -> Known:
        u = known.parameters.reshape(self._truth.shape)
        return known.moved((u @ orthogonal(u.shape[1], rng)).reshape(-1))


class SpuriousSensing(MatrixSensing):
    """Three measurements in the plane, of rank 1, with a bad minimum for a^2 > 3/2.

    |A(M)|^2 has the eigenvalues 1, 3 and 2 a^2: after the best scaling it is a restricted isometry
    with delta = 1/2 for 1/2 <= a^2 <= 3/2, and (2a^2 - 1)/(2a^2 + 1) beyond. At (0, sqrt(1/2)) the
    gradient is zero and the Hessian is diag(4a^2 - 6, 8). The truth is (1, 0).
    """

    def __init__(self, a_squared: float = 2.0) -> None:
        """`a_squared` is above 1/2.

        Raises:
            ValueError: If it is not.
        """
        if a_squared <= 0.5:
            raise ValueError(f"a_squared is {a_squared}; the family is written for above 1/2")
        root = math.sqrt
        matrices = [
            [[root(2), 0], [0, root(0.5)]],
            [[0, root(a_squared)], [root(a_squared), 0]],
            [[0, 0], [0, root(1.5)]],
        ]
        super().__init__(matrices, [[1.0], [0.0]], scale=1.0)
        self.a_squared = float(a_squared)
        larger, smaller = max(3.0, 2 * a_squared), min(1.0, 2 * a_squared)
        self.delta = (larger - smaller) / (larger + smaller)

    def critical_points(self) -> tuple[Known, ...]:
        """All of them but for signs: origin, truth, the bad point, and the saddle between."""
        a = self.a_squared
        places = {"origin": (0.0, 0.0), "truth": (1.0, 0.0), "bad point": (0.0, math.sqrt(0.5))}
        if a > 1.5:  # where neither coordinate is zero, both partial derivatives by squares are
            below = (1 + 2 * a) ** 2 - 4
            places["between"] = (math.sqrt((2 * a - 3) / below), math.sqrt(4 * a / below))
        return tuple(self._known(name, x, y) for name, (x, y) in places.items())

    def _known(self, name: str, x: float, y: float) -> Known:
        """With p = x^2, q = y^2 the loss is 2 (p + q/2 - 1)^2 + 4 a^2 p q + 3/2 q^2."""
        p, q, a = x * x, y * y, self.a_squared
        value = 2 * (p + q / 2 - 1) ** 2 + 4 * a * p * q + 1.5 * q * q
        by_p = 4 * (p + q / 2 - 1) + 4 * a * q
        by_q = 2 * (p + q / 2 - 1) + 4 * a * p + 3 * q
        mixed = (8 + 16 * a) * x * y
        matrix = [[2 * by_p + 16 * p, mixed], [mixed, 2 * by_q + 16 * q]]
        return from_spectrum(name, [x, y], value, np.linalg.eigvalsh(matrix), minimum=0.0)

    def _moved(self, known: Known, rng: np.random.Generator) -> Known:
        """The loss is the same with the sign of either coordinate turned."""
        return known.moved(known.parameters * rng.choice([-1, 1], 2))

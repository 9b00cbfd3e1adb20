"""A network of smooth units that learns one of its own kind, on Gaussian inputs.

F(W) = 1/2 E (sum_i phi(w_i'x) - sum_j phi(v_j'x))^2 with x ~ N(0, I): the expected loss of Safran
and Shamir (ICML 2018) with another activation.

Letters: n neurons of the student (rows of W), k of the teacher (rows of V), d inputs, B points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.objective import Batch
from sounding.problems.gaussian_smooth import Series, erf_products, gelu_products
from sounding.problems.known import DEGENERATE, Known, from_spectrum
from sounding.problems.problem import Problem

SMOOTH: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "softplus": functional.softplus,
    "gelu": functional.gelu,
    "tanh": torch.tanh,
    "erf": torch.erf,
}
CLOSED = {"erf": erf_products, "gelu": gelu_products}
TOGETHER = 20  # Hessians computed at once


class SmoothStudentTeacher(Problem):
    """F(W) for a teacher of `k` orthonormal rows and a student of `n`, of a smooth activation.

    Exact for erf and GELU; by a series for softplus, to 1e-9, and tanh, to 1e-8 at neurons of
    length 1 and 5e-5 at length 2. A batch is a tensor of inputs (N, d), on which the loss is the
    sample mean; without one it is the expectation. For rectifiers: :class:`StudentTeacher`.
    """

    W: nn.Parameter
    teacher: torch.Tensor
    minimum = 0.0

    def __init__(self, activation: str = "tanh", k: int = 8, n: int | None = None) -> None:
        """`activation` is one of ``SMOOTH``; the student starts at the teacher's rows.

        Raises:
            ValueError: If it is not, or a size is below 1.
        """
        if activation not in SMOOTH:
            raise ValueError(f"activation is {activation!r}; there are {', '.join(SMOOTH)}")
        n = k if n is None else n
        if min(n, k) < 1:
            raise ValueError(
                f"student and teacher have {n} and {k} neurons; both need at least one"
            )
        super().__init__({"W": np.resize(np.eye(k), (n, k))})
        self.register_buffer("teacher", torch.eye(k, dtype=torch.float64))
        self.name, self.phi, self.spread = activation, SMOOTH[activation], 1 / math.sqrt(k)
        self._series = None if activation in CLOSED else Series(self.phi)
        self._products = CLOSED[activation] if self._series is None else self._series.products
        self._constant = float(self._products(self.teacher, self.teacher).sum()) / 2

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss of W (..., n, d)."""
        (w,) = parameters
        if batch is not None:
            student = self.phi(torch.einsum("xd,...nd->...xn", batch, w)).sum(-1)
            return (student - self.phi(batch @ self.teacher.mT).sum(-1)).square().mean(-1) / 2
        own = self._products(w, w).sum((-2, -1)) / 2
        return own - self._products(w, self.teacher).sum((-2, -1)) + self._constant

    def gradients(self, points: Any, batch: Batch = None) -> torch.Tensor:
        """(B, n d), of a series by its own slopes without a batch; a third of autograd's time."""
        if batch is not None or self._series is None:
            return super().gradients(points, batch)
        (w,) = self.layout.split(self._rows(points).detach())
        return self._slopes(w).flatten(1)

    def hessians(self, points: Any, batch: Batch = None) -> torch.Tensor:
        """(B, n d, n d), by one more derivative of the gradient without a batch."""
        rows = self._rows(points).detach()
        if batch is not None or not len(rows):
            return super().hessians(points, batch)
        shape = self.W.shape

        def slope(row: torch.Tensor) -> torch.Tensor:
            if self._series is not None:
                return self._slopes(row.view(shape)).flatten()
            return torch.func.grad(lambda r: self.value(r.view(shape)))(row)

        return torch.func.vmap(torch.func.jacrev(slope), chunk_size=TOGETHER)(rows)

    def _slopes(self, w: torch.Tensor) -> torch.Tensor:
        """The gradient by the series: (..., n, d) -> (..., n, d)."""
        assert self._series is not None
        n, k = len(self.W), len(self.teacher)
        other = torch.cat([w, self.teacher.expand(*w.shape[:-2], -1, -1)], dim=-2)
        return self._series.slopes(w, other, torch.cat([w.new_ones(n), -w.new_ones(k)]))

    def sample(self, count: int, *, seed: int = 0) -> torch.Tensor:
        """(count, d) standard normal inputs."""
        generator = torch.Generator().manual_seed(seed)
        shape = (count, self.teacher.shape[1])
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(self.teacher)

    def critical_points(self) -> tuple[Known, ...]:
        """The global minimum, where student and teacher have as many neurons."""
        if len(self.W) != len(self.teacher):
            return ()
        w = self.teacher.cpu().numpy()
        eigenvalues = torch.linalg.eigvalsh(self.hessians(w.reshape(1, -1))[0]).cpu()
        return (from_spectrum("teacher", w, 0.0, eigenvalues, minimum=0.0, flat=DEGENERATE),)

    def _moved(self, known: Known, rng: np.random.Generator) -> Known:
        """Neurons in another order."""
        w = known.parameters.reshape(len(self.W), -1)[rng.permutation(len(self.W))]
        return known.moved(w.reshape(-1))

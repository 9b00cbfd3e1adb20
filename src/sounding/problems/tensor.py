"""Factorising the orthogonal tensor T = sum_k e_k^(x)4 on the sphere.

Ge, Huang, Jin and Yuan, "Escaping from Saddle Points", COLT 2015. The sphere |u| = 1 is built in:
the loss is that of u/|u|, plus (|u|^2 - 1)^2. That term keeps every stationary point and every
curvature along the sphere as they are, and adds the eigenvalue 8 across.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from sounding.objective import Batch
from sounding.problems.known import Known, from_spectrum
from sounding.problems.problem import Problem

ACROSS = 8.0  # second derivative of (|u|^2 - 1)^2 along u, at |u| = 1


class TensorComponent(Problem):
    """One component: minimise -sum u_i^4 on the sphere in d dimensions.

    Stationary are +-1/sqrt(k) on any k coordinates and 0 elsewhere. k = 1 are the components; the
    others are strict saddles with the smallest eigenvalue -8/k.
    """

    minimum = -1.0

    def __init__(self, dimension: int = 5) -> None:
        """`dimension` is d; starts at the point with equal coordinates."""
        super().__init__({"u": np.full(dimension, dimension**-0.5)})

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss of u (..., d), not zero."""
        square = parameters[0].square()
        length = square.sum(-1)
        return -square.square().sum(-1) / length.square() + (length - 1) ** 2

    def starts(self, count: int, *, seed: int = 0, spread: float | None = None) -> torch.Tensor:
        """(count, d) uniform on the sphere; `spread` is the length of a start, 1 by default."""
        drawn = super().starts(count, seed=seed, spread=1.0)
        return (spread or 1.0) * drawn / drawn.norm(dim=1, keepdim=True)

    def critical_points(self) -> tuple[Known, ...]:
        """One for each k: complete up to signs and the order of coordinates."""
        return tuple(self._support(k) for k in range(1, self.size + 1))

    def _support(self, k: int) -> Known:
        d = self.size
        u = np.zeros(d)
        u[:k] = k**-0.5
        eigenvalues = [ACROSS] + [-8 / k] * (k - 1) + [4 / k] * (d - k)
        return from_spectrum(f"{k} coordinates", u, -1 / k, eigenvalues, minimum=-1.0)

    def _moved(self, known: Known, rng: np.random.Generator) -> Known:
        return known.moved(rng.permutation(known.parameters) * rng.choice([-1, 1], self.size))


class TensorDecomposition(Problem):
    """All components: minimise sum_{i != j} T(u_i, u_i, u_j, u_j) for d rows on the sphere.

    The minima are the signed permutation matrices, value 0. Every choice of rows +-e_{s(i)} is
    stationary, for any map s; where s is no permutation it is a strict saddle: two rows sit on one
    coordinate, and moving one of them to a free one has the eigenvalue 4 (c_l - c_{s(i)} + 1),
    c_l being the number of rows on coordinate l.
    """

    minimum = 0.0

    def __init__(self, dimension: int = 4) -> None:
        """`dimension` is d; starts at the identity."""
        super().__init__({"U": np.eye(dimension)})
        self.dimension = dimension

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss of U (..., d, d), no row of which is zero."""
        square = parameters[0].square()
        length = square.sum(-1, keepdim=True)
        weight = square / length  # u_ik^2 on the sphere
        pairs = weight.sum(-2).square().sum(-1) - weight.square().sum((-2, -1))
        return pairs + (length - 1).square().sum((-2, -1))

    def starts(self, count: int, *, seed: int = 0, spread: float | None = None) -> torch.Tensor:
        """(count, d^2) each row uniform on the sphere, or of the length `spread`."""
        drawn = super().starts(count, seed=seed, spread=1.0).view(count, -1, self.dimension)
        return ((spread or 1.0) * drawn / drawn.norm(dim=2, keepdim=True)).flatten(1)

    def critical_points(self) -> tuple[Known, ...]:
        """One for each way to distribute d rows over d coordinates, largest number first."""
        sizes = range(self.dimension, -1, -1)
        shares = itertools.combinations_with_replacement(sizes, self.dimension)
        return tuple(self._shared(c) for c in shares if sum(c) == self.dimension)

    def _shared(self, counts: tuple[int, ...]) -> Known:
        d = self.dimension
        place = np.repeat(np.arange(d), counts)  # coordinate of each row
        eigenvalues = [ACROSS] * d + [
            4.0 * (counts[other] - counts[own] + 1)
            for own in place
            for other in range(d)
            if other != own
        ]
        value = sum(c * (c - 1) for c in counts)
        name = "rows a coordinate: " + " ".join(map(str, counts))
        return from_spectrum(name, np.eye(d)[place], value, eigenvalues, minimum=0.0)

    def _moved(self, known: Known, rng: np.random.Generator) -> Known:
        d = self.dimension
        u = known.parameters.reshape(d, d)[rng.permutation(d)][:, rng.permutation(d)]
        return known.moved((u * rng.choice([-1, 1], (d, 1))).reshape(-1))

"""Finding a vector from the squares of its Gaussian projections.

f(z) = 1/4 E ((a'z)^2 - (a'x)^2)^2 with a ~ N(0, I), over the reals. Sun, Qu and Wright, "A
Geometric Analysis of Phase Retrieval", 2018: no bad minima, all saddles strict. The expectation is
1/4 (3 |z|^4 + 3 |x|^4 - 2 |z|^2 |x|^2 - 4 (z'x)^2), whose stationary points are all known.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sounding.objective import Batch
from sounding.problems.known import Known, from_spectrum
from sounding.problems.problem import Problem


class PhaseRetrieval(Problem):
    """The expectation; on a batch of vectors a (N, d), the mean over them."""

    truth: torch.Tensor

    minimum = 0.0

    def __init__(self, truth: Any = 5) -> None:
        """`truth` is x, or its dimension, for a vector of length 1 with equal coordinates."""
        if isinstance(truth, int):
            truth = np.full(truth, truth**-0.5)
        x = np.asarray(truth, dtype=np.float64)
        super().__init__({"z": np.zeros(len(x))})
        self.register_buffer("truth", torch.tensor(x))

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss of z (..., d)."""
        (z,) = parameters
        x = self.truth
        if batch is not None:
            return ((z @ batch.mT) ** 2 - (batch @ x) ** 2).square().mean(-1) / 4
        own, theirs, both = z.square().sum(-1), x.square().sum(), z @ x
        return (3 * own**2 + 3 * theirs**2 - 2 * own * theirs - 4 * both**2) / 4

    def sample(self, count: int, *, seed: int = 0) -> torch.Tensor:
        """(count, d) standard normal vectors."""
        generator = torch.Generator().manual_seed(seed)
        shape = (count, self.size)
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(self.truth)

    def critical_points(self) -> tuple[Known, ...]:
        """The maximum, the truth, and the saddles across it, of squared length |x|^2 / 3."""
        x = self.truth.cpu().numpy()
        d, square = len(x), float(x @ x)
        found = [
            from_spectrum(
                "origin", np.zeros(d), 0.75 * square**2,
                [-3 * square] + [-square] * (d - 1), minimum=0.0,
            ),
            from_spectrum(
                "truth", x, 0.0, [6 * square] + [2 * square] * (d - 1), minimum=0.0
            ),
        ]  # fmt: skip
        if d > 1:
            z = _across(x, np.eye(d)[np.argmin(np.abs(x))])
            eigenvalues = [2 * square, -2 * square] + [0.0] * (d - 2)
            value = 2 / 3 * square**2
            found.append(from_spectrum("across", z, value, eigenvalues, minimum=0.0))
        return tuple(found)

    def _moved(self, known: Known, rng: np.random.Generator) -> Known:
        if known.name == "across":
            x = self.truth.cpu().numpy()
            return known.moved(_across(x, rng.standard_normal(len(x))))
        return known.moved(known.parameters * rng.choice([-1, 1]))


def _across(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The part of v at right angles to x, of squared length |x|^2 / 3."""
    v = v - (v @ x) / (x @ x) * x
    return v / np.linalg.norm(v) * np.sqrt(x @ x / 3)

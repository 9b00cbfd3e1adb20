"""Two layers with quadratic activation: f(W) = 1/(2n) sum_i (sum_l v_l (w_l'x_i)^2 - y_i)^2.

Soltanolkotabi, Javanmard and Lee, "Theoretical Insights into the Optimization Landscape of
Over-Parameterized Shallow Neural Networks", 2019: if v has at least d positive and d negative
entries, every minimum is global and every saddle strict, whatever the data.

Letters: n samples, d inputs, k hidden units (rows of W).
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch

from sounding.objective import Batch
from sounding.problems.known import Known, from_spectrum
from sounding.problems.problem import Problem


class QuadraticNetwork(Problem):
    """The loss on given data; a batch is a pair (x, y) of other data."""

    x: torch.Tensor
    y: torch.Tensor
    output: torch.Tensor

    def __init__(self, x: Any, y: Any, output: Any) -> None:
        """The function is x' W' diag(v) W x.

        Args:
            x: (n, d).
            y: (n,).
            output: v (k,), the fixed weights of the output.
        """
        x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
        v = np.asarray(output, dtype=np.float64)
        super().__init__({"W": np.zeros((len(v), x.shape[1]))})
        for name, array in (("x", x), ("y", y), ("output", v)):
            self.register_buffer(name, torch.tensor(array))
        self._best, residual = _least_squares(x, y)
        wide = min((v > 0).sum(), (v < 0).sum()) >= x.shape[1]
        if wide or self._fits():
            self.minimum = float((residual**2).sum() / (2 * len(y)))

    @classmethod
    def random(cls, n: int = 40, d: int = 5, k: int = 10, *, seed: int = 0) -> Self:
        """Standard normal inputs and labels; half of the k output weights are 1, the others -1."""
        rng = np.random.default_rng(seed)
        output = np.where(np.arange(k) < (k + 1) // 2, 1.0, -1.0)
        return cls(rng.standard_normal((n, d)), rng.standard_normal(n), output)

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The loss of W (..., k, d)."""
        (w,) = parameters
        x, y = (self.x, self.y) if batch is None else batch
        predicted = (x @ w.mT).square() @ self.output
        return (predicted - y).square().mean(-1) / 2

    def sample(self, count: int, *, seed: int = 0) -> Batch:
        """`count` of the samples, with replacement."""
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randint(len(self.y), (count,), generator=generator)
        return self.x[chosen], self.y[chosen]

    def critical_points(self) -> tuple[Known, ...]:
        """The origin, and the global minimum where units of either sign suffice to write it."""
        x, y, v = (t.cpu().numpy() for t in (self.x, self.y, self.output))
        moment = -2 / len(y) * np.einsum("n,na,nb->ab", y, x, x)
        spectrum = np.outer(v, np.linalg.eigvalsh(moment))
        value = float((y**2).mean() / 2)
        found = [from_spectrum("origin", 0 * self.point(), value, spectrum, minimum=self.minimum)]
        if self._fits():
            w = self._written()
            eigenvalues = torch.linalg.eigvalsh(self.hessians(w.reshape(1, -1))[0]).cpu()
            best = self.minimum
            found.append(from_spectrum("least squares", w, best, eigenvalues, minimum=best))
        return tuple(found)

    def _fits(self) -> bool:
        """Whether there are units enough of each sign for the least-squares matrix."""
        curved = np.linalg.eigvalsh(self._best)
        v = self.output.numpy()
        return (v > 0).sum() >= (curved > 0).sum() and (v < 0).sum() >= (curved < 0).sum()

    def _written(self) -> np.ndarray:
        """W with W' diag(v) W equal to the least-squares matrix: an eigenvector a unit."""
        values, vectors = np.linalg.eigh(self._best)
        v = self.output.cpu().numpy()
        w = np.zeros((len(v), len(values)))
        for sign in (1, -1):
            units = np.flatnonzero(v * sign > 0)
            columns = np.flatnonzero(values * sign > 0)
            for unit, column in zip(units, columns, strict=False):
                w[unit] = np.sqrt(values[column] / v[unit]) * vectors[:, column]
        return w


def _least_squares(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The symmetric Q (d, d) of smallest norm that minimises |x'Qx - y|, and the residuals."""
    n, d = x.shape
    features = np.einsum("na,nb->nab", x, x).reshape(n, d * d)
    found = np.linalg.lstsq(features, y, rcond=None)[0]
    q = found.reshape(d, d)
    return (q + q.T) / 2, features @ found - y

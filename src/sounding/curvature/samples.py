"""Random probes of a matrix, and an error of the trace that few of them give well.

For v of random signs v'Av has mean tr A and variance 2 (|A|_F^2 - sum_i a_ii^2). Both sums are
known better than the variance of a few numbers v'Av would be: |Av|^2 has mean |A|_F^2, and the n
entries of v * (Av) have the diagonal as their mean, so the scalar products of different probes'
have mean sum_i a_ii^2. Hutchinson (1990), "A stochastic estimator of the trace of the influence
matrix"; Avron & Toledo (2011), lemma 9, for the variance.

Letters: n numbers a vector, s probes.
"""

from __future__ import annotations

import numpy as np
import torch

from sounding.curvature.operator import Operator


class Samples:
    """What s probes said: tr A and |A|_F^2, each with the variance of its mean."""

    def __init__(self, operator: Operator) -> None:
        self._total = operator.total
        self._diagonals: torch.Tensor | None = None  # (n,) sum of v * (Av)
        self._overlap = 0.0  # its squared length
        self._fourth = 0.0  # tr A^4, from the scalar products of the first block's Av
        self._traces: list[float] = []  # v'Av
        self._squares: list[float] = []  # |Av|^2

    @property
    def count(self) -> int:
        """s."""
        return len(self._traces)

    def add(self, probes: torch.Tensor, products: torch.Tensor) -> None:
        """(k, n) probes v and the (k, n) products Av."""
        entries = probes * products
        whole = entries.sum(0)
        self._diagonals = whole if self._diagonals is None else self._diagonals + whole
        self._overlap = float(self._total((self._diagonals @ self._diagonals)[None]))
        gram = self._total(products @ products.T).double().cpu()
        if not self.count and len(gram) > 1:
            others = gram - torch.diag(gram.diagonal())
            self._fourth = float((others**2).sum()) / (len(gram) * (len(gram) - 1))
        self._traces += self._total(entries.sum(1)).double().cpu().tolist()
        self._squares += gram.diagonal().tolist()

    def trace(self) -> tuple[float, float]:
        """Mean of v'Av and its variance."""
        s, square = self.count, float(np.mean(self._squares))
        diagonal = (self._overlap - s * square) / (s * (s - 1))
        return float(np.mean(self._traces)), 2 * max(square - diagonal, 0.0) / s

    def square(self) -> tuple[float, float]:
        """Mean of |Av|^2 and its variance: of the two estimates of that the larger one."""
        scatter = float(np.var(self._squares, ddof=1))
        return float(np.mean(self._squares)), max(scatter, 2 * self._fourth) / self.count

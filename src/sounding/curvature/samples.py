"""Random probes of a matrix, and an error of the trace that few of them give well.

For v of random signs v'Av has mean tr A and variance 2 (|A|_F^2 - sum_i a_ii^2). Both sums are
known better than the variance of a few numbers v'Av would be: |Av|^2 has mean |A|_F^2, and the n
entries of v * (Av) have the diagonal as their mean, so the scalar products of different probes'
have mean sum_i a_ii^2. Hutchinson (1990), "A stochastic estimator of the trace of the influence
matrix"; Avron & Toledo (2011), lemma 9, for the variance.

Letters: n numbers a vector, s probes.
"""

from __future__ import annotations

import torch

from sounding.curvature.operator import Operator
from sounding.curvature.tridiagonal import random_rows

STREAM = 2  # of random vectors


class Samples:
    """What s probes said: tr A and |A|_F^2, each with the variance of its mean."""

    def __init__(self, operator: Operator) -> None:
        self._total = operator.total
        self._diagonals: torch.Tensor | None = None  # (n,) sum of v * (Av)
        self._overlap = 0.0  # its squared length
        self.traces: list[float] = []  # v'Av
        self.squares: list[float] = []  # |Av|^2
        self.fourth = 0.0  # mean square of (Av)'(Aw), v != w: mean tr A^4

    def add(self, probes: torch.Tensor, products: torch.Tensor) -> None:
        """(k, n) probes v and the (k, n) products Av."""
        entries = probes * products
        gram = self._total(products @ products.T).double().cpu()
        traces = self._total(entries.sum(1)).double().cpu()
        whole = entries.sum(0)
        self._diagonals = whole if self._diagonals is None else self._diagonals + whole
        self._overlap = float(self._total((self._diagonals @ self._diagonals)[None]))
        if not self.traces and len(gram) > 1:
            others = gram - torch.diag(gram.diagonal())
            self.fourth = float((others**2).sum()) / (len(gram) * (len(gram) - 1))
        self.traces += traces.tolist()
        self.squares += gram.diagonal().tolist()

"""What a Krylov space has of a matrix exactly, and what is left outside of it.

With H Q' = Q' T + beta q' e' (rows of Q orthonormal, T tridiagonal, q the next row) and the projector
P = 1 - Q'Q on the complement,

    tr H = tr T + tr PHP,    |H|_F^2 = |T|_F^2 + 2 beta^2 + |PHP|_F^2,

whatever Q is, and both parts of Q cost nothing beyond the products that made T. A few steps take in
most of the large eigenvalues, so that random probes have little left to estimate: Hutch++ (Meyer,
Musco, Musco & Woodruff 2021) with the space of Chen & Hallman (2023), "Krylov-aware stochastic trace
estimation", SIAM J. Matrix Anal. Appl. 44.

Letters: n numbers a vector, m steps, k probes.
"""

from __future__ import annotations

import torch

from sounding.curvature.operator import Operator
from sounding.curvature.tridiagonal import Process, multiplied


class Captured:
    """Grows step by step; the probes made beforehand are projected along with it."""

    def __init__(self, operator: Operator, start: torch.Tensor) -> None:
        """`start` is (n,), independent of all probes."""
        self._operator = operator
        self._process = Process(operator, start, keep=True)

    @property
    def ended(self) -> bool:
        """Whether the space is invariant, so that more steps take nothing in."""
        return self._process.ended

    @property
    def steps(self) -> int:
        """m."""
        return self._process.count

    @property
    def trace(self) -> float:
        """tr T."""
        return sum(self._process.diagonal)

    @property
    def square(self) -> float:
        """|T|_F^2 + 2 beta^2."""
        process = self._process
        return sum(a * a for a in process.diagonal) + 2 * sum(b * b for b in process.beside)

    def step(self) -> None:
        """One product."""
        self._process.take(multiplied(self._operator, self._process.next[None])[0])

    def outside(self, probes: torch.Tensor, products: torch.Tensor) -> torch.Tensor:
        """(k, n) PHP v of the (k, n) probes v, from their products H v; no further product."""
        if not self.steps:
            return products
        process, total = self._process, self._operator.total
        last = total(probes @ process.last) * process.beside[-1]
        left = process.project(products.clone())
        return left.addr_(last, process.next, alpha=-1)

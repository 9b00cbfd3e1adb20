"""The probability that Lanczos has missed an eigenvalue, from what its start could not see.

A residual says that *an* eigenvalue is near, never that it is the outermost. Let u be a unit
eigenvector with eigenvalue x. From A V = V T + Q B E' its coefficients are

    V'u = (x I - T)^-1 E B' g,   g = Q'u,   |V'u|^2 + |g|^2 <= 1,

so the start vectors' share of u is at most a number that T gives, and it falls quickly as the
subspace grows. A random start has so small a share only with a small probability. For one start
vector this is the bound by Lanczos polynomials of Van Dorsselaer, Hochstenbach & Van der Vorst
(2000), "Computing probabilistic bounds for extreme eigenvalues of symmetric matrices with the
Lanczos method", SIAM J. Matrix Anal. Appl. 22.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch


class Guard:
    """What one Krylov subspace can rule out."""

    def __init__(
        self,
        values: np.ndarray,
        vectors: np.ndarray,
        coupling: np.ndarray,
        random: np.ndarray,
        size: int,
    ) -> None:
        """From the Ritz values and vectors, B, and the random start vectors in terms of V.

        Args:
            values: (m,) Ritz values.
            vectors: (m, m) their vectors in terms of V.
            coupling: (r, p) B.
            random: (m, q) start vectors with entries of variance 1/n, in terms of V.
            size: n.
        """
        last = vectors[len(vectors) - coupling.shape[1] :]  # (p, m)
        self._values = values
        self._coupled = (coupling @ last).T  # (m, r) S_last' B', in the basis of Ritz vectors
        self._random = random.T @ vectors  # (q, m)
        self._size = size

    def missed(self, at: float) -> float:
        """At most this probability that an eigenvector with eigenvalue `at` was not seen."""
        if not self._coupled.shape[1]:
            return 0.0  # an invariant subspace: the start has no share of anything outside
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            inside = self._coupled / (at - self._values)[:, None]  # (m, r): V'u for each g
        if not np.isfinite(inside).all():
            return 1.0
        share = self._random @ inside  # (q, r)
        if share.size == 1:
            length = abs(share.item()) / (1 + inside[:, 0] @ inside[:, 0]) ** 0.5
            return math.erf(length * (self._size / 2) ** 0.5)
        whole = inside.T @ inside + np.eye(inside.shape[1])
        root = np.linalg.cholesky(whole)
        scaled = np.linalg.solve(root, share.T)  # (r, q)
        largest = np.linalg.norm(scaled, 2)
        return _smaller_than(largest * np.sqrt(self._size), len(self._random))

    def worst(self, at: Sequence[float]) -> float:
        """The largest of these probabilities."""
        return max((self.missed(x) for x in at), default=0.0)

    def bound(self, value: float, miss: float, scale: float, outwards: int) -> float:
        """A point beyond `value` past which nothing lies, with probability 1 - `miss`.

        `outwards` is 1 for upper and -1 for lower bounds; `scale` > 0 sizes the first step.
        """
        near, far = 0.0, scale
        for _ in range(60):
            if self.missed(value + outwards * far) <= miss:
                break
            near, far = far, 2 * far
        else:
            return outwards * float("inf")
        for _ in range(12):
            middle = (near + far) / 2
            if self.missed(value + outwards * middle) <= miss:
                far = middle
            else:
                near = middle
        return value + outwards * far


def _smaller_than(length: float, dimensions: int) -> float:
    """P(|z| <= length) for z standard normal with so many dimensions; 1 without any."""
    if not dimensions:
        return 1.0
    half = torch.tensor(dimensions / 2, dtype=torch.float64)
    return float(torch.special.gammainc(half, torch.tensor(length**2 / 2, dtype=torch.float64)))

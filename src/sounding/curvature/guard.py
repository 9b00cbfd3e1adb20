"""The probability that Lanczos has missed an eigenvalue, from what its start could not see.

A residual says that *an* eigenvalue is near, never that it is the outermost. Let u be a unit
eigenvector with eigenvalue x. From A V = V T + Q B E' its coefficients are

    V'u = (x I - T)^-1 E B' g,   g = Q'u,   |V'u|^2 + |g|^2 <= 1,

so the start vectors' share of u is at most a number that T gives, and it falls quickly as the
subspace grows. A random start has so small a share only with a small probability. For one start
vector this is the bound by Lanczos polynomials of Van Dorsselaer, Hochstenbach & Van der Vorst
(2000), "Computing probabilistic bounds for extreme eigenvalues of symmetric matrices with the
Lanczos method", SIAM J. Matrix Anal. Appl. 22.

Where T has no eigenvalue between two places, no share in between is larger than at both of them:
the polynomial has no zero there, so a single hill.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

Gap = tuple[float, float]  # an interval, its ends may be infinite
Limit = Callable[[Gap], float]  # of eigenvalues in it: how long the start's share may be at most


class Guard:
    """What looks at some random start vectors can rule out."""

    def __init__(self, limit: Limit, dimensions: int) -> None:
        """`limit` is of the length of z = N'u, N with standard normal entries, (n, dimensions)."""
        self.limit = limit
        self._dimensions = dimensions

    def missed(self, gap: Gap) -> float:
        """At most this probability that an eigenvalue in the gap was not seen."""
        return _smaller_than(self.limit(gap), self._dimensions)

    def worst(self, gaps: Sequence[Gap]) -> float:
        """The largest of these probabilities."""
        return max((self.missed(gap) for gap in gaps), default=0.0)

    def bound(self, value: float, miss: float, scale: float, outwards: int) -> float:
        """A point beyond `value` past which nothing lies, with probability 1 - `miss`.

        `outwards` is 1 for upper and -1 for lower bounds; `scale` > 0 sizes the first step.
        """
        near, far = 0.0, scale
        for _ in range(60):
            if self.missed(beyond(value + outwards * far, outwards)) <= miss:
                break
            near, far = far, 2 * far
        else:
            return outwards * float("inf")
        for _ in range(12):
            middle = (near + far) / 2
            if self.missed(beyond(value + outwards * middle, outwards)) <= miss:
                far = middle
            else:
                near = middle
        return value + outwards * far


def beyond(place: float, outwards: int) -> Gap:
    """Everything above (`outwards` 1) or below (-1) a place."""
    return (place, math.inf) if outwards > 0 else (-math.inf, place)


def by_basis(
    values: np.ndarray, vectors: np.ndarray, coupling: np.ndarray, random: np.ndarray, size: int
) -> Limit:
    """The limit where V is orthonormal.

    Args:
        values: (m,) Ritz values.
        vectors: (m, m) their vectors in terms of V.
        coupling: (r, p) B.
        random: (m, q) start vectors with entries of variance 1/n, in terms of V.
        size: n.
    """
    last = vectors[len(vectors) - coupling.shape[1] :]  # (p, m)
    coupled = (coupling @ last).T  # (m, r) S_last' B', in the basis of Ritz vectors
    starts = random.T @ vectors  # (q, m)

    def at(place: float) -> float:
        if math.isinf(place):
            return 0.0
        if not coupled.shape[1]:
            return 0.0  # an invariant subspace: the start has no share of anything outside
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            inside = coupled / (place - values)[:, None]  # (m, r): V'u for each g
        if not np.isfinite(inside).all():
            return math.inf
        share = starts @ inside  # (q, r)
        if share.size == 1:
            return abs(share.item()) / (1 + inside[:, 0] @ inside[:, 0]) ** 0.5 * size**0.5
        whole = inside.T @ inside + np.eye(inside.shape[1])
        root = np.linalg.cholesky(whole)
        scaled = np.linalg.solve(root, share.T)  # (r, q)
        return float(np.linalg.norm(scaled, 2)) * size**0.5

    def limit(gap: Gap) -> float:
        if np.any((values > gap[0]) & (values < gap[1])):
            return math.inf
        return max(at(gap[0]), at(gap[1]))

    return limit


def _smaller_than(length: float, dimensions: int) -> float:
    """P(|z| <= length) for z standard normal with so many dimensions; 1 without any."""
    if not dimensions or length == math.inf:
        return 1.0
    if dimensions == 1:
        return math.erf(length / 2**0.5)
    half = torch.tensor(dimensions / 2, dtype=torch.float64)
    return float(torch.special.gammainc(half, torch.tensor(length**2 / 2, dtype=torch.float64)))

"""A matrix seen through random vectors: products, their span, and what is left outside of it.

Each vector in turn is left out of the span and tests what the others missed, so no product is spent
on testing alone: Epperly, Tropp & Webber (2024), "XTrace: Making the most of every sample in
stochastic trace estimation", SIAM J. Matrix Anal. Appl. 45.

Letters: n rows of the matrix, k vectors.
"""

from __future__ import annotations

import numpy as np
import torch

from sounding.curvature.basis import Basis, orthonormal
from sounding.curvature.operator import Operator
from sounding.curvature.tridiagonal import NOT_FINITE, random_rows

STREAM = 2  # of random vectors


class Sketch:
    """Grows by :meth:`add`; two products a vector."""

    def __init__(self, operator: Operator, *, deflate: torch.Tensor | None, seed: int) -> None:
        """`deflate` is (j, n) orthonormal rows that are taken out of the matrix beforehand."""
        self._operator, self._seed = operator, seed
        self._out = Basis(operator, operator.width)
        self.deflated_trace = self.deflated_square = 0.0
        if deflate is not None and len(deflate):
            self._deflate(deflate.to(operator.device, operator.dtype))
        empty = torch.zeros(0, operator.width, dtype=operator.dtype, device=operator.device)
        self._vectors, self._products, self._images = empty, empty, empty
        self._span = Basis(operator, operator.width)

    @property
    def count(self) -> int:
        """k, random vectors so far."""
        return len(self._vectors)

    @property
    def room(self) -> int:
        """Dimensions that are left to the random vectors."""
        return self._operator.size - self._out.count

    def _deflate(self, rows: torch.Tensor) -> None:
        """tr(A) = tr(P A P) + tr(A'), and |A|^2 = |P A|^2 + |(1 - P) A P|^2 + |A'|^2."""
        rows, _ = orthonormal(self._operator, rows)
        images = self._operator.apply(rows)
        self._out.append(rows)
        self.deflated_trace = float(self._operator.total((rows * images).sum()[None]))
        whole = float(self._operator.total(images.square().sum()[None]))
        self._out.project_out(images)
        outside = float(self._operator.total(images.square().sum()[None]))
        self.deflated_square = whole + outside

    def _apply(self, rows: torch.Tensor) -> torch.Tensor:
        product = self._operator.apply(rows).clone()
        self._out.project_out(product)
        return product

    def add(self, count: int) -> None:
        """`count` more random vectors.

        Raises:
            ValueError: If a product is not finite.
        """
        vectors = random_rows(self._operator, self.count, count, seed=self._seed, stream=STREAM).to(
            self._operator.dtype
        )
        self._out.project_out(vectors)
        products = self._apply(vectors)
        if not bool(torch.isfinite(products).all()):
            raise ValueError(NOT_FINITE)
        fresh = products.clone()
        for _ in range(2):
            self._span.project_out(fresh)
        squares = torch.stack([fresh.square().sum(1), products.square().sum(1)])
        left, whole = self._operator.total(squares).sqrt()
        new = left > 100 * torch.finfo(fresh.dtype).eps * whole.max()  # else only rounding is left
        rows, _ = orthonormal(self._operator, fresh[new])
        self._span.append(rows)
        if len(rows):
            self._images = torch.cat([self._images, self._apply(rows)])
        self._vectors = torch.cat([self._vectors, vectors])
        self._products = torch.cat([self._products, products])

    def traces(self) -> np.ndarray:
        """(k,) estimates of the trace, each by what one vector sees outside the others' span."""
        core, inside, without, scale = self._left_out()
        against = self._gram(self._images, self._vectors)  # (r, k) Z'w
        own = (self._vectors * self._products).sum(1)
        own = self._operator.total(own).double().cpu().numpy()
        rest = own - 2 * (against * inside).sum(0) + (inside * (core @ inside)).sum(0)
        kept = np.trace(core) - (without * (core @ without)).sum(0)
        return self.deflated_trace + kept + scale * rest

    def squares(self) -> np.ndarray:
        """(k,) estimates of the squared Frobenius norm, in the same way."""
        _, inside, without, scale = self._left_out()
        images = self._gram(self._images, self._images)
        across = self._gram(self._images, self._products)
        own = self._operator.total(self._products.square().sum(1)).double().cpu().numpy()
        rest = own - 2 * (across * inside).sum(0) + (inside * (images @ inside)).sum(0)
        kept = np.trace(images) - (without * (images @ without)).sum(0)
        return self.deflated_square + kept + scale * rest

    def _left_out(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Q'AQ; the part of each vector in the others' span; the direction that each alone spans.

        The last is a scale: what is left of a vector points anywhere outside with the same
        probability, so its length is put to what it is on average.
        """
        span = self._span.rows(0, self._span.count)
        core = self._gram(span, self._images)
        factor = self._gram(span, self._products)  # (r, k) R
        within = self._gram(span, self._vectors)  # (r, k) Q'w
        inverse = np.linalg.pinv(factor)
        alone = inverse.T  # column i is orthogonal to every other product
        needed = np.einsum("kr,rk->k", inverse, factor) > 1 - 1e-6  # else the others span it too
        lengths = np.linalg.norm(alone, axis=0)
        without = np.where(needed, alone / np.where(lengths > 0, lengths, 1.0), 0.0)
        inside = within - without * (without * within).sum(0)
        squared = self._operator.total(self._vectors.square().sum(1)).double().cpu().numpy()
        left = squared - (inside**2).sum(0)
        dimensions = max(self.room - self._span.count + 1, 0)
        scale = np.where(left > 1e-9 * squared, dimensions / np.maximum(left, 1e-300), 0.0)
        return (core + core.T) / 2, inside, without, scale

    def _gram(self, one: torch.Tensor, other: torch.Tensor) -> np.ndarray:
        return self._operator.total(one @ other.T).double().cpu().numpy()

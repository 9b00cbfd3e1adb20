"""Block Lanczos with full reorthogonalisation and thick restart.

Golub & Underwood (1977), "The block Lanczos method for computing eigenvalues"; Wu & Simon (2000),
"Thick-restart Lanczos method for large symmetric eigenvalue problems". At any time

    A V = V T + Q B E',

with orthonormal V (m vectors), the next block Q (p vectors) orthogonal to it, and E the last p
columns of the identity; so the residual of a Ritz pair (theta, V s) is ||B s_last||, for free.
"""

from __future__ import annotations

import numpy as np
import torch

from sounding.curvature.basis import Basis, orthonormal
from sounding.curvature.operator import Operator


class Lanczos:
    """Grows block by block: call :meth:`step`, then read the Ritz values.

    Attributes:
        matrix: (m, m) T.
        coupling: (r, p) B, from the last block to the next; no rows: an invariant subspace.
        first: (m, q) the start block (before it was made orthonormal) in terms of V.
    """

    def __init__(self, operator: Operator, start: torch.Tensor, *, host: bool = False) -> None:
        """`start` is (q, n), of this rank's part of the vectors."""
        self.operator = operator
        self.basis = Basis(operator, start.shape[1], host=host)
        self._block, factor = orthonormal(operator, start.clone())
        self.basis.append(self._block)
        self.first = factor.numpy()
        self.matrix = np.zeros((0, 0))
        self.coupling = np.zeros((len(self._block), 0))
        self.restarts = 0
        self._far = False  # whether the new block couples to more than the one before it

    @property
    def count(self) -> int:
        """m, vectors that have been multiplied."""
        return len(self.matrix)

    @property
    def exhausted(self) -> bool:
        """Whether V spans an invariant subspace: its Ritz pairs are eigenpairs."""
        return not len(self._block)

    def step(self) -> None:
        """Multiply the next block; costs as many products as it has vectors."""
        block, p = self._block, len(self._block)
        product = self.operator.apply(block)
        # The blocks nearby first, then everything: what rounding left of the near ones goes too.
        near = 0 if self._far else max(0, self.basis.count - p - self.coupling.shape[1])
        coefficients = torch.zeros(self.basis.count, p, dtype=torch.float64)
        coefficients[near:] = self.basis.project_out(product, near)
        coefficients += self.basis.project_out(product)
        if not bool(torch.isfinite(coefficients).all()):
            raise ValueError(
                "a product with the matrix is not finite; the loss or its derivatives overflow "
                "at these parameters (run sounding.checkup, or use double precision)"
            )
        self._extend(coefficients.numpy())
        self._block, factor = orthonormal(self.operator, product)
        scale = np.abs(self.matrix).max()
        if len(self._block) and float(factor.abs().max()) <= _rounding(self.operator) * scale:
            self._block, factor = self._block[:0], factor[:0]
        self.coupling = factor.numpy()
        self.basis.append(self._block)
        self._far = False

    def _extend(self, coefficients: np.ndarray) -> None:
        """T with the columns of the block that was just multiplied."""
        m, p = coefficients.shape
        matrix = np.zeros((m, m))
        matrix[: m - p, : m - p] = self.matrix
        matrix[:, m - p :] = coefficients
        matrix[m - p :, :] = coefficients.T
        square = coefficients[m - p :]
        matrix[m - p :, m - p :] = (square + square.T) / 2
        self.matrix = matrix
        grown = np.zeros((m, self.first.shape[1]))
        grown[: len(self.first)] = self.first
        self.first = grown

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(m,) Ritz values, ascending, (m, m) their vectors in terms of V, (m,) residual norms."""
        # Torch's, because numpy's would start threads of its own for so small a matrix.
        values, vectors = (x.numpy() for x in torch.linalg.eigh(torch.from_numpy(self.matrix)))
        if self.exhausted:
            return values, vectors, np.zeros(len(values))
        last = vectors[len(vectors) - self.coupling.shape[1] :]
        return values, vectors, np.linalg.norm(self.coupling @ last, axis=0)

    def restart(self, keep: np.ndarray) -> None:
        """Go on from the Ritz vectors `keep`, (m, k), and the next block; the rest is forgotten."""
        rows = self.basis.combined(torch.from_numpy(np.ascontiguousarray(keep)))
        values = keep.T @ self.matrix @ keep
        block = self._block.clone()
        self.basis.restart(rows)
        self.basis.append(block)
        self.matrix = (values + values.T) / 2
        self.first = keep.T @ self.first
        self.coupling = np.zeros((len(block), 0))
        self.restarts += 1
        self._far = True

    def refresh(self, seed: int) -> None:
        """Go on with a random direction where the subspace is invariant and not yet everything."""
        fresh = self.operator.normal(1, seed=seed)
        for _ in range(2):
            self.basis.project_out(fresh)
        self._block, _ = orthonormal(self.operator, fresh)
        self.basis.append(self._block)
        self.coupling = np.zeros((len(self._block), 0))
        self._far = True


def _rounding(operator: Operator) -> float:
    """Relative size below which a remainder is rounding."""
    return 50 * torch.finfo(operator.dtype).eps

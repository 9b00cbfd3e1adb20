"""Lanczos processes, one for each random start, side by side: what quadrature needs of a matrix.

With H Q = Q T + beta q' e' the first row of the eigenvectors of the tridiagonal T gives the weights
and its eigenvalues the nodes of a Gauss quadrature of the start's spectral measure: Golub & Welsch
(1969), "Calculation of Gauss quadrature rules", Math. Comp. 23.

Letters: n numbers a vector, S starts, m steps.
"""

from __future__ import annotations

import numpy as np
import torch

from sounding.curvature.memory import SHARE, free_bytes
from sounding.curvature.operator import Operator

CHUNK = 16  # vectors of the basis that are allocated at a time
NOT_FINITE = (
    "a product with the matrix is not finite; the loss or its derivatives overflow at these "
    "parameters (run sounding.checkup, or use double precision)"
)


class Process:
    """Lanczos from one start: a local three-term step, then one pass over all earlier vectors.

    Attributes:
        diagonal: (m,) of T.
        beside: (m,) off the diagonal of T; the last couples to the vector that comes next.
        ended: The subspace is invariant: T says everything about this start.
        last, next: (n,) the newest vector of the basis and the one that comes next.
    """

    def __init__(self, operator: Operator, start: torch.Tensor, *, keep: bool) -> None:
        """`start` is (n,), of this rank's part; `keep` holds the basis, m vectors in the end.

        Without the basis rounding lets copies of converged eigenvalues in, which share the weight
        of the first one: a density hardly minds.
        """
        self._operator = operator
        self._chunks: list[torch.Tensor] = []
        self._keep = keep
        self.last: torch.Tensor | None = None
        self.diagonal: list[float] = []
        self.beside: list[float] = []
        norm = _norm(operator, start)
        self.ended = not norm > 0
        self.next = start / norm if norm > 0 else start

    @property
    def count(self) -> int:
        """m, steps made: `beside` grows last, so an interrupt leaves whole steps."""
        return len(self.beside)

    def take(self, product: torch.Tensor) -> None:
        """One step: `product` is H times `next`, and may be overwritten."""
        row, total = self.next, self._operator.total
        if self.last is not None:
            product = product.sub_(self.last, alpha=self.beside[-1])
        middle = float(total((row @ product)[None]))
        product.sub_(row, alpha=middle)
        if self._keep:
            self._append(row)
            middle += self._take_out(product)
        length = _norm(self._operator, product)
        if not np.isfinite(middle + length):
            raise ValueError(NOT_FINITE)
        scale = max(np.abs([*self.diagonal, middle]).max(), *self.beside, length, 0.0)
        self.ended = not length > 50 * torch.finfo(product.dtype).eps * scale
        self.diagonal.append(middle)
        self.beside.append(0.0 if self.ended else length)
        self.last, self.next = row, product if self.ended else product.div_(length)

    def rows(self) -> torch.Tensor:
        """(m, n) the basis."""
        return torch.cat(self._parts())

    def project(self, block: torch.Tensor) -> torch.Tensor:
        """(k, n) block less its part in the basis, in place."""
        for part in self._parts():
            block.addmm_(self._operator.total(block @ part.T), part, alpha=-1)
        return block

    def _append(self, row: torch.Tensor) -> None:
        if self.count % CHUNK == 0:
            self._chunks.append(row.new_empty(CHUNK, len(row)))
        self._chunks[-1][self.count % CHUNK] = row

    def _take_out(self, product: torch.Tensor) -> float:
        """Gram-Schmidt against everything; what was left along the newest vector."""
        parts = self._parts(self.count + 1)
        shares = self._operator.total(torch.cat([part @ product for part in parts]))
        for part, share in zip(parts, shares.split(CHUNK), strict=True):
            product.addmv_(part.T, share, alpha=-1)
        return float(shares[-1])

    def _parts(self, count: int | None = None) -> list[torch.Tensor]:
        left = self.count if count is None else count
        return [c[: min(CHUNK, left - CHUNK * i)] for i, c in enumerate(self._chunks)]


class Processes:
    """Several starts in step, so that each product is one block."""

    def __init__(self, operator: Operator, starts: torch.Tensor, *, keep: bool = True) -> None:
        """`starts` is (S, n)."""
        self._operator = operator
        self.each = [Process(operator, start, keep=keep) for start in starts]

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do for any start."""
        return all(process.ended for process in self.each)

    def step(self) -> None:
        """One product for each start that has not ended.

        Raises:
            ValueError: If a product is not finite.
        """
        active = [process for process in self.each if not process.ended]
        for process, product in zip(active, _product(self._operator, active), strict=True):
            process.take(product)


def _product(operator: Operator, active: list[Process]) -> torch.Tensor:
    """(k, n) in the precision of the work; a copy, never the operator's own memory."""
    block = torch.stack([process.next for process in active])
    return multiplied(operator, block)


def multiplied(operator: Operator, block: torch.Tensor) -> torch.Tensor:
    """H times the rows of (k, n) `block`, new memory of the block's precision."""
    return operator.apply(block.to(operator.dtype)).to(block.dtype, copy=True)


def random_rows(
    operator: Operator, first: int, count: int, *, seed: int, stream: int
) -> torch.Tensor:
    """(count, n) standard normal vectors, numbers `first` and up of a stream.

    The same whatever the block in which they are drawn.
    """
    numbers = range(first, first + count)
    rows = [operator.normal(1, seed=_mixed(seed, stream, number)) for number in numbers]
    return torch.cat(rows).to(work_dtype(operator))


def fits(operator: Operator, vectors: int) -> bool:
    """Whether so many vectors fit into half of the memory that is free."""
    each = operator.width * torch.empty(0, dtype=work_dtype(operator)).element_size()
    lacking = vectors * each - SHARE * free_bytes(operator.device)
    return operator.agreed(lacking) <= 0


def work_dtype(operator: Operator) -> torch.dtype:
    """Vectors are orthonormal to this precision: float32 at least."""
    return torch.promote_types(operator.dtype, torch.float32)


def _norm(operator: Operator, vector: torch.Tensor) -> float:
    return float(operator.total((vector @ vector)[None])) ** 0.5


def _mixed(*numbers: int) -> int:
    """One seed from several numbers, so that neighbours share nothing."""
    state = np.random.SeedSequence([abs(number) for number in numbers]).generate_state(2)
    return int(state[0]) << 31 | int(state[1]) >> 1

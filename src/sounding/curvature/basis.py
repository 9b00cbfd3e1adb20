"""Orthonormal vectors that grow in number, and projections on them.

Letters: n numbers a vector, m vectors so far, p in a block.
"""

from __future__ import annotations

import torch

from sounding.curvature.operator import Operator

CHUNK = 16  # vectors that are allocated at a time
DROP = 1e-6  # of a direction's length: less is what rounding left of it


class Basis:
    """Rows of length n, orthonormal over all ranks; kept on the operator's device or the host."""

    def __init__(self, operator: Operator, width: int, *, host: bool = False) -> None:
        """`width` is the length of a vector on this rank."""
        self._operator = operator
        self._width = width
        self._home = torch.device("cpu") if host else operator.device
        self._chunks: list[torch.Tensor] = []
        self.count = 0

    def append(self, rows: torch.Tensor) -> None:
        """Add (p, n) orthonormal rows."""
        for row in rows:
            if self.count == len(self._chunks) * CHUNK:
                shape = (CHUNK, self._width)
                empty = torch.empty(shape, dtype=self._operator.dtype, device=self._home)
                self._chunks.append(empty)
            self._chunks[self.count // CHUNK][self.count % CHUNK] = row
            self.count += 1

    def rows(self, first: int, last: int) -> torch.Tensor:
        """(last - first, n) of them, on the operator's device."""
        parts = [part[a:b] for _, part, a, b in self._parts(first, last)]
        if not parts:
            device = self._operator.device
            return torch.empty(0, self._width, dtype=self._operator.dtype, device=device)
        whole = parts[0] if len(parts) == 1 else torch.cat(parts)
        return whole.to(self._operator.device)

    def project_out(self, block: torch.Tensor, first: int = 0) -> torch.Tensor:
        """Take the span of the rows from `first` on out of (p, n) `block`, in place.

        Returns (m - first, p) float64 coefficients on the CPU.
        """
        found = []
        for start, part, a, b in self._parts(first, self.count):
            rows = part[a:b].to(block.device)
            coefficients = self._operator.total(rows @ block.T)
            block.addmm_(coefficients.T, rows, alpha=-1) if len(block) > 1 else block[0].addmv_(
                rows.T, coefficients[:, 0], alpha=-1
            )
            found.append(coefficients)
            del start
        if not found:
            return torch.zeros(0, len(block), dtype=torch.float64)
        return torch.cat(found).double().cpu()

    def combined(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(k, n) sums of the first m rows with (m, k) float64 `coefficients`."""
        device = self._operator.device
        weights = coefficients.to(self._operator.dtype)
        total = torch.zeros(
            weights.shape[1], self._width, dtype=self._operator.dtype, device=device
        )
        for start, part, a, b in self._parts(0, len(weights)):
            total += weights[start : start + b - a].T.to(device) @ part[a:b].to(device)
        return total

    def restart(self, rows: torch.Tensor) -> None:
        """Begin anew with these (p, n) orthonormal rows, in the memory that is there."""
        self.count = 0
        self.append(rows)

    def _parts(self, first: int, last: int) -> list[tuple[int, torch.Tensor, int, int]]:
        """(number of the first row, chunk, from, to) of each chunk that holds some of them."""
        found = []
        for i, chunk in enumerate(self._chunks):
            a, b = max(first - i * CHUNK, 0), min(last - i * CHUNK, CHUNK)
            if a < b:
                found.append((i * CHUNK + a, chunk, a, b))
        return found


def orthonormal(operator: Operator, block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(p, n) block -> (r, n) orthonormal rows Q and (r, p) factors R with block = R' Q, r <= p.

    Directions shorter than rounding are dropped. Through the Gram matrix, twice where there are
    several rows, so that ranks exchange p x p numbers only.
    """
    if not len(block):
        return block, torch.zeros(0, 0, dtype=torch.float64)
    if len(block) == 1:
        norm = operator.total((block[0] @ block[0])[None]).sqrt()
        if not float(norm) > 0:
            return block[:0], torch.zeros(0, 1, dtype=torch.float64)
        return block / norm, norm.double().cpu().reshape(1, 1)
    rows, factor = _by_gram(operator, block)
    if len(rows):
        rows, second = _by_gram(operator, rows)
        factor = second @ factor
    return rows, factor


def _by_gram(operator: Operator, block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    gram = operator.total(block @ block.T).double().cpu()
    squares, directions = torch.linalg.eigh(gram)
    keep = squares > max(DROP**2 * float(squares[-1]), 0.0)
    lengths, directions = squares[keep].sqrt(), directions[:, keep]
    to_rows = (directions / lengths).T.to(block.device, block.dtype)
    return to_rows @ block, lengths[:, None] * directions.T

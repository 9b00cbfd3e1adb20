"""One number about a matrix, estimated from random vectors, with its standard error."""

from __future__ import annotations

import dataclasses

from sounding.result import Result


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Estimate(Result):
    """A number with one standard error, and what it cost."""

    quantity: str  # 'trace', 'Frobenius norm', ...
    value: float
    error: float  # one standard error, of the random vectors
    tol: float  # the relative error that was asked for
    converged: bool  # whether error <= tol * |value|
    size: int  # n
    products: int  # matrix-vector products
    seconds: float
    note: str = ""  # what to do if it did not converge

    def __str__(self) -> str:
        loud = "" if self.converged else f"  NOT CONVERGED: {self.note}"
        return (
            f"{self.quantity} {self.value:.5g} ± {self.error:.2g}, {self.products} products{loud}"
        )

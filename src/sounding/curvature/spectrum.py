"""The spectrum of a matrix: both ends with residuals, the density between, the trace."""

from __future__ import annotations

import dataclasses
import time

from sounding.curvature.density import Density, density
from sounding.curvature.eigenpairs import MOST, Eigenpairs, extremes
from sounding.curvature.estimate import Estimate
from sounding.curvature.operator import Operator
from sounding.curvature.trace import trace
from sounding.result import Result
from sounding.train import Progress, silent


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Spectrum(Result):
    """Extreme eigenpairs with residuals, density, trace with its standard error."""

    largest: Eigenpairs
    smallest: Eigenpairs
    density: Density | None
    trace: Estimate | None
    size: int  # n
    matrix: str  # 'Hessian of Net, 1,000 samples'
    products: int
    seconds: float
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [str(self.largest), str(self.smallest)]
        if self.trace is not None:
            lines.append(str(self.trace))
        return "\n".join(lines)


def spectrum(
    operator: Operator,
    k: int = 5,
    *,
    tol: float = 1e-3,
    miss: float = 1e-3,
    with_density: bool = True,
    with_trace: bool = True,
    most: int = MOST,
    matrix: str = "",
    seed: int = 0,
    progress: Progress = silent,
) -> Spectrum:
    """The k eigenvalues at each end, the density of all, and the trace to 5 %.

    Costs 60 to 200 products: the lower end of a spectrum takes the longest to certify. An
    interrupt returns what there is: the ends not converged, the rest left out.

    Args:
        operator: From :func:`sounding.hessian` and its kin.
        k: How many eigenvalues at each end.
        tol: Relative residual of the eigenvalues.
        miss: Probability of a missed eigenvalue that is put up with.
        with_density: Whether to estimate the density.
        with_trace: Whether to estimate the trace.
        most: Products at most for the ends.
        matrix: How reports call the matrix; by default as the operator is called.
        seed: Of the random vectors.
        progress: Told what is done now, the products made, and the most there will be.

    Example:
        >>> import torch
        >>> found = spectrum(Operator.dense(torch.diag(torch.tensor([3.0, 1.0, -2.0]))), 1)
        >>> found.largest.values.round(3), found.smallest.values.round(3), found.trace.value
        (array([3.]), array([-2.]), 2.0)
    """
    begun, before = time.perf_counter(), operator.products
    ends = min(k, operator.size)
    largest, smallest = extremes(
        operator, ends, tol=tol, miss=miss, most=most, seed=seed, progress=progress
    )
    interrupted = "interrupted" in largest.note + smallest.note
    shape = total = None
    if with_density and not interrupted:
        shape = density(operator, seed=seed, progress=progress)
    if with_trace and not interrupted:
        total = trace(operator, deflate=largest.vectors, seed=seed, progress=progress)
    return Spectrum(
        largest=largest,
        smallest=smallest,
        density=shape,
        trace=total,
        size=operator.size,
        matrix=matrix or operator.name or f"matrix of size {operator.size:,}",
        products=operator.products - before,
        seconds=time.perf_counter() - begun,
        notes=operator.notes,
    )

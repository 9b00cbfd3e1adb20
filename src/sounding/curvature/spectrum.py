"""The spectrum of a matrix: both ends with residuals, the density between, the trace."""

from __future__ import annotations

import dataclasses

from sounding.curvature.density import Density
from sounding.curvature.eigenpairs import Eigenpairs
from sounding.curvature.estimate import Estimate
from sounding.result import Result


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

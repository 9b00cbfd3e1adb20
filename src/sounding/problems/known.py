"""A stationary point of which everything is known, and the words for its kind.

Kinds, by what is true of the function near the point, the Hessian being H:

- *strict minimum*: H is positive definite.
- *degenerate*: a local minimum (not necessarily isolated) whose H has a kernel.
- *strict saddle*: H has a negative eigenvalue, and the point is no maximum.
- *non-strict saddle*: H has none, yet the loss falls in some direction or along some curve.
- *maximum*: a local maximum; H may have a kernel.
- *not stationary*: the gradient is not zero.
- *undecided*: what an instrument says that could not tell; no point here is of this kind.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

STRICT_MINIMUM = "strict minimum"
DEGENERATE = "degenerate"
STRICT_SADDLE = "strict saddle"
NON_STRICT_SADDLE = "non-strict saddle"
MAXIMUM = "maximum"
NOT_STATIONARY = "not stationary"
UNDECIDED = "undecided"
KINDS = (
    STRICT_MINIMUM,
    DEGENERATE,
    STRICT_SADDLE,
    NON_STRICT_SADDLE,
    MAXIMUM,
    NOT_STATIONARY,
    UNDECIDED,
)

ZERO = 1e-9  # of the largest |eigenvalue|: rounding of dense Hessians here stays below 1e-13


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """A point of a problem, with the truth about it."""

    name: str  # 'origin', 'I = {1, 3}', ...
    parameters: np.ndarray  # (n,) in the order of the problem's parameters
    value: float  # of the loss
    kind: str  # one of KINDS
    index: int | None  # negative eigenvalues of the Hessian; None where not known
    kernel: int | None  # zero eigenvalues
    smallest: float | None  # eigenvalue of the Hessian, exact up to rounding
    best: bool  # whether the value is the global minimum's

    def moved(self, parameters: np.ndarray, *, isometry: bool = True) -> Known:
        """The same kind of point elsewhere on its orbit under a symmetry of the loss.

        A linear symmetry keeps index and kernel (Sylvester's law of inertia), one that is no
        isometry moves eigenvalues: then only a smallest one of zero is still known.
        """
        kept = isometry or self.smallest == 0.0
        smallest = self.smallest if kept else None
        return dataclasses.replace(self, parameters=parameters, smallest=smallest)


def from_spectrum(
    name: str,
    parameters: Any,
    value: float,
    eigenvalues: Any,
    *,
    minimum: float,
    flat: str = DEGENERATE,
) -> Known:
    """A stationary point from all eigenvalues of its Hessian, each as often as it occurs.

    Args:
        name: Of the point.
        parameters: Flattened to (n,).
        value: Of the loss there.
        eigenvalues: (n,) in any order; those below ``ZERO`` of the largest count as zero.
        minimum: The global minimum of the loss, to say whether the point attains it.
        flat: The kind where eigenvalues are zero and none is negative, which they do not tell.
    """
    parameters = np.asarray(parameters, dtype=np.float64).reshape(-1)
    eigenvalues = np.sort(np.asarray(eigenvalues, dtype=np.float64).reshape(-1))
    if eigenvalues.shape != parameters.shape:
        raise ValueError(f"{eigenvalues.size} eigenvalues for {parameters.size} parameters")
    zero = ZERO * np.abs(eigenvalues).max(initial=0.0)
    index, kernel = int((eigenvalues < -zero).sum()), int((np.abs(eigenvalues) <= zero).sum())
    if index == len(eigenvalues):
        kind = MAXIMUM
    elif index:
        kind = STRICT_SADDLE
    else:
        kind = flat if kernel else STRICT_MINIMUM
    smallest = 0.0 if kernel and not index else float(eigenvalues[0])
    best = bool(np.isclose(value, minimum, rtol=1e-10, atol=1e-12))
    return Known(
        name=name, parameters=parameters, value=float(value), kind=kind, index=index,
        kernel=kernel, smallest=smallest, best=best,
    )  # fmt: skip

"""Small functions whose stationary points show one kind each, the treacherous ones included."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch

from sounding.objective import Batch
from sounding.problems.known import (
    DEGENERATE,
    MAXIMUM,
    NON_STRICT_SADDLE,
    NOT_STATIONARY,
    Known,
    from_spectrum,
)
from sounding.problems.problem import Problem


@dataclasses.dataclass(frozen=True)
class _Point:
    at: tuple[float, ...]
    eigenvalues: tuple[float, ...]  # of the Hessian there
    flat: str = DEGENERATE  # the kind where the eigenvalues leave it open


@dataclasses.dataclass(frozen=True)
class _Function:
    formula: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of x and y
    points: tuple[_Point, ...]
    minimum: float = -math.inf


_FUNCTIONS = {
    "bowl: x^2 + 3 y^2": _Function(
        lambda x, y: x**2 + 3 * y**2,
        (_Point((0, 0), (2, 6)), _Point((1, 0.5), (2, 6), NOT_STATIONARY)),
        0.0,
    ),
    "dome: -x^2 - y^2": _Function(lambda x, y: -(x**2) - y**2, (_Point((0, 0), (-2, -2)),)),
    "saddle: x^2 - y^2": _Function(
        lambda x, y: x**2 - y**2,
        (_Point((0, 0), (2, -2)), _Point((1, 0.5), (2, -2), NOT_STATIONARY)),
    ),
    "double well: (x^2 - 1)^2 + y^2": _Function(
        lambda x, y: (x**2 - 1) ** 2 + y**2,
        (_Point((0, 0), (-4, 2)), _Point((1, 0), (8, 2)), _Point((-1, 0), (8, 2))),
        0.0,
    ),
    "ring: (x^2 + y^2 - 1)^2": _Function(
        lambda x, y: (x**2 + y**2 - 1) ** 2,
        (_Point((0, 0), (-4, -4)), _Point((1, 0), (8, 0)), _Point((0.6, -0.8), (8, 0))),
        0.0,
    ),
    # -- a kernel, and yet a minimum
    "trough: x^2": _Function(lambda x, y: x**2 + 0 * y, (_Point((0, 0), (2, 0)),), 0.0),
    "flat trough: x^2 + y^4": _Function(lambda x, y: x**2 + y**4, (_Point((0, 0), (2, 0)),), 0.0),
    "flat bowl: x^4 + y^4": _Function(lambda x, y: x**4 + y**4, (_Point((0, 0), (0, 0)),), 0.0),
    "cross: x^2 y^2": _Function(
        lambda x, y: x**2 * y**2, (_Point((0, 0), (0, 0)), _Point((0, 1), (2, 0))), 0.0
    ),
    # -- a kernel that hides a descent
    "inflection: x^3 + y^2": _Function(
        lambda x, y: x**3 + y**2, (_Point((0, 0), (0, 2), NON_STRICT_SADDLE),)
    ),
    "monkey saddle: x^3 - 3 x y^2": _Function(
        lambda x, y: x**3 - 3 * x * y**2, (_Point((0, 0), (0, 0), NON_STRICT_SADDLE),)
    ),
    "flat saddle: x^2 - y^4": _Function(
        lambda x, y: x**2 - y**4, (_Point((0, 0), (2, 0), NON_STRICT_SADDLE),)
    ),
    "quartic saddle: x^4 - y^4": _Function(
        lambda x, y: x**4 - y**4, (_Point((0, 0), (0, 0), NON_STRICT_SADDLE),)
    ),
    # every straight line through the origin sees a minimum there, the parabola y = 1.5 x^2 does not
    "Peano's surface: (y - x^2) (y - 2 x^2)": _Function(
        lambda x, y: (y - x**2) * (y - 2 * x**2), (_Point((0, 0), (0, 2), NON_STRICT_SADDLE),)
    ),
    # -- maxima with a kernel
    "flat dome: -x^4 - y^4": _Function(
        lambda x, y: -(x**4) - y**4, (_Point((0, 0), (0, 0), MAXIMUM),)
    ),
    "ridge: -x^2 - y^4": _Function(
        lambda x, y: -(x**2) - y**4, (_Point((0, 0), (-2, 0), MAXIMUM),)
    ),
}
TEXTBOOK = tuple(_FUNCTIONS)


class Textbook(Problem):
    """One of the functions of two variables named in ``TEXTBOOK``.

    >>> problem = Textbook("monkey saddle: x^3 - 3 x y^2")
    >>> problem.critical_points()[0].kind
    'non-strict saddle'
    """

    def __init__(self, name: str) -> None:
        """`name` may be shortened to the words before the colon.

        Raises:
            ValueError: If there is none of that name; says which there are.
        """
        full = next((key for key in _FUNCTIONS if name in (key, key.partition(":")[0])), None)
        if full is None:
            raise ValueError(f"no textbook function is called {name!r}; there are {TEXTBOOK}")
        super().__init__({"x": np.zeros(2)})
        self.name, self._function = full, _FUNCTIONS[full]
        self.minimum = self._function.minimum

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The function at x (..., 2)."""
        x, y = parameters[0].unbind(-1)
        return self._function.formula(x, y)

    def critical_points(self) -> tuple[Known, ...]:
        """All kinds of points that the function is known for, ordinary ones too."""
        return tuple(self._known(point) for point in self._function.points)

    def _known(self, point: _Point) -> Known:
        at = np.array(point.at, dtype=np.float64)
        value = float(self.losses(at).detach())
        name = f"{self.name.partition(':')[0]} at {point.at}"
        known = from_spectrum(name, at, value, point.eigenvalues, minimum=self.minimum)
        settled = point.flat in (MAXIMUM, NOT_STATIONARY) or known.kind == DEGENERATE
        return dataclasses.replace(known, kind=point.flat) if settled else known


class Pitchfork(Problem):
    """-gamma/2 x_1^2 + x_1^4/4 + 1/2 sum of the other x_j^2: one saddle between two minima.

    The plainest strict saddle, for escape times: from a distance a along x_1 descent with step eta
    needs log(1/a) / log(1 + eta gamma) steps, and gamma may be as small as one likes (a pointwise
    strict saddle gives no rate).
    """

    def __init__(self, dimension: int = 10, *, gamma: float = 0.5) -> None:
        """`gamma` is the negative curvature at the origin."""
        if dimension < 1 or gamma <= 0:
            raise ValueError(f"dimension {dimension} and gamma {gamma} must both be positive")
        super().__init__({"x": np.zeros(dimension)})
        self.gamma = float(gamma)
        self.minimum = -(gamma**2) / 4
        self.spread = 0.7

    def value(self, *parameters: torch.Tensor, batch: Batch = None) -> torch.Tensor:
        """The function at x (..., d)."""
        (x,) = parameters
        first = x[..., 0]
        rest = x[..., 1:].square().sum(-1) / 2
        return first**4 / 4 - self.gamma / 2 * first**2 + rest

    def critical_points(self) -> tuple[Known, ...]:
        """The saddle and the two minima."""
        ones = [1.0] * (self.size - 1)
        at = np.zeros((3, self.size))
        at[1, 0], at[2, 0] = self.gamma**0.5, -(self.gamma**0.5)
        minima = [2 * self.gamma, *ones]
        return (
            from_spectrum("saddle", at[0], 0.0, [-self.gamma, *ones], minimum=self.minimum),
            from_spectrum("minimum", at[1], self.minimum, minima, minimum=self.minimum),
            from_spectrum("other minimum", at[2], self.minimum, minima, minimum=self.minimum),
        )

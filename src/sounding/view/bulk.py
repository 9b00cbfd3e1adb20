"""What a density says: how much lies on either side of zero, where the bulk ends, how wide it is.

Letters: G grid points, S starts of m Lanczos steps, n eigenvalues.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from sounding.curvature.density import Density

ROUNDING = 1e-6  # of the largest eigenvalue: nearer to zero is zero in float32
CLEAR = 3.0  # widths of the smoothing
LEAK = 1.35e-3  # of what is at zero: a Gaussian leaks that much farther than three widths
CLOSE = 0.1  # of the distance from the peak: two eigenvalues in that are close together
CORE = 0.9  # of the eigenvalues


@dataclasses.dataclass(frozen=True)
class Side:
    """The eigenvalues on one side of zero, as shares of all."""

    certain: float  # at least so many, nan where nothing is known
    clear: float  # so many are farther from zero than the smoothing reaches
    error: float  # of that share: the density's, as if it erred alike everywhere

    @property
    def told(self) -> bool:
        """Whether the clear share can be told from nothing."""
        return self.certain > 0 or self.clear > max(self.error, LEAK)


def sides(density: Density) -> tuple[Side, Side]:
    """What lies below and above zero."""
    nodes, weights = np.atleast_2d(density.nodes), np.atleast_2d(density.weights)
    exact = density.degree >= density.size
    found = []
    for sign in (1, -1):
        each = [_certain(sign * x, w, exact) for x, w in zip(nodes, weights, strict=True)]
        known = [value for value in each if math.isfinite(value)]
        certain = float(np.mean(known)) if known else math.nan
        clear = _beyond(density, _positive(density.values), sign)
        error = _beyond(density, _positive(density.error), sign)
        found.append(Side(certain, max(certain, min(clear, 1.0)), min(error, 1.0)))
    return found[0], found[1]


def _certain(nodes: np.ndarray, weights: np.ndarray, exact: bool) -> float:
    """A lower bound of the share below zero, from one start's Gauss quadrature.

    The inequality of Chebyshev, Markov and Stieltjes (Szegő 1939, section 3.41): the weight of all
    nodes before one lies before it. So the last below zero does not count, unless zero is a node.
    """
    known = np.isfinite(nodes) & np.isfinite(weights)
    if not known.any():
        return math.nan
    order = np.argsort(nodes[known])
    nodes, weights = nodes[known][order], weights[known][order]
    rounding = ROUNDING * np.abs(nodes).max()
    below = weights[nodes < -rounding]
    counted = exact or bool(np.any(np.abs(nodes) <= rounding))
    return float(below.sum() if counted else below[:-1].sum())


def _beyond(density: Density, values: np.ndarray, sign: int) -> float:
    """The integral of `values` beyond `CLEAR` widths below zero, or above for a sign of -1."""
    edge = -sign * CLEAR * density.width
    cumulative = _cumulative(density.grid, values)
    before = float(np.interp(edge, density.grid, cumulative))
    return before if sign > 0 else float(cumulative[-1]) - before


def bulk(density: Density, known: Sequence[float]) -> tuple[float, float] | None:
    """Around the peak, as far as eigenvalues are close together; None where they nowhere are.

    That is, as far as two lie within a tenth of the distance from the peak, or within the width of
    the smoothing. Held within the eigenvalues known, which the smoothing leaks across.
    """
    grid, values = density.grid, _positive(density.values)
    peak = int(np.argmax(values))
    reach = np.maximum(density.width, CLOSE * np.abs(grid - grid[peak]))
    close = density.size * _within(density, grid - reach, grid + reach) >= 2
    if not close[peak]:
        return None
    apart = np.flatnonzero(~close)
    before, after = apart[apart < peak], apart[apart > peak]
    first = int(before[-1]) + 1 if len(before) else 0
    last = int(after[0]) - 1 if len(after) else len(grid) - 1
    cumulative = _cumulative(grid, values)
    half = 0.5 / density.size  # so the edge is at the last eigenvalue, not in the gap beyond it
    shares = cumulative[first] + half, cumulative[last] - half
    low, high = (float(place) for place in np.interp(shares, cumulative, grid))
    low, high = max(low, min(known, default=-math.inf)), min(high, max(known, default=math.inf))
    return (low, high) if low < high else None


def core(density: Density) -> float:
    """The distance from zero within which nine eigenvalues in ten lie."""
    middles = (density.grid[1:] + density.grid[:-1]) / 2
    mass = np.diff(_cumulative(density.grid, _positive(density.values)))
    order = np.argsort(np.abs(middles))
    most = np.searchsorted(np.cumsum(mass[order]), CORE * mass.sum())
    return float(np.abs(middles[order[min(int(most), len(order) - 1)]])) if len(order) else 0.0


def _positive(values: np.ndarray) -> np.ndarray:
    return np.maximum(np.nan_to_num(values, nan=0.0, posinf=0.0), 0.0)


def _cumulative(grid: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(G,) the integral up to each place of the grid, by trapezia."""
    steps = np.diff(grid) * (values[1:] + values[:-1]) / 2
    return np.concatenate([[0.0], np.cumsum(steps)])


def _within(density: Density, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """The share of the eigenvalues between two places."""
    cumulative = _cumulative(density.grid, _positive(density.values))
    below, above = (np.interp(place, density.grid, cumulative) for place in (low, high))
    return np.asarray(above - below)

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
CLEAR = 3.0  # widths of the smoothing: farther from zero a Gaussian leaks 0.1 % at most
CLOSE = 0.1  # of the distance from the peak: two eigenvalues in that are close together
CORE = 0.9  # of the eigenvalues


@dataclasses.dataclass(frozen=True)
class Side:
    """The eigenvalues on one side of zero, as shares of all."""

    certain: float  # at least so many, nan where nothing is known
    clear: float  # about so many are farther from zero than the smoothing reaches


def sides(density: Density) -> tuple[Side, Side]:
    """What lies below and above zero."""
    nodes, weights = np.atleast_2d(density.nodes), np.atleast_2d(density.weights)
    exact = density.degree >= density.size
    found = []
    for sign in (1, -1):
        each = [_certain(sign * x, w, exact) for x, w in zip(nodes, weights, strict=True)]
        known = [value for value in each if math.isfinite(value)]
        certain = float(np.mean(known)) if known else math.nan
        found.append(Side(certain, max(certain, _clear(density, sign))))
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


def _clear(density: Density, sign: int) -> float:
    """The curve's share beyond `CLEAR` widths from zero, as far as quadrature nodes reach."""
    reach = sign * np.ravel(density.nodes)
    reach = reach[np.isfinite(reach)]
    far = -float(reach.min()) if len(reach) else 0.0
    near = CLEAR * density.width
    if not near < far:
        return 0.0
    share = _within(density, *sorted((-sign * (far + near), -sign * near)))
    return min(1.0, float(share))


def bulk(density: Density, known: Sequence[float]) -> tuple[float, float] | None:
    """Around the peak, as far as eigenvalues are close together; None where they nowhere are.

    That is, as far as two lie within a tenth of the distance from the peak, or within the width of
    the smoothing. Held within the eigenvalues known, which the smoothing leaks across.
    """
    grid, values = density.grid, _values(density)
    peak = int(np.argmax(values))
    reach = np.maximum(density.width, CLOSE * np.abs(grid - grid[peak]))
    close = density.size * _within(density, grid - reach, grid + reach) >= 2
    if not close[peak]:
        return None
    apart = np.flatnonzero(~close)
    before, after = apart[apart < peak], apart[apart > peak]
    first = int(before[-1]) + 1 if len(before) else 0
    last = int(after[0]) - 1 if len(after) else len(grid) - 1
    cumulative = _cumulative(density)
    half = 0.5 / density.size  # so the edge is at the last eigenvalue, not in the gap beyond it
    shares = cumulative[first] + half, cumulative[last] - half
    low, high = (float(place) for place in np.interp(shares, cumulative, grid))
    low, high = max(low, min(known, default=-math.inf)), min(high, max(known, default=math.inf))
    return (low, high) if low < high else None


def core(density: Density) -> float:
    """The distance from zero within which nine eigenvalues in ten lie."""
    middles = (density.grid[1:] + density.grid[:-1]) / 2
    mass = np.diff(_cumulative(density))
    order = np.argsort(np.abs(middles))
    most = np.searchsorted(np.cumsum(mass[order]), CORE * mass.sum())
    return float(np.abs(middles[order[min(int(most), len(order) - 1)]])) if len(order) else 0.0


def _values(density: Density) -> np.ndarray:
    return np.maximum(np.nan_to_num(density.values, nan=0.0, posinf=0.0), 0.0)


def _cumulative(density: Density) -> np.ndarray:
    """(G,) the share of the eigenvalues up to each place of the grid, by trapezia."""
    values = _values(density)
    steps = np.diff(density.grid) * (values[1:] + values[:-1]) / 2
    return np.concatenate([[0.0], np.cumsum(steps)])


def _within(density: Density, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """The share of the eigenvalues between two places."""
    cumulative = _cumulative(density)
    below, above = (np.interp(place, density.grid, cumulative) for place in (low, high))
    return np.asarray(above - below)

"""A distribution of points as a smooth curve: its width, its grid, and sums of Gaussians.

Letters: N points, G places of the grid.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sounding.curvature.quadrature import Points

NEAR = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)  # widths around a node where a grid begins
QUANTILES = 128  # further places where it begins
OFF = 1e-5  # of all eigenvalues, the distant ones for more, that an interval may lack
TAIL = 1e-7  # of all eigenvalues, outside the grid on either side
MOST_PLACES = 4000  # of a grid, about
AT_ONCE = 2**21  # numbers of a block of kernel values


def default_width(points: Points, tol: float) -> float:
    """A quarter of the distance that is asked for: too narrow to be what limits it."""
    scale = float(np.abs(points.places).max())
    if points.spread <= 1e-9 * scale:
        return 1e-3 * (scale or 1.0)
    return points.spread * min(tol, 0.2) / 4


def default_grid(points: Points, nodes: np.ndarray, width: float) -> np.ndarray:
    """(G,) places between which the smoothed density is nearly straight.

    Begins around the Gauss nodes and at quantiles, and halves intervals until the straight lines
    enclose what lies there.
    """
    cumulative = np.cumsum(points.weights)
    levels = np.concatenate([[TAIL], (np.arange(QUANTILES) + 0.5) / QUANTILES, [1 - TAIL]])
    quantiles = points.places[np.searchsorted(cumulative, levels).clip(0, len(cumulative) - 1)]
    centres = np.unique(np.concatenate([nodes, quantiles[[0, -1]]]))
    around = (centres[:, None] + width * np.array(NEAR)).ravel()
    grid = np.unique(np.concatenate([around, quantiles]))
    values, below = smoothed(points, grid, width), _below(points, grid, width)
    mean, spread = float(points.weights @ points.places), points.spread or width
    while len(grid) < MOST_PLACES:
        steps = np.diff(grid)
        off = np.abs(np.diff(below) - steps * (values[:-1] + values[1:]) / 2)
        off *= 1 + np.abs(grid[:-1] - mean) / spread
        wrong = np.flatnonzero((off > OFF) & (steps > width / 4))
        if not len(wrong):
            break
        middles = grid[wrong] + steps[wrong] / 2
        grid = np.insert(grid, wrong + 1, middles)
        values = np.insert(values, wrong + 1, smoothed(points, middles, width))
        below = np.insert(below, wrong + 1, _below(points, middles, width))
    return grid


def smoothed(points: Points, grid: np.ndarray, width: float) -> np.ndarray:
    """(G,) the density after convolution with a Gaussian of standard deviation `width`."""
    return _gaussians(_merged(points, width), grid, width)


def smoothed_square(points: Points, grid: np.ndarray, width: float) -> np.ndarray:
    """(G,) the mean square of that Gaussian; less the density's square, a start's variance."""
    # The square of a Gaussian is one of width / sqrt(2), times 1 / (2 width sqrt(pi)).
    narrow = _gaussians(_merged(points, width), grid, width / 2**0.5)
    return narrow / (2 * width * np.pi**0.5)


def _merged(points: Points, width: float) -> Points:
    """Points nearer than an eighth of the width as one, at their mean."""
    _, where = np.unique(np.floor(points.places / (width / 8)), return_inverse=True)
    weights = np.bincount(where, points.weights)
    some = np.bincount(where, points.weights * points.places)
    kept = weights > 0  # far outside weights may underflow
    return Points(some[kept] / weights[kept], weights[kept])


def _below(points: Points, grid: np.ndarray, width: float) -> np.ndarray:
    """(G,) what lies below, after the convolution."""
    from scipy.special import ndtr

    merged = _merged(points, width)
    return _sums(ndtr, merged, grid, width)


def _gaussians(points: Points, grid: np.ndarray, width: float) -> np.ndarray:
    sums = _sums(lambda off: np.exp(-0.5 * off**2), points, grid, width)
    return sums / (width * (2 * np.pi) ** 0.5)


def _sums(
    function: Callable[[np.ndarray], np.ndarray], points: Points, grid: np.ndarray, width: float
) -> np.ndarray:
    """(G,) sums over the points of the function of their distance in widths."""
    values = np.empty(len(grid))
    rows = max(1, AT_ONCE // max(len(points.places), 1))
    for i in range(0, len(grid), rows):
        off = (grid[i : i + rows, None] - points.places) / width
        values[i : i + rows] = function(off) @ points.weights
    return values

"""A distribution of points as a smooth curve: widths, grids, and sums of Gaussians.

Letters: N points, G places of the grid.
"""

from __future__ import annotations

import numpy as np

from sounding.curvature.quadrature import Points

FINE = 0.5  # of the width: step of the grid near eigenvalues
COARSE = 16  # fine steps in a coarse one
NEAR = 4.0  # widths around an eigenvalue in which the grid is fine
FEW = 0.05  # eigenvalues expected nearby below which the grid is coarse
MOST_PLACES = 8192  # of the grid before it is thinned
AT_ONCE = 2**21  # numbers of a block of kernel values


def default_width(points: Points, low: float, high: float) -> float:
    """A tenth of the interquartile range, within 1/2000 and 1/100 of the range from low to high."""
    extent = high - low
    if extent <= 1e-12 * max(abs(low), abs(high)):
        return 1e-3 * (abs(low) or 1.0)
    cumulative = np.cumsum(points.weights)
    first, third = points.places[np.searchsorted(cumulative, [0.25, 0.75])]
    return float(np.clip((third - first) / 10, extent / 2000, extent / 100))


def default_grid(
    points: Points, low: float, high: float, width: float, size: int
) -> np.ndarray:
    """(G,) places from low to high: half a width apart near eigenvalues, eight widths elsewhere."""
    low, high = low - NEAR * width, high + NEAR * width
    steps = int(np.ceil((high - low) / (FINE * width)))
    grid = np.linspace(low, high, min(steps, MOST_PLACES) + 1)
    cumulative = np.concatenate([[0.0], np.cumsum(points.weights)])
    below = cumulative[np.searchsorted(points.places, grid - NEAR * width)]
    above = cumulative[np.searchsorted(points.places, grid + NEAR * width, side="right")]
    kept = above - below > FEW / size
    kept[::COARSE] = kept[-1] = True
    return grid[kept]


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
    with np.errstate(invalid="ignore"):  # weights may underflow to zero far outside
        places = some / weights
    kept = weights > 0
    return Points(places[kept], weights[kept])


def _gaussians(points: Points, grid: np.ndarray, width: float) -> np.ndarray:
    values = np.empty(len(grid))
    rows = max(1, AT_ONCE // max(len(points.places), 1))
    for i in range(0, len(grid), rows):
        off = (grid[i : i + rows, None] - points.places) / width
        values[i : i + rows] = np.exp(-0.5 * off**2) @ points.weights
    return values / (width * (2 * np.pi) ** 0.5)

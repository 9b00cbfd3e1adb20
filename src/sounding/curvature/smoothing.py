"""A distribution of points as a smooth curve: its width, its grid, and sums of Gaussians.

Letters: N points, G places of the grid.
"""

from __future__ import annotations

import numpy as np

from sounding.curvature.quadrature import Points

NEAR = (-4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0)  # widths around a node where a grid begins
QUANTILES = 128  # further places where it begins
OFF = 2e-5  # of all eigenvalues, weighted by their distance: by so much a straight line may be off
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

    Begins around the Gauss nodes and at quantiles, and halves intervals until a straight line
    misplaces next to nothing.
    """
    cumulative = np.cumsum(points.weights)
    levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
    quantiles = points.places[np.searchsorted(cumulative, levels).clip(0, len(cumulative) - 1)]
    around = (np.unique(nodes)[:, None] + width * np.array(NEAR)).ravel()
    inside = (quantiles >= around.min()) & (quantiles <= around.max())
    grid = np.unique(np.concatenate([around, quantiles[inside]]))
    values = smoothed(points, grid, width)
    mean, spread = float(points.weights @ points.places), points.spread or width
    open_ = np.ones(len(grid) - 1, dtype=bool)  # intervals that may have to be halved
    while open_.any() and len(grid) < MOST_PLACES:
        left = np.flatnonzero(open_)
        middles = (grid[left] + grid[left + 1]) / 2
        found = smoothed(points, middles, width)
        off = np.abs(found - (values[left] + values[left + 1]) / 2) * np.diff(grid)[left]
        wrong = off * (1 + np.abs(middles - mean) / spread) > OFF
        open_[left] = False
        grid = np.insert(grid, left[wrong] + 1, middles[wrong])
        values = np.insert(values, left[wrong] + 1, found[wrong])
        halved = np.zeros(len(open_), dtype=bool)
        halved[left[wrong]] = True
        open_ = np.repeat(halved, 1 + halved)
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


def _gaussians(points: Points, grid: np.ndarray, width: float) -> np.ndarray:
    values = np.empty(len(grid))
    rows = max(1, AT_ONCE // max(len(points.places), 1))
    for i in range(0, len(grid), rows):
        off = (grid[i : i + rows, None] - points.places) / width
        values[i : i + rows] = np.exp(-0.5 * off**2) @ points.weights
    return values / (width * (2 * np.pi) ** 0.5)

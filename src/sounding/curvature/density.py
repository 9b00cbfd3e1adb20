"""How the eigenvalues of a matrix are spread, from stochastic Lanczos quadrature."""

from __future__ import annotations

import dataclasses

import numpy as np

from sounding.result import Result


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Density(Result):
    """The share of eigenvalues per unit of eigenvalue, on a grid; it integrates to one."""

    grid: np.ndarray  # (G,) eigenvalues
    values: np.ndarray  # (G,) density, smoothed with a Gaussian of `width`
    error: np.ndarray  # (G,) one standard error, over the random starts
    width: float  # standard deviation of the smoothing
    nodes: np.ndarray  # (S, m) quadrature nodes of each start; nan where a start ended early
    weights: np.ndarray  # (S, m) their weights, each row summing to one
    size: int  # n
    degree: int  # m, Lanczos steps of a start
    products: int
    seconds: float

"""How the eigenvalues of a matrix are spread, from stochastic Lanczos quadrature.

Letters: n rows of the matrix, S starts, m steps, G points of the grid.
"""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np
import torch

from sounding.curvature.operator import Operator
from sounding.curvature.quadrature import Points, distance, distribution, gauss, sampling_distance
from sounding.curvature.smoothing import default_grid, default_width, smoothed, smoothed_square
from sounding.curvature.tridiagonal import (
    NOT_FINITE,
    Process,
    Processes,
    fits,
    random_rows,
)
from sounding.result import Result
from sounding.train import Progress, silent

MOST = 400  # products
LONGEST = 120  # steps of a start, unless asked for
LEAST = 8  # steps below which nothing is said
EARLIER = 2 / 3  # of the steps: what the distribution is compared with
EXACT = 64  # smaller matrices are solved
BLOCK = 2**18  # numbers of a block of starts that are multiplied at once
STREAM = 1  # of random vectors


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Density(Result):
    """The share of eigenvalues per unit of eigenvalue, on a grid; it integrates to one."""

    grid: np.ndarray  # (G,) eigenvalues
    values: np.ndarray  # (G,) density, smoothed with a Gaussian of `width`
    error: np.ndarray  # (G,) one standard error: of the random starts, and of the finite degree
    width: float  # standard deviation of the smoothing
    nodes: np.ndarray  # (S, m) quadrature nodes of each start; nan where a start ended early
    weights: np.ndarray  # (S, m) their weights, each row summing to one
    distance: float  # expected Wasserstein-1 distance to the true one, in its standard deviations
    tol: float  # the distance that was asked for
    converged: bool
    size: int  # n
    degree: int  # m, Lanczos steps of a start
    products: int
    seconds: float
    note: str = ""  # what to do if it did not converge

    def __str__(self) -> str:
        loud = "" if self.converged else f"  NOT CONVERGED: {self.note}"
        ends = f"{np.nanmin(self.nodes):.4g} to {np.nanmax(self.nodes):.4g}"
        return (
            f"density of {self.size:,} eigenvalues from {ends}, to {self.distance:.1%} of their "
            f"spread; {self.products} products{loud}"
        )


def density(
    operator: Operator,
    *,
    starts: int | None = None,
    degree: int | None = None,
    width: float | None = None,
    tol: float = 0.03,
    grid: np.ndarray | None = None,
    most: int = MOST,
    seed: int = 0,
    progress: Progress = silent,
) -> Density:
    """The density of the eigenvalues of a symmetric matrix.

    Stochastic Lanczos quadrature (Lin, Saad & Yang 2016, "Approximating spectral densities of large
    matrices", SIAM Review 58; Ubaru, Chen & Saad 2017), read better than as a sum of points: see
    :mod:`sounding.curvature.quadrature`. Costs 20 to 45 products for most nets with 100,000
    parameters or more, more starts of as many for smaller ones; matrices of up to 64 rows, and
    those that would need a product a row, are solved exactly.

    Two errors are known and put together: that of the random starts, exactly, from the variance of
    a random direction's spectral measure; and that of the degree, from what the last third of the
    steps changed.

    Args:
        operator: From :func:`sounding.hessian` and its kin.
        starts: Random vectors; by default as many as `tol` needs: one for large matrices.
        degree: Lanczos steps of each; by default as many as `tol` needs. Memory: so many vectors.
        width: Standard deviation of the Gaussian with which the result is smoothed; by default a
            quarter of what `tol` allows.
        tol: Expected distance (the area between the cumulative distributions) asked for, in
            standard deviations of the eigenvalues.
        grid: (G,) where the density is wanted; by default places between which it is straight.
        most: Products at most.
        seed: Of the random vectors.
        progress: Told the distance, the products made, and those expected.

    Raises:
        ValueError: If an argument makes no sense, or a product is not finite.

    Example:
        >>> import torch
        >>> H = Operator.dense(torch.diag(torch.tensor([1.0, 1.0, 2.0])))
        >>> d = density(H, width=0.1, grid=np.array([1.0, 2.0]))
        >>> d.values[0] / d.values[1]
        np.float64(2.0)
    """
    _check(operator, starts, degree, width, tol, most)
    search = _Search(operator, starts, degree, tol, most, seed, progress)
    try:
        search.run()
    except KeyboardInterrupt:
        if not search.interrupt():
            raise
    return search.result(width, grid)


class _Search:
    """Steps the first start until its degree is enough, then takes as many starts as it needs."""

    def __init__(
        self,
        operator: Operator,
        starts: int | None,
        degree: int | None,
        tol: float,
        most: int,
        seed: int,
        progress: Progress,
    ) -> None:
        self.operator, self.tol, self.most, self.seed = operator, tol, most, seed
        self.starts, self.degree, self.progress = starts, degree, progress
        self.begun, self.before = time.perf_counter(), operator.products
        self.longest = min(degree or LONGEST, operator.size, most)
        self.keep = fits(operator, self.longest)
        self.done: list[Process] = []
        self.first: Process | None = None  # while its degree is sought
        self.exact: np.ndarray | None = None  # (n,) all eigenvalues
        self.interrupted = False

    @property
    def spent(self) -> int:
        return self.operator.products - self.before

    def run(self) -> None:
        """Steps of the first start, then starts, until both errors together are within tol."""
        free = self.starts is None and self.degree is None and not self.operator.sharded
        size = self.operator.size
        if free and size <= min(EXACT, self.most):
            self._solve()
            return
        self._first()
        steps = self.done[0].count
        if free and self._wanted() * steps >= size <= self.most - self.spent:
            self._solve()
            return
        affordable = max(1, self.most // max(steps, 1))
        while len(self.done) < (wanted := min(self._wanted(), affordable)):
            self._more(min(wanted - len(self.done), max(1, BLOCK // self.operator.width)), wanted)

    def _first(self) -> None:
        """Step the first start until its degree is enough."""
        processes = self._begin(1)
        self.first = processes.each[0]
        look = self.longest if self.degree else LEAST + 4
        while not self.first.ended and self.first.count < self.longest:
            processes.step()
            if self.first.count >= look and not self.degree:
                if self._settled(self.first):
                    break
                look = self.first.count + max(3, self.first.count // 8)
        self.done = [self.first]

    def _settled(self, first: Process) -> bool:
        """Whether one start of this degree is enough, or more starts are worth more than degree."""
        points, degree_error, start_error = self._errors([first])
        allowed = self.tol * points.spread
        start_error /= (self.starts or 1) ** 0.5
        error = math.hypot(degree_error, start_error)
        self._tell(error / points.spread if points.spread else 0.0, self.longest)
        negligible = max(allowed, start_error) if self.starts else allowed
        return error <= allowed or degree_error <= negligible / 2

    def _wanted(self) -> int:
        """Starts that bring both errors together to tol; as many as there are if none can."""
        if self.starts is not None:
            return self.starts
        points, degree_error, start_error = self._errors(self.done)
        one = start_error**2 * len(self.done)
        left = (self.tol * points.spread) ** 2 - degree_error**2
        return math.ceil(one / left) if left > 0 else len(self.done)

    def _more(self, count: int, wanted: int) -> None:
        """Another block of starts, all of the first one's degree."""
        steps = self.done[0].count
        processes = self._begin(count)
        for _ in range(steps):
            if processes.ended:
                break
            processes.step()
        self.done += processes.each
        points, degree_error, start_error = self._errors(self.done)
        error = math.hypot(degree_error, start_error)
        self._tell(error / points.spread if points.spread else 0.0, wanted * steps)

    def _begin(self, count: int) -> Processes:
        rows = random_rows(self.operator, len(self.done), count, seed=self.seed, stream=STREAM)
        return Processes(self.operator, rows, keep=self.keep)

    def _solve(self) -> None:
        """All eigenvalues, from as many products."""
        dense = self.operator.to_dense().double()
        if not bool(torch.isfinite(dense).all()):
            raise ValueError(NOT_FINITE)
        self.exact = torch.linalg.eigvalsh(dense).cpu().numpy()

    def _tell(self, error: float, planned: int) -> None:
        self.progress(f"density to {error:.1%}", self.spent, max(planned, self.spent))

    def interrupt(self) -> bool:
        """Make do with what is there; whether that is enough to say anything."""
        self.interrupted = True
        if not self.done and self.first is not None and self.first.count >= LEAST:
            self.done = [self.first]
        return bool(self.done)

    # -- what came out ----------------------------------------------------------------------

    def _errors(self, processes: list[Process]) -> tuple[Points, float, float]:
        """The distribution, its distance from that of fewer steps, and that of the starts."""
        points, earlier = _points(processes, 1.0), _points(processes, EARLIER)
        nodes, weights = _table(processes)
        by_starts = sampling_distance(nodes, weights, self.operator.size)
        return points, distance(points, earlier), by_starts

    def result(self, width: float | None, grid: np.ndarray | None) -> Density:
        size = self.operator.size
        if self.exact is not None:
            nodes, weights = self.exact[None], np.full((1, size), 1 / size)
            points = earlier = Points.mixed([(nodes[0], weights[0])])
            degree_error = start_error = 0.0
        else:
            nodes, weights = _table(self.done)
            points, degree_error, start_error = self._errors(self.done)
            earlier = _points(self.done, EARLIER)
        width = default_width(points, self.tol) if width is None else float(width)
        if grid is None:
            grid = default_grid(points, nodes[~np.isnan(nodes)], width)
        grid = np.asarray(grid, dtype=np.float64)
        values = smoothed(points, grid, width)
        variance = 0.0
        if self.exact is None:
            spread = np.maximum(smoothed_square(points, grid, width) - values**2, 0.0)
            variance = 2 / (size + 2) / len(self.done) * spread
        error = np.sqrt(variance + (values - smoothed(earlier, grid, width)) ** 2)
        off = math.hypot(degree_error, start_error) / points.spread if points.spread else 0.0
        converged = off <= self.tol and not self.interrupted
        return Density(
            grid=grid,
            values=values,
            error=error,
            width=width,
            nodes=nodes,
            weights=weights,
            distance=off,
            tol=self.tol,
            converged=converged,
            size=size,
            degree=nodes.shape[1],
            products=self.spent,
            seconds=time.perf_counter() - self.begun,
            note="" if converged else self._advice(degree_error, start_error),
        )

    def _advice(self, degree_error: float, start_error: float) -> str:
        if self.interrupted:
            return "interrupted; this is the best so far"
        if degree_error >= start_error:
            return f"the degree limits it; raise degree (now {self.done[0].count}) or tol"
        return f"the random starts limit it; raise starts (now {len(self.done)}), most or tol"


def _points(processes: list[Process], share: float) -> Points:
    """The mean distribution, from the first `share` of each start's steps."""
    parts = []
    for process in processes:
        steps = process.count if process.ended else max(1, round(share * process.count))
        diagonal = np.array(process.diagonal[:steps])
        one = distribution(diagonal, np.array(process.beside[:steps]))
        parts.append((one.places, one.weights))
    return Points.mixed(parts)


def _table(processes: list[Process]) -> tuple[np.ndarray, np.ndarray]:
    """(S, m) Gauss nodes and weights, nan where a start ended early."""
    longest = max(process.count for process in processes)
    nodes = np.full((len(processes), longest), np.nan)
    weights = nodes.copy()
    for i, process in enumerate(processes):
        m = process.count
        diagonal, beside = np.array(process.diagonal[:m]), np.array(process.beside[:m])
        nodes[i, :m], weights[i, :m] = gauss(diagonal, beside)
    return nodes, weights


def _check(
    operator: Operator,
    starts: int | None,
    degree: int | None,
    width: float | None,
    tol: float,
    most: int,
) -> None:
    counts = {"starts": starts, "degree": degree, "most": most}
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; it is a number of vectors or steps, 1 at least")
    if width is not None and not width > 0:
        raise ValueError(f"width is {width}; it is a standard deviation, above 0")
    if not tol > 0:
        raise ValueError(f"tol is {tol}; it is a relative distance above 0, such as 0.03")
    if starts is not None and degree is not None and starts * min(degree, operator.size) > most:
        raise ValueError(
            f"{starts} starts of degree {degree} are more than most={most} products; raise most"
        )

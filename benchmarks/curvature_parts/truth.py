"""The right answers, and the unit of time: one product on a graph that is kept.

The product is double backward (Pearlmutter 1994) with the graph of the gradient built once. The
extreme eigenvalues come from a Lanczos run with full reorthogonalisation in which their residuals
r leave an error below r^2 / gap; the trace from that run's basis Q, as tr(Q'HQ) and Hutchinson's
estimate for the rest; the spectral measure from Lanczos quadrature with many starts. Of a small net
all eigenvalues are computed, and with them the trace and the measure.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable

import numpy as np
import torch

from curvature_parts.nets import Problem

Product = Callable[[torch.Tensor], torch.Tensor]  # (n,) -> (n,)
Measure = tuple[np.ndarray, np.ndarray]  # eigenvalues and their weights, which sum to one


def kept(problem: Problem) -> Product:
    """The product with the Hessian, on a graph that is built here and kept."""
    parameters = problem.parameters
    shapes = [p.shape for p in parameters]
    sizes = [p.numel() for p in parameters]
    gradient = torch.autograd.grad(problem.value(), parameters, create_graph=True)

    def product(vector: torch.Tensor) -> torch.Tensor:
        parts = [v.view(s) for v, s in zip(vector.split(sizes), shapes, strict=True)]
        found = torch.autograd.grad(gradient, parameters, parts, retain_graph=True)
        return torch.cat([f.reshape(-1) for f in found])

    return product


class Remembered:
    """A product that is not computed twice for the same vector, to the last bit.

    Searching for a setting runs the same process again and again, each time a little further.
    """

    def __init__(self, product: Product) -> None:
        self._product = product
        self._known: dict[bytes, torch.Tensor] = {}
        self.calls = 0

    def __call__(self, vector: torch.Tensor) -> torch.Tensor:
        """The product, a copy of it."""
        self.calls += 1
        vector = vector.detach().float().contiguous()
        key = hashlib.blake2b(vector.numpy().data, digest_size=16).digest()
        if key not in self._known:
            self._known[key] = self._product(vector)
        return self._known[key].clone()

    def forget(self) -> None:
        """Give the memory back."""
        self._known.clear()


def seconds(run: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def unit(product: Product, size: int, least: float = 0.3) -> float:
    """CPU seconds of one product: the mean over `least` seconds, of one product at least."""
    vector = torch.randn(size)
    spent, count = 0.0, 0
    while spent < least:
        spent += seconds(lambda: product(vector))
        count += 1
    return spent / count


# -- Lanczos ----------------------------------------------------------------------------------


class Lanczos:
    """A Krylov basis that grows by one vector a step, orthogonal to rounding error."""

    def __init__(self, product: Product, start: torch.Tensor) -> None:
        self.product = product
        self.basis = (start / start.norm())[None]  # (j + 1, n)
        self.alphas: list[float] = []
        self.betas: list[float] = []

    def advance(self, steps: int) -> None:
        """So many products more."""
        grown = torch.empty(len(self.basis) + steps, self.basis.shape[1])
        grown[: len(self.basis)] = self.basis
        for j in range(len(self.alphas), len(self.alphas) + steps):
            w = self.product(grown[j])
            self.alphas.append(float(w @ grown[j]))
            for _ in range(2):
                w = w - grown[: j + 1].T @ (grown[: j + 1] @ w)
            self.betas.append(float(w.norm()))
            grown[j + 1] = w / self.betas[-1]
        self.basis = grown

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ritz values from the smallest up, their residuals, and weights of the start."""
        j = len(self.alphas)
        matrix = np.diag(self.alphas) + np.diag(self.betas[: j - 1], 1)
        values, vectors = np.linalg.eigh(matrix, UPLO="U")
        return values, self.betas[j - 1] * np.abs(vectors[-1]), vectors[0] ** 2


# -- references -------------------------------------------------------------------------------


@dataclasses.dataclass(eq=False)
class Truth:
    """What the answers are compared with."""

    largest: np.ndarray  # (5,) from the largest down
    smallest: np.ndarray  # (1,)
    error: float  # relative error of these, at most: residual^2 / gap
    top: torch.Tensor  # (n,) eigenvector of the largest
    trace: float = np.nan
    trace_error: float = np.nan  # one standard error
    measure: Measure | None = None


def extremes(product: Product, start: torch.Tensor, *, both: bool = True) -> tuple[Truth, Lanczos]:
    """Five largest and the smallest eigenvalue (`both`), or only the largest, to 1e-5."""
    run = Lanczos(product, start)
    while True:
        run.advance(10)
        values, residuals, _ = run.ritz()
        order = [-1, -2, -3, -4, -5] if both else [-1]
        order += [0] if both else []
        gaps = np.array([_gap(values, o) for o in order])
        errors = np.minimum(residuals[order], residuals[order] ** 2 / gaps) / abs(values[order])
        if errors.max() < 1e-5 or len(run.alphas) >= 250:
            break
    vectors = np.linalg.eigh(np.diag(run.alphas) + np.diag(run.betas[:-1], 1), UPLO="U")[1]
    top = torch.as_tensor(vectors[:, -1], dtype=start.dtype) @ run.basis[:-1]
    return Truth(values[::-1][:5].copy(), values[:1].copy(), float(errors.max()), top), run


def _gap(values: np.ndarray, index: int) -> float:
    """Distance of one value to the nearest other."""
    return float(np.sort(np.abs(np.delete(values, index) - values[index]))[0])


def trace(product: Product, run: Lanczos, samples: int, seed: int = 77) -> tuple[float, float]:
    """The trace and its standard error: exact within the run's basis, sampled outside it."""
    basis = run.basis[:-1]
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(samples):
        vector = torch.randint(0, 2, (basis.shape[1],), generator=generator).float() * 2 - 1
        vector -= basis.T @ (basis @ vector)
        found.append(float(vector @ product(vector)))
    return sum(run.alphas) + float(np.mean(found)), float(np.std(found, ddof=1) / samples**0.5)


def measure(product: Product, size: int, starts: int, steps: int, seed: int = 55) -> Measure:
    """The spectral measure by Lanczos quadrature, as nodes and weights over all starts."""
    nodes, weights = [], []
    generator = torch.Generator().manual_seed(seed)
    for _ in range(starts):
        run = Lanczos(product, torch.randn(size, generator=generator))
        run.advance(steps)
        values, _, shares = run.ritz()
        nodes.append(values)
        weights.append(shares / starts)
    return np.concatenate(nodes), np.concatenate(weights)


def distance(one: Measure, other: Measure) -> float:
    """Wasserstein-1 distance of two measures: the area between their distribution functions."""
    nodes = np.concatenate([one[0], other[0]])
    steps = np.concatenate([one[1] / one[1].sum(), -other[1] / other[1].sum()])
    order = np.argsort(nodes)
    return float(np.sum(np.abs(np.cumsum(steps[order])[:-1]) * np.diff(nodes[order])))


def spread(one: Measure) -> float:
    """Standard deviation."""
    weights = one[1] / one[1].sum()
    return float(weights @ (one[0] - weights @ one[0]) ** 2) ** 0.5


def solved(product: Product, size: int) -> np.ndarray:
    """(n,) every eigenvalue: a product a row, and n^3 operations."""
    matrix = torch.empty(size, size)
    row = torch.zeros(size)
    for i in range(size):
        row[i] = 1.0
        matrix[i] = product(row)
        row[i] = 0.0
    return torch.linalg.eigvalsh((matrix + matrix.T) / 2).numpy().astype(np.float64)

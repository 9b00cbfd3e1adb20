"""Synthetic results about curvature with the numbers of real ones, and the odd ones.

The matrix is diagonal, so its eigenvalues are known: a spike at zero, a bulk on both sides, and as
many outliers as a classifier of ten classes has. The density is that of a real Lanczos process.
"""

import dataclasses
import functools
import math

import numpy as np

from sounding.curvature.density import Density
from sounding.curvature.eigenpairs import Eigenpairs
from sounding.curvature.estimate import Estimate
from sounding.curvature.monitor import SharpnessSeries
from sounding.curvature.sharpness import Sharpness
from sounding.curvature.spectrum import Spectrum
from sounding.result import Profile

HOSTILE = "</script><img src=x onerror=1>\x1b[31m\u202etxt"
OUTLIERS = (34.469, 28.12, 21.87, 17.03, 13.4, 9.61, 7.2, 5.53, 4.31)
LOWEST = -0.5314
SIZE = 4000


@functools.cache
def eigenvalues() -> np.ndarray:
    """All eigenvalues: 60 % at zero, 28 % above, 12 % below, outliers."""
    rng = np.random.default_rng(0)
    below, above = int(0.12 * SIZE), int(0.28 * SIZE)
    negative = LOWEST * rng.beta(1.2, 6, below - 1)
    positive = 2.2 * rng.beta(0.8, 6, above - len(OUTLIERS))
    zero = np.zeros(SIZE - below - above)
    return np.sort(np.concatenate([negative, [LOWEST], zero, positive, OUTLIERS]))


def lanczos(values: np.ndarray, degree: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Quadrature nodes and weights of the diagonal matrix of `values`."""
    start = np.random.default_rng(seed).normal(size=len(values))
    basis = [start / np.linalg.norm(start)]
    diagonal, beside = [], []
    for _ in range(degree):
        new = values * basis[-1]
        diagonal.append(basis[-1] @ new)
        for _ in range(2):
            new = new - np.array(basis).T @ (np.array(basis) @ new)
        beside.append(np.linalg.norm(new))
        if beside[-1] < 1e-12 * max(np.abs(values).max(), 1e-300):
            break
        basis.append(new / beside[-1])
    beside = beside[: len(diagonal) - 1]
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
    return nodes, vectors[0] ** 2


@functools.cache
def density() -> Density:
    """The density of those eigenvalues."""
    return quadrature(eigenvalues())


def quadrature(
    values: np.ndarray, *, degree: int = 60, starts: int = 6, width: float | None = None
) -> Density:
    """The smoothed density of a diagonal matrix: nodes of real processes, a curve as from many."""
    nodes = np.full((starts, degree), math.nan)
    weights = np.full((starts, degree), math.nan)
    masses = []
    for s in range(starts):
        found, mass = lanczos(values, degree, s)
        nodes[s, : len(found)], weights[s, : len(found)] = found, mass
        masses.append(np.random.default_rng(s).chisquare(1, len(values)))
    width = float(np.std(values)) / 133 if width is None else width
    ends = np.concatenate([np.sort(values)[:12], np.sort(values)[-12:]])
    places = np.concatenate([np.quantile(values, np.linspace(0, 1, 150)), ends])
    grid = np.unique(places[:, None] + width * np.linspace(-5, 5, 11))
    masses = np.array(masses) / np.sum(masses, axis=1, keepdims=True)
    smooth = smoothed(values, masses, grid, width)
    return dataclasses.replace(smooth, nodes=nodes, weights=weights, degree=degree)


def smoothed(values: np.ndarray, masses: np.ndarray, grid: np.ndarray, width: float) -> Density:
    """Gaussians of a width at the eigenvalues, each start with its own masses (S, n)."""
    bells = np.exp(-0.5 * ((grid[:, None] - values) / width) ** 2)
    each = masses @ bells.T / (width * math.sqrt(2 * math.pi))
    return Density(
        grid=grid,
        values=each.mean(0),
        error=each.std(0, ddof=1) / math.sqrt(len(each)),
        width=width,
        nodes=np.repeat(values[None], len(each), 0),
        weights=masses,
        distance=0.021,
        tol=0.03,
        converged=True,
        size=len(values),
        degree=len(values) - 1,
        products=360,
        seconds=4.2,
    )


def eigenpairs(
    which: str = "largest", values: tuple[float, ...] = OUTLIERS[:5], **changes: object
) -> Eigenpairs:
    """Found to a residual of about a thousandth of the largest."""
    values_ = np.array(values, dtype=float)
    scale = float(np.nanmax(np.abs(values_), initial=0.0))
    residuals = 6e-4 * scale * np.linspace(1, 0.4, len(values_))
    sign = 1 if which == "largest" else -1
    outermost = float(values_[0]) if len(values_) else math.nan
    made = Eigenpairs(
        which=which,
        values=values_,
        residuals=residuals,
        errors=residuals**2 / max(scale, 1e-30),
        bound=outermost + sign * 1e-3 * scale,
        missed=2.3e-5,
        miss=1e-3,
        tol=1e-3,
        converged=True,
        size=SIZE,
        products=31,
        seconds=3.8,
    )
    return dataclasses.replace(made, **changes)


def smallest(**changes: object) -> Eigenpairs:
    """The lower end, which takes more products."""
    lowest = tuple(eigenvalues()[:3])
    made = eigenpairs("smallest", lowest, products=58, seconds=7.1)
    return dataclasses.replace(made, residuals=np.array([0.0041, 0.011, 0.013]), **changes)


def trace(**changes: object) -> Estimate:
    """The sum of all eigenvalues."""
    made = Estimate(
        quantity="trace",
        value=float(eigenvalues().sum()),
        error=4.61,
        tol=0.02,
        converged=True,
        size=SIZE,
        products=120,
        seconds=14.2,
    )
    return dataclasses.replace(made, **changes)


def spectrum(**changes: object) -> Spectrum:
    """What a small classifier's Hessian looks like in the middle of training."""
    made = Spectrum(
        largest=eigenpairs(),
        smallest=smallest(),
        density=density(),
        trace=trace(),
        size=SIZE,
        matrix="Hessian of Net, 1,000 samples",
        products=569,
        seconds=29.3,
        notes=("ReLU has no second derivative at 0; 0 is taken there.",),
    )
    return dataclasses.replace(made, **changes)


def single() -> Eigenpairs:
    """k = 1."""
    return eigenpairs(values=OUTLIERS[:1])


def no_density() -> Spectrum:
    """Both ends only."""
    return spectrum(density=None, trace=None, notes=())


def not_converged() -> Spectrum:
    """Stopped too early at the lower end, with the trace still uncertain."""
    loose = dataclasses.replace(
        smallest(),
        values=np.array([-0.4, -0.21, -0.1]),
        residuals=np.array([0.61, 0.4, 0.3]),
        bound=-3.2,
        missed=0.2,
        converged=False,
        note="20 of 20 products used; raise most=, or ask for a looser tol=",
    )
    unsure = trace(error=260.0, converged=False, note="give it more products")
    return spectrum(smallest=loose, trace=unsure)


def not_a_number() -> Spectrum:
    """A loss of NaN."""
    nan = np.full(3, math.nan)
    broken = eigenpairs(
        values=(math.nan,) * 3, residuals=nan, errors=nan, bound=math.nan, converged=False,
        note="the products are not finite",
    )  # fmt: skip
    made = density()
    unknown = {
        name: np.full(getattr(made, name).shape, math.nan)
        for name in ("values", "error", "nodes", "weights")
    }
    empty = dataclasses.replace(made, **unknown)
    lower = dataclasses.replace(broken, which="smallest")
    return spectrum(largest=broken, smallest=lower, density=empty, trace=None)


@functools.cache
def zero_matrix() -> Spectrum:
    """A loss that is linear in the parameters."""
    return spectrum(
        largest=eigenpairs(values=(0.0, 0.0)),
        smallest=eigenpairs("smallest", (0.0, 0.0)),
        density=quadrature(np.zeros(100), degree=2, width=1e-12),
        trace=trace(value=0.0, error=0.0),
        matrix="Hessian of Linear, 8 samples",
    )


@functools.cache
def one_sided() -> Spectrum:
    """A Gauss-Newton matrix: positive semidefinite, half of it zero."""
    rng = np.random.default_rng(4)
    values = np.concatenate([np.zeros(1000), rng.gamma(0.5, 0.4, 1000), [9.0, 12.5]])
    return spectrum(
        largest=eigenpairs(values=(12.5, 9.0)),
        smallest=eigenpairs("smallest", (1e-9,), residuals=np.array([3e-8]), bound=-1e-6),
        density=quadrature(values),
        trace=None,
        matrix="generalised Gauss-Newton matrix of Net, 64 samples",
    )


@functools.cache
def even() -> Spectrum:
    """Eigenvalues that a linear axis shows well."""
    values = np.concatenate([np.linspace(-1, 2, 2000), [3.1, 4.0]])
    return spectrum(
        largest=eigenpairs(values=(4.0, 3.1)),
        smallest=eigenpairs("smallest", (-1.0,)),
        density=quadrature(values),
        trace=None,
        matrix="Hessian of Net, 64 samples",
    )


@functools.cache
def all_negative() -> Spectrum:
    """The negative of the same: the densest part lies on the right."""
    rng = np.random.default_rng(4)
    values = -np.concatenate([np.zeros(1000), rng.gamma(0.5, 0.4, 1000), [9.0, 12.5]])
    return spectrum(
        largest=eigenpairs(values=(-1e-9,), residuals=np.array([3e-8]), bound=1e-6),
        smallest=eigenpairs("smallest", (-12.5, -9.0)),
        density=quadrature(values),
        trace=None,
        matrix="Hessian of Net, 64 samples",
    )


@functools.cache
def huge() -> Spectrum:
    """From 1e-3 to 1e6: on a linear axis the bulk would be one pixel wide."""
    rng = np.random.default_rng(5)
    bulk = np.concatenate([rng.gamma(1, 1e-3, 600), -rng.gamma(1, 2e-4, 180)])
    values = np.concatenate([bulk, [3.1e2, 4.4e4, 1e6]])
    masses = np.random.default_rng(6).chisquare(1, (4, len(values)))
    masses /= masses.sum(axis=1, keepdims=True)
    grid = np.concatenate([np.linspace(-4e-3, 2e-2, 500), np.geomspace(0.021, 2e6, 200)])
    return spectrum(
        largest=eigenpairs(values=(1e6, 4.4e4, 3.1e2)),
        smallest=eigenpairs("smallest", (float(bulk.min()),)),
        density=smoothed(values, masses, grid, 1e-4),
        trace=None,
    )


def hostile() -> Spectrum:
    """Strings that try to break out of the page."""
    pairs = eigenpairs(converged=False, note=HOSTILE)
    return spectrum(largest=pairs, matrix=f"Hessian of {HOSTILE}", notes=(HOSTILE,))


def point(**changes: object) -> Sharpness:
    """Sharpness at one point, under gradient descent."""
    made = Sharpness(
        largest=eigenpairs(values=OUTLIERS[:1]),
        trace=trace(),
        ascent=0.0123,
        rho=0.05,
        preconditioned=None,
        optimizer="SGD",
        lr=0.05,
        threshold=40.0,
        seconds=4.4,
    )
    return dataclasses.replace(made, **changes)


def adam() -> Sharpness:
    """The same under Adam, whose steps are divided by the root of the second moment."""
    scaled = eigenpairs(values=(41234.0,))
    return point(preconditioned=scaled, optimizer="Adam", lr=1e-3, threshold=38000.0)


def sharpness(steps: int = 41, *, momentum: float = 0.0, k: int = 3) -> SharpnessSeries:
    """Progressive sharpening up to the edge of stability, followed and now and then certified."""
    rng = np.random.default_rng(3)
    at = np.arange(steps) * 50
    lr = np.where(at < 1500, 0.05, 0.025)
    top = np.minimum(3 + 44 * (1 - np.exp(-at / 500)), 40) * (1 + momentum)
    top = np.where(at >= 1500, 40 + 30 * (1 - np.exp(-(at - 1500) / 300)), top)
    top = top + (at > 600) * rng.normal(0, 1.2, steps)
    values = (
        top[:, None] * np.array([1.0, 0.62, 0.47])[:k] * (1 + 0.02 * rng.normal(size=(steps, k)))
    )
    return SharpnessSeries(
        steps=at,
        values=values,
        residuals=0.01 * np.abs(values),
        certified=np.arange(steps) % 10 == 0,
        products=np.where(np.arange(steps) % 10 == 0, 14, 3),
        seconds=np.full(steps, 0.3),
        lr=lr,
        momentum=momentum,
    )


def empty_series() -> SharpnessSeries:
    """Nothing measured."""
    none = np.zeros(0)
    return SharpnessSeries(
        steps=none, values=np.zeros((0, 1)), residuals=np.zeros((0, 1)),
        certified=np.zeros(0, dtype=bool), products=none, seconds=none, lr=none,
    )  # fmt: skip


def broken_series() -> SharpnessSeries:
    """A run that diverges, at a learning rate nobody knows."""
    made = sharpness(6)
    values = np.geomspace(1, 1e9, 6)[:, None] * np.ones((1, 3))
    values[-1] = math.nan
    return dataclasses.replace(made, values=values, lr=np.full(6, math.nan))


def layers() -> Profile:
    """The largest eigenvalue of each layer's own block."""
    names = tuple(f"blocks.{i}.{part}" for i in range(4) for part in ("attention.in", "mlp.out"))
    rng = np.random.default_rng(7)
    values = np.sort(rng.gamma(1.5, 6, len(names)))[::-1]
    return Profile(
        quantity="largest Hessian eigenvalue",
        unit="",
        layers=names,
        values=values,
        error=0.01 * values,
    )

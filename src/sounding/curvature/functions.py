"""Sums of a function over all eigenvalues: the log-determinant, the effective dimension."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from sounding.curvature.estimate import Estimate
from sounding.curvature.operator import Operator
from sounding.curvature.quadrature import gauss
from sounding.curvature.tridiagonal import Processes, fits, random_rows
from sounding.train import Progress, silent

EXACT = 64  # smaller matrices are solved
LEAST = 6  # starts: a standard error is known to 1/sqrt(2 * 5) = 32 % from them
STEPS = (6, 9, 14, 20, 30, 45, 70, 100)  # Lanczos steps at which the quadrature is looked at
MOST = 600  # products
STREAM = 3  # of random vectors

Function = Callable[[np.ndarray], np.ndarray]


def log_determinant(
    operator: Operator,
    damping: float = 0.0,
    *,
    tol: float = 0.02,
    most: int = MOST,
    seed: int = 0,
    progress: Progress = silent,
) -> Estimate:
    """The logarithm of det(H + damping I), which has to be positive definite.

    Stochastic Lanczos quadrature (Ubaru, Chen & Saad 2017, "Fast estimation of tr(f(A)) via
    stochastic Lanczos quadrature", SIAM J. Matrix Anal. Appl. 38). Costs 50 to 300 products.

    Args:
        operator: From :func:`sounding.gauss_newton`, for example.
        damping: Added to the diagonal.
        tol: Relative standard error asked for.
        most: Products at most.
        seed: Of the random vectors.
        progress: Told the standard error, the products made, and `most`.

    Raises:
        ValueError: If an eigenvalue at or below -damping was seen, or a product is not finite.

    Example:
        >>> import torch
        >>> round(log_determinant(Operator.dense(torch.eye(3)), damping=1.0).value, 4)
        2.0794
    """

    def logarithm(values: np.ndarray) -> np.ndarray:
        if float(values.min()) + damping <= 0:
            raise ValueError(
                f"the matrix has an eigenvalue near {values.min():.4g}, so that with damping "
                f"{damping:g} it is not positive definite and has no log-determinant; raise damping"
            )
        return np.log(values + damping)

    return _sum("log-determinant", operator, logarithm, tol, most, seed, progress)


def effective_dimension(
    operator: Operator,
    damping: float,
    *,
    tol: float = 0.05,
    most: int = MOST,
    seed: int = 0,
    progress: Progress = silent,
) -> Estimate:
    """The sum of x / (x + damping) over the eigenvalues x: how many directions the data determine.

    MacKay (1992), "Bayesian interpolation", Neural Computation 4, equation 4.9, for matrices
    without negative eigenvalues. Arguments and cost as of :func:`log_determinant`.

    Raises:
        ValueError: If damping is not positive, an eigenvalue at or below -damping was seen, or a
            product is not finite.

    Example:
        >>> import torch
        >>> effective_dimension(Operator.dense(torch.eye(4)), damping=1.0).value
        2.0
    """
    if not damping > 0:
        raise ValueError(f"damping is {damping}; the effective dimension needs it above 0")

    def share(values: np.ndarray) -> np.ndarray:
        if float(values.min()) + damping <= 0:
            raise ValueError(
                f"the matrix has an eigenvalue near {values.min():.4g}, at or below -damping; use "
                "gauss_newton in the place of hessian, or raise damping"
            )
        return values / (values + damping)

    return _sum("effective dimension", operator, share, tol, most, seed, progress)


def _sum(
    quantity: str,
    operator: Operator,
    function: Function,
    tol: float,
    most: int,
    seed: int,
    progress: Progress,
) -> Estimate:
    if not tol > 0:
        raise ValueError(f"tol is {tol}; it is a relative standard error above 0, such as 0.05")
    begun, before = time.perf_counter(), operator.products
    note = ""
    if operator.size <= EXACT:
        values = np.linalg.eigvalsh(operator.to_dense().double().cpu().numpy())
        value, error = float(function(values).sum()), 0.0
    else:
        value, error, note = _sampled(quantity, operator, function, tol, most, seed, progress)
    converged = error <= tol * abs(value) and not note
    if not converged and not note:
        note = f"the error is above {tol:.0%} of the value; raise most (now {most}) or tol"
    return Estimate(
        quantity=quantity,
        value=value,
        error=error,
        tol=tol,
        converged=bool(converged),
        size=operator.size,
        products=operator.products - before,
        seconds=time.perf_counter() - begun,
        note=note,
    )


def _sampled(
    quantity: str,
    operator: Operator,
    function: Function,
    tol: float,
    most: int,
    seed: int,
    progress: Progress,
) -> tuple[float, float, str]:
    """(value, error, note) from more and more starts, LEAST at a time."""
    before = operator.products
    found: list[float] = []
    bias, error = math.inf, math.inf
    while True:
        spent = operator.products - before
        cost = spent / len(found) if found else STEPS[0]
        if found and spent + LEAST * cost > most:
            break
        try:
            fresh, bias = _starts(operator, function, len(found), tol, most - spent, seed)
        except KeyboardInterrupt:
            if not found:
                raise
            return float(np.mean(found)), error, "interrupted; this is the best so far"
        found += fresh
        mean = float(np.mean(found))
        scatter = float(np.std(found, ddof=1)) / math.sqrt(len(found))
        error = math.hypot(scatter, bias)
        progress(f"{quantity} {mean:.4g} ± {error:.1g}", operator.products - before, most)
        if error <= tol * abs(mean) or bias > tol * abs(mean):
            break
    return float(np.mean(found)), error, ""


def _starts(
    operator: Operator, function: Function, first: int, tol: float, most: int, seed: int
) -> tuple[list[float], float]:
    """Estimates of LEAST starts, and what the last third of the steps still changed on average."""
    rows = random_rows(operator, first, LEAST, seed=seed, stream=STREAM)
    processes = Processes(operator, rows, keep=fits(operator, LEAST * STEPS[-1]))
    earlier = np.full(LEAST, math.nan)
    now, change = earlier, math.inf
    for steps in STEPS:
        while not processes.ended and processes.each[0].count < min(steps, operator.size):
            processes.step()
        now = np.array(
            [_read(p.diagonal, p.beside, function, operator.size) for p in processes.each]
        )
        change = abs(float(np.mean(now - earlier)))
        if processes.ended:
            return now.tolist(), 0.0
        if change <= tol / 4 * abs(float(now.mean())) or LEAST * steps * 1.5 > most:
            break
        earlier = now
    return now.tolist(), change


def _read(diagonal: list[float], beside: list[float], function: Function, size: int) -> float:
    nodes, weights = gauss(np.array(diagonal), np.array(beside[:-1]))
    return size * float(weights @ function(nodes))

"""The trace and the Frobenius norm of a matrix, to an asked precision."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

from sounding.curvature.estimate import Estimate
from sounding.curvature.operator import Operator
from sounding.curvature.sketch import Sketch
from sounding.train import Progress, silent

LEAST = 12  # vectors: a standard error is known to 1/sqrt(2 * 11) = 21 % from them
# The estimates share a span and so scatter less than they err. With this factor two standard errors
# cover 94 to 100 % over 5 spectra and 100 seeds, without it 83 to 100 % (test_trace.py).
SHARED = 1.5
GROWTH = 1.4  # from one look to the next
EXACT = 64  # smaller matrices are read off product by product
MOST = 200  # products


def trace(
    operator: Operator,
    *,
    tol: float = 0.05,
    most: int = MOST,
    deflate: torch.Tensor | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Estimate:
    """The sum of all eigenvalues, with its standard error.

    XTrace (Epperly, Tropp & Webber 2024): the span of the products takes the large eigenvalues out,
    random vectors estimate the rest. Goes on until the standard error, raised by its own relative
    error, is at most `tol` of the value. Costs 24 to 60 products for most nets; matrices of up to
    64 rows are read off exactly.

    Args:
        operator: From :func:`sounding.hessian` and its kin.
        tol: Relative standard error asked for. Where positive and negative eigenvalues nearly
            cancel it may be out of reach.
        most: Products at most.
        deflate: (j, n) vectors to take out beforehand, such as those of :func:`eigenpairs`; one
            product each.
        seed: Of the random vectors.
        progress: Told the standard error, the products made, and `most`.

    Raises:
        ValueError: If an argument makes no sense, or a product is not finite.

    Example:
        >>> trace(Operator.dense(torch.diag(torch.tensor([3.0, 1.0, -2.0])))).value
        2.0
    """
    return _estimate(
        "trace", operator, Sketch.traces, _exact_trace, tol, most, deflate, seed, progress
    )


def frobenius_norm(
    operator: Operator,
    *,
    tol: float = 0.05,
    most: int = MOST,
    deflate: torch.Tensor | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Estimate:
    """The root of the sum of all squared eigenvalues; otherwise as :func:`trace`.

    Example:
        >>> frobenius_norm(Operator.dense(torch.diag(torch.tensor([3.0, 4.0])))).value
        5.0
    """
    return _estimate(
        "Frobenius norm", operator, Sketch.squares, _exact_square, 2 * tol, most, deflate, seed,
        progress, root=True,
    )  # fmt: skip


def _estimate(
    quantity: str,
    operator: Operator,
    read: Callable[[Sketch], np.ndarray],
    exact: Callable[[Operator], float],
    tol: float,
    most: int,
    deflate: torch.Tensor | None,
    seed: int,
    progress: Progress,
    *,
    root: bool = False,
) -> Estimate:
    if not tol > 0:
        raise ValueError(f"tol is {tol}; it is a relative standard error above 0, such as 0.05")
    if most < 2 * LEAST and operator.size > EXACT:
        raise ValueError(f"most is {most}; {2 * LEAST} products are the least that says anything")
    begun, before = time.perf_counter(), operator.products
    value, error, note = math.nan, math.inf, ""
    if operator.size <= EXACT and not operator.sharded:
        value, error = exact(operator), 0.0
    else:
        sketch = Sketch(operator, deflate=deflate, seed=seed)
        try:
            for value, error in _looks(sketch, read, most, before, operator):
                progress(f"{quantity} {value:.4g} ± {error:.1g}", operator.products - before, most)
                if error <= tol * abs(value):
                    break
        except KeyboardInterrupt:
            if not math.isfinite(error):
                raise
            note = "interrupted; this is the best so far"
    converged = error <= tol * abs(value) and not note
    if not converged and not note:
        note = (
            f"the error is {error / abs(value) if value else math.inf:.0%} of the value, where "
            f"{tol:.0%} was asked for; raise most (now {most}) or tol"
        )
    if root:
        value = math.sqrt(max(value, 0.0))
        error, tol = (error / (2 * value) if value else error), tol / 2
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


def _looks(
    sketch: Sketch,
    read: Callable[[Sketch], np.ndarray],
    most: int,
    before: int,
    operator: Operator,
) -> Iterator[tuple[float, float]]:
    """(value, standard error) after ever more vectors, while there are products left."""
    wanted = LEAST
    while True:
        left = (most - (operator.products - before)) // 2
        count = min(wanted - sketch.count, left, (sketch.room - 1) // 2 - sketch.count)
        if count <= 0:
            return
        sketch.add(count)
        found = read(sketch)
        k = len(found)
        spread = SHARED * float(found.std(ddof=1)) / math.sqrt(k)
        # The last factor is one standard error of the standard error itself.
        yield float(found.mean()), spread * (1 + 1 / math.sqrt(2 * (k - 1)))
        wanted = math.ceil(GROWTH * sketch.count)


def _exact_trace(operator: Operator) -> float:
    return float(operator.to_dense().diagonal().double().sum())


def _exact_square(operator: Operator) -> float:
    return float(operator.to_dense().double().square().sum())

"""Is an answer that is called converged ever wrong? Counted on matrices whose spectrum is known.

The matrices are diagonal: the process starts from Gaussian vectors, whose law no rotation changes,
so that nothing is lost. An eigenvalue counts as wrong where it is off by more than tol times the
larger of its size and a thousandth of the largest (finer than that `eigenpairs` promises nothing).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

SIZE, TOL, FLAT = 2000, 1e-3, 1e-3
TASKS = ((1, "largest"), (1, "smallest"), (5, "largest"))


def clustered(draw: np.random.Generator) -> np.ndarray:
    """Three tight clusters."""
    centres = draw.choice([0.1, 1.0, 3.0], SIZE)
    return centres * (1 + 0.01 * draw.standard_normal(SIZE))


def pairs(draw: np.random.Generator) -> np.ndarray:
    """A bulk and, at both ends, pairs that are nearly degenerate."""
    bulk = draw.uniform(-1, 1, SIZE - 8)
    ends = np.array([10, 8, -3, -2.5])
    return np.concatenate([bulk, ends, ends * (1 + 10 ** draw.uniform(-6, -2, 4))])


def multiples(draw: np.random.Generator) -> np.ndarray:
    """Outliers that occur twice or three times, exactly."""
    repeated = np.repeat([20.0, 12.0, 7.0, -4.0], draw.integers(2, 4, 4))
    return np.concatenate([repeated, draw.uniform(-1, 1, SIZE - len(repeated))])


def geometric(draw: np.random.Generator) -> np.ndarray:
    """Geometric decay over four orders, all positive."""
    return 10 ** (-4 * np.arange(SIZE) / SIZE) * draw.uniform(1, 10)


def net(draw: np.random.Generator) -> np.ndarray:
    """Like a net in training: a few outliers, most at zero, a tail of both signs."""
    outliers = np.sort(draw.exponential(8, 10)) + 2
    tail = draw.standard_t(3, SIZE // 10) * 0.3
    rest = draw.normal(0, 1e-3, SIZE - len(outliers) - len(tail))
    return np.concatenate([outliers, tail, rest])


def needle(draw: np.random.Generator) -> np.ndarray:
    """A wide bulk, and at each end one outlier beyond it by 0.2 to 10 per cent."""
    bulk = draw.beta(0.5, 0.5, SIZE - 2) * 2 - 1
    ends = 1 + 10 ** draw.uniform(-2.7, -1, 2)
    return np.concatenate([bulk, ends * np.array([1, -1])])


SPECTRA: tuple[Callable[[np.random.Generator], np.ndarray], ...] = (
    clustered, pairs, multiples, geometric, net, needle,
)  # fmt: skip


def count(seeds: int) -> list[dict[str, Any]]:
    """For every kind of spectrum and every task: how often converged, and how often wrongly."""
    from sounding.curvature.eigenpairs import eigenpairs
    from sounding.curvature.operator import Operator

    rows = []
    for spectrum in SPECTRA:
        for k, which in TASKS:
            row: dict[str, Any] = {"spectrum": spectrum.__name__, "k": k, "which": which}
            row |= {"converged": 0, "not converged": 0, "wrong": 0, "worst": 0.0}
            products = []
            for seed in range(seeds):
                values = spectrum(np.random.default_rng(seed))
                diagonal = torch.as_tensor(values, dtype=torch.float32)
                matrix = Operator(lambda block, d=diagonal: block * d, SIZE)
                found = eigenpairs(matrix, k, which=which, tol=TOL, seed=seed)
                products.append(found.products)
                if not found.converged:
                    row["not converged"] += 1
                    continue
                error = _error(found.values, np.sort(diagonal.double().numpy()), which)
                row["converged"] += 1
                row["wrong"] += error > TOL
                row["worst"] = max(row["worst"], error)
            rows.append(row | {"products": float(np.mean(products))})
    return rows


def _error(found: np.ndarray, values: np.ndarray, which: str) -> float:
    right = values[::-1][: len(found)] if which == "largest" else values[: len(found)]
    size = np.maximum(np.abs(right), FLAT * np.abs(values).max())
    return float(np.max(np.abs(found - right) / size))


def table(rows: list[dict[str, Any]]) -> str:
    """As text, with `!` at every wrong answer that was called converged."""
    lines = [
        f"{'spectrum':12}{'asked for':>14}{'converged':>11}{'not':>6}{'wrong':>8}"
        f"{'worst error':>13}{'products':>10}"
    ]
    for row in rows:
        asked = f"{row['k']} {row['which']}"
        wrong = f"{row['wrong']}" + ("!" if row["wrong"] else "")
        lines.append(
            f"{row['spectrum']:12}{asked:>14}{row['converged']:>11}{row['not converged']:>6}"
            f"{wrong:>8}{row['worst']:>13.1e}{row['products']:>10.1f}"
        )
    said = sum(row["converged"] for row in rows)
    wrong = sum(row["wrong"] for row in rows)
    lines.append(f"in all {wrong} wrong of {said} that were called converged")
    return "\n".join(lines)

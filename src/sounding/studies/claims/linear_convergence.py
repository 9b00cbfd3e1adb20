"""Gradient descent on a strongly convex quadratic: how fast, and in units of what.

The quadratic has the eigenvalues geometrically spaced from alpha to beta, in a random basis, and
its minimum at the origin, so that the error can fall below the rounding of one.

Letters: d dimensions, T steps, kappa = beta / alpha.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from sounding.studies.chart import Chart
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.studies.lines import measured, predicted
from sounding.verdict import every, overall, slope

STEPS = {"1/beta": 1.0, "2/(alpha + beta)": 2.0}  # names of the two step sizes
DIMENSION = 20
KAPPAS, SEEDS = (10.0, 100.0, 1000.0), (0, 1, 2, 3, 4)
TOLERANCE = 0.01
MODES = 30.0  # e-folds by which the second slowest mode has died when the slope is taken

STATEMENT = (
    "Gradient descent on a quadratic with curvatures from alpha to beta converges linearly, at the "
    "rate log(1 - alpha/beta) a step with step size 1/beta and log((kappa - 1)/(kappa + 1)) with "
    "2/(alpha + beta); so as exp(-T alpha/beta), not as exp(-T)"
)
CRITERION = (
    "kappa of {}, {} seeds: the slope of log error over T, once the slowest mode dominates, within "
    f"{TOLERANCE:.0%} of each rate in every run; with 1/beta the error below exp(-T alpha/beta) of "
    "the first at every step; and above exp(-T) of it in the end"
)


def quick(lab: Lab, *, kappas: Sequence[float] = KAPPAS, seeds: Sequence[int] = SEEDS) -> Measured:
    """Both step sizes at every condition number."""
    settings = grid(seeds, kappa=list(kappas), step=list(STEPS))
    runs = lab.map(descend, settings)
    parts = []
    for name in STEPS:
        own = [(s, r) for s, r in zip(settings, runs, strict=True) if s["step"] == name]
        parts.append(
            every(
                [abs(run["rate"] / rate(setting["kappa"], name) - 1) for setting, run in own],
                below=TOLERANCE,
                statement=f"with the step size {name} the rate is theory's, to {TOLERANCE:.0%}",
                seeds=[setting["seed"] for setting, _ in own],
            )
        )
    own = [(s, r) for s, r in zip(settings, runs, strict=True) if s["step"] == "1/beta"]
    numbers = [setting["seed"] for setting, _ in own]
    parts += [
        every(
            [run["above the bound"] for _, run in own],
            below=1e-9,
            statement="the error is below exp(-T alpha/beta) of the first at every step",
            seeds=numbers,
        ),
        every(
            [run["log error"][-1] + run["steps"][-1] for _, run in own],
            above=0.0,
            statement="the error ends above exp(-T) of the first: the rate without alpha/beta is "
            "wrong",
            seeds=numbers,
        ),
    ]
    criterion = CRITERION.format(", ".join(f"{kappa:g}" for kappa in kappas), len(seeds))
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=criterion)
    return (verdict, *parts), [_chart(settings, runs, kappas)]


CLAIM = Claim(
    name="linear-convergence",
    topic="benign problems",
    claim=STATEMENT,
    source=(
        "Nesterov, 'Introductory Lectures on Convex Optimization', 2004, theorem 2.1.15, for "
        "quadratics"
    ),
    criterion=CRITERION.format(", ".join(f"{kappa:g}" for kappa in KAPPAS), len(SEEDS)),
    full_criterion=CRITERION.format("10, 100, 1000, 10000", 20),
    quick=quick,
    full=functools.partial(quick, kappas=(*KAPPAS, 1e4), seeds=tuple(range(20))),
    how=(
        "Quadratics in 20 dimensions with geometrically spaced curvatures in a random basis, "
        "gradient descent from a random start. The slope is a least-squares fit over the steps in "
        "which the second slowest direction has fallen by 30 factors of e against the slowest."
    ),
    depends=(
        "The short form 'the error falls as exp(-T)' leaves out that T counts in units of the "
        "condition number. Networks are neither quadratic nor strongly convex; what carries over "
        "is that the largest curvature bounds the step and the smallest sets the pace."
    ),
)


def rate(kappa: float, step: str) -> float:
    """Theory's slope of log error."""
    if step == "1/beta":
        return math.log1p(-1 / kappa)
    return math.log((kappa - 1) / (kappa + 1))


def descend(kappa: float, step: str, seed: int) -> dict[str, np.ndarray | float]:
    """Steps, log error against the first one, and the slope at the end; alpha is 1."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((DIMENSION, DIMENSION)))
    hessian = basis * np.geomspace(1.0, kappa, DIMENSION) @ basis.T
    lr = STEPS[step] / (kappa if step == "1/beta" else 1 + kappa)
    start, length = _steps(kappa, lr)
    x = rng.standard_normal(DIMENSION)
    first, logs = math.log(np.linalg.norm(x)), [0.0]
    for _ in range(length):
        x -= lr * (hessian @ x)
        logs.append(math.log(np.linalg.norm(x)) - first)
    steps, log_error = np.arange(length + 1), np.array(logs)
    return {
        "steps": steps,
        "log error": log_error,
        "rate": slope(steps[start:], log_error[start:]).value,
        "above the bound": float((log_error + steps / kappa).max()),
    }


def _steps(kappa: float, lr: float) -> tuple[int, int]:
    """From which step on the slowest mode dominates, and a tenth more to take the slope over."""
    factors = np.abs(1 - lr * np.geomspace(1.0, kappa, DIMENSION))
    slowest = factors.max()
    next_one = factors[factors < slowest * (1 - 1e-9)].max()  # two modes may tie
    start = math.ceil(MODES / math.log(slowest / next_one))
    return start, start + max(50, start // 10)


def _chart(settings: Sequence[dict], runs: Sequence[dict], kappas: Sequence[float]) -> Chart:
    lines, units = [], np.linspace(0, 6, 25)  # T alpha/beta
    for kappa in kappas:
        own = [
            run["log error"]
            for setting, run in zip(settings, runs, strict=True)
            if setting["kappa"] == kappa and setting["step"] == "1/beta"
        ]
        steps = np.round(units * kappa).astype(int)
        errors = np.array([log_error[np.minimum(steps, len(log_error) - 1)] for log_error in own])
        lines.append(measured(f"kappa {kappa:g}", units, errors / math.log(10)))
    lines.append(predicted("exp(-T alpha/beta)", units, -units / math.log(10)))
    return Chart(
        title="Gradient descent with step size 1/beta",
        x_label="steps, in units of the condition number",
        y_label="decades of error, against the first",
        lines=tuple(lines),
    )

"""LeCun et al. 1998: gradient descent takes as many steps as the inputs are ill-conditioned."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.verdict import Verdict, every, overall

RAW, STANDARD, WHITE = "raw", "standardised", "whitened"
DATA = ("scales 1 to 30", "mean 5", "both")
BETWEEN = ("scales 1 to 2", "scales 1 to 5", "scales 1 to 12")  # for the chart only
SPREADS = {name: float(name.split()[-1]) for name in (DATA[0], *BETWEEN)} | {"both": 30.0}
CORRELATED = "correlated"
SEEDS = (0, 1, 2, 3, 4)
NEAR = 1e-6  # of the distance to the solution at the start
SPREAD, SAVED = 2.0, 20.0

STATEMENT = (
    "On least squares gradient descent takes steps in proportion to the condition number of the "
    "inputs' second moments, so inputs of mean 0 and deviation 1 save most of them"
)
QUICK = (
    "Least squares on 400 samples of 20 features, gradient descent at 1 / (largest eigenvalue) "
    f"until the distance to the solution is {NEAR:g} of that at the start, 5 seeds: steps per "
    f"condition number equal within a factor {SPREAD:g} over three data sets, raw and "
    f"standardised; standardised at least {SAVED:g} times fewer steps on each data set"
)


def quick(
    lab: Lab, *, samples: int = 400, features: int = 20, seeds: Sequence[int] = SEEDS
) -> Measured:
    """Every data set, raw and standardised; and correlated features, which that does not help."""
    size = {"samples": [samples], "features": [features]}
    lab.plan(len(seeds) * (2 * len(DATA) + len(BETWEEN) + 3))
    runs = lab.map(descended, grid(seeds, data=list(DATA), inputs=[RAW, STANDARD], **size))
    other = lab.map(
        descended, grid(seeds, data=[CORRELATED], inputs=[RAW, STANDARD, WHITE], **size)
    )
    between = lab.map(descended, grid(seeds, data=list(BETWEEN), inputs=[RAW], **size))
    steps, condition = (
        np.array([run[key] for run in runs]).reshape(len(DATA), 2, len(seeds))
        for key in ("steps", "condition")
    )
    per = (steps / condition).reshape(-1, len(seeds))
    parts = [
        every(
            per.max(0) / per.min(0),
            below=SPREAD,
            statement="steps per condition number: largest over smallest of the six sets of inputs",
            seeds=seeds,
        ),
        *[_saved(name, before / after, seeds)
          for name, (before, after) in zip(DATA, steps, strict=True)],
    ]  # fmt: skip
    verdict = overall(parts[1], parts, statement=STATEMENT, criterion=QUICK)
    reported = _correlated([run["steps"] for run in other], seeds)
    return (verdict, *parts, *reported), [_chart([*runs, *between, *other])]


def full(
    lab: Lab,
    *,
    samples: int = 4000,
    features: int = 100,
    seeds: Sequence[int] = tuple(range(20)),
) -> Measured:
    """Ten times the samples, five times the features, 20 seeds; on the CPU as well."""
    return quick(lab, samples=samples, features=features, seeds=seeds)


CLAIM = Claim(
    name="lecun-1998-inputs",
    topic="normalisation",
    claim=STATEMENT,
    source="LeCun, Bottou, Orr, Müller, 'Efficient BackProp', 1998, sections 4.3 and 5",
    link="https://doi.org/10.1007/3-540-49430-8_2",
    criterion=QUICK,
    full_criterion=QUICK.replace(
        "400 samples of 20 features", "4000 samples of 100 features"
    ).replace("5 seeds", "20 seeds"),
    quick=quick,
    full=full,
    how=(
        "Gaussian features with scales from 1 to 30, with mean 5, and with both; targets of a "
        "random linear function and noise. Gradient descent runs on them as they are, and with "
        "every feature brought to mean 0 and deviation 1 (targets to mean 0). The line of theory "
        "is that of the slowest direction: each step leaves 1 - 1/condition of the error."
    ),
    depends=(
        "Features that are correlated with one another stay ill-conditioned when each is brought "
        "to mean 0 and deviation 1; whitening helps, and this is reported beside the verdict. The "
        "number of steps is in proportion to the condition number for plain gradient descent at "
        "its largest safe rate; momentum needs its square root. For networks the claim is a "
        "rule of thumb: only the first layer sees the inputs."
    ),
)


# --- measurements ---------------------------------------------------------------------------------


def descended(data: str, inputs: str, samples: int, features: int, seed: int) -> dict[str, float]:
    """Steps that gradient descent takes, and the condition number of the second moments."""
    x, y = least_squares(data, samples, features, seed)
    if inputs != RAW:
        x, y = (x - x.mean(0)) / x.std(0), y - y.mean()
    if inputs == WHITE:
        values, vectors = np.linalg.eigh(x.T @ x / samples)
        x = x @ vectors / np.sqrt(values)
    moments, target = x.T @ x / samples, x.T @ y / samples
    values = np.linalg.eigvalsh(moments)
    solution = np.linalg.solve(moments, target)
    return {
        "steps": steps_of_descent(moments, solution, 1 / values[-1]),
        "condition": float(values[-1] / values[0]),
    }


def least_squares(data: str, samples: int, features: int, seed: int) -> tuple[np.ndarray, ...]:
    """X (samples, features) and y (samples,): a linear function with a tenth of noise."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(samples, features))
    if data == CORRELATED:  # a common part with 98 % of each feature's variance
        x = math.sqrt(0.02) * x + math.sqrt(0.98) * draw.normal(size=(samples, 1))
    if data in SPREADS:
        x = x * np.geomspace(1, SPREADS[data], features)
    if data in ("mean 5", "both"):
        x = x + 5.0
    return x, x @ draw.normal(size=features) + 0.1 * draw.normal(size=samples)


def steps_of_descent(
    moments: np.ndarray, solution: np.ndarray, rate: float, most: int = 10**6
) -> int:
    """Steps of gradient descent from zero until the error is `NEAR` of that at the start."""
    error, bound = -solution, NEAR * np.linalg.norm(solution)
    for step in range(most):
        if error @ error <= bound**2:
            return step
        error = error - rate * (moments @ error)  # the gradient is moments @ (w - solution)
    return most


# --- verdicts and the chart -----------------------------------------------------------------------


def _saved(name: str, ratios: np.ndarray, seeds: Sequence[int]) -> Verdict:
    statement = f"{name}: standardised inputs take that many times fewer steps"
    return every(ratios, above=SAVED, statement=statement, seeds=seeds)


def _correlated(steps: Sequence[float], seeds: Sequence[int]) -> list[Verdict]:
    raw, standard, white = np.reshape(steps, (3, len(seeds)))
    return [
        every(
            raw / standard,
            below=SPREAD,
            statement="reported: correlated features take as many steps when standardised",
            seeds=seeds,
        ),
        every(
            standard / white,
            above=SAVED,
            statement="reported: whitened, they take that many times fewer",
            seeds=seeds,
        ),
    ]


def _chart(runs: Sequence[dict[str, float]]) -> Chart:
    condition = np.array([run["condition"] for run in runs])
    order = np.argsort(condition)
    line = np.geomspace(1.05, condition.max(), 50)
    slowest = math.log(NEAR) / np.log1p(-1 / line)
    return Chart(
        title=f"Gradient descent on least squares to {NEAR:g} of the first error",
        x_label="condition number of the inputs",
        y_label="steps",
        lines=(
            Line(label="every run", x=condition[order], y=_steps(runs)[order]),
            Line(label="slowest direction alone", x=line, y=slowest, theory=True),
        ),
        log_x=True,
        log_y=True,
    )


def _steps(runs: Sequence[dict[str, float]]) -> np.ndarray:
    return np.array([run["steps"] for run in runs], float)

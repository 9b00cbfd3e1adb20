"""Yun, Sra and Jadbabaie 2019: three points, and nearly any nonlinearity has a bad minimum.

The minima are degenerate: six of nine eigenvalues are zero, so no test of positive definiteness
finds them; they are probed by samples and by descent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sounding.problems import SlightRectifier, ThreePoints, descend_together
from sounding.problems.three_points import ACTIVATIONS
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.verdict import Verdict, every, overall, slope, within

BENDS = (1e-1, 1e-2, 1e-3, 1e-4)  # s_+ - 1, s_- being 1
ROUNDING, STAYS, FITS = 1e-14, 1e-6, 1e-12
TOLERANCE = 0.05
SEED = 0

STATEMENT = (
    "A net of two layers has a local minimum no better than linear regression, while a better "
    "point exists: for sigmoid, tanh, arctan, ELU and SELU on three points, and for rectifiers "
    "however slightly bent on almost any data"
)


def criterion(samples: int, seeds: int) -> str:
    """The rule, written before the run."""
    return (
        "Each activation: the conditions of the theorem hold; the loss at the point is 1/3, in "
        f"{samples:,} perturbations of radius 1e-3 to 1e-1 it never falls by more than "
        f"{ROUNDING:g}, descent from {seeds} points 1e-4 away stays within {STAYS:g} of 1/3, and "
        f"another point has a loss below {FITS:g}. Rectifiers of slopes 1 + eps and 1, eps = 1e-1 "
        f"to 1e-4, {seeds // 4} random data sets: no perturbation is lower than the regression, "
        f"the explicit point is, and the slope of log gain over log eps is 1 within {TOLERANCE:g}"
    )


QUICK, FULL = criterion(40_000, 20), criterion(400_000, 80)


def quick(lab: Lab, *, samples: int = 40_000, seeds: int = 20, rule: str = QUICK) -> Measured:
    """Some twenty seconds of one core."""
    three = lab.map(three_points, [
        {"activation": name, "samples": samples, "runs": seeds, "seed": SEED}
        for name in ACTIVATIONS
    ])  # fmt: skip
    slight = lab.map(slight_bend, grid(range(seeds // 4), bend=BENDS, samples=[samples // 4]))
    parts = [*three_verdicts(three), *slight_verdicts(slight)]
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=rule)
    return (verdict, *parts, definiteness(three)), (gain_chart(slight),)


def full(lab: Lab, *, samples: int = 400_000, seeds: int = 80) -> Measured:
    """Ten times as many samples and more data sets."""
    return quick(lab, samples=samples, seeds=seeds, rule=FULL)


CLAIM = Claim(
    name="yun-2019-small-nonlinearity",
    topic="networks' landscapes",
    claim=STATEMENT,
    source=(
        "Yun, Sra, Jadbabaie, 'Small Nonlinearities in Activation Functions Create Bad Local "
        "Minima in Neural Networks', ICLR 2019, theorems 1 and 2"
    ),
    link="https://arxiv.org/abs/1802.03487",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    how=(
        "The three points are (1, 0), (0, 1) and (1/2, 1/2) with labels 0, 0, 1, on which a line "
        "can do no better than 1/3. The bad minimum and a point of zero loss are written down, "
        "to full precision. For rectifiers the bad minimum uses the linear side of every unit, "
        "and the better point bends the regression line once."
    ),
    depends=(
        "That there is a bad minimum does not say that descent from a usual start ends in it: "
        "some basins are narrow. The minima have flat directions, six of nine at the three "
        "points, so a test by a positive definite Hessian would wrongly say that there are none; "
        "this is reported beside the verdict. What a slight bend wins is proportional to the "
        "bend, so the minimum is bad by little."
    ),
)


# --- measuring ------------------------------------------------------------------------------------


def three_points(activation: str, samples: int, runs: int, seed: int) -> dict[str, Any]:
    """The bad minimum of one activation, probed; and the risk of the point that fits."""
    problem = ThreePoints(activation)
    bad, fit = problem.critical_points()
    rng = np.random.default_rng(seed)
    near = bad.parameters + 1e-4 * _directions(rng, runs, problem.size)
    ends = descend_together(problem, near, lr=0.01, steps=1000)
    eigenvalues = torch.linalg.eigvalsh(problem.hessians(bad.parameters)[0]).numpy()
    return {
        "activation": activation,
        "condition": min(problem.conditions()),
        "loss": float(problem.losses(bad.parameters).detach()),
        "gradient": float(problem.gradients(bad.parameters).norm()),
        "change": _lowest(problem, bad.parameters, samples, 1e-1, rng) - 1 / 3,
        "drift": np.abs(problem.losses(ends.points).detach().numpy() - 1 / 3),
        "fit": float(problem.losses(fit.parameters).detach()),
        "lowest": eigenvalues[0],
        "flat": int((np.abs(eigenvalues) < 1e-9 * eigenvalues[-1]).sum()),
    }


def slight_bend(bend: float, samples: int, seed: int) -> dict[str, Any]:
    """Rectifiers of slopes 1 + bend and 1 on random data: bad minimum, and what is won beyond."""
    problem = SlightRectifier.random(slopes=(1 + bend, 1.0), seed=seed)
    bad = problem.critical_points()[0]
    rng = np.random.default_rng(seed)
    loss = float(problem.losses(bad.parameters).detach())
    return {
        "bend": bend, "loss": loss, "regression": problem.line_risk,
        "change": _lowest(problem, bad.parameters, samples, 3e-1, rng) - loss,
        "gain": loss - float(problem.losses(problem.better()).detach()),
    }  # fmt: skip


def _directions(rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    drawn = rng.standard_normal((count, size))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def _lowest(
    problem: ThreePoints | SlightRectifier, point: np.ndarray, samples: int, most: float,
    rng: np.random.Generator,
) -> float:  # fmt: skip
    """The lowest loss among perturbations whose radii are log-uniform from 1e-3 to `most`."""
    radii = 10 ** rng.uniform(-3, math.log10(most), (samples, 1))
    drawn = point + radii * _directions(rng, samples, problem.size)
    return min(float(problem.losses(part).detach().min()) for part in np.array_split(drawn, 4))


# --- judging --------------------------------------------------------------------------------------


def three_verdicts(runs: Sequence[dict[str, Any]]) -> list[Verdict]:
    """What holds at the three points, for every activation."""
    return [
        every(
            [run["change"] for run in runs], above=-ROUNDING,
            statement="no perturbation of the bad point has a lower loss, for every activation",
        ),
        every(
            [run["condition"] for run in runs], above=0.0,
            statement="the conditions of the theorem hold",
        ),
        every(
            [max(abs(run["loss"] - 1 / 3), run["gradient"]) for run in runs], below=1e-12,
            statement="the point is stationary, with the risk 1/3 of linear regression",
        ),
        every(
            np.concatenate([run["drift"] for run in runs]), below=STAYS,
            statement="descent from close by stays at that risk",
        ),
        every(
            [run["fit"] for run in runs], below=FITS,
            statement="another point fits all three labels",
        ),
    ]  # fmt: skip


def slight_verdicts(runs: Sequence[dict[str, Any]]) -> list[Verdict]:
    """What holds for rectifiers that are nearly linear."""
    gains = [run["gain"] for run in runs]
    positive = [max(gain, 1e-300) for gain in gains]
    by_data = np.array(positive).reshape(len(BENDS), -1)
    fitted = slope(np.log(BENDS), np.log(by_data).mean(axis=1))
    return [
        every(
            [abs(run["loss"] - run["regression"]) for run in runs], below=1e-10,
            statement="slight rectifiers: the point has the risk of linear regression",
        ),
        every(
            [run["change"] for run in runs], above=-1e-12,
            statement="and no perturbation of it has a lower loss",
        ),
        every(gains, above=0.0, statement="and an explicit point has"),
        within(
            fitted, 1 - TOLERANCE, 1 + TOLERANCE,
            statement="what it wins is proportional to the bend: slope of the logarithms",
            unit="decades a decade",
        ),
    ]  # fmt: skip


def definiteness(runs: Sequence[dict[str, Any]]) -> Verdict:
    """Whether the usual test would miss these minima."""
    flat = [run["flat"] for run in runs]
    return every(
        flat, above=5.5,
        statement="reported: six of nine eigenvalues are zero, so a test by positive definiteness "
        "misses these minima",
        note=f"zero eigenvalues: {', '.join(map(str, flat))}; lowest "
        f"{min(run['lowest'] for run in runs):.1g}",
    )  # fmt: skip


def gain_chart(runs: Sequence[dict[str, Any]]) -> Chart:
    """What the better point wins over the bend."""
    gains = np.array([run["gain"] for run in runs]).reshape(len(BENDS), -1)
    bends = np.array(BENDS)
    error = gains.std(1, ddof=1) / math.sqrt(gains.shape[1]) if gains.shape[1] > 1 else None
    means = gains.mean(1)
    return Chart(
        title="However slight the bend, regression is a bad minimum: by that much",
        x_label="bend of the rectifier, s₊ − s₋", y_label="loss won beyond the bad minimum",
        log_x=True, log_y=True,
        lines=(
            Line(label="explicit better point", x=bends, y=means, error=error),
            Line(label="proportional", x=bends, y=means[-1] * bends / bends[-1], theory=True),
        ),
    )  # fmt: skip

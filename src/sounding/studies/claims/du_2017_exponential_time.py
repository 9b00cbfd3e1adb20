"""Du et al. 2017: a staircase of saddles costs descent e^(Omega(d)) steps, and perturbed only O(d).

Steps of plain descent are counted with the waiting coordinates in logarithms, which is exact for
this function; in plain double precision they underflow, and descent stands still for ever.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sounding.problems import Noise, Staircase, descend_together
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.verdict import Estimate, Verdict, every, linearity, overall, slope, within

STEEPNESS = (1.0, 1.5, 2.0, 3.0)  # L, as in the paper's figure; gamma = 1
SEED = 0
TOLERANCE = 0.1  # of the growth from a saddle to the next
LINEAR = 0.98  # R^2
PRECISE = 1e-6  # of the gradient against differences, and of both across the seams
LONGEST = 20_000  # steps of perturbed descent

STATEMENT = (
    "Down a staircase of d strict saddles the time of gradient descent multiplies from saddle to "
    "saddle, from ordinary random starts; that of perturbed descent grows by a constant"
)


def criterion(runs: int, last: int) -> str:
    """The rule, written before the run."""
    return (
        f"Medians over {runs} starts from U[-1, 1]^d, d = 4 to {last}, L = 1, 1.5, 2 and 3, step "
        f"1/(4L): the growth from d to d + 1 lies within {TOLERANCE:.0%} of 1 + log 2 / log(1 + "
        "1/(2L)) with its interval; all perturbed runs arrive, and the mean of their steps is "
        f"linear in d (R^2 above {LINEAR}); the function's gradient agrees with differences of "
        f"it, and both are continuous across the seams, to {PRECISE:g}; and in plain double "
        "precision descent stands still for ever, which is the wrong way to measure"
    )


QUICK, FULL = criterion(100, 12), criterion(1000, 20)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    dimensions: Sequence[int] = tuple(range(4, 13)),
    runs: int = 100,
    perturbed: Sequence[int] = (2, 4, 6, 8, 10),
    perturbed_runs: int = 20,
    rule: str = QUICK,
) -> Measured:
    """Some twenty seconds of one core; the sizes are arguments for the other scale and tests."""
    axes = {"L": STEEPNESS, "d": dimensions, "runs": [runs]}
    plain = lab.map(plain_steps, grid([SEED], **axes))
    axes = {"L": STEEPNESS, "d": perturbed, "runs": [perturbed_runs]}
    pushed = lab.map(perturbed_steps, grid([SEED], **axes))
    checks = lab.map(consistency, grid([SEED], L=STEEPNESS))
    stuck = lab.map(underflow, grid([SEED], L=[1.0], d=[10], runs=[20]))[0]
    growth = [growth_verdict([run for run in plain if run["L"] == L]) for L in STEEPNESS]
    parts = [*growth, *perturbed_verdicts(pushed), *consistency_verdicts(checks), wrong_way(stuck)]
    verdict = overall(growth[0], parts, statement=STATEMENT, criterion=rule)
    return (verdict, *parts), (plain_chart(plain), perturbed_chart(pushed))


def full(
    lab: Lab,
    *,
    dimensions: Sequence[int] = tuple(range(4, 21)),
    runs: int = 1000,
    perturbed: Sequence[int] = (2, 5, 10, 15, 20, 25, 30),
    perturbed_runs: int = 100,
) -> Measured:
    """More saddles and more starts; some minutes of one core."""
    return quick(
        lab, dimensions=dimensions, runs=runs, perturbed=perturbed,
        perturbed_runs=perturbed_runs, rule=FULL,
    )  # fmt: skip


CLAIM = Claim(
    name="du-2017-exponential-time",
    topic="stationary points",
    claim=STATEMENT,
    source=(
        "Du, Jin, Lee, Jordan, Singh, Poczos, 'Gradient Descent Can Take Exponential Time to "
        "Escape Saddle Points', NIPS 2017, section 4; the growth law follows from the "
        "construction"
    ),
    link="https://arxiv.org/abs/1705.10412",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    how=(
        "While one coordinate grows past its saddle by 1 + 2 eta gamma a step, the next one "
        "shrinks by 1 - 2 eta L, so it has further to come back. Waiting coordinates are kept as "
        "logarithms and steps in which nothing but factors act are counted at once, which is "
        "exact. Perturbed descent (radius e/100, a push wherever the gradient is below e/100) is "
        "run step by step."
    ),
    depends=(
        "The function is made for the purpose: ordinary problems have no such staircase, and "
        "random starts alone do avoid each saddle, only too slowly. Counted in plain double "
        "precision the effect cannot be seen: after about 1,075 halvings a waiting coordinate is "
        "zero, and descent stands still for ever, which is an artefact and not the theorem."
    ),
)


# --- measuring ------------------------------------------------------------------------------------


def plain_steps(L: float, d: int, runs: int, seed: int) -> dict[str, Any]:
    """Steps of plain descent to the last basin, one a start."""
    starts = np.random.default_rng([seed, d]).uniform(-1, 1, (runs, d))
    steps = Staircase(d, L=L).descend(torch.from_numpy(starts))[:, -1]
    return {"L": L, "d": d, "steps": steps}


def perturbed_steps(L: float, d: int, runs: int, seed: int) -> dict[str, Any]:
    """Steps of perturbed descent with the constants of the paper's figure."""
    problem = Staircase(d, L=L)
    starts = np.random.default_rng([seed, d]).uniform(-1, 1, (runs, d))
    small = math.e / 100
    found = descend_together(
        problem, starts, lr=problem.lr, steps=LONGEST, until=_passed,
        noise=Noise(radius=small, threshold=problem.gamma * small, interval=1), seed=seed,
    )  # fmt: skip
    return {"L": L, "d": d, "steps": found.steps, "arrived": found.arrived}


def underflow(L: float, d: int, runs: int, seed: int, steps: int = 4000) -> dict[str, Any]:
    """Plain descent in double precision: which runs do not move any more, and when they should."""
    problem = Staircase(d, L=L)
    starts = torch.from_numpy(np.random.default_rng([seed, d]).uniform(-1, 1, (runs, d)))
    found = descend_together(problem, starts, lr=problem.lr, steps=steps, until=_passed)
    before = torch.from_numpy(found.points)
    after = before - problem.lr * problem.gradients(before)
    still = (after == before).all(1).numpy() & ~found.arrived
    return {"still": still, "true_steps": problem.descend(starts)[:, -1]}


def consistency(L: float, seed: int) -> dict[str, float]:
    """The largest difference of gradients, and the largest jump across the seams."""
    problem, rng = Staircase(4, L=L), np.random.default_rng(seed)
    stages = [np.where(np.arange(4) < i, 4 * math.e, 0.0) for i in range(5)]
    inside = torch.from_numpy(np.array(stages) + rng.uniform(0.1, 1.0, (5, 4)))
    errors = [_gradient_error(problem, x, 1e-5) for x in inside]
    return {"L": L, "gradient": max(errors), "jump": _largest_jump(problem)}


def _passed(x: torch.Tensor) -> torch.Tensor:
    return (x.abs() >= 2 * math.e).all(1)


def _gradient_error(problem: Staircase, x: torch.Tensor, h: float) -> float:
    shifts = h * torch.eye(len(x), dtype=x.dtype)
    both = problem.losses(torch.cat([x + shifts, x - shifts])).detach()
    slopes = (both[: len(x)] - both[len(x) :]) / (2 * h)
    gradient = problem.gradients(x)[0]
    return float((slopes - gradient).norm() / gradient.norm())


def _largest_jump(problem: Staircase, gap: float = 1e-9) -> float:
    """Of loss and gradient, where the active coordinate is at e and at 2 e, at every stage."""
    largest = 0.0
    for stage in range(problem.size):
        for seam in (math.e, 2 * math.e):
            x = torch.full((2, problem.size), 0.3, dtype=torch.float64)
            x[:, :stage] = 4 * math.e
            x[:, stage] = seam * torch.tensor([1 - gap, 1 + gap], dtype=torch.float64)
            loss, gradient = problem.losses(x).detach(), problem.gradients(x)
            jumps = (loss[1] - loss[0]).abs(), (gradient[1] - gradient[0]).abs().max()
            largest = max(largest, *(float(jump) for jump in jumps))
    return largest


# --- judging --------------------------------------------------------------------------------------


def growth_verdict(runs: Sequence[dict[str, Any]]) -> Verdict:
    """How the median multiplies from d to d + 1, against the law."""
    L = runs[0]["L"]
    predicted = Staircase(2, L=L).growth()
    fitted = slope([run["d"] for run in runs], [math.log(np.median(run["steps"])) for run in runs])
    low, high = (math.exp(end) / predicted for end in fitted.interval)
    ratio = Estimate(value=math.exp(fitted.value) / predicted, interval=(low, high), level=0.95)
    return within(
        ratio, 1 - TOLERANCE, 1 + TOLERANCE,
        statement=f"L = {L:g}: the time multiplies by {predicted:.3g} from d to d + 1",
        unit="of the predicted growth", seeds=[SEED],
        note=f"fitted {math.exp(fitted.value):.3g}",
    )  # fmt: skip


def perturbed_verdicts(runs: Sequence[dict[str, Any]]) -> list[Verdict]:
    """Whether all arrive, and in a time linear in d."""
    straight = []
    for L in STEEPNESS:
        some = [run for run in runs if run["L"] == L]
        straight.append(linearity([r["d"] for r in some], [r["steps"].mean() for r in some]))
    return [
        every(
            np.concatenate([run["arrived"] for run in runs]), above=0.5,
            statement="every perturbed run passes all saddles",
        ),
        every(
            straight, above=LINEAR,
            statement="the steps of perturbed descent are linear in d, in R^2 at every L",
            seeds=[SEED],
        ),
    ]  # fmt: skip


def consistency_verdicts(checks: Sequence[dict[str, float]]) -> list[Verdict]:
    """Whether the function is the one that is meant."""
    words = {
        "gradient": "the gradient is that of the function, by central differences",
        "jump": "function and gradient are continuous across the seams",
    }
    return [
        every([check[key] for check in checks], below=PRECISE, statement=said, seeds=[SEED])
        for key, said in words.items()
    ]


def wrong_way(stuck: dict[str, Any]) -> Verdict:
    """Supported where plain double precision does stand still."""
    return every(
        stuck["still"], above=0.5,
        statement="counted in plain double precision descent stands still for ever, in every run",
        note=f"with logarithms the same starts arrive, after {np.median(stuck['true_steps']):,.0f} "
        "steps in the median",
    )  # fmt: skip


# --- figures --------------------------------------------------------------------------------------


def plain_chart(runs: Sequence[dict[str, Any]]) -> Chart:
    """Medians over d, with the law through the first of them."""
    lines = []
    for L in STEEPNESS:
        some = [run for run in runs if run["L"] == L]
        d = np.array([run["d"] for run in some])
        medians = np.array([np.median(run["steps"]) for run in some])
        law = medians[0] * Staircase(2, L=L).growth() ** (d - d[0])
        lines += [
            Line(label=f"L = {L:g}", x=d, y=medians),
            Line(label=f"L = {L:g}, law", x=d, y=law, theory=True),
        ]
    return Chart(
        title="Plain descent: the time multiplies with every saddle",
        x_label="saddles, d", y_label="steps (median)", lines=tuple(lines), log_y=True,
    )  # fmt: skip


def perturbed_chart(runs: Sequence[dict[str, Any]]) -> Chart:
    """Means over d."""
    lines = []
    for L in STEEPNESS:
        some = [run for run in runs if run["L"] == L]
        steps = [run["steps"] for run in some]
        lines.append(
            Line(
                label=f"L = {L:g}",
                x=np.array([run["d"] for run in some]),
                y=np.array([s.mean() for s in steps]),
                error=np.array([s.std(ddof=1) / math.sqrt(len(s)) for s in steps]),
            )
        )
    return Chart(
        title="Perturbed descent: every saddle costs the same",
        x_label="saddles, d", y_label="steps (mean)", lines=tuple(lines),
    )  # fmt: skip

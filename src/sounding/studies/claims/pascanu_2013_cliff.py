"""On a recurrence's cliff one step of gradient descent leaves for good; clipped steps climb down.

The loss is (h_T - 0.7)^2 after h_{t+1} = w h_t. Letters: N starts, T recurrences, S steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from sounding.problems import Recurrence
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab
from sounding.verdict import Verdict, overall, proportion, within

STARTS = 20
LR, THRESHOLD, STEPS = 5e-4, 1.0, 800
CONVERGED = 1e-3  # loss
FAR = 10  # valley widths
SHARE = 0.9  # of the starts: 18 of 20
LRS = tuple(10.0**k for k in range(-10, 0))

STATEMENT = (
    "On the steep side of a recurrent net's cliff gradient descent is thrown out of the valley; "
    "with the gradient clipped by norm it arrives at the minimum with the same learning rate"
)
QUICK = (
    f"h_T = w^50 h_0, {STARTS} starts on the steep side (w about 1.18), learning rate {LR:g}, "
    f"threshold {THRESHOLD:g}, {STEPS} steps: without clipping at least 18 of 20 diverge or jump "
    f"further than {FAR} widths of the valley, with clipping at least 18 of 20 end below a loss of "
    f"{CONVERGED:g}"
)
FULL = QUICK.replace(f"{STARTS} starts", "1000 starts, T = 20, 50 and 100,").replace(
    "18 of 20", "90 %"
)


# --- the two scales -------------------------------------------------------------------------------


def quick(lab: Lab, *, starts: int = STARTS, lr: float = LR, steps: int = STEPS) -> Measured:
    """Both arms from the same starts; the sizes are arguments for other runs."""
    runs = _runs(lab, [50], starts, lr, steps)
    parts = _parts(runs[50], starts)
    verdict = overall(parts[1], parts, statement=STATEMENT, criterion=QUICK)
    rates = lab.map(descend, [_setting(50, starts, lr, steps, threshold=0.0) for lr in LRS])
    return (verdict, *parts, _no_rate(rates, starts)), [_landscape(), _course(runs[50])]


def full(lab: Lab, *, starts: int = 1000, recurrences: Sequence[int] = (20, 50, 100)) -> Measured:
    """More starts, and shorter and longer recurrences, each at a rate that its minimum allows."""
    parts: list[Verdict] = []
    for count in recurrences:
        known = Recurrence(count).critical_points()[0]
        lr = 1 / float(known.smallest or math.nan)
        runs = _runs(lab, [count], starts, lr, STEPS * max(1, count // 25))
        parts += _parts(runs[count], starts)
    verdict = overall(parts[1], parts, statement=STATEMENT, criterion=FULL)
    return (verdict, *parts), [_landscape()]


CLAIM = Claim(
    name="pascanu-2013-cliff",
    topic="clipping",
    claim=STATEMENT,
    source=(
        "Pascanu, Mikolov, Bengio, 'On the difficulty of training recurrent neural networks', "
        "ICML 2013, sections 2.3 and 3.2"
    ),
    link="https://arxiv.org/abs/1211.5063",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    how=(
        "A recurrence with one weight, h = w h, repeated 50 times from 0.2, whose end should be "
        "0.7. The valley is as wide as the loss there is below half of the plateau's. Both arms "
        "start at the same weights, about 1.18, where the gradient is some ten million."
    ),
    depends=(
        "The rate is one at which the valley's own curvature is stable. No constant rate does "
        "without clipping: rates small enough for the cliff do not move afterwards, which is run "
        "over ten decades and reported. The effect needs a gradient that is far larger on the "
        "cliff than in the valley; on a well-scaled loss clipping only slows."
    ),
)


# --- descents -------------------------------------------------------------------------------------


def descend(
    recurrences: int, starts: int, lr: float, steps: int, threshold: float, seed: int
) -> dict[str, np.ndarray]:
    """Gradient descent from every start at once; `threshold` 0: not clipped.

    Returns:
        'loss' at the end (N,), 'jump': the longest step (N,), 'courses': w over the steps of the
        first start (S + 1,). A run stays where it overflows.
    """
    problem = Recurrence(recurrences, start=_start(recurrences))
    w = problem.starts(starts, seed=seed)
    jump = torch.zeros(starts, dtype=w.dtype)
    course = [float(w[0])]
    for _ in range(steps):
        gradient = problem.gradients(w)
        if threshold:
            gradient = gradient * (threshold / gradient.abs()).clamp_max(1.0)
        step = torch.where(torch.isfinite(gradient), lr * gradient, 0.0)
        jump = torch.maximum(jump, step.abs()[:, 0])
        w = w - step
        course.append(float(w[0]))
    with torch.no_grad():
        loss = problem.losses(w)
    return {"loss": loss.numpy(), "jump": jump.numpy(), "course": np.array(course)}


def _start(recurrences: int) -> float:
    """The weight at which h_T is what it is at 1.18 after 50 recurrences."""
    return 1.18 ** (50 / recurrences)


def valley_width(recurrences: int) -> float:
    """The distance between the two weights at which the loss is half of the plateau's."""
    problem = Recurrence(recurrences)
    half = problem.target / math.sqrt(2)
    ends = [
        ((problem.target + side) / problem.first) ** (1 / recurrences) for side in (-half, half)
    ]
    return ends[1] - ends[0]


def _setting(recurrences: int, starts: int, lr: float, steps: int, threshold: float) -> dict:
    return {
        "recurrences": recurrences,
        "starts": starts,
        "lr": lr,
        "steps": steps,
        "threshold": threshold,
        "seed": 0,
    }


Runs = dict[int, list[dict[str, np.ndarray]]]  # by recurrences: unclipped, clipped


def _runs(lab: Lab, recurrences: Sequence[int], starts: int, lr: float, steps: int) -> Runs:
    lab.plan(2 * len(recurrences) + len(LRS))
    jobs = [_setting(t, starts, lr, steps, c) for t in recurrences for c in (0.0, THRESHOLD)]
    found = lab.map(descend, jobs)
    return {
        count: [
            dict(run, width=np.array(valley_width(count))) for run in found[2 * at : 2 * at + 2]
        ]
        for at, count in enumerate(recurrences)
    }


# --- verdicts -------------------------------------------------------------------------------------


def _thrown(run: dict[str, np.ndarray]) -> np.ndarray:
    return ~np.isfinite(run["loss"]) | (run["jump"] > FAR * run["width"])


def _parts(runs: Sequence[dict[str, np.ndarray]], starts: int) -> list[Verdict]:
    unclipped, clipped = runs
    thrown, arrived = _thrown(unclipped), clipped["loss"] < CONVERGED
    return [
        _share(
            int(thrown.sum()), starts, "without clipping it diverges or jumps out of the valley"
        ),
        _share(int(arrived.sum()), starts, "with clipping it arrives at the minimum"),
    ]


def _share(successes: int, n: int, statement: str) -> Verdict:
    """At least nine tenths of the starts, counted: they are given, not drawn from a population."""
    rate = proportion(successes, n)
    counted = type(rate)(value=rate.value, interval=(rate.value, rate.value), level=rate.level)
    return within(
        counted,
        SHARE,
        1.0,
        statement=statement,
        unit="of the starts",
        note=f"{successes} of {n}, counted; Wilson's interval {rate}",
    )


def _no_rate(runs: Sequence[dict[str, np.ndarray]], starts: int) -> Verdict:
    best = max(int((run["loss"] < CONVERGED).sum()) for run in runs)
    rate = proportion(best, starts)
    return within(
        rate,
        0.0,
        0.5,
        statement=(
            f"reported: no constant rate from {LRS[0]:g} to {LRS[-1]:g} brings half of the starts "
            "to the minimum without clipping"
        ),
        unit="of the starts, at the best rate",
    )


def _landscape() -> Chart:
    problem = Recurrence(50)
    w = np.linspace(0.95, 1.06, 221)
    with torch.no_grad():
        loss = problem.losses(w[:, None]).numpy()
    return Chart(
        title="The loss over the recurrent weight: a plateau, a valley, a cliff",
        x_label="weight w",
        y_label="loss",
        lines=(Line(label="(0.2 w^50 - 0.7)^2", x=w, y=loss),),
        log_y=True,
    )


def _course(runs: Sequence[dict[str, np.ndarray]]) -> Chart:
    lines = []
    for label, run in zip(("without clipping", "clipped"), runs, strict=True):
        away = np.abs(run["course"] - (0.7 / 0.2) ** (1 / 50))
        away = np.maximum(away, 1e-12)
        lines.append(Line(label=label, x=np.arange(len(away)), y=away))
    return Chart(
        title="One start's distance from the minimum",
        x_label="step",
        y_label="|w - minimum|",
        lines=tuple(lines),
        log_y=True,
    )

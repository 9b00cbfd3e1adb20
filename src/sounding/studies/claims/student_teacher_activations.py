"""Bad minima whatever the activation, on Gaussian inputs and labels of the same architecture?

The sentence puts several papers together: rectifiers on Gaussian inputs with a teacher of the same
kind are Safran and Shamir's; many activations, but on three points, are Yun, Sra and Jadbabaie's.
Here each activation meets a teacher of its own kind.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sounding.problems import (
    SMOOTH,
    SmoothStudentTeacher,
    StudentTeacher,
    descend,
    spurious_minimum,
)
from sounding.problems.student_descent import BAD, Student, certified_smallest
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab
from sounding.verdict import INCONCLUSIVE, REFUTED, Verdict, every, overall, proportion, within

ACTIVATIONS = ("relu", "leaky 0.1", *SMOOTH)
COMMON, SURE = 0.01, 0.002  # the rate of bad ends, and what its interval must lie above
GRADIENT = 1e-6  # of all neurons together, where a run has come to rest
RATE, STEPS = 0.6, 12_000
DRAWN, BATCHES = 1000, 20  # inputs a batch, on which the expected loss is checked
AT_REST = 1e-9  # a gradient, and a loss, that are zero
LOOKED_AT = 10  # bad ends of each activation whose loss is checked
NEWTON = 12  # steps from the rectifiers' bad minimum to that of another activation
OFF = 6.0  # standard errors of such a check
SEED = 0

STATEMENT = (
    "Whatever the activation (rectified, leaky, softplus, GELU, tanh or erf), gradient descent on "
    "Gaussian inputs, with labels by a teacher of the same architecture, often ends in bad local "
    "minima"
)


def criterion(sizes: str, trials: int) -> str:
    """The rule, written before the run."""
    return (
        f"{trials} runs of each activation with {sizes} neurons. A run is bad if it comes to rest "
        f"(gradient below {GRADIENT:g}) at a loss above {BAD:g} where the smallest "
        f"eigenvalue of the Hessian is positive. An activation is supported if more than "
        f"{COMMON:.0%} of its runs are bad, Wilson's interval above {SURE:.1%}; refuted if none is "
        "and all have come to rest or are below that loss; inconclusive otherwise. The claim is "
        "supported if every activation is, and refuted if one is refuted"
    )


QUICK, FULL = criterion("8", 300), criterion("8, 9, 10, 11 and 12", 300)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab, *, sizes: Sequence[int] = (8,), trials: int = 300, rule: str = QUICK
) -> Measured:
    """A minute of one core; the sizes are arguments for other scales and for the tests."""
    jobs = [
        {"activation": activation, "k": k, "trials": trials, "seed": SEED}
        for activation in ACTIVATIONS for k in sizes
    ]  # fmt: skip
    runs = lab.map(descents, jobs)
    family = lab.map(astray, [{"activation": name, "k": sizes[0]} for name in ACTIVATIONS])
    parts = judged(runs)
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=rule)
    charts = [ends_chart([run for run in runs if run["k"] == sizes[0]])]
    if len(sizes) > 1:
        charts.append(rate_chart(runs))
    return (verdict, *parts, existence(family), check(runs), rest(runs)), charts


def full(lab: Lab, *, sizes: Sequence[int] = (8, 9, 10, 11, 12), trials: int = 300) -> Measured:
    """Five sizes; some minutes of one core."""
    return quick(lab, sizes=sizes, trials=trials, rule=FULL)


CLAIM = Claim(
    name="student-teacher-activations",
    topic="networks' landscapes",
    claim=STATEMENT,
    source=(
        "No one paper: a sentence of lectures that joins Safran, Shamir, ICML 2018 (rectifiers, "
        "Gaussian inputs, a teacher of the same kind) and Yun, Sra, Jadbabaie, ICLR 2019 (many "
        "activations, three points)"
    ),
    link="https://arxiv.org/abs/1712.08968",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    how=(
        "The student sums as many units as the teacher, whose weights are orthonormal; starts are "
        f"N(0, 1/d), the step is {RATE:g}. Loss, gradient and Hessian are expectations over "
        "Gaussian inputs: in closed form for rectifiers, GELU and erf, by a series in the angle "
        "between two units for the others, and checked on drawn inputs. A run whose loss is below "
        "1e-3 is followed no further, as it only falls. Newton finishes a run only where the loss "
        "is strictly convex all the way."
    ),
    depends=(
        "Leaky rectifiers and GELU share the bad minima that are known of rectifiers. Softplus has "
        "one of the same kind too, with a certified Hessian, but its loss is below 1e-3, as all "
        "losses of softplus are small: its refutation speaks of the limit, which was set before "
        "and is the same for all. With tanh and erf no run was bad and no such minimum was found, "
        "so the sentence does not hold for virtually any activation; that there is none in wider "
        "nets is not shown. What Yun et al. prove for such activations is on three points, not on "
        "Gaussian inputs. Teachers have orthonormal weights, and output weights are fixed."
    ),
    changed=(
        "Step and number of steps were set after a first look at runs, some of which had not come "
        "to rest; that such runs keep an activation from being refuted was added then, and so was "
        "the search for a minimum by Newton."
    ),
)


# --- measuring ------------------------------------------------------------------------------------


def student(activation: str, k: int) -> Student:
    """The problem of that activation, with `k` units in student and teacher."""
    if activation in SMOOTH:
        return SmoothStudentTeacher(activation, k)
    return StudentTeacher(k, leak=0.0 if activation == "relu" else float(activation.split()[1]))


def descents(activation: str, k: int, trials: int, seed: int) -> dict[str, Any]:
    """Where runs end, how many of them badly, and how far drawn inputs contradict the losses."""
    problem = student(activation, k)
    starts = problem.starts(trials, seed=seed)
    runs = descend(
        problem, starts, lr=RATE, max_steps=STEPS, stationary=GRADIENT / math.sqrt(k), low=BAD
    )  # a run below BAD can end badly no more
    bad = runs.bad & (runs.smallest > 0)
    looked_at = runs.points[bad][:LOOKED_AT].reshape(-1, problem.size)
    return {
        "activation": activation, "k": k, "trials": trials, "bad": int(bad.sum()),
        "saddles": int((runs.bad & ~bad).sum()), "moving": int((~runs.ended).sum()),
        "losses": runs.losses, "smallest": runs.smallest[bad],
        "off": off_on_samples(problem, looked_at, runs.losses[bad][:LOOKED_AT], seed),
    }  # fmt: skip


def astray(activation: str, k: int) -> dict[str, Any]:
    """Newton from the rectifiers' bad minimum: the stationary point of another activation."""
    problem = student(activation, k)
    x = torch.from_numpy(spurious_minimum(k)).view(1, -1)
    for _ in range(NEWTON):
        step, _ = torch.linalg.solve_ex(problem.hessians(x)[0], problem.gradients(x)[0])
        x = x - step
    return {
        "activation": activation, "loss": float(problem.losses(x).detach()),
        "gradient": float(problem.gradients(x).norm()),
        "smallest": float(certified_smallest(problem.hessians(x))[0]),
    }  # fmt: skip


def off_on_samples(
    problem: Student, points: np.ndarray, losses: np.ndarray, seed: int
) -> np.ndarray:
    """(B,) how many standard errors the mean loss on drawn inputs is from `losses`."""
    if not len(points):
        return np.zeros(0)
    batches = [problem.sample(DRAWN, seed=1 + seed + BATCHES * i) for i in range(BATCHES)]
    found = np.stack([problem.losses(points, batch).detach().numpy() for batch in batches])
    error = found.std(axis=0, ddof=1) / math.sqrt(BATCHES)
    return (found.mean(axis=0) - losses) / error


# --- judging --------------------------------------------------------------------------------------


def judged(runs: Sequence[dict[str, Any]]) -> list[Verdict]:
    """A verdict on each activation, all sizes together."""
    return [
        frequent(activation, [run for run in runs if run["activation"] == activation])
        for activation in dict.fromkeys(run["activation"] for run in runs)
    ]


def frequent(activation: str, runs: Sequence[dict[str, Any]]) -> Verdict:
    """Whether bad ends of one activation are more than a rarity."""
    bad, trials = sum(run["bad"] for run in runs), sum(run["trials"] for run in runs)
    ends = np.concatenate([run["smallest"] for run in runs])
    verdict = within(
        proportion(bad, trials), SURE, 1.0,
        statement=f"{activation}: runs end in bad local minima", unit="of the runs", seeds=[SEED],
        note="; ".join(
            f"k = {run['k']}: {run['bad']} of {run['trials']}"
            + (f", {run['saddles']} at saddles" if run["saddles"] else "")
            + (f", {run['moving']} still moving" if run["moving"] else "")
            for run in runs
        ) + (f"; smallest eigenvalues from {ends.min():.2g}" if len(ends) else ""),
    )  # fmt: skip
    outcome = verdict.outcome
    if bad == 0:
        outcome = INCONCLUSIVE if any(run["moving"] for run in runs) else REFUTED
    elif bad <= COMMON * trials:
        outcome = INCONCLUSIVE
    rule = (
        f"supported if more than {COMMON:.0%} are bad with the interval above {SURE:.1%}, refuted "
        "if none is and none moves on, else inconclusive"
    )
    return dataclasses.replace(verdict, outcome=outcome, criterion=rule)


def existence(family: Sequence[dict[str, Any]]) -> Verdict:
    """Which activations have a bad minimum of the rectifiers' kind, above the limit or not."""
    there = [f["gradient"] < AT_REST and f["loss"] > AT_REST for f in family]
    return every(
        [f["smallest"] if so else math.nan for f, so in zip(family, there, strict=True)], above=0.0,
        statement="reported: Newton from the rectifiers' bad minimum finds one of the activation's "
        "own, at whatever loss: certified smallest eigenvalue",
        note="; ".join(
            f"{f['activation']}: loss {f['loss']:.3g}, {f['smallest']:.2g}" if so
            else f"{f['activation']}: none found" for f, so in zip(family, there, strict=True)
        ),
    )  # fmt: skip


def check(runs: Sequence[dict[str, Any]]) -> Verdict:
    """Whether drawn inputs give the losses that the expectations say."""
    off = np.abs(np.concatenate([run["off"] for run in runs]))
    return every(
        off if len(off) else [math.nan], below=OFF,
        statement=f"reported: on {DRAWN * BATCHES:,} drawn inputs the bad ends have the losses "
        "that the expectations give, in standard errors",
        seeds=[SEED],
    )  # fmt: skip


def rest(runs: Sequence[dict[str, Any]]) -> Verdict:
    """Whether runs come to rest at all."""
    return every(
        [(run["moving"] + run["saddles"]) / run["trials"] for run in runs], below=COMMON,
        statement="reported: nearly every run falls below that loss or comes to rest at a minimum, "
        f"not at a saddle, within {STEPS:,} steps",
        seeds=[SEED],
    )  # fmt: skip


# --- figures --------------------------------------------------------------------------------------


def ends_chart(runs: Sequence[dict[str, Any]]) -> Chart:
    """The losses of all ends of each activation in their order: bad minima are steps."""
    lines = []
    for run in runs:
        losses = np.sort(run["losses"])[::-1]
        share = (np.arange(len(losses)) + 0.5) / len(losses)
        lines.append(Line(label=run["activation"], x=share, y=losses))
    lines.append(
        Line(label="bad above this", x=np.array([0.0, 1.0]), y=np.full(2, BAD), theory=True)
    )
    return Chart(
        title="The losses at which gradient descent ends, the worst first",
        x_label="share of the runs", y_label="loss where the run was left",
        log_y=True, lines=tuple(lines),
    )  # fmt: skip


def rate_chart(runs: Sequence[dict[str, Any]]) -> Chart:
    """The rate of bad ends over the number of neurons."""
    lines = []
    for activation in dict.fromkeys(run["activation"] for run in runs):
        own = [run for run in runs if run["activation"] == activation]
        rate = np.array([run["bad"] / run["trials"] for run in own])
        error = np.sqrt(rate * (1 - rate) / [run["trials"] for run in own])
        k = np.array([run["k"] for run in own])
        lines.append(Line(label=activation, x=k, y=rate, error=error))
    return Chart(
        title="How often gradient descent ends in a bad minimum",
        x_label="neurons of student and teacher", y_label="share of the runs", lines=tuple(lines),
    )  # fmt: skip

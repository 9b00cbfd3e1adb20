"""Matrix factorisation: every minimum is global, every saddle strict, each curvature known.

The plainest benign landscape, and the example of Jin et al. 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sounding.problems import (
    AsymmetricFactorisation,
    Problem,
    SymmetricFactorisation,
    descend_together,
)
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.studies.points import agreement
from sounding.verdict import Verdict, every, overall

SPECTRUM = (4.0, 3.0, 2.0, 1.0)
RANK = 3
EXACT, RIGHT, GAP = 1e-9, 1e-8, 1e-10
# M = diag(3, 2, 1) of rank 2: lowest curvature where a set S of singular values is kept
KEPT = {(): -3.0, (0,): -2.0, (1,): -3.0, (2,): -3.0, (0, 1): 0.0, (0, 2): -1.0, (1, 2): -2.0}
SEED = 0

STATEMENT = (
    "In matrix factorisation every local minimum is global and every other stationary point has "
    "a negative curvature, which is known, so that gradient descent from random starts always "
    "finds the best approximation"
)


def criterion(runs: int, draws: int) -> str:
    """The rule, written before the run."""
    return (
        f"Symmetric 1/4 |UU' - M|^2 and asymmetric, with and without balancing, {draws} random "
        f"matrices each: gradient and Hessian form as the formulas say, to {EXACT:g}; the lowest "
        f"curvature at every stationary point as stated, to {RIGHT:g}, and negative at all but "
        "the global minima; for M = diag(3, 2, 1), rank 2, the seven tabled values; descent from "
        f"N(0, 0.01 I), M of rank 4 and U of 3 columns, reaches the global value within {GAP:g} "
        f"in {runs} of {runs} runs"
    )


QUICK, FULL = criterion(100, 5), criterion(1000, 50)


def quick(lab: Lab, *, runs: int = 100, draws: int = 5, rule: str = QUICK) -> Measured:
    """A few seconds of one core."""
    checks = lab.map(formulas, grid(range(draws), kind=list(KINDS)))
    points = lab.map(curvatures, grid(range(draws), kind=list(KINDS)))
    tabled = lab.map(tabled_curvatures, [{"balance": balance} for balance in (0.0, 0.125)])
    ends = lab.map(descents, [{"runs": runs, "seed": SEED}])[0]
    course = lab.map(small_start, [{"exponent": -6}])[0]
    parts = [
        *identity_verdicts(checks), *curvature_verdicts(points, tabled), global_verdict(ends),
    ]  # fmt: skip
    verdict = overall(parts[-1], parts, statement=STATEMENT, criterion=rule)
    return (verdict, *parts), (course_chart(course), curvature_chart(points[0]))


def full(lab: Lab, *, runs: int = 1000, draws: int = 50) -> Measured:
    """Ten times as much of everything."""
    return quick(lab, runs=runs, draws=draws, rule=FULL)


CLAIM = Claim(
    name="jin-2017-factorisation",
    topic="benign problems",
    claim=STATEMENT,
    source=(
        "Jin, Ge, Netrapalli, Kakade, Jordan, ICML 2017, section 4; asymmetric: Ge, Jin, Zheng, "
        "'No Spurious Local Minima in Nonconvex Low Rank Problems', ICML 2017"
    ),
    link="https://arxiv.org/abs/1703.00887",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    how=(
        "A stationary point keeps a set S of eigenvalues of M, as many at most as U has columns. "
        "Its lowest curvature is minus the largest eigenvalue left out if a column is free, else "
        "the smallest kept minus the largest left out. This is compared with dense Hessians at "
        "every set. From a very small start descent visits the saddles one after the other, "
        "which the figure shows."
    ),
    depends=(
        "The minima are not isolated: U may be rotated, so Hessians there have zeros, and a "
        "definition of strict saddles that wants strongly convex minima does not apply "
        "literally. Without the balancing term the asymmetric problem has the same curvatures at "
        "its balanced points, and more points out of balance. Observing M in part is another "
        "problem (sensing, completion), with conditions."
    ),
)


# --- measuring ------------------------------------------------------------------------------------

KINDS = {"symmetric": None, "asymmetric": 0.0, "asymmetric, balanced": 0.125}  # the balance


def problem_of(kind: str, seed: int) -> Problem:
    """A random M of that kind: spectrum 4, 3, 2, 1, random directions."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((size, 4)))[0] for size in (4, 5))
    if kind == "symmetric":
        matrix = (left * SPECTRUM) @ left.T
        return SymmetricFactorisation((matrix + matrix.T) / 2, RANK)
    return AsymmetricFactorisation((left * SPECTRUM) @ right.T, RANK, balance=KINDS[kind] or 0.0)


def formulas(kind: str, seed: int) -> dict[str, float]:
    """How far the closed gradient and Hessian form are from autograd's, relative, at random."""
    problem = problem_of(kind, seed)
    w, z = problem.starts(2, seed=seed, spread=1.0)
    parts, turns = problem.layout.split(w), problem.layout.split(z)
    closed = _symmetric if kind == "symmetric" else _asymmetric
    gradient, form = closed(problem, parts, turns)
    exact = problem.gradients(w)[0]
    bent = float(z @ problem.hessians(w)[0] @ z)
    return {
        "gradient": float((gradient - exact).norm() / exact.norm()),
        "form": abs(form - bent) / abs(bent),
    }


def _symmetric(problem: Any, parts: Sequence, turns: Sequence) -> tuple[torch.Tensor, float]:
    """(UU' - M) U, and 1/2 |UZ' + ZU'|^2 + <UU' - M, ZZ'>."""
    (u,), (z,) = parts, turns
    off = u @ u.mT - problem.matrix
    form = (u @ z.mT + z @ u.mT).square().sum() / 2 + (off * (z @ z.mT)).sum()
    return (off @ u).reshape(-1), float(form)


def _asymmetric(problem: Any, parts: Sequence, turns: Sequence) -> tuple[torch.Tensor, float]:
    """The same of 1/2 |UV' - M|^2 + b |U'U - V'V|^2, in a direction (A, B)."""
    (u, v), (a, b) = parts, turns
    off, tilt = u @ v.mT - problem.matrix, u.mT @ u - v.mT @ v
    gradient = [
        off @ v + 4 * problem.balance * u @ tilt,
        off.mT @ u - 4 * problem.balance * v @ tilt,
    ]
    form = (a @ v.mT + u @ b.mT).square().sum() + 2 * (off * (a @ b.mT)).sum()
    change = a.mT @ u + u.mT @ a - b.mT @ v - v.mT @ b
    form += problem.balance * (2 * change.square().sum() + 4 * (tilt * (a.mT @ a - b.mT @ b)).sum())
    return torch.cat([part.reshape(-1) for part in gradient]), float(form)


def curvatures(kind: str, seed: int) -> dict[str, Any]:
    """Every stationary point of a random problem."""
    return agreement(problem_of(kind, seed))


def tabled_curvatures(balance: float) -> dict[str, Any]:
    """The lowest curvatures for M = diag(3, 2, 1) of rank 2, beside the tabled ones."""
    problem = AsymmetricFactorisation(np.diag([3.0, 2.0, 1.0]), 2, balance=balance)
    lowest = []
    for kept in KEPT:
        u = np.zeros((3, 2))
        for column, i in enumerate(kept):
            u[i, column] = (3.0 - i) ** 0.5
        point = np.concatenate([u.reshape(-1), u.reshape(-1)])
        lowest.append(float(torch.linalg.eigvalsh(problem.hessians(point)[0])[0]))
    return {"lowest": lowest, "tabled": list(KEPT.values())}


def descents(runs: int, seed: int) -> dict[str, Any]:
    """How far above the global value descent ends."""
    problem = problem_of("symmetric", seed)
    ends = descend_together(problem, problem.starts(runs, seed=seed), lr=0.05, steps=3000)
    return {"gaps": problem.losses(ends.points).detach().numpy() - problem.minimum}


def small_start(exponent: int, steps: int = 500) -> dict[str, Any]:
    """The loss along descent from a start of the size 10^exponent; U has four columns."""
    problem = SymmetricFactorisation(np.diag(SPECTRUM), 4)
    w, losses = problem.starts(1, seed=SEED, spread=10.0**exponent), []
    for _ in range(steps):
        losses.append(float(problem.losses(w).detach()))
        w = w - 0.05 * problem.gradients(w)
    return {"losses": np.array(losses)}


# --- judging --------------------------------------------------------------------------------------


def identity_verdicts(checks: Sequence[dict[str, float]]) -> list[Verdict]:
    """Whether the closed forms are those of the loss."""
    return [
        every(
            [check[key] for check in checks], below=EXACT,
            statement=f"the {words} is the closed form's, relative to its size",
        )
        for key, words in (("gradient", "gradient"), ("form", "Hessian along a random direction"))
    ]  # fmt: skip


def curvature_verdicts(
    points: Sequence[dict[str, Any]], tabled: Sequence[dict[str, Any]]
) -> list[Verdict]:
    """Whether each curvature is as stated, and negative at all that is no global minimum."""
    joined = {key: np.concatenate([p[key] for p in points]) for key in points[0]}
    differences = [np.subtract(t["lowest"], t["tabled"]) for t in tabled]
    return [
        every(joined["gradient"], below=RIGHT, statement="the gradient at every point is zero"),
        every(
            joined["error"], below=RIGHT,
            statement="the lowest curvature at every stationary point is as stated",
        ),
        every(
            joined["lowest"][~joined["best"]], below=-RIGHT,
            statement="all but the global minima have a negative curvature",
        ),
        every(
            np.abs(np.concatenate(differences)), below=RIGHT,
            statement="diag(3, 2, 1) has the tabled curvatures, balanced or not",
        ),
    ]  # fmt: skip


def global_verdict(ends: dict[str, Any]) -> Verdict:
    """Whether every run reaches the global value."""
    return every(
        ends["gaps"], below=GAP, statement="every random start descends to the global minimum"
    )


# --- figures --------------------------------------------------------------------------------------


def course_chart(course: dict[str, Any]) -> Chart:
    """The loss from a tiny start, with the levels of the saddles it passes."""
    losses = course["losses"]
    levels = [sum(s**2 for s in SPECTRUM[kept:]) / 4 for kept in range(len(SPECTRUM))]
    ends = np.array([0.0, len(losses) - 1.0])
    saddles = [
        Line(label=f"saddle, {kept} kept", x=ends, y=np.full(2, level), theory=True)
        for kept, level in enumerate(levels)
    ]
    return Chart(
        title="From a tiny start descent visits the saddles, one eigenvalue after the other",
        x_label="steps of gradient descent", y_label="loss",
        lines=(Line(label="descent", x=np.arange(len(losses)), y=losses), *saddles),
    )  # fmt: skip


def curvature_chart(points: dict[str, Any]) -> Chart:
    """Lowest curvatures of the stationary points, in order, with the formula's."""
    order = np.argsort(points["stated"], kind="stable")
    rank = np.arange(1, len(order) + 1)
    return Chart(
        title="Lowest curvature at every stationary point of a symmetric problem",
        x_label="stationary point, in order", y_label="smallest eigenvalue of the Hessian",
        lines=(
            Line(label="dense Hessian", x=rank, y=points["lowest"][order]),
            Line(label="formula", x=rank, y=points["stated"][order], theory=True),
        ),
    )  # fmt: skip

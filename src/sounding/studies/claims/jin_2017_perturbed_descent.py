"""Jin et al. 2017: perturbed descent leaves a strict saddle in a time that grows as log(d / r).

A push of length r has a part along the way down, and that part grows by 1 + eta gamma a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import digamma

from sounding.optim import NoisySGD, PerturbedSGD
from sounding.problems import Noise, Pitchfork, descend_together
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.verdict import Estimate, Verdict, every, mean, overall, slope, within

GAMMA, LR = 0.5, 0.2
RADII = (1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12)
DIMENSIONS = (10, 100, 1000, 10_000)
FIXED = 1e-3  # the radius at which dimensions are compared
SEED = 0
TOLERANCE, FACTOR = 0.05, 2.0
LONGEST = 5000

STATEMENT = (
    "Perturbed gradient descent leaves a strict saddle in a number of steps that is linear in "
    "the logarithm of 1 / radius of the noise, and hardly depends on the dimension"
)


def criterion(runs: int, theorem: int) -> str:
    """The rule, written before the run."""
    return (
        f"-x_1^2/4 + x_1^4/4 + |rest|^2/2 from the saddle itself, {runs} runs a setting: all "
        "leave; the slope of the steps over log(1/r), r = 1e-2 to 1e-12, is within "
        f"{TOLERANCE:.0%} of 1/log(1 + eta gamma) with its interval; from d = 10 to 10,000 at r = "
        f"{FIXED:g} the steps grow by less than a factor {FACTOR:g}; with the constants of the "
        f"theorem {theorem} of {theorem} runs end at a minimum, by their own test; plain descent "
        "does not move"
    )


QUICK, FULL = criterion(50, 20), criterion(500, 200)


# --- the two scales -------------------------------------------------------------------------------


def quick(
    lab: Lab,
    *,
    runs: int = 50,
    theorem: int = 20,
    dimensions: Sequence[int] = DIMENSIONS,
    rule: str = QUICK,
) -> Measured:
    """Some ten seconds of one core."""
    over_r = lab.map(escapes, grid([SEED], d=[10], radius=RADII, runs=[runs]))
    over_d = lab.map(escapes, grid([SEED], d=dimensions, radius=[FIXED], runs=[runs]))
    ends = lab.map(theorem_run, [{"seed": seed} for seed in range(theorem)])
    noisy = lab.map(noisy_run, [{"seed": seed} for seed in range(theorem)])
    plain = lab.map(plain_run, [{"steps": 1000}])
    parts = [
        radius_verdict(over_r), dimension_verdict(over_d), everyone_leaves([*over_r, *over_d]),
        *theorem_verdicts(ends), _noisy_verdict(noisy), _plain_verdict(plain[0]),
    ]  # fmt: skip
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=rule)
    return (verdict, *parts), (radius_chart(over_r), dimension_chart(over_d))


def full(lab: Lab, *, runs: int = 500, theorem: int = 200) -> Measured:
    """Ten times as many runs."""
    return quick(lab, runs=runs, theorem=theorem, rule=FULL)


CLAIM = Claim(
    name="jin-2017-perturbed-descent",
    topic="stationary points",
    claim=STATEMENT,
    source=(
        "Jin, Ge, Netrapalli, Kakade, Jordan, 'How to Escape Saddle Points Efficiently', ICML "
        "2017; noise at every step: Ge, Huang, Jin, Yuan, COLT 2015"
    ),
    link="https://arxiv.org/abs/1703.00887",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    how=(
        "The saddle at 0 has the negative curvature gamma = 1/2 and d - 1 directions of "
        "curvature 1. Descent with step 0.2 starts exactly there and is pushed once, by a point "
        "drawn uniformly from a ball of radius r; a run has left when |x_1| is half the "
        "minimum's. The algorithm with the theorem's constants (lr 1/ell, c = 1, eps = 0.01) "
        "decides by itself when it is done."
    ),
    depends=(
        "The dimension enters because a push shares its length among d directions: as the "
        "logarithm of the square root of d here, as log^4 d in the theorem. The constants of the "
        "theorem are small and its waiting times long: they are for the proof. A saddle whose "
        "curvature vanishes (x^2 - y^4) is not strict, and none of this holds there."
    ),
)


# --- measuring ------------------------------------------------------------------------------------


def escapes(d: int, radius: float, runs: int, seed: int) -> dict[str, Any]:
    """Steps from the saddle until |x_1| is half that of the minimum, after a single push."""
    found = descend_together(
        Pitchfork(d, gamma=GAMMA), np.zeros((runs, d)), lr=LR, steps=LONGEST,
        until=lambda x: x[:, 0].abs() >= 0.5 * GAMMA**0.5,
        noise=Noise(radius=radius, threshold=1e-3, interval=LONGEST), seed=seed,
    )  # fmt: skip
    return {"d": d, "radius": radius, "steps": found.steps, "left": found.arrived}


def expected_steps(d: int, radius: float) -> float:
    """The mean of (log(end / r) - log |u_1|) / log(1 + eta gamma), u uniform in the unit ball.

    E log |u_1| = (psi(1/2) - psi(d/2)) / 2 - 1/d. The fourth power slows the last steps a little.
    """
    share = (digamma(0.5) - digamma(d / 2)) / 2 - 1 / d
    return (math.log(0.5 * GAMMA**0.5 / radius) - share) / math.log1p(LR * GAMMA)


def theorem_run(seed: int, d: int = 10, eps: float = 0.01) -> dict[str, float]:
    """Where the algorithm ends with the constants of the theorem, and after how many steps.

    Between the minima gradients are 1-Lipschitz, and Hessians 6 sqrt(gamma).
    """
    problem = Pitchfork(d, gamma=GAMMA)
    optimizer = PerturbedSGD.theorem(
        problem.parameters(), ell=1.0, rho=6 * GAMMA**0.5, eps=eps, fall=-problem.minimum,
        seed=seed,
    )  # fmt: skip
    for _ in range(LONGEST):
        optimizer.step(lambda: _with_gradient(problem, optimizer))
        if optimizer.finished:
            break
    gap = float(problem(None).detach()) - problem.minimum
    return {"gap": gap, "steps": optimizer.run["steps"], "finished": optimizer.finished}


def noisy_run(seed: int, d: int = 10, steps: int = 300) -> dict[str, float]:
    """Where descent with noise at every step is after some steps."""
    problem = Pitchfork(d, gamma=GAMMA)
    optimizer = NoisySGD(problem.parameters(), lr=LR, noise=0.01, seed=seed)
    for _ in range(steps):
        optimizer.step(lambda: _with_gradient(problem, optimizer))
    return {"gap": float(problem(None).detach()) - problem.minimum}


def plain_run(steps: int) -> dict[str, float]:
    """How far plain descent has come from the saddle."""
    ends = descend_together(Pitchfork(10, gamma=GAMMA), np.zeros((1, 10)), lr=LR, steps=steps)
    return {"distance": float(np.linalg.norm(ends.points))}


def _with_gradient(problem: Pitchfork, optimizer: torch.optim.Optimizer) -> torch.Tensor:
    optimizer.zero_grad()
    loss = problem(None)
    loss.backward()
    return loss


# --- judging --------------------------------------------------------------------------------------


def radius_verdict(runs: Sequence[dict[str, Any]]) -> Verdict:
    """The slope over log(1/r), as a share of the predicted one; the same pushes at every radius."""
    fitted = slope([-math.log(r["radius"]) for r in runs], [r["steps"].mean() for r in runs])
    scale = math.log1p(LR * GAMMA)
    low, high = (end * scale for end in fitted.interval)
    return within(
        Estimate(value=fitted.value * scale, interval=(low, high), level=0.95),
        1 - TOLERANCE, 1 + TOLERANCE,
        statement="steps grow by 1/log(1 + eta gamma) for each factor e by which r shrinks",
        unit="of the predicted slope", seeds=[SEED],
    )  # fmt: skip


def dimension_verdict(runs: Sequence[dict[str, Any]]) -> Verdict:
    """The last dimension's steps against the first one's."""
    ratio = mean(runs[-1]["steps"] / runs[0]["steps"].mean())
    return within(
        ratio, 0.0, FACTOR,
        statement=f"from d = {runs[0]['d']} to {runs[-1]['d']:,} the time grows by less than "
        f"{FACTOR:g}",
        unit="times the steps", seeds=[SEED],
    )  # fmt: skip


def everyone_leaves(runs: Sequence[dict[str, Any]]) -> Verdict:
    """Whether each single run left."""
    left = np.concatenate([run["left"] for run in runs])
    return every(left, above=0.5, statement="every perturbed run leaves the saddle")


def theorem_verdicts(ends: Sequence[dict[str, float]]) -> list[Verdict]:
    """Whether all runs end by their own test, and at a minimum."""
    seeds = range(len(ends))
    return [
        every(
            [end["gap"] for end in ends], below=1e-6, seeds=seeds,
            statement="with the constants of the theorem every run ends at a minimum",
        ),
        every(
            [end["finished"] for end in ends], above=0.5, seeds=seeds,
            statement="and says so by itself",
            note=f"after {np.median([end['steps'] for end in ends]):,.0f} steps in the median",
        ),
    ]  # fmt: skip


def _noisy_verdict(ends: Sequence[dict[str, float]]) -> Verdict:
    return every(
        [end["gap"] for end in ends], below=1e-3, seeds=range(len(ends)),
        statement="noise at every step (Ge et al. 2015) leads close to a minimum, too",
    )  # fmt: skip


def _plain_verdict(run: dict[str, float]) -> Verdict:
    return every(
        [run["distance"]], below=1e-300, statement="plain descent from the saddle does not move"
    )


# --- figures --------------------------------------------------------------------------------------


def radius_chart(runs: Sequence[dict[str, Any]]) -> Chart:
    """Steps over 1/r."""
    x = np.array([1 / run["radius"] for run in runs])
    theory = np.array([expected_steps(run["d"], run["radius"]) for run in runs])
    return Chart(
        title="The smaller the noise, the longer the escape: logarithmically",
        x_label="1 / radius of the noise", y_label="steps to leave the saddle", log_x=True,
        lines=(_measured("perturbed descent, d = 10", x, runs), _theory(x, theory)),
    )  # fmt: skip


def dimension_chart(runs: Sequence[dict[str, Any]]) -> Chart:
    """Steps over d."""
    x = np.array([float(run["d"]) for run in runs])
    theory = np.array([expected_steps(run["d"], run["radius"]) for run in runs])
    return Chart(
        title=f"A thousand times as many dimensions hardly delay the escape (r = {FIXED:g})",
        x_label="dimension, d", y_label="steps to leave the saddle", log_x=True,
        lines=(_measured("perturbed descent", x, runs), _theory(x, theory)),
    )  # fmt: skip


def _measured(label: str, x: np.ndarray, runs: Sequence[dict[str, Any]]) -> Line:
    steps = np.array([run["steps"] for run in runs])
    error = steps.std(1, ddof=1) / math.sqrt(steps.shape[1])
    return Line(label=label, x=x, y=steps.mean(1), error=error)


def _theory(x: np.ndarray, y: np.ndarray) -> Line:
    return Line(label="growth of the push by 1 + ηγ", x=x, y=y, theory=True)

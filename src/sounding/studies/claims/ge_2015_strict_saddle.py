"""Ge et al. 2015: a strict-saddle property has numbers; negative curvature alone gives no rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sounding.problems import Pitchfork, Problem, TensorComponent, Textbook
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.verdict import Verdict, every, overall

GAMMA, SIZE = 0.5, 10
TENSOR = 5
WEAK = tuple(range(1, 9))  # k of the pitchforks with curvature -2^-k
SEED = 0

STATEMENT = (
    "At every point of a strict-saddle function one of three holds, with the same numbers "
    "everywhere: a gradient of eps or more, a curvature of -gamma or less, or a minimum within "
    "delta around which the function is alpha-strongly convex"
)


def criterion(samples: int) -> str:
    """The rule, written before the run."""
    return (
        f"{samples:,} points each (a third at random, a third near stationary points, a third on "
        "the way of descent): one of the three holds at every point of -x_1^2/4 + x_1^4/4 + "
        "|rest|^2/2, with constants derived for it, and of a tensor's component on the sphere (d "
        f"= {TENSOR}; eps 0.1, gamma 4/d, delta 0.1, alpha 1). It fails for x^2 - y^4 with any "
        "gamma above 0.01, and the constants of one function fail for others whose saddles have "
        "the curvature -2^-k, though each of these is strict"
    )


QUICK, FULL = criterion(6000), criterion(60_000)


def quick(lab: Lab, *, samples: int = 6000, rule: str = QUICK) -> Measured:
    """A few seconds of one core."""
    good = lab.map(three_cases, grid([SEED], name=["pitchfork", "tensor"], samples=[samples]))
    flat = lab.map(flat_saddle, [{"samples": samples, "seed": SEED}])[0]
    weak = lab.map(weak_saddles, [{"k": k} for k in WEAK])
    parts = [*map(case_verdict, good), flat_verdict(flat), *weak_verdicts(weak)]
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=rule)
    return (verdict, *parts), (case_chart(good[0]), weak_chart(weak))


def full(lab: Lab, *, samples: int = 60_000) -> Measured:
    """Ten times as many points."""
    return quick(lab, samples=samples, rule=FULL)


CLAIM = Claim(
    name="ge-2015-strict-saddle",
    topic="stationary points",
    claim=STATEMENT,
    source=(
        "Ge, Huang, Jin, Yuan, COLT 2015, definition of a strict saddle; ridable saddles: Sun, "
        "Qu, Wright, 'When Are Nonconvex Problems Not Scary?', 2015"
    ),
    link="https://arxiv.org/abs/1503.02101",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    how=(
        "Gradient, Hessian and distance to the nearest minimum are computed at every point, and "
        "the three conditions tried. For the pitchfork function the constants are derived on "
        "paper: gamma/4 inside half the minimum's distance, and beyond it a gradient of 3 gamma "
        "/ 4 times the distance left."
    ),
    changed=(
        "A first run with distance 0.3 to a minimum, a guess, was inconclusive for the "
        "tensor; 0.1 is derived on a great circle, and was put in its place after that."
    ),
    depends=(
        "'A saddle with a negative eigenvalue', as the property is often quoted, is pointwise "
        "and gives no rate: saddles with the curvature -2^-k are all strict, and take ever "
        "longer to leave. The definition also counts local maxima among strict saddles. Where "
        "minima come in continuous families, as in matrix factorisation, strong convexity fails "
        "and the definition needs a change."
    ),
)


# --- measuring ------------------------------------------------------------------------------------


def constants(name: str) -> dict[str, float]:
    """eps, gamma, delta and alpha of a function.

    On the great circle between two components the tensor's loss is -(3 + cos 4t) / 4: its slope
    sin 4t and curvature 4 cos 4t give the constants used.
    """
    if name == "tensor":
        return {"eps": 0.1, "gamma": 4 / TENSOR, "delta": 0.1, "alpha": 1.0}
    root = GAMMA**0.5
    delta = root / 8
    return {
        "eps": 0.75 * GAMMA * delta,  # |x_1| is half the minimum's or more: slope on the way to it
        "gamma": GAMMA / 4,  # 3 x_1^2 - gamma, where |x_1| is less
        "delta": delta,
        "alpha": 3 * (root - 2 * delta) ** 2 - GAMMA,
    }


def three_cases(name: str, samples: int, seed: int) -> dict[str, Any]:
    """Which of the three holds, at random points, near stationary ones, and along descent."""
    problem = TensorComponent(TENSOR) if name == "tensor" else Pitchfork(SIZE, gamma=GAMMA)
    x = points(problem, samples, seed)
    if name == "tensor":
        x = x / x.norm(dim=1, keepdim=True)  # the sphere is where the claim is made
    norm = problem.gradients(x).norm(dim=1)
    lowest = torch.linalg.eigvalsh(problem.hessians(x))[:, 0]
    minima = torch.from_numpy(nearest_minima(name, x.numpy()))
    near, numbers = (x - minima).norm(dim=1), constants(name)
    around = _lowest_around(problem, minima[:200], 2 * numbers["delta"], name, seed)
    return {
        "name": name,
        "gradient": (norm >= numbers["eps"]).numpy(),
        "curvature": (lowest <= -numbers["gamma"]).numpy(),
        "minimum": ((near <= numbers["delta"]) & (around >= numbers["alpha"])).numpy(),
        "distance": near.numpy(),
    }


def points(problem: Problem, samples: int, seed: int) -> torch.Tensor:
    """(B, n): at random, around stationary points of the list, and along descents."""
    third = samples // 3
    rng = np.random.default_rng(seed)
    known = np.array([p.parameters for p in problem.draw(third, seed=seed)])
    near = known + 10 ** rng.uniform(-4, -0.5, (third, 1)) * rng.standard_normal(known.shape)
    x = problem.starts(third // 20, seed=seed + 1)
    way = []
    for _ in range(20):
        way.append(x)
        for _ in range(5):
            x = x - 0.05 * problem.gradients(x)
    return torch.cat([problem.starts(third, seed=seed), torch.from_numpy(near), *way])


def nearest_minima(name: str, x: np.ndarray) -> np.ndarray:
    """(B, n) the minimum next to each point."""
    found = np.zeros_like(x)
    if name == "tensor":
        place = np.abs(x).argmax(axis=1)
        rows = np.arange(len(x))
        found[rows, place] = np.sign(x[rows, place])
    else:
        found[:, 0] = np.copysign(GAMMA**0.5, x[:, 0])
    return found


def _lowest_around(
    problem: Problem, minima: torch.Tensor, radius: float, name: str, seed: int
) -> float:
    """The lowest curvature met within `radius` of minima."""
    rng = np.random.default_rng(seed)
    away = rng.standard_normal(minima.shape)
    away *= radius * rng.uniform(0, 1, (len(away), 1)) / np.linalg.norm(away, axis=1)[:, None]
    x = minima + torch.from_numpy(away)
    x = x / x.norm(dim=1, keepdim=True) if name == "tensor" else x
    return float(torch.linalg.eigvalsh(problem.hessians(x))[:, 0].min())


def flat_saddle(samples: int, seed: int) -> dict[str, Any]:
    """x^2 - y^4 near 0: where the gradient is below 1e-3 there should be curvature."""
    problem = Textbook("flat saddle")
    x = problem.starts(samples, seed=seed, spread=0.03)
    quiet = problem.gradients(x).norm(dim=1) < 1e-3
    lowest = torch.linalg.eigvalsh(problem.hessians(x[quiet]))[:, 0]
    return {"lowest": lowest.numpy()}


def weak_saddles(k: int) -> dict[str, Any]:
    """A pitchfork with curvature -2^-k at its saddle."""
    problem = Pitchfork(SIZE, gamma=2.0**-k)
    lowest = torch.linalg.eigvalsh(problem.hessians(np.zeros(SIZE))[0])[0]
    return {"k": k, "lowest": float(lowest)}


# --- judging --------------------------------------------------------------------------------------


def case_verdict(run: dict[str, Any]) -> Verdict:
    """Whether one of the three holds everywhere."""
    holds = run["gradient"] | run["curvature"] | run["minimum"]
    return every(
        holds, above=0.5,
        statement=f"{run['name']}: at every point the gradient is large, or the curvature "
        "negative, or a minimum near",
        note=f"{run['gradient'].mean():.0%} by the gradient, {run['curvature'].mean():.0%} by the "
        f"curvature, {run['minimum'].mean():.0%} by a minimum",
    )  # fmt: skip


def flat_verdict(run: dict[str, Any]) -> Verdict:
    """Whether near x^2 - y^4 there are points with neither slope nor curvature."""
    return every(
        [np.mean(run["lowest"] > -0.01)], above=0.1, seeds=[SEED],
        statement="x^2 - y^4 has no such numbers: many points have neither, share of the quiet",
    )  # fmt: skip


def weak_verdicts(runs: Sequence[dict[str, Any]]) -> list[Verdict]:
    """Whether pointwise strictness leaves any constant behind."""
    lowest = [run["lowest"] for run in runs]
    return [
        every(lowest, below=0.0, statement="pitchforks of curvature -2^-k: each saddle is strict"),
        every(
            [min(abs(value) for value in lowest)], below=constants("pitchfork")["gamma"],
            statement="yet no gamma serves all: negative curvature at each saddle is not enough",
        ),
    ]  # fmt: skip


def case_chart(run: dict[str, Any]) -> Chart:
    """Which condition holds, over the distance to the nearest minimum."""
    edges = np.quantile(run["distance"], np.linspace(0, 1, 13))
    middles = (edges[1:] + edges[:-1]) / 2
    place = np.clip(np.searchsorted(edges, run["distance"]) - 1, 0, 11)
    lines = [
        Line(label=said, x=middles, y=np.array([run[key][place == i].mean() for i in range(12)]))
        for key, said in (
            ("gradient", "gradient above eps"), ("curvature", "curvature below -gamma"),
            ("minimum", "close to a minimum"),
        )
    ]  # fmt: skip
    return Chart(
        title="Far from a minimum there is a slope or a way down",
        x_label="distance to the nearest minimum",
        y_label="share of points",
        lines=tuple(lines),
    )


def weak_chart(runs: Sequence[dict[str, Any]]) -> Chart:
    """The curvature of the weak saddles, and the steps that it costs from a push of 1e-3."""
    k = np.array([run["k"] for run in runs])
    steps = [math.log(1e3) / math.log1p(0.2 * abs(run["lowest"])) for run in runs]
    return Chart(
        title="Every one of these saddles is strict, and they take ever longer to leave",
        x_label="k, of the curvature -2^-k", y_label="steps from a push of 1e-3 to 1", log_y=True,
        lines=(Line(label="log 1000 / log(1 + η 2^-k)", x=k, y=np.array(steps), theory=True),),
    )  # fmt: skip

"""Lee et al. 2016: from random starts gradient descent never converges to a strict saddle.

The starts that do lie on the saddle's stable manifold, a set of measure zero.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from sounding.problems import Pitchfork, descend_together
from sounding.problems.problem import orthogonal
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab
from sounding.verdict import Estimate, Verdict, every, overall, slope, within

GAMMA, LR, SIZE = 0.5, 0.2, 10
TOO_LONG = 2.5  # beyond 2 / L, L = 1 being the largest curvature at the saddle
NEAR = 1e-3  # of the saddle, after LONG steps
LONG = 10_000
WATCHED, WITHIN = 100, 0.1  # steps of the figure, and what counts as near the saddle there
SEED = 0
TOLERANCE = 0.05

STATEMENT = (
    "From random starts gradient descent with a step below 1 / L never converges to a strict "
    "saddle; the starts that do have measure zero"
)


def criterion(starts: int) -> str:
    """The rule, written before the run."""
    return (
        f"-x_1^2/4 + x_1^4/4 + |rest|^2/2 in {SIZE} dimensions, step {LR:g}: none of {starts:,} "
        f"starts N(0, 0.49 I) is within {NEAR:g} of the saddle after {LONG:,} steps, and all are "
        "at a minimum; starts with x_1 = 0 exactly end in it; the share of starts that are still "
        f"near it falls by 1 + eta gamma a step, within {TOLERANCE:.0%} with its interval; with a "
        f"step of {TOO_LONG:g}, beyond 2 / L, the premise is gone and no start reaches a minimum"
    )


QUICK, FULL = criterion(100_000), criterion(1_000_000)


def quick(lab: Lab, *, starts: int = 100_000, rule: str = QUICK) -> Measured:
    """Some ten seconds of one core."""
    ends = lab.map(random_starts, [{"starts": starts, "seed": SEED}])[0]
    exact = lab.map(on_the_manifold, [{"starts": 1000, "turned": t, "seed": SEED} for t in (0, 1)])
    long = lab.map(too_long_a_step, [{"starts": 1000, "seed": SEED}])[0]
    parts = [*avoided(ends), stays(exact[0]), decay(ends), no_minimum(long)]
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=rule)
    return (verdict, *parts, rounding(exact[1])), (share_chart(ends),)


def full(lab: Lab, *, starts: int = 1_000_000) -> Measured:
    """Ten times as many starts."""
    return quick(lab, starts=starts, rule=FULL)


CLAIM = Claim(
    name="lee-2016-saddles-avoided",
    topic="stationary points",
    claim=STATEMENT,
    source=(
        "Lee, Simchowitz, Jordan, Recht, 'Gradient Descent Only Converges to Minimizers', COLT "
        "2016; see also Panageas, Piliouras, ITCS 2017"
    ),
    link="https://arxiv.org/abs/1602.04915",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    how=(
        "All starts descend at once in double precision. The stable manifold of the saddle is "
        "the hyperplane x_1 = 0, so it is known which starts should fail. Beside the ends, the "
        "share of starts with |x_1| below 0.1 is watched step by step: the theorem says that it "
        "goes to zero, and linear growth of |x_1| says how fast."
    ),
    depends=(
        "Never is not soon: the theorem gives no rate, and there are functions on which it takes "
        "exponential time. The step must be below 1 / L where the run goes. On a computer even "
        "the starts on the manifold leave the saddle if the way down is not along a coordinate: "
        "rounding is noise enough, which is run and reported beside the verdict."
    ),
)


# --- measuring ------------------------------------------------------------------------------------


def random_starts(starts: int, seed: int) -> dict[str, Any]:
    """How many starts are near the saddle after every step, and where they end."""
    problem = Pitchfork(SIZE, gamma=GAMMA)
    x = where_the_step_is_short(problem.starts(starts + starts // 8 + 50, seed=seed))[:starts]
    near = [float((x[:, 0].abs() < WITHIN).double().mean())]
    for _ in range(WATCHED):
        x = x - LR * problem.gradients(x)
        near.append(float((x[:, 0].abs() < WITHIN).double().mean()))
    minimum = torch.zeros(SIZE, dtype=torch.float64)
    minimum[0] = GAMMA**0.5
    ends = descend_together(
        problem, x, lr=LR, steps=LONG - WATCHED, every=25,
        until=lambda x: (_folded(x) - minimum).norm(dim=1) < 1e-6,
    )  # fmt: skip
    distance = np.linalg.norm(ends.points, axis=1)
    return {"near": np.array(near), "at_minimum": ends.arrived.sum(),
            "at_saddle": (distance < NEAR).sum(), "starts": starts}  # fmt: skip


def where_the_step_is_short(x: torch.Tensor) -> torch.Tensor:
    """Those of (B, n) at which the curvature is below 1 / step; descent does not leave them."""
    return x[3 * x[:, 0].square() - GAMMA < 1 / LR]


def on_the_manifold(starts: int, turned: int, seed: int) -> dict[str, Any]:
    """The same from x_1 = 0 exactly, or, if `turned`, only to rounding.

    In turned coordinates the way down is along none of them, and sums of ten products leave 1e-17
    along it.
    """
    problem = Pitchfork(SIZE, gamma=GAMMA)
    x = problem.starts(starts, seed=seed)
    x[:, 0] = 0
    q = torch.from_numpy(orthogonal(SIZE, np.random.default_rng(seed)))
    q = q if turned else torch.eye(SIZE, dtype=torch.float64)
    z = x @ q
    for _ in range(1000):
        z = z - LR * problem.gradients(z @ q.mT) @ q
    return {"distance": z.norm(dim=1).numpy()}


def too_long_a_step(starts: int, seed: int) -> dict[str, Any]:
    """How far from the nearer minimum the runs of a step beyond 2 / L are after 200 steps."""
    problem = Pitchfork(SIZE, gamma=GAMMA)
    ends = descend_together(problem, problem.starts(starts, seed=seed), lr=TOO_LONG, steps=200)
    away = _folded(torch.from_numpy(ends.points))
    away[:, 0] -= GAMMA**0.5
    return {"distance": away.norm(dim=1).nan_to_num(nan=math.inf).numpy()}


def _folded(x: torch.Tensor) -> torch.Tensor:
    """The same with x_1 made positive: both minima in one place."""
    return torch.cat([x[:, :1].abs(), x[:, 1:]], dim=1)


# --- judging --------------------------------------------------------------------------------------


def avoided(ends: dict[str, Any]) -> list[Verdict]:
    """Whether no start is at the saddle, and all are at a minimum."""
    return [
        every(
            [ends["at_saddle"]], below=0.5, seeds=[SEED],
            statement=f"none of {ends['starts']:,} random starts is at the saddle at the end",
        ),
        every(
            [ends["starts"] - ends["at_minimum"]], below=0.5, seeds=[SEED],
            statement="none is anywhere else than at a minimum",
        ),
    ]  # fmt: skip


def stays(run: dict[str, Any]) -> Verdict:
    """Whether the starts on the manifold end in the saddle."""
    return every(
        run["distance"], below=1e-12,
        statement="starts with x_1 = 0 exactly converge to the saddle",
    )  # fmt: skip


def rounding(run: dict[str, Any]) -> Verdict:
    """Whether the same starts leave the saddle in turned coordinates."""
    return every(
        run["distance"], above=0.5,
        statement="reported: in turned coordinates rounding carries the same starts to a minimum",
    )  # fmt: skip


def decay(ends: dict[str, Any]) -> Verdict:
    """How fast the saddle's neighbourhood empties, between 10 % and 0.1 % of the starts."""
    near = ends["near"]
    steps = np.flatnonzero((near < 0.1) & (near > 1e-3))
    expected = -math.log1p(LR * GAMMA)
    if len(steps) < 3:  # nobody leaves, or all are gone at once
        ratio = Estimate(value=0.0, interval=(0.0, 0.0), level=0.95)
    else:
        fitted = slope(steps, np.log(near[steps]))
        low, high = sorted(end / expected for end in fitted.interval)
        ratio = Estimate(value=fitted.value / expected, interval=(low, high), level=0.95)
    return within(
        ratio, 1 - TOLERANCE, 1 + TOLERANCE, seeds=[SEED], unit="of the predicted rate",
        statement="the share of starts near the saddle falls by 1 + eta gamma a step",
    )  # fmt: skip


def no_minimum(run: dict[str, Any]) -> Verdict:
    """Whether too long a step leads nowhere."""
    return every(
        run["distance"], above=0.1,
        statement=f"with the step {TOO_LONG:g}, beyond 2 / L, no start reaches a minimum",
    )  # fmt: skip


def share_chart(ends: dict[str, Any]) -> Chart:
    """The share near the saddle over steps, with the line of its growth away."""
    near, steps = ends["near"], np.arange(WATCHED + 1.0)
    seen = near > 0
    error = np.sqrt(near * (1 - near) / ends["starts"])[seen]
    density = math.erf(WITHIN / 0.7 / math.sqrt(2))  # of N(0, 0.49) within 0.1
    density /= math.erf(math.sqrt((1 / LR + GAMMA) / 3) / 0.7 / math.sqrt(2))  # of those kept
    theory = density * (1 + LR * GAMMA) ** -steps
    return Chart(
        title="The neighbourhood of a strict saddle empties exponentially",
        x_label="steps of gradient descent", y_label="share of starts with |x_1| < 0.1", log_y=True,
        lines=(
            Line(label=f"{ends['starts']:,} starts", x=steps[seen], y=near[seen], error=error),
            Line(label="growth by 1 + ηγ", x=steps, y=theory, theory=True),
        ),
    )  # fmt: skip

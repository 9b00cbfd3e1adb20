"""A stationary point can be told by kind: minimum, degenerate, saddle strict or not, maximum.

The instrument under test is `sounding.stationary`, on points of which everything is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sounding.landscape.stationary import stationary
from sounding.problems import TEXTBOOK, Problem, Textbook, random_critical_points
from sounding.problems.known import DEGENERATE, KINDS, NON_STRICT_SADDLE, UNDECIDED, Known
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab
from sounding.verdict import Verdict, every, overall, proportion, within

OPEN = 0.02  # share of undecided points, at most
FLAT = 1e-6  # of the largest eigenvalue: below it the second derivative decides nothing
BATCH = 50

STATEMENT = (
    "The kind of a stationary point can be certified: with second derivatives where they decide, "
    "and along flat directions where they do not"
)


def criterion(points: int) -> str:
    """The rule, written before the run."""
    return (
        "All textbook points (monkey saddle, x^2 - y^4, x^4 + y^4, Peano's surface and others) "
        f"and {points} random stationary points of the problems whose points are all known: none "
        f"is called by a wrong kind, and under {OPEN:.0%} are left undecided. Reported: the test "
        "by second derivatives alone leaves points open, and the usual second-order test of a "
        "gradient below eps and curvature above -sqrt(rho eps) passes saddles"
    )


QUICK, FULL = criterion(200), criterion(1000)


def quick(lab: Lab, *, points: int = 200, rule: str = QUICK) -> Measured:
    """Some fifteen seconds of one core."""
    books = lab.map(textbook, [{"name": name} for name in TEXTBOOK])
    sizes = [min(BATCH, points - at) for at in range(0, points, BATCH)]
    drawn = lab.map(random_points, [{"count": n, "seed": i} for i, n in enumerate(sizes)])
    rows = [row for run in (*books, *drawn) for row in run["rows"]]
    parts = kind_verdicts(rows)
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=rule)
    return (verdict, *parts, *reported(rows)), (kind_chart(rows),)


def full(lab: Lab, *, points: int = 1000) -> Measured:
    """Five times as many points."""
    return quick(lab, points=points, rule=FULL)


CLAIM = Claim(
    name="stationary-kinds",
    topic="stationary points",
    claim=STATEMENT,
    source=(
        "Nesterov, Polyak 2006 and Jin et al., ICML 2017 (second-order stationary points); the "
        "kinds are those of calculus"
    ),
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    how=(
        "Each point is handed to the instrument as a model at that point, without its name. "
        "Random points come from matrix factorisation, linear networks, tensors, phase "
        "retrieval, sensing, student and teacher and the staircase: a random one of their lists, "
        "at a random place on its orbit under the symmetries of the loss."
    ),
    depends=(
        "On the threshold below which an eigenvalue counts as zero: a saddle of curvature -1e-9 "
        "beside curvatures of one cannot be told from a flat direction in double precision. A "
        "degenerate point is called a minimum only because no way down was found along its flat "
        "directions. Where a ReLU is exactly at its kink the derivatives are those of one side, "
        "and the instrument says undecided."
    ),
)


# --- measuring ------------------------------------------------------------------------------------


def textbook(name: str) -> dict[str, Any]:
    """The points of one textbook function, as they are and as they are called."""
    problem = Textbook(name)
    return {"rows": [_row(problem, known) for known in problem.critical_points()]}


def random_points(count: int, seed: int) -> dict[str, Any]:
    """Random points of the enumerable problems."""
    return {"rows": [_row(*pair) for pair in random_critical_points(count, seed=seed)]}


def _row(problem: Problem, known: Known) -> dict[str, Any]:
    found = stationary(problem.place(known), problem.loss, problem.batches, search=False)
    return {
        "true": known.kind, "called": found.kind, "name": known.name,
        "second_order": bool(found.second_order), "alone": by_eigenvalues(found),
    }  # fmt: skip


def by_eigenvalues(found: Any) -> bool:
    """Whether second derivatives alone would settle the kind."""
    size = max(abs(found.smallest), abs(found.largest))
    return found.smallest < -FLAT * size or found.smallest > FLAT * size


# --- judging --------------------------------------------------------------------------------------


def kind_verdicts(rows: Sequence[dict[str, Any]]) -> list[Verdict]:
    """None wrong, few undecided."""
    wrong = [row for row in rows if row["called"] not in (row["true"], UNDECIDED)]
    left = sum(row["called"] == UNDECIDED for row in rows)
    return [
        every(
            [row["called"] in (row["true"], UNDECIDED) for row in rows], above=0.5,
            statement=f"none of {len(rows)} points is called by a wrong kind",
            note="; ".join(f"{r['name']} is {r['true']}, called {r['called']}" for r in wrong[:3]),
        ),
        every(
            [left / len(rows)], below=OPEN,
            statement="few are left undecided: share", note=f"{left} of {len(rows)}",
        ),
    ]  # fmt: skip


def reported(rows: Sequence[dict[str, Any]]) -> list[Verdict]:
    """What the simpler tests would say."""
    hard = [row for row in rows if row["true"] in (DEGENERATE, NON_STRICT_SADDLE)]
    saddles = [row for row in rows if row["true"] == NON_STRICT_SADDLE]
    open_ones = sum(not row["alone"] for row in hard)
    return [
        within(
            proportion(open_ones, len(hard)), 0.9, 1.0, unit="of these points",
            statement="reported: second derivatives alone do not settle flat minima and saddles "
            "that are not strict",
        ),
        every(
            [row["second_order"] for row in saddles], above=0.5,
            statement="reported: the second-order test passes saddles that are not strict",
        ),
    ]  # fmt: skip


def kind_chart(rows: Sequence[dict[str, Any]]) -> Chart:
    """Points of each kind, and how many were called so."""
    kinds = [kind for kind in KINDS if any(row["true"] == kind for row in rows)]
    there = np.array([sum(row["true"] == kind for row in rows) for kind in kinds], float)
    right = [sum(row["true"] == row["called"] == kind for row in rows) for kind in kinds]
    axis = "; ".join(f"{i + 1} {kind}" for i, kind in enumerate(kinds))
    place = np.arange(1.0, len(kinds) + 1)
    return Chart(
        title="Stationary points called by their kind",
        x_label=axis, y_label="points",
        lines=(
            Line(label="called so", x=place, y=np.array(right, float)),
            Line(label="of that kind", x=place, y=there, theory=True),
        ),
    )  # fmt: skip

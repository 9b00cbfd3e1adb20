"""Ge, Lee and Ma 2016: completing a matrix works from any start, with entries enough.

The share of entries has a threshold; a matrix whose weight is in one row fails more often.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sounding.problems import MatrixCompletion, descend_together
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab
from sounding.verdict import Verdict, every, judge, overall, within
from sounding.verdict import proportion as share_of

SIZE, RANK = 40, 2
SHARES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.5)
ENOUGH, FEW = 0.5, 0.1
FOUND = 1e-3  # relative error over all entries
RARELY = 0.3
STEPS = 2000
SEED = 0

STATEMENT = (
    "From a small random start gradient descent completes an incoherent matrix of low rank once "
    "a large enough share of its entries is seen, below a threshold it fails, and a matrix with "
    "one heavy row it does not complete at the share that is enough for others"
)


def criterion(runs: int, few: int) -> str:
    """The rule, written before the run."""
    return (
        f"d = {SIZE}, rank {RANK}, random entries, a new matrix each run: {runs} of {runs} found "
        f"(relative error below {FOUND:g} over all entries) at p = {ENOUGH:g}; at p = {FEW:g} "
        f"under {RARELY:.0%} of {few}, with the interval; from each p to the next the share of "
        "matrices found does not fall beyond chance (z above -3); the curvature at the origin is "
        "negative in every run; and a matrix with one row of length sqrt(d) is not found at p = "
        f"{ENOUGH:g}, in any of {runs} runs"
    )


QUICK, FULL = criterion(50, 20), criterion(500, 200)


def quick(lab: Lab, *, runs: int = 50, few: int = 20, rule: str = QUICK) -> Measured:
    """Half a minute of one core."""
    many = {p: runs if p == ENOUGH else few for p in SHARES}
    counts, spiky = (
        lab.map(completed, [
            {"share": p, "runs": many[p], "spiky": heavy, "seed": SEED} for p in SHARES
        ])
        for heavy in (False, True)
    )  # fmt: skip
    heavy, beside = spiky_verdicts(counts, spiky)
    parts = [*threshold_verdicts(counts), origin_verdict(counts), heavy]
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=rule)
    return (verdict, *parts, beside), (threshold_chart(counts, spiky),)


def full(lab: Lab, *, runs: int = 500, few: int = 200) -> Measured:
    """Ten times as many runs."""
    return quick(lab, runs=runs, few=few, rule=FULL)


CLAIM = Claim(
    name="ge-2016-completion",
    topic="benign problems",
    claim=STATEMENT,
    source="Ge, Lee, Ma, 'Matrix Completion has No Spurious Local Minimum', NIPS 2016",
    link="https://arxiv.org/abs/1605.07272",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    how=(
        "Each run has a matrix, a set of entries and a start of its own; the loss is the mean "
        "square over the entries seen. The error is measured over all entries, so that fitting "
        "what was seen is not enough."
    ),
    depends=(
        "The threshold for ordinary matrices is there; what is refuted is the part on a heavy row. "
        "At this size half of that row is seen, enough for its two numbers. It "
        "depends on the share of entries, about log(d) / d times a constant and the rank, and "
        "on incoherence: a row that carries most of the weight is seen in a few entries only. "
        "The theorem adds a regulariser for long rows, which small starts do not need here. 'No "
        "bad minima' holds with the conditions, not of matrix completion as such."
    ),
)


# --- measuring ------------------------------------------------------------------------------------


def completed(share: float, runs: int, spiky: bool, seed: int) -> dict[str, Any]:
    """Relative errors of descent over all entries, and the lowest curvature at the origin."""
    problems = [
        MatrixCompletion(SIZE, RANK, observed=share, spiky=spiky, seed=1000 * seed + run)
        for run in range(runs)
    ]
    starts = torch.cat([p.starts(1, seed=run) for run, p in enumerate(problems)])
    together = side_by_side(problems)
    largest = float(torch.linalg.matrix_norm(together.matrix, 2).max())
    ends = descend_together(together, starts, lr=0.4 / largest, steps=STEPS)
    u = torch.from_numpy(ends.points).view(runs, SIZE, RANK)
    off = (u @ u.mT - together.matrix).flatten(1).norm(dim=1)
    # the Hessian at the origin is minus this, for every column
    seen = together.seen * together.matrix / share
    return {
        "share": share,
        "errors": (off / together.matrix.flatten(1).norm(dim=1)).numpy(),
        "origin": -torch.linalg.eigvalsh(seen)[:, -1].numpy(),
    }


def side_by_side(problems: Sequence[MatrixCompletion]) -> MatrixCompletion:
    """One problem whose B points each have a matrix and entries of their own."""
    first = problems[0]
    first.seen, first.matrix = (
        torch.stack([getattr(problem, name) for problem in problems]) for name in ("seen", "matrix")
    )
    return first


# --- judging --------------------------------------------------------------------------------------


def threshold_verdicts(counts: Sequence[dict[str, Any]]) -> list[Verdict]:
    """All above the threshold, few below, and no fall between."""
    enough, few = (next(c for c in counts if c["share"] == p) for p in (ENOUGH, FEW))
    steps = []
    for here, there in itertools.pairwise(counts):
        (a, n), (b, m) = _found(here), _found(there)
        spread = math.sqrt(max(a / n * (1 - a / n) / n + b / m * (1 - b / m) / m, 1e-12))
        steps.append((b / m - a / n) / spread)
    successes, n = _found(few)
    return [
        every(
            enough["errors"], below=FOUND,
            statement=f"with a share of {ENOUGH:g} of the entries every matrix is found",
        ),
        within(
            share_of(successes, n), 0.0, RARELY, seeds=[SEED], unit="of the runs",
            statement=f"with a share of {FEW:g} it hardly ever is",
        ),
        every(
            steps, above=-3.0, seeds=[SEED],
            statement="more entries never make it worse, in z from each share to the next",
        ),
    ]  # fmt: skip


def spiky_verdicts(
    counts: Sequence[dict[str, Any]], spiky: Sequence[dict[str, Any]]
) -> list[Verdict]:
    """What a single heavy row does, at the share that is enough and over all shares."""
    heavy = next(run for run in spiky if run["share"] == ENOUGH)
    found, plain = (
        np.concatenate([run["errors"] < FOUND for run in runs]).astype(float)
        for runs in (spiky, counts)
    )
    return [
        every(
            heavy["errors"], above=FOUND,
            statement=f"with a single heavy row no matrix is found at p = {ENOUGH:g}",
        ),
        judge(
            found, plain, better="higher", unit="of the matrices found",
            statement="reported: over all shares ordinary matrices are found more often",
            names=("heavy", "ordinary"),
        ),
    ]  # fmt: skip


def origin_verdict(counts: Sequence[dict[str, Any]]) -> Verdict:
    """Whether descent leaves the origin."""
    return every(
        np.concatenate([run["origin"] for run in counts]), below=0.0,
        statement="the origin has a direction of negative curvature",
    )  # fmt: skip


def _found(run: dict[str, Any]) -> tuple[int, int]:
    return int((run["errors"] < FOUND).sum()), len(run["errors"])


def threshold_chart(counts: Sequence[dict[str, Any]], spiky: Sequence[dict[str, Any]]) -> Chart:
    """The share of matrices found over the share of entries."""
    lines = []
    for label, runs in (("incoherent", counts), ("one heavy row", spiky)):
        found = np.array([_found(run) for run in runs], float)
        rate = found[:, 0] / found[:, 1]
        error = np.sqrt(rate * (1 - rate) / found[:, 1])
        shares = np.array([run["share"] for run in runs])
        lines.append(Line(label=label, x=shares, y=rate, error=error))
    return Chart(
        title=f"A threshold in the share of entries (d = {SIZE}, rank {RANK})",
        x_label="share of entries seen, p", y_label="share of matrices found", lines=tuple(lines),
    )  # fmt: skip

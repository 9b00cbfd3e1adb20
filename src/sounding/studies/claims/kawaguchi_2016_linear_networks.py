"""Kawaguchi 2016: linear networks have no bad minima; from three layers on not all saddles strict.

All stationary points can be written down, so theory is compared with dense Hessians point by point;
then runs are started, and timed on the way out of the saddle at the origin.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sounding.problems import LinearNetwork, Noise, descend_together
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.verdict import Estimate, Verdict, every, overall, slope, within

D_X, D_Y = 5, 4
HIDDEN = {2: (2,), 3: (3, 3), 4: (3, 3, 3)}  # widths by depth
RIGHT = 1e-8  # relative, of losses, gradients and the curvature at the origin
ZERO = 1e-9  # of the curvature at the origin of two layers
GAP = 1e-6  # of the loss above the global minimum
STEP = 0.1  # of the scalar chain
FROM = {2: (-1.0, -6.0), 3: (-1.5, -3.0), 4: (-1.25, -2.25), 5: (-1.0, -1.75)}  # log10 of |w|
TOLERANCE = 0.03  # of the exponents
SEED = 0

STATEMENT = (
    "Every minimum of a linear network is global; with one hidden layer every saddle is strict, "
    "with more there are saddles without negative curvature, which take a power of 1 / distance "
    "to leave instead of a logarithm"
)


def criterion(runs: int) -> str:
    """The rule, written before the run."""
    return (
        f"All stationary points at depth 2, 3 and 4 ({D_X} inputs, {D_Y} outputs): loss as the "
        f"formula says and gradient zero to {RIGHT:g}; with one hidden layer the Hessian of every "
        "saddle has a negative eigenvalue; with more it has one exactly where theory says "
        f"(Achour et al. 2024); curvature at the origin -sigma_max(S_yx) at depth 2 to {RIGHT:g}, "
        f"and zero at depth 3 and 4; perturbed descent reaches the global minimum within {GAP:g} "
        f"in {runs} of {runs} runs at each depth; from |w| = eps the steps of a chain grow as "
        f"log(1/eps) at depth 2 and as eps^-(N-2) at depth N = 3, 4, 5, within {TOLERANCE:.0%}"
    )


QUICK, FULL = criterion(50), criterion(500)


# --- the two scales -------------------------------------------------------------------------------


def quick(lab: Lab, *, runs: int = 50, data: int = 1, rule: str = QUICK) -> Measured:
    """Some twenty seconds of one core; `data` sets of data are drawn."""
    tables = lab.map(table, grid(range(data), depth=list(HIDDEN)))
    ends = lab.map(trained, grid([SEED], depth=list(HIDDEN), runs=[runs]))
    times = lab.map(chain, [{"depth": depth} for depth in FROM])
    parts = [*table_verdicts(tables), global_verdict(ends), *map(time_verdict, times)]
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=rule)
    return (verdict, *parts), (time_chart(times), plateau_chart())


def full(lab: Lab, *, runs: int = 500, data: int = 20) -> Measured:
    """More data sets and runs."""
    return quick(lab, runs=runs, data=data, rule=FULL)


CLAIM = Claim(
    name="kawaguchi-2016-linear-networks",
    topic="networks' landscapes",
    claim=STATEMENT,
    source=(
        "Baldi, Hornik, Neural Networks 1989; Kawaguchi, 'Deep Learning without Poor Local "
        "Minima', NIPS 2016; which saddles are strict: Achour, Malgouyres, Gerchinovitz, JMLR "
        "2024"
    ),
    link="https://arxiv.org/abs/1605.07110",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    how=(
        "At a stationary point the network computes the regression projected onto a set I of "
        "eigenvectors, so all of them can be listed, with the loss that theory gives. Each one's "
        "Hessian is computed in full. Runs start at random and are pushed where the gradient is "
        "small. The escape is timed on a chain of scalars from equal weights."
    ),
    depends=(
        "That there are saddles which are not strict is true from two hidden layers on only; "
        "with one hidden layer the sentence is wrong, which is a part of the verdict. Distinct "
        "eigenvalues and full rank make the list complete; that no minimum is bad holds without "
        "them. Nothing here carries over to nonlinear networks, where bad minima do exist."
    ),
)


# --- measuring ------------------------------------------------------------------------------------


def table(depth: int, seed: int) -> dict[str, Any]:
    """Every stationary point: errors of loss and gradient, lowest curvature, and what theory says.

    For each set I once with as many zero blocks as stationarity needs, once with all ("tightened").
    """
    problem = LinearNetwork.random(D_X, D_Y, HIDDEN[depth], seed=seed)
    scale = float(torch.linalg.matrix_norm(problem.y.mT @ problem.x, 2))  # sigma_max(S_yx)
    places = [(kept, zeros) for kept in _sets(problem) for zeros in _patterns(depth)]
    rows = [_row(problem, kept, zeros, scale) for kept, zeros in places]
    origin = float(torch.linalg.eigvalsh(problem.hessians(np.zeros(problem.size))[0])[0])
    return {
        "depth": depth,
        "origin": abs(origin / scale - (-1 if depth == 2 else 0)),
        **{key: np.array([row[key] for row in rows]) for key in rows[0]},
    }


def strict(kept: tuple[int, ...], zeros: frozenset[int], largest_rank: int) -> bool:
    """Whether a stationary point has a negative eigenvalue, by Achour et al. (theorem 7).

    It has unless I is the top set and either of the largest rank possible, a global minimum, or
    tightened, which needs three zero blocks.
    """
    top = kept == tuple(range(len(kept)))
    return not top or (len(kept) < largest_rank and len(zeros) < 3)


def _sets(problem: LinearNetwork) -> list[tuple[int, ...]]:
    sizes = range(problem.largest_rank + 1)
    return [kept for size in sizes for kept in itertools.combinations(range(D_Y), size)]


def _patterns(depth: int) -> list[frozenset[int]]:
    return [frozenset({1, depth})] + [frozenset(range(1, depth + 1))] * (depth > 2)


def _row(
    problem: LinearNetwork, kept: tuple[int, ...], zeros: frozenset[int], scale: float
) -> dict[str, Any]:
    known = problem.critical_point(kept, zeros, np.random.default_rng(len(kept)))
    eigenvalues = torch.linalg.eigvalsh(problem.hessians(known.parameters)[0]).numpy()
    total = float(problem.y.square().sum()) / 2
    level = total - problem.eigenvalues[list(kept)].sum() / 2  # Baldi and Hornik
    loss = float(problem.losses(known.parameters).detach())
    gradient = float(problem.gradients(known.parameters).norm())
    return {
        "loss": abs(loss - level) / total,
        "gradient": gradient / scale,
        "lowest": eigenvalues[0] / scale,
        "strict": strict(kept, zeros, problem.largest_rank),
        "best": bool(known.best),
    }


def trained(depth: int, runs: int, seed: int, steps: int = 20_000) -> dict[str, Any]:
    """How far above the global minimum perturbed descent ends, on whitened inputs."""
    rng = np.random.default_rng(seed)
    x = np.linalg.qr(rng.standard_normal((20, D_X)))[0]
    turns = [np.linalg.qr(rng.standard_normal((size, size)))[0] for size in (D_X, D_Y)]
    y = x @ turns[0][:, :D_Y] * [2.0, 1.5, 1.0, 0.5] @ turns[1]
    problem = LinearNetwork(x, y, HIDDEN[depth])
    found = descend_together(
        problem, problem.starts(runs, seed=seed), lr=0.05, steps=steps, every=50,
        until=lambda w: problem.losses(w).detach() < problem.minimum + GAP / 10,
        noise=Noise(radius=1e-3, threshold=1e-4), seed=seed,
    )  # fmt: skip
    gaps = problem.losses(found.points).detach().numpy() - problem.minimum
    return {"depth": depth, "gaps": gaps, "steps": found.steps}


def chain(depth: int) -> dict[str, Any]:
    """Steps that a product of scalars needs from w = eps each to half of its target 1."""
    scales = 10 ** np.linspace(*FROM[depth], 6)
    return {"depth": depth, "eps": scales, "steps": np.array([_chain(depth, e) for e in scales])}


def _chain(depth: int, weight: float) -> int:
    steps = 0
    while weight**depth < 0.5:
        weight += STEP * weight ** (depth - 1) * (1 - weight**depth)
        steps += 1
    return steps


# --- judging --------------------------------------------------------------------------------------


def table_verdicts(tables: Sequence[dict[str, Any]]) -> list[Verdict]:
    """What the stationary points say."""
    joined = {key: np.concatenate([t[key] for t in tables]) for key in tables[0]
              if key not in ("depth", "origin")}  # fmt: skip
    shallow = [t["lowest"][~t["best"]] for t in tables if t["depth"] == 2]
    deep = [t for t in tables if t["depth"] > 2]
    as_said = np.concatenate([(t["lowest"] < -ZERO) == t["strict"] for t in deep])
    flat = [t["lowest"][~t["strict"] & ~t["best"]] for t in deep]
    return [
        every(
            joined["loss"], below=RIGHT,
            statement="the loss at every stationary point is the formula's",
        ),
        every(joined["gradient"], below=RIGHT, statement="the gradient there is zero"),
        every(
            np.concatenate(shallow), below=-ZERO,
            statement="with one hidden layer every saddle has a negative eigenvalue",
        ),
        every(
            as_said, above=0.5,
            statement="with more a negative eigenvalue is where theory says, and nowhere else",
        ),
        every(
            np.concatenate(flat), above=-ZERO,
            statement="with two hidden layers or more there are saddles that are not strict",
            note="'all saddles of linear networks are strict' is wrong there",
        ),
        every(
            [t["origin"] for t in tables], below=RIGHT,
            statement="the curvature at the origin is -sigma_max(S_yx) at depth 2, then zero",
        ),
    ]  # fmt: skip


def global_verdict(ends: Sequence[dict[str, Any]]) -> Verdict:
    """Whether every run reaches the global minimum."""
    said = ", ".join(f"depth {e['depth']}: {np.median(e['steps']):,.0f}" for e in ends)
    return every(
        np.concatenate([end["gaps"] for end in ends]), below=GAP,
        statement="every perturbed run reaches the global minimum, at every depth",
        note=f"median steps at {said}",
    )  # fmt: skip


def time_verdict(run: dict[str, Any]) -> Verdict:
    """The exponent, as a share of theory's; at depth 2 the slope over log(1/eps)."""
    depth, eps, steps = run["depth"], run["eps"], run["steps"]
    if depth == 2:
        fitted, theory = slope(-np.log(eps), steps), 1 / math.log1p(STEP)
        said = "from |w| = eps a chain of two takes log(1/eps) / log(1 + eta) steps"
    else:
        fitted, theory = slope(np.log(eps), np.log(steps)), -(depth - 2.0)
        said = f"a chain of {depth} takes a time proportional to eps^-{depth - 2}"
    low, high = sorted(end / theory for end in fitted.interval)
    ratio = Estimate(value=fitted.value / theory, interval=(low, high), level=0.95)
    return within(
        ratio, 1 - TOLERANCE, 1 + TOLERANCE, statement=said, unit="of the predicted exponent",
        note=f"{steps[0]} to {steps[-1]:,} steps",
    )  # fmt: skip


# --- figures --------------------------------------------------------------------------------------


def time_chart(times: Sequence[dict[str, Any]]) -> Chart:
    """Steps over 1/eps, with the leading term of theory."""
    lines = []
    for run in times:
        depth, eps = run["depth"], run["eps"]
        lines.append(Line(label=f"{depth} layers", x=1 / eps, y=run["steps"]))
        power = eps ** -(depth - 2.0) / (STEP * max(depth - 2, 1))
        theory = np.log(1 / eps) / math.log1p(STEP) if depth == 2 else power
        lines.append(Line(label=f"{depth} layers, theory", x=1 / eps, y=theory, theory=True))
    return Chart(
        title="Leaving the origin: a logarithm with two layers, a power with more",
        x_label="1 / size of the first weights", y_label="steps of gradient descent",
        lines=tuple(lines), log_x=True, log_y=True,
    )  # fmt: skip


def plateau_chart(weight: float = 0.05, steps: int = 3000) -> Chart:
    """The loss of chains from the same small weights: the plateau lengthens with depth."""
    lines = []
    for depth in (2, 3, 4):
        w, losses = weight, []
        for _ in range(steps):
            losses.append((w**depth - 1) ** 2 / 2)
            w += STEP * w ** (depth - 1) * (1 - w**depth)
        at = np.unique(np.geomspace(1, steps, 60).astype(int))
        lines.append(Line(label=f"{depth} layers", x=at, y=np.array(losses)[at - 1]))
    return Chart(
        title=f"The plateau before learning begins (weights {weight:g} at the start)",
        x_label="steps of gradient descent", y_label="loss", lines=tuple(lines), log_x=True,
    )  # fmt: skip

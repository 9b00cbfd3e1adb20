"""Soltanolkotabi, Javanmard and Lee: wide nets of quadratic units reach the best loss there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy import optimize

from sounding.problems import QuadraticNetwork, descend_together
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.studies.points import agreement
from sounding.verdict import Verdict, every, overall

INPUTS = 5
WIDE = 2 * INPUTS
SAMPLES = (12, 40)  # fewer and more than the 15 monomials
WIDTHS = (2, 4, 6, 8, WIDE)
EXACT, GAP = 1e-9, 1e-10
SEED = 0

STATEMENT = (
    "With as many units of each sign as inputs, a net with quadratic activation has only global "
    "minima and strict saddles: every run reaches the least-squares residual, whatever the labels"
)


def criterion(runs: int) -> str:
    """The rule, written before the run."""
    return (
        f"d = {INPUTS}, k = {WIDE} (half +1, half -1), labels N(0, 1), n = 12 and 40: L-BFGS from "
        f"random starts ends within {GAP:g} of the least-squares residual on the d(d+1)/2 "
        f"monomials in {runs} of {runs} runs each; gradient and Hessian form as the formulas say "
        f"to {EXACT:g}; the curvature at the origin as stated and negative. Reported: narrower "
        "nets, and plain descent with a fixed number of steps, need not get there"
    )


QUICK, FULL = criterion(50), criterion(500)


def quick(lab: Lab, *, runs: int = 50, narrow: int = 5, rule: str = QUICK) -> Measured:
    """Half a minute of one core."""
    checks = lab.map(formulas, [{"seed": seed} for seed in range(3)])
    wide = lab.map(descents, grid([SEED], k=[WIDE], n=SAMPLES, runs=[runs]))
    others = lab.map(descents, grid([SEED], n=[40], k=WIDTHS[:-1], runs=[narrow]))
    plain = lab.map(plain_descents, [{"n": 40, "runs": narrow, "seed": SEED}])[0]
    parts = [*global_verdicts(wide), *formula_verdicts(checks)]
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=rule)
    reported = [narrow_verdict(others[0]), plain_verdict(plain)]
    return (verdict, *parts, *reported), (width_chart([*others, wide[-1]]),)


def full(lab: Lab, *, runs: int = 500, narrow: int = 50) -> Measured:
    """Ten times as many runs."""
    return quick(lab, runs=runs, narrow=narrow, rule=FULL)


CLAIM = Claim(
    name="soltanolkotabi-2017-quadratic",
    topic="benign problems",
    claim=STATEMENT,
    source=(
        "Soltanolkotabi, Javanmard, Lee, 'Theoretical Insights into the Optimization Landscape "
        "of Over-Parameterized Shallow Neural Networks', IEEE Trans. Information Theory 2019"
    ),
    link="https://arxiv.org/abs/1707.04926",
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    how=(
        "The net computes x' W' diag(v) W x, a quadratic form; the best any such form can do is "
        "linear least squares on all products of two inputs, which is solved directly. Each run "
        "has data and a start of its own, and is brought to rest by L-BFGS."
    ),
    depends=(
        "On the width: a net of two units cannot write the best form, so its larger loss is no "
        "proof of bad minima. On the optimiser only in time: plain descent can converge slowly "
        "here, and some of its runs are still above a strict threshold after thousands of steps, "
        "which would wrongly call the landscape bad. Nothing is said of other activations."
    ),
)


# --- measuring ------------------------------------------------------------------------------------


def formulas(seed: int) -> dict[str, float]:
    """How far closed forms are from autograd's, relative, and what the origin is like."""
    problem = QuadraticNetwork.random(12, INPUTS, WIDE, seed=seed)
    start, turn = problem.starts(2, seed=seed, spread=0.5)
    (w,), (z,) = problem.layout.split(start), problem.layout.split(turn)
    x, v = problem.x, problem.output
    off = (x @ w.mT).square() @ v - problem.y
    gradient = 2 / len(x) * v[:, None] * (w @ ((off[:, None] * x).mT @ x))
    form = (2 * ((x @ w.mT) * (x @ z.mT)) @ v).square().mean()
    form = form + 2 * (off * ((x @ z.mT).square() @ v)).mean()
    exact, bent = problem.gradients(start)[0], turn @ problem.hessians(start)[0] @ turn
    points = agreement(problem)
    return {
        "gradient": float((gradient.reshape(-1) - exact).norm() / exact.norm()),
        "form": float((form - bent).abs() / bent.abs()),
        "stated": float(points["error"].max()),
        "origin": float(points["lowest"][0]),
    }


def descents(k: int, n: int, runs: int, seed: int) -> dict[str, Any]:
    """How far above the least-squares residual L-BFGS comes to rest, data anew in each run."""
    gaps = []
    for run in range(runs):
        problem = QuadraticNetwork.random(n, INPUTS, k, seed=1000 * seed + run)
        end = optimize.minimize(
            lambda w, problem=problem: _both(problem, w),
            problem.starts(1, seed=run)[0].numpy(),
            jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-16, "gtol": 1e-10},
        )  # fmt: skip
        gaps.append(end.fun - residual(problem))
    return {"k": k, "n": n, "gaps": np.array(gaps)}


def residual(problem: QuadraticNetwork) -> float:
    """The least-squares loss on the d(d+1)/2 products of two inputs."""
    x, y = problem.x.numpy(), problem.y.numpy()
    rows, columns = np.triu_indices(x.shape[1])
    products = x[:, rows] * x[:, columns]
    off = y - products @ np.linalg.lstsq(products, y, rcond=None)[0]
    return float(off @ off / (2 * len(y)))


def _both(problem: QuadraticNetwork, w: np.ndarray) -> tuple[float, np.ndarray]:
    rows = torch.from_numpy(w)[None].requires_grad_()
    loss = problem.losses(rows).sum()
    return float(loss.detach()), torch.autograd.grad(loss, rows)[0][0].numpy()


def plain_descents(n: int, runs: int, seed: int, steps: int = 3000) -> dict[str, Any]:
    """The same gaps after a fixed number of steps of gradient descent."""
    problem = QuadraticNetwork.random(n, INPUTS, WIDE, seed=seed)
    ends = descend_together(problem, problem.starts(runs, seed=seed, spread=0.3), lr=0.01,
                            steps=steps)  # fmt: skip
    return {"gaps": problem.losses(ends.points).detach().numpy() - residual(problem),
            "steps": steps}  # fmt: skip


# --- judging --------------------------------------------------------------------------------------


def global_verdicts(wide: Sequence[dict[str, Any]]) -> list[Verdict]:
    """Whether every run reaches the residual."""
    return [
        every(
            run["gaps"], below=GAP,
            statement=f"{run['k']} units on {run['n']} samples: every run reaches the best loss",
        )
        for run in wide
    ]  # fmt: skip


def formula_verdicts(checks: Sequence[dict[str, float]]) -> list[Verdict]:
    """Whether the closed forms are those of the loss."""
    words = {
        "gradient": "the gradient is the closed form's, relative to its size",
        "form": "the Hessian along a random direction is the closed form's",
        "stated": "the curvature at the origin and at the minimum is as stated",
    }
    found = [
        every([check[key] for check in checks], below=EXACT, statement=said)
        for key, said in words.items()
    ]
    origin = [check["origin"] for check in checks]
    return [*found, every(origin, below=-1e-3, statement="the origin is a strict saddle")]


def narrow_verdict(run: dict[str, Any]) -> Verdict:
    """Whether a net of two units stays above."""
    return every(
        run["gaps"], above=1e-6,
        statement=f"reported: {run['k']} units on {run['n']} samples do not reach it",
        note="they cannot write the best form, which is no proof of bad minima",
    )  # fmt: skip


def plain_verdict(run: dict[str, Any]) -> Verdict:
    """Whether the wrong way, a fixed budget of plain descent, would refute."""
    return every(
        run["gaps"], above=GAP,
        statement=f"reported: {run['steps']:,} steps of plain descent do not come within {GAP:g}",
    )  # fmt: skip


def width_chart(runs: Sequence[dict[str, Any]]) -> Chart:
    """The median gap over the width; gaps of rounding are shown as 1e-16."""
    k = np.array([run["k"] for run in runs])
    return Chart(
        title=f"Wide enough, and the best loss is reached (d = {INPUTS}, 40 samples)",
        x_label="units", y_label="loss above the least-squares residual", log_y=True,
        lines=(
            Line(
                label="L-BFGS, median of the runs", x=k,
                y=np.array([max(float(np.median(run["gaps"])), 1e-16) for run in runs]),
            ),
            Line(label="criterion", x=k[[0, -1]], y=np.full(2, GAP), theory=True),
        ),
    )  # fmt: skip

"""The sentence of the textbooks: benign minima and strict saddles mean polynomial time.

It holds on the benign problems at the sizes run here, and fails as literally written: a saddle may
be strict and yet as flat as one likes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from sounding.problems import (
    MatrixCompletion,
    MatrixSensing,
    Noise,
    Pitchfork,
    Problem,
    QuadraticNetwork,
    Staircase,
    SymmetricFactorisation,
    TensorDecomposition,
    descend_together,
)
from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab
from sounding.verdict import Verdict, every, overall, slope, within

GAP = 1e-3  # of the fall from the origin, or the start, to the global minimum
MOST = 4.0  # the exponent of d, at most
DOUBLING = (0.9, 1.1)  # log2 of the steps over k
WEAK = (1, 2, 3, 4, 5, 6, 7)
LONGEST = 20_000
SEED = 0

STATEMENT = (
    "Where all minima are global and all saddles strict with uniform constants, perturbed "
    "descent finds a global minimum in a time polynomial in the dimension; negative curvature at "
    "each saddle alone does not give that"
)


def criterion(runs: int) -> str:
    """The rule, written before the run."""
    return (
        "Perturbed descent on factorisation, sensing, completion, tensors, quadratic networks "
        f"and the staircase, three or four sizes each: {runs} of {runs} runs come within {GAP:g} "
        "of the fall to the global minimum, and the exponent of the steps over d is below "
        f"{MOST:g} with its interval over all runs. Counterexample: with the curvature -2^-k at "
        f"the saddle, k = 1 to {WEAK[-1]}, steps double with k (slope of log2 within "
        f"{DOUBLING[0]:g} to {DOUBLING[1]:g})"
    )


QUICK, FULL = criterion(20), criterion(50)

# size -> problem, the step, and the size of the starts; the letter d of each is the key
PROBLEMS: dict[str, Callable[[int], tuple[Problem, float, float]]] = {
    "factorisation": lambda d: (SymmetricFactorisation(np.diag([2.0, 1.0, *[0.0] * (d - 2)]), 2),
                                0.1, 0.01),
    "sensing": lambda d: (MatrixSensing.gaussian(d, 1, 5 * d, seed=SEED), 0.1 / d, 0.1),
    "completion": lambda d: (MatrixCompletion(d, 2, observed=0.6, seed=SEED), 0.4 / d, 0.1),
    "tensor": lambda d: (TensorDecomposition(d), 0.02, 1.0),
    "quadratic network": lambda d: (
        QuadraticNetwork.random(4 * d * d, d, 2 * d, seed=SEED), 0.1 / d, 0.1
    ),
    "staircase": lambda d: (Staircase(d), 0.25, 0.5),
}  # fmt: skip
SIZES = {
    "factorisation": (5, 10, 20, 40), "sensing": (5, 10, 20), "completion": (20, 40, 60),
    "tensor": (4, 6, 8, 10), "quadratic network": (3, 5, 8), "staircase": (2, 4, 6, 8),
}  # fmt: skip


def quick(lab: Lab, *, runs: int = 20, rule: str = QUICK) -> Measured:
    """Half a minute of one core."""
    jobs = [
        {"name": name, "d": d, "runs": runs, "seed": SEED}
        for name, sizes in SIZES.items() for d in sizes
    ]  # fmt: skip
    found = lab.map(perturbed, jobs)
    weak = lab.map(escape, [{"k": k, "runs": runs, "seed": SEED} for k in WEAK])
    parts = [*polynomial_verdicts(found), weak_verdict(weak)]
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=rule)
    return (verdict, *parts), (size_chart(found), weak_chart(weak))


def full(lab: Lab, *, runs: int = 50) -> Measured:
    """More runs."""
    return quick(lab, runs=runs, rule=FULL)


CLAIM = Claim(
    name="strict-saddles-polynomial-time",
    topic="stationary points",
    claim=STATEMENT,
    source=(
        "Ge, Huang, Jin, Yuan, COLT 2015; Jin, Ge, Netrapalli, Kakade, Jordan, ICML 2017, which "
        "ask for quantitative constants and smooth gradient and Hessian"
    ),
    criterion=QUICK,
    full_criterion=FULL,
    quick=quick,
    full=full,
    how=(
        "Steps of perturbed descent until the loss has made all but a thousandth of its fall to "
        "the known global minimum, over sizes d of each problem with a known benign landscape. "
        "The counterexample is a function with one saddle between two minima, whose curvature at "
        "the saddle is made weaker and weaker."
    ),
    changed=(
        "The data and step of the quadratic network, the range of curvatures and the step of "
        "the escapes were changed after runs had ended at their longest allowed length. The "
        "quick scale makes 20 runs a problem, the full one 50."
    ),
    depends=(
        "Often quoted without the constants: 'all local minima are global and all saddles are "
        "strict, so noisy descent is polynomial'. That sentence is false as written, because "
        "strictness at each point sets no scale: the steps double each time the curvature is "
        "halved. A handful of small sizes shows growth, not an asymptotic law."
    ),
)


# --- measuring ------------------------------------------------------------------------------------


def perturbed(name: str, d: int, runs: int, seed: int) -> dict[str, Any]:
    """Steps until the loss has fallen by all but `GAP` of what there is to fall."""
    problem, lr, spread = PROBLEMS[name](d)
    starts = problem.starts(runs, seed=seed, spread=spread)
    top = float(problem.losses(starts).detach().mean())
    target = problem.minimum + GAP * (top - problem.minimum)
    found = descend_together(
        problem, starts, lr=lr, steps=LONGEST, every=5,
        until=lambda x: problem.losses(x).detach() <= target,
        noise=Noise(radius=0.01, threshold=1e-2), seed=seed,
    )  # fmt: skip
    return {"name": name, "d": d, "steps": found.steps, "arrived": found.arrived}


def escape(k: int, runs: int, seed: int) -> dict[str, Any]:
    """Steps from the saddle of curvature -2^-k to half the minimum's distance, after a push.

    The push is the same share of that distance for every k.
    """
    gamma = 2.0**-k
    problem = Pitchfork(5, gamma=gamma)
    found = descend_together(
        problem, torch.zeros(runs, 5, dtype=torch.float64), lr=0.5, steps=LONGEST,
        until=lambda x: x[:, 0].abs() >= 0.5 * gamma**0.5,
        noise=Noise(radius=1e-2 * gamma**0.5, threshold=1.0, interval=LONGEST), seed=seed,
    )  # fmt: skip
    return {"k": k, "steps": found.steps, "arrived": found.arrived}


# --- judging --------------------------------------------------------------------------------------


def polynomial_verdicts(found: Sequence[dict[str, Any]]) -> list[Verdict]:
    """All runs arrive, and no exponent is large."""
    verdicts = [
        every(
            np.concatenate([run["arrived"] for run in found]), above=0.5,
            statement="every perturbed run finds a global minimum",
        )
    ]  # fmt: skip
    for name in dict.fromkeys(run["name"] for run in found):
        some = [run for run in found if run["name"] == name]
        sizes = np.concatenate([np.full(len(r["steps"]), math.log(r["d"])) for r in some])
        times = np.log(np.maximum(np.concatenate([run["steps"] for run in some]), 1))
        verdicts.append(
            within(
                slope(sizes, times), -MOST, MOST, seeds=[SEED], unit="exponent of d",
                statement=f"{name}: the time grows at most as d^{MOST:g}",
            )
        )  # fmt: skip
    return verdicts


def weak_verdict(weak: Sequence[dict[str, Any]]) -> Verdict:
    """Whether steps double with k."""
    fitted = slope([run["k"] for run in weak], [np.log2(run["steps"].mean()) for run in weak])
    return within(
        fitted, *DOUBLING, seeds=[SEED], unit="doublings a k",
        statement="strict saddles of curvature -2^-k take 2^k steps: no rate without constants",
    )  # fmt: skip


def size_chart(found: Sequence[dict[str, Any]]) -> Chart:
    """Mean steps over d."""
    lines = []
    for name in dict.fromkeys(run["name"] for run in found):
        some = [run for run in found if run["name"] == name]
        steps = np.array([run["steps"] for run in some], float)
        error = steps.std(1, ddof=1) / math.sqrt(steps.shape[1]) if steps.shape[1] > 1 else None
        d = np.array([float(run["d"]) for run in some])
        lines.append(Line(label=name, x=d, y=steps.mean(1), error=error))
    return Chart(
        title="Perturbed descent on benign problems", x_label="dimension, d",
        y_label="steps to a global minimum", lines=tuple(lines), log_x=True, log_y=True,
    )  # fmt: skip


def weak_chart(weak: Sequence[dict[str, Any]]) -> Chart:
    """Mean steps over k."""
    k = np.array([run["k"] for run in weak])
    steps = np.array([run["steps"].mean() for run in weak])
    return Chart(
        title="Strict at every point, and slower without bound",
        x_label="k; the saddle's curvature is -2^-k", y_label="steps to leave it", log_y=True,
        lines=(
            Line(label="perturbed descent", x=k, y=steps),
            Line(label="doubling", x=k, y=steps[-1] * 2.0 ** (k - k[-1]), theory=True),
        ),
    )  # fmt: skip

"""What one product costs beside a plain gradient, and how much of Lanczos is linear algebra."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from curvature_parts.nets import Problem
from curvature_parts.sides import differentiable
from curvature_parts.truth import seconds

METHODS = ("kept", "double", "forward")
GOALS = {"kept": 2.2, "double": 3.5, "forward": 3.5}
TASKS = {"top": (1, "largest"), "five": (5, "largest"), "smallest": (1, "smallest")}
ALGEBRA = 0.15  # share of the time outside the products, at most


def products(problem: Problem, rounds: int) -> dict[str, float]:
    """Medians over rounds of the time of each method's product over that of a gradient.

    'gradient' is `loss.backward()` as torch comes, in seconds; 'math' the same with the attention
    that has a second derivative, as a ratio.
    """
    from sounding.curvature.hessian import hessian

    vector = torch.randn(problem.size)
    runs: dict[str, Callable[[], object]] = {
        "gradient": lambda: problem.value().backward(),
        "math": lambda: _math(problem),
    }
    for method in METHODS:
        matrix = hessian(problem.model, problem.loss, problem.batch, method=method, check=False)
        runs[method] = lambda matrix=matrix: matrix @ vector
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for name in runs:
        runs[name]()
    names = list(runs)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            taken[name].append(seconds(runs[name]))
    for parameter in problem.parameters:
        parameter.grad = None
    found = {"gradient": statistics.median(taken["gradient"])}
    for name in names[1:]:
        pairs = zip(taken[name], taken["gradient"], strict=True)
        found[name] = statistics.median(one / plain for one, plain in pairs)
    return found


def _math(problem: Problem) -> None:
    with differentiable():
        problem.value().backward()


def algebra(problem: Problem, k: int, which: str) -> float:
    """Share of the CPU time of `eigenpairs` that is not spent in products."""
    from sounding.curvature.eigenpairs import eigenpairs
    from sounding.curvature.hessian import hessian
    from sounding.curvature.operator import Operator

    matrix = hessian(problem.model, problem.loss, problem.batch, check=False)
    inside = 0.0

    def apply(block: torch.Tensor) -> torch.Tensor:
        nonlocal inside
        start = time.process_time()
        found = matrix.apply(block)
        inside += time.process_time() - start
        return found

    timed = Operator(apply, matrix.size, dtype=matrix.dtype, device=matrix.device)
    whole = seconds(lambda: eigenpairs(timed, k, which=which))
    return 1 - inside / whole


def measured(problem: Problem, rounds: int) -> dict[str, Any]:
    """Both tables' row about one net."""
    row: dict[str, Any] = products(problem, rounds)
    for title, (k, which) in TASKS.items():
        shares = [algebra(problem, k, which) for _ in range(3)]
        row[f"algebra, {title}"] = statistics.median(shares)
    return row


def table(rows: dict[str, dict[str, Any]]) -> str:
    """As text, with `!` where a goal is missed."""
    head = ["gradient", "math", *METHODS, "algebra: top", "top five", "smallest"]
    lines = [f"{'':12}" + "".join(f"{title:>13}" for title in head)]
    for net, row in rows.items():
        cells = [f"{1e3 * row['gradient']:.1f} ms", f"{row['math']:.2f}"]
        cells += [_marked(row[m], row[m] <= GOALS[m], ".2f") for m in METHODS]
        shares = [row[f"algebra, {title}"] for title in TASKS]
        cells += [_marked(share, share < ALGEBRA, ".0%") for share in shares]
        lines.append(f"{net:12}" + "".join(f"{cell:>13}" for cell in cells))
    goals = ", ".join(f"{name} {goal}" for name, goal in GOALS.items())
    lines.append(
        f"products and the gradient with differentiable attention in units of a plain gradient;"
        f" goals: {goals}, linear algebra below {ALGEBRA:.0%} of the time"
    )
    return "\n".join(lines)


def _marked(value: float, good: bool, form: str) -> str:
    return f"{value:{form}}" + ("" if good else "!")

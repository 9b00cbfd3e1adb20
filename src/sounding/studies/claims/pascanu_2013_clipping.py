"""Clipping by norm shortens the gradient to the threshold and keeps its direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Claim, Measured
from sounding.studies.lab import Lab, grid
from sounding.verdict import Verdict, every, overall

THRESHOLDS = (1e-2, 0.1, 1.0, 10.0, 100.0)
SHAPES = ((30, 20), (30,), (5, 30), (5,))
NORMS = (1e-3, 1.0, 5.0, 1e3)  # of the gradients before
IDENTITY = 1e-10
ROUNDING = 1e-6  # that torch adds to the norm before it divides
SEEDS = (0, 1, 2)

STATEMENT = (
    "A gradient g of norm above a threshold c becomes c g / |g|: its direction stays, its norm is "
    "c; a shorter one stays as it is"
)
QUICK = (
    "Random gradients of four tensors, norms 1e-3 to 1e3, thresholds 1e-2 to 100, 3 seeds, double "
    f"precision: after torch's clipping by norm the cosine with the gradient is 1 to {IDENTITY:g}, "
    "the norm is min(|g|, c) up to the 1e-6 that torch adds to |g|, and the result is that "
    f"formula's to {IDENTITY:g} of its size"
)


def quick(
    lab: Lab,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    norms: Sequence[float] = NORMS,
    seeds: Sequence[int] = SEEDS,
) -> Measured:
    """Every threshold on every norm."""
    settings = grid(seeds, threshold=list(thresholds), norm=list(norms))
    lab.plan(len(settings) + 1)
    runs = lab.map(clipped, settings)
    parts = [
        _below(runs, "formula", "the result is c g / (|g| + 1e-6), or g where it is shorter"),
        _below(runs, "turned", "the direction stays: 1 - cosine"),
        every(
            [run["excess"] / (2 * ROUNDING / run["norm"] + IDENTITY) for run in runs],
            below=1.0,
            statement="the norm is min(|g|, c), up to 1e-6 / |g| of it",
        ),
    ]
    verdict = overall(parts[0], parts, statement=STATEMENT, criterion=QUICK)
    return (verdict, *parts, *_wrong(runs)), [_chart(lab.map(steps_under, grid([0])))]


def full(lab: Lab, **sizes: Any) -> Measured:
    """More thresholds, norms and seeds; on the CPU as well."""
    larger = {
        "thresholds": tuple(np.geomspace(1e-3, 1e3, 13)),
        "norms": tuple(np.geomspace(1e-4, 1e5, 10)),
        "seeds": tuple(range(10)),
    }
    return quick(lab, **{**larger, **sizes})


CLAIM = Claim(
    name="pascanu-2013-clipping",
    topic="clipping",
    claim=STATEMENT,
    source=(
        "Pascanu, Mikolov, Bengio, 'On the difficulty of training recurrent neural networks', "
        "ICML 2013, section 3.2, algorithm 1"
    ),
    link="https://arxiv.org/abs/1211.5063",
    criterion=QUICK,
    full_criterion=QUICK.replace("norms 1e-3 to 1e3", "norms 1e-4 to 1e5")
    .replace("thresholds 1e-2 to 100", "thresholds 1e-3 to 1e3")
    .replace("3 seeds", "10 seeds"),
    quick=quick,
    full=full,
    how=(
        "Gradients of a two-layer net's shapes are drawn at random and scaled to a norm; torch's "
        "clip_grad_norm_ is compared with the formula, computed apart. The chart shows the length "
        "of a step over the gradient's norm, for clipping by norm and by value."
    ),
    depends=(
        "'Clipping sets the gradient to the threshold' is wrong: it is the norm that is set. "
        "Cutting every entry off at the threshold is another operation, which turns the gradient; "
        "that is measured beside the verdict, and so is what happens at a threshold below all "
        "norms: every step then has the same length, and the threshold is a part of the learning "
        "rate. Torch adds 1e-6 to the norm, so the clipped norm is smaller than c by 1e-6 / |g| "
        "of it."
    ),
)


# --- measurements ---------------------------------------------------------------------------------


def gradients(norm: float, seed: int) -> list[torch.Tensor]:
    """Random tensors whose entries together have this 2-norm, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    length = torch.cat([g.flatten() for g in drawn]).norm()
    return [g * (norm / length) for g in drawn]


def clipped(threshold: float, norm: float, seed: int) -> dict[str, float]:
    """What clipping by norm, and by value, does to gradients of this norm."""
    before = gradients(norm, seed)
    flat = torch.cat([g.flatten() for g in before])
    by_norm = _after(before, lambda ps: nn.utils.clip_grad_norm_(ps, threshold))
    by_value = _after(before, lambda ps: nn.utils.clip_grad_value_(ps, threshold))
    formula = flat * min(1.0, threshold / (float(flat.norm()) + ROUNDING))
    kept = min(norm, threshold)
    return {
        "norm": norm,
        "threshold": threshold,
        "formula": float((by_norm - formula).norm()) / kept,
        "turned": 1 - _cosine(by_norm, flat),
        "excess": abs(float(by_norm.norm()) / kept - 1),
        "turned by value": 1 - _cosine(by_value, flat),
        "cut": float((by_value.abs() == threshold).double().mean()),
    }


def _after(before: Sequence[torch.Tensor], clip: Any) -> torch.Tensor:
    parameters = [nn.Parameter(torch.zeros_like(g)) for g in before]
    for p, g in zip(parameters, before, strict=True):
        p.grad = g.clone()
    clip(parameters)
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


def _cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a / a.norm()) @ (b / b.norm()))


def steps_under(seed: int) -> dict[str, np.ndarray]:
    """Norm after clipping at threshold 1, over the norm before: by norm and by value."""
    norms = np.geomspace(1e-2, 1e4, 25)
    columns = {"norm": norms, "by norm": [], "by value": []}
    for norm in norms:
        before = gradients(float(norm), seed)
        for name, clip in (
            ("by norm", nn.utils.clip_grad_norm_),
            ("by value", nn.utils.clip_grad_value_),
        ):
            columns[name].append(float(_after(before, lambda ps, clip=clip: clip(ps, 1.0)).norm()))
    return {name: np.array(values) for name, values in columns.items()}


# --- verdicts -------------------------------------------------------------------------------------


def _below(runs: Sequence[dict[str, float]], what: str, statement: str) -> Verdict:
    return every([run[what] for run in runs], below=IDENTITY, statement=statement)


def _wrong(runs: Sequence[dict[str, float]]) -> list[Verdict]:
    """What is said of clipping and does not hold, and what an ever active threshold does."""
    partly = [run for run in runs if 0.05 < run["cut"] < 0.95]
    cut = every(
        [run["turned by value"] for run in partly],
        above=1e-3,
        statement=(
            "'clipping sets the entries to the threshold' is wrong: that turns the gradient "
            "wherever it cuts some of the entries: 1 - cosine"
        ),
    )
    least = min(run["norm"] for run in runs if run["norm"] >= 1)
    active = [run for run in runs if run["threshold"] <= least < run["norm"]]
    constant = every(
        [run["excess"] for run in active],
        below=2 * ROUNDING,
        statement=(
            "reported: at a threshold below all norms every step has the same length, so the "
            "threshold is a part of the learning rate"
        ),
    )
    return [cut, constant]


def _chart(found: Sequence[dict[str, np.ndarray]]) -> Chart:
    (one,) = found
    x = one["norm"]
    return Chart(
        title="What clipping at 1 leaves of a gradient of 785 entries",
        x_label="norm before",
        y_label="norm after",
        lines=(
            Line(label="by norm", x=x, y=one["by norm"]),
            Line(label="by value", x=x, y=one["by value"]),
            Line(label="min(|g|, 1)", x=x, y=np.minimum(x, 1.0), theory=True),
        ),
        log_x=True,
        log_y=True,
    )

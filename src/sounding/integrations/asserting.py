"""Assertions about models and trainings, for any test tool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from sounding.capture.sources import remembered
from sounding.checkup import checkup
from sounding.exam import Checkup
from sounding.objective import Batch, Loss, Objective
from sounding.train import Case, Trial, train
from sounding.train.outcomes import BAND, comparable_losses
from sounding.train.seeding import chosen_seeds
from sounding.train.trial import final_loss
from sounding.verdict import SUPPORTED, Verdict, every, judge

if TYPE_CHECKING:
    from sounding.result import Result

WIDTH = 100  # of a message, in characters


def trains(
    case: Case,
    *,
    seeds: int | Sequence[int],
    steps: int | None,
    above: Mapping[str, float],
    below: Mapping[str, float],
    explain: bool,
) -> tuple[Verdict, ...]:
    """The verdicts of `assert_trains`, which says what they mean."""
    chosen = chosen_seeds(seeds)
    if len(chosen) < 2:
        raise ValueError(f"seeds is {seeds}; an interval needs at least 2, better 3")
    trials = [train(case, seed, steps=steps) for seed in chosen]
    verdicts = [_falls(trials, chosen)]
    for bounds, side in ((above, "above"), (below, "below")):
        verdicts += [_bounded(trials, chosen, name, side, b) for name, b in bounds.items()]
    failed = [verdict for verdict in verdicts if verdict.outcome != SUPPORTED]
    if failed:
        name = case.name or "the case"
        lines = [f"{name} does not train as it should", *(f"  {v}" for v in failed)]
        lines += [f"  {trial}" for trial in trials]
        if explain:
            with remembered():
                exam = checkup(case, deep=True, seed=chosen[0], steps=steps)
            lines += ["", shown(exam)]
        raise AssertionError("\n".join(lines))
    return tuple(verdicts)


def healthy(
    model: nn.Module | Case,
    loss: Loss | Objective | None,
    batch: Batch | None,
    *,
    optimizer: torch.optim.Optimizer | None,
    deep: bool,
    seed: int,
    steps: int | None,
    ignore: tuple[str, ...],
    cautions: bool,
) -> Checkup:
    """The checkup of `assert_healthy`, which says what it means."""
    how: dict[str, Any] = {"deep": deep, "seed": seed, "steps": steps, "ignore": ignore}
    with remembered():  # so that findings name the lines of layers that a case builds
        exam = checkup(model, loss, batch, optimizer=optimizer, **how)
    unwanted = exam.findings if cautions else exam.problems
    if unwanted:
        kinds = "problems or cautions" if cautions else "problems"
        codes = ", ".join(f"{f.code} {f.name}" for f in unwanted)
        raise AssertionError(f"the checkup found {kinds}: {codes}\n\n{shown(exam)}")
    return exam


def shown(result: Result) -> str:
    """What the terminal would show, as plain text."""
    from rich.console import Console

    from sounding.view.terminal import show

    text = StringIO()
    show(Console(file=text, width=WIDTH, highlight=False, color_system=None), result)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _falls(trials: list[Trial], seeds: Sequence[int]) -> Verdict:
    """The last tenth of the run beside the first step, seed by seed."""
    (ends,), starts, unit = comparable_losses([trials])
    return judge(
        starts,
        ends,
        statement="training lowers the loss",
        unit=unit,
        band=BAND if unit.startswith("decades") else 0.0,
        worst=starts,
        seeds=seeds,
        names=("first", "trained"),
    )


def _bounded(
    trials: list[Trial], seeds: Sequence[int], name: str, side: str, bound: float
) -> Verdict:
    known = {"loss", *(metric for trial in trials for metric in trial.metrics)}
    if name not in known:
        raise ValueError(f"the case measures no {name!r}; it has {', '.join(sorted(known))}")
    values = [final_loss(t) if name == "loss" else t.metrics.get(name, np.nan) for t in trials]
    return every(
        values,
        statement=f"the final {name} of every seed is {side} {bound:g}",
        seeds=seeds,
        note=", ".join(f"{value:.4g}" for value in values),
        **{side: bound},
    )

"""Many runs, as one vectorised program where that can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from sounding.result import NotApplicable
from sounding.train.alike import alike, same
from sounding.train.batches import is_data_set
from sounding.train.case import Case
from sounding.train.loop import train, turns
from sounding.train.progress import Progress, silent
from sounding.train.together import Run, prepared, train_together
from sounding.train.trial import Trial

Method = Literal["auto", "vectorised", "one by one"]
OnTrial = Callable[[int, Trial], None]  # (number of the job, its trial)

CHUNK = 32  # runs in one program


def train_many(
    jobs: Sequence[tuple[Case, int]],
    *,
    steps: int | None = None,
    progress: Progress = silent,
    on_trial: OnTrial | None = None,
    method: Method = "auto",
) -> tuple[Trial, ...]:
    """The trials of all `jobs`, each of them what ``train(case, seed, steps=steps)`` gives.

    Args:
        jobs: Cases, each with a seed.
        steps: Of every run, instead of those of the recipes.
        progress: Told of every run, and of what cannot be vectorised.
        on_trial: Called as soon as a run has ended, with the number of its job.
        method: 'auto' or one of the ways.
    """
    trials: dict[int, Trial] = {}

    def ended(number: int, trial: Trial) -> None:
        trials[number] = trial
        progress(str(trial), len(trials), len(jobs))
        if on_trial is not None:
            on_trial(number, trial)

    cases = [
        case if steps is None else case.replace(recipe=case.recipe.replace(steps=steps))
        for case, _ in jobs
    ]
    with turns:
        runs = [prepared(n, cases[n], seed) for n, (_, seed) in enumerate(jobs)]
        for group in _groups(runs):
            for first in range(0, len(group), CHUNK):
                chunk = group[first : first + CHUNK]
                try:
                    train_together(chunk, lambda run, trial: ended(run.number, trial))
                except NotApplicable as reason:
                    if method == "vectorised":
                        raise
                    progress(f"one by one: {reason}", len(trials), len(jobs))
                    for run in chunk:
                        ended(run.number, train(run.case, run.seed))
    return tuple(trials[number] for number in range(len(jobs)))


def _groups(runs: Sequence[Run]) -> list[list[Run]]:
    groups: list[list[Run]] = []
    for run in runs:
        for group in groups:
            if _share(group[0], run):
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def _share(one: Run, other: Run) -> bool:
    first, second = one.case, other.case
    return (
        _same_data(first.batches, second.batches)
        and first.recipe.batch_size == second.recipe.batch_size
        and first.recipe.steps == second.recipe.steps
        and same(first.loss, second.loss)
        and alike(one.model, other.model)
    )


def _same_data(one: Any, other: Any) -> bool:
    return one is other or (
        is_data_set(one) and is_data_set(other) and one[0] is other[0] and one[1] is other[1]
    )

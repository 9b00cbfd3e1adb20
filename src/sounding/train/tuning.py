"""Tune several recipes with the same effort, side by side."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sounding.result import Series
from sounding.train.case import Case
from sounding.train.recipe import Recipe
from sounding.train.runs import FAILURES, Runs
from sounding.train.search import Search
from sounding.train.space import Settings, Space, recipe_at, settings_of
from sounding.train.trial import Trial

Score = Callable[[Sequence[Trial]], float]  # of a setting's runs; lower is better, inf: diverged
LEADING = 3  # trials of a search that are run on more seeds
SEED = 0  # of every search, so that arms with the same space begin with the same settings


@dataclasses.dataclass(frozen=True)
class Setting:
    """An arm's recipe at certain settings."""

    arm: str
    recipe: Recipe
    settings: Settings

    def __str__(self) -> str:
        numbers = (f"{name} {value:g}" for name, value in self.settings.items())
        return ", ".join([self.arm, *numbers])


def case_at(case: Case, changes: tuple[Setting, ...]) -> Case:
    """`case` with the recipe of a setting, as `CaseArm` calls it."""
    (setting,) = changes
    return case.replace(recipe=setting.recipe)


def tune(
    runs: Runs,
    recipes: Mapping[str, Recipe],
    spaces: Mapping[str, Space],
    *,
    trials: int,
    seeds: Sequence[int],
    score: Score,
) -> dict[str, Search]:
    """A search for each recipe, ended after `trials` trials, each of them run on all `seeds`.

    The searches go in step, so that an executor has all arms' runs at once. Halfway every search
    looks closer, or widens its space, once; so neither costs a trial more.

    Raises:
        ValueError: If every run of the first trials failed: then the case is at fault.
    """
    searches = {
        name: Search(spaces[name], settings_of(recipe, spaces[name]), trials=trials, seed=SEED)
        for name, recipe in recipes.items()
    }
    for number in range(trials):
        if number and number == trials // 2:
            for search in searches.values():
                search.focus()
        asked = [setting_of(name, recipes[name], search.ask()) for name, search in searches.items()]
        found = outcomes(runs, asked, seeds)
        if not number:
            _raise_common_failure(runs)
        for search, one in zip(searches.values(), found, strict=True):
            search.tell(score(one))
    return searches


def settle(
    runs: Runs,
    recipes: Mapping[str, Recipe],
    searches: Mapping[str, Search],
    *,
    seeds: Sequence[int],
    score: Score,
) -> None:
    """Run the few best trials of every search on all of `seeds`, and settle on the best there.

    The best of many trials owes its place to luck as well, and is not as good on other seeds.
    """
    for name, search in searches.items():
        leading = search.leading(LEADING)
        at = [setting_of(name, recipes[name], search.tried[trial]) for trial in leading]
        scores = [score(trials) for trials in outcomes(runs, at, seeds)]
        search.settle(leading[scores.index(min(scores))])


def setting_of(name: str, recipe: Recipe, settings: Settings) -> Setting:
    """`recipe` of the arm called `name`, at `settings`."""
    return Setting(name, recipe_at(recipe, settings), settings)


def outcomes(
    runs: Runs, settings: Sequence[Setting], seeds: Sequence[int]
) -> list[tuple[Trial, ...]]:
    """The trials of each setting, one a seed; a run that failed counts as one that diverged.

    A loss may refuse what a network says after it has diverged (binary cross-entropy does).
    """
    jobs = [[((setting,), seed) for seed in seeds] for setting in settings]
    runs.prepare([job for of_one in zip(*jobs, strict=True) for job in of_one])
    return [tuple(_trial(runs, job) for job in of_one) for of_one in jobs]


def _trial(runs: Runs, job: tuple[tuple[Setting], int]) -> Trial:
    try:
        return runs.trials([job])[0]
    except FAILURES:
        lost = np.array([math.nan])
        loss = Series(quantity="training loss", unit="", steps=np.arange(1), values=lost)
        return Trial(seed=job[1], loss=loss, metrics={}, diverged=True, seconds=0.0)


def _raise_common_failure(runs: Runs) -> None:
    failures = [result for result in runs.finished.values() if isinstance(result, Exception)]
    if len(failures) == len(runs.finished):
        raise failures[0]

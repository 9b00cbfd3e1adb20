"""Compare optimisers, or any recipes, under one protocol that is fair to all of them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor

import numpy as np

from sounding.pairs import LOSS, Pair, estimates, measured_in, pairs_of
from sounding.result import Result
from sounding.train import Case, Progress, Recipe, Trial, final_loss, silent, train
from sounding.train.outcomes import which_is_better
from sounding.train.recipe import check_count
from sounding.train.runs import CaseArm, Runs
from sounding.train.search import Search
from sounding.train.seeding import chosen_seeds
from sounding.train.space import Settings, Space, check_space, search_space, textbook
from sounding.train.tuning import LEADING, case_at, outcomes, setting_of, settle, tune
from sounding.verdict import Estimate

ARMS = ("sgd", "adam")
MORE_SEEDS = 3  # for the best few trials of an arm


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tuned(Result):
    """One arm: what was tried, what was best, and its runs on fresh seeds."""

    name: str
    space: dict[str, tuple[float, ...]]  # (lowest, highest) by setting, as it was in the end
    tried: tuple[dict[str, float], ...]  # (k,) settings of every trial, in order
    scores: np.ndarray  # (k,) mean outcome of every trial on the tuning seeds; not finite: diverged
    best: int  # number of the best trial, from 0
    final: tuple[Trial, ...]  # at the best settings, one a fresh seed
    outcomes: dict[str, Estimate]  # mean over the fresh seeds, of the loss the geometric one
    note: str = ""  # a best learning rate at the edge of its space

    @property
    def settings(self) -> Settings:
        """The best ones."""
        return self.tried[self.best]

    def __str__(self) -> str:
        settings = ", ".join(f"{name} {value:g}" for name, value in self.settings.items())
        return f"{self.name} ({settings}): {LOSS} {self.outcomes[LOSS]}"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Comparison(Result):
    """Arms that were tuned alike and run on the same fresh seeds, judged two by two."""

    arms: tuple[Tuned, ...]
    pairs: tuple[Pair, ...]  # in the quantity that was tuned for
    beside: tuple[Pair, ...]  # in whatever else was recorded
    quantity: str  # that was tuned for: 'training loss', or a metric
    trials: int  # of every arm
    tuning_seeds: tuple[int, ...]  # of every trial
    more_seeds: tuple[int, ...]  # of each arm's three best trials, beside those
    seeds: tuple[int, ...]  # fresh ones, of the final runs
    steps: int  # of every run
    subject: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        return "\n".join(map(str, self.pairs))


# --- the procedure --------------------------------------------------------------------------------


def compare(
    case: Case,
    arms: Sequence[str] | Mapping[str, Recipe] = ARMS,
    *,
    trials: int = 20,
    seeds: int | Sequence[int] = 5,
    tuning_seeds: int = 2,
    steps: int | None = None,
    metric: str | None = None,
    spaces: Mapping[str, Space] | None = None,
    progress: Progress = silent,
    executor: Executor | None = None,
) -> Comparison:
    """Tune every arm with the same effort, run all of them on fresh seeds, judge them two by two.

    *Tuning.* Every arm has the same number of trials; each is the mean outcome over the same tuning
    seeds, and a run that diverges is the worst. The first trial is the arm's recipe as it stands
    (for an optimiser's name the textbook one), the others are searched for, in a space that
    `sounding.train.space.search_space` states and gives reasons for. Halfway, every search narrows
    to the decade around its best learning rate; where that lies at the edge of the space, the space
    is widened by a decade, once. The three best trials are run on three more seeds, and the best on
    all of these is the arm's setting.

    *Judging.* The best settings of each arm are run on seeds that no trial has seen, with the same
    batches in the same order. Every pair is judged by its paired differences, at a level that keeps
    95 % over all pairs. The interval covers the luck of the seeds, not that of the search: it holds
    for the settings that were found.

    Which optimiser wins depends on the effort of tuning and on the spaces (Choi et al. 2019,
    Schmidt et al. 2021), so a verdict is for this case, this effort and these spaces.

    Args:
        case: What is trained. Its recipe gives what does not belong to an optimiser: schedule,
            clipping, batch size, steps.
        arms: Names of optimisers, or recipes by the names that they are given here. A recipe is
            tuned too, around its own learning rate.
        trials: Of every arm.
        seeds: Of the final runs: how many, counted from 0, or which.
        tuning_seeds: How many runs a trial is. Their seeds follow on the final ones.
        steps: Of every run; None: those of the recipes.
        metric: A metric of the case to tune for and judge by; None: the final training loss.
        spaces: Search spaces instead of the usual ones, by arm: {"adam": {"lr": (1e-4, 1e-2)}}.
        progress: Told beforehand how many runs it takes, and then of every run.
        executor: Where the runs of a round of trials go; None: one after the other.

    Raises:
        ImportError: If Optuna is missing; names the extra that holds it.
        ValueError: If an argument is wrong, or the case cannot be trained.
    """
    began, fresh = time.perf_counter(), chosen_seeds(seeds)
    check_count("trials", trials, 1)
    check_count("tuning_seeds", tuning_seeds, 1)
    recipes = _recipes(case, arms, steps)
    chosen = _spaces(recipes, spaces or {})
    tuning = tuple(range(max(fresh) + 1, max(fresh) + 1 + tuning_seeds))
    more = tuple(range(max(tuning) + 1, max(tuning) + 1 + MORE_SEEDS)) if trials > 1 else ()
    _check_runs(case, recipes, tuning[0], metric)
    length = next(iter(recipes.values())).steps
    runs = Runs(CaseArm(functools.partial(case_at, case)), progress, executor)
    runs.plan(*_planned(len(recipes), trials, tuning, more, fresh), length)
    score = functools.partial(_score, metric)
    searches = tune(runs, recipes, chosen, trials=trials, seeds=tuning, score=score)
    settle(runs, recipes, searches, seeds=tuning + more, score=score)
    best = [setting_of(name, recipes[name], s.tried[s.best]) for name, s in searches.items()]
    final = outcomes(runs, best, fresh)
    measured = measured_in(final, metric)
    judged = {q: pairs_of(q, tuple(recipes), numbers, fresh) for q, numbers in measured.items()}
    pairs = judged.pop(metric or LOSS)
    runs.end("; ".join(map(str, pairs)))
    return Comparison(
        arms=tuple(
            _tuned(name, search, _sign(metric), trials_of_one, found)
            for (name, search), trials_of_one, found in zip(
                searches.items(), final, estimates(measured), strict=True
            )
        ),
        pairs=pairs,
        beside=tuple(itertools.chain.from_iterable(judged.values())),
        quantity=metric or LOSS,
        trials=trials,
        tuning_seeds=tuning,
        more_seeds=more,
        seeds=fresh,
        steps=length,
        subject=case.name,
        seconds=time.perf_counter() - began,
    )


def _planned(
    arms: int, trials: int, tuning: Sequence[int], more: Sequence[int], fresh: Sequence[int]
) -> tuple[int, str]:
    """The number of runs, and how it comes about."""
    leading = min(trials, LEADING)
    again = f", the best {leading} on {len(more)} more" if more else ""
    return arms * (trials * len(tuning) + leading * len(more) + len(fresh)), (
        f"{arms} arms, each {trials} trials on {len(tuning)} seeds{again}, then {len(fresh)} fresh"
    )


def _score(metric: str | None, trials: Sequence[Trial]) -> float:
    """The mean outcome, lower is better; infinite where a run diverged."""
    if metric is None:
        return float(np.mean([final_loss(trial) for trial in trials]))
    value = np.mean([trial.metrics.get(metric, math.nan) for trial in trials])
    return math.inf if math.isnan(value) else _sign(metric) * float(value)


def _sign(metric: str | None) -> int:
    """1 where less is better, else -1."""
    return 1 if metric is None or which_is_better(metric) == "lower" else -1


# --- what comes in --------------------------------------------------------------------------------


def _recipes(
    case: Case, arms: Sequence[str] | Mapping[str, Recipe], steps: int | None
) -> dict[str, Recipe]:
    if isinstance(arms, str):
        raise TypeError(f"arms is {arms!r}; give a list of names, such as ['sgd', 'adam']")
    named = (
        dict(arms)
        if isinstance(arms, Mapping)
        else {name: textbook(name, case.recipe) for name in arms}
    )
    if len(named) < 2 or len(named) < len(arms):
        raise ValueError(f"arms is {list(arms)!r}; a comparison needs two or more that differ")
    for name, recipe in named.items():
        if not isinstance(recipe, Recipe):
            raise TypeError(f"arm {name!r} is a {type(recipe).__name__}; give a sounding.Recipe")
    if steps is not None:
        return {name: recipe.replace(steps=steps) for name, recipe in named.items()}
    lengths = sorted({recipe.steps for recipe in named.values()})
    if len(lengths) > 1:
        raise ValueError(f"the arms' recipes have {lengths} steps; all need the same, give steps")
    return named


def _spaces(recipes: Mapping[str, Recipe], given: Mapping[str, Space]) -> dict[str, Space]:
    for name, space in given.items():
        if name not in recipes:
            raise ValueError(f"spaces has {name!r}, but the arms are {', '.join(recipes)}")
        check_space(space, recipes[name], name)
    return {name: given.get(name, search_space(recipe)) for name, recipe in recipes.items()}


def _check_runs(case: Case, recipes: Mapping[str, Recipe], seed: int, metric: str | None) -> None:
    """One step of every arm, so that a case that cannot be trained says so before the search."""
    for recipe in recipes.values():
        trial = train(case.replace(recipe=recipe), seed, steps=1)
        if metric is not None and not trial.diverged and metric not in trial.metrics:
            known = ", ".join(trial.metrics) or "none"
            raise ValueError(f"the case measures no {metric!r}; its metrics are: {known}")


# --- what comes out -------------------------------------------------------------------------------


def _tuned(
    name: str, search: Search, sign: int, final: tuple[Trial, ...], found: dict[str, Estimate]
) -> Tuned:
    """What is known of one arm; the search's scores times `sign` are outcomes."""
    return Tuned(
        name=name,
        space={setting: tuple(bounds) for setting, bounds in search.space.items()},
        tried=tuple(search.tried),
        scores=sign * np.array(search.scores),
        best=search.best,
        final=final,
        outcomes=found,
        note=search.edge_note(),
    )

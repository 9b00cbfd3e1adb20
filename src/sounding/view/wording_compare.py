"""What a comparison says in words, the same in the terminal and on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sounding.compare import Comparison, Tuned
from sounding.pairs import Pair
from sounding.train.outcomes import which_is_better
from sounding.train.tuning import LEADING
from sounding.view.numbers import count, number, percent, together
from sounding.view.tables import Table
from sounding.view.wording import effect, means

UNITS = {"warmup": " steps"}
HOLDS = "Intervals are over the fresh seeds, at the settings found; another search may find others."


def protocol(comparison: Comparison) -> str:
    """How it was done, in one line."""
    leading = min(LEADING, comparison.trials)
    more = f", the best {leading} also on {_seeds(comparison.more_seeds)}"
    return (
        f"{comparison.subject or 'the case'}: {count(len(comparison.arms), 'arm')}, each tuned for "
        f"{comparison.quantity} in {count(comparison.trials, 'trial')} on "
        f"{_seeds(comparison.tuning_seeds)}{more if comparison.more_seeds else ''}, then run on "
        f"{_seeds(comparison.seeds)}; {count(comparison.steps, 'step')} a run, "
        f"{number(comparison.seconds)} s"
    )


def settings(arm: Tuned) -> str:
    """The settings as they were run: 'lr 0.1, momentum 0.9, no warm-up'."""
    return ", ".join(_setting(name, value) for name, value in arm.settings.items())


def outcome(arm: Tuned, quantity: str) -> str:
    """'0.0095 [0.0054, 0.0166]' over the fresh seeds, or how many of them diverged."""
    lost = sum(trial.diverged for trial in arm.final)
    if lost:
        return f"diverged on {lost} of {count(len(arm.final), 'seed')}"
    found = arm.outcomes[quantity]
    if not np.isfinite(found.interval).all():
        return number(found.value)
    value, low, high = together([found.value, *found.interval])
    return f"{value} [{low}, {high}]"


def sentence(pair: Pair) -> str:
    """Which arm is better and by how much, or plainly that no difference was found."""
    verdict = pair.verdict
    if len(verdict.seeds) < 2:
        return f"not tested: {pair.behind} against {pair.ahead}, {verdict.note}"
    behind, ahead = together(means(verdict))
    numbers = (
        f"{effect(verdict)}, {percent(verdict.level)}, {count(len(verdict.seeds), 'paired seed')}"
    )
    if pair.differ:
        return f"{verdict.statement}: {ahead} against {behind} ({numbers})"
    return (
        f"no difference found between {pair.behind} and {pair.ahead}: {pair.quantity} {behind} and "
        f"{ahead} ({numbers})"
    )


def arms_table(comparison: Comparison) -> Table:
    """A row an arm: every quantity over the fresh seeds, what was tuned for first."""
    quantities = list(comparison.arms[0].outcomes) if comparison.arms else []
    quantities.sort(key=lambda quantity: quantity != comparison.quantity)
    rows = tuple(
        (arm.name, *(outcome(arm, quantity) for quantity in quantities)) for arm in comparison.arms
    )
    return Table(("arm", *quantities), (False, *(True,) * len(quantities)), rows)


def trials_table(arm: Tuned, comparison: Comparison) -> Table:
    """Every trial of an arm in its order, and the best so far: what more trials were worth."""
    best = np.minimum if which_is_better(comparison.quantity) == "lower" else np.maximum
    scores = zip(arm.scores, best.accumulate(arm.scores), strict=True)
    rows = tuple(
        (str(k + 1), *(_value(name, v) for name, v in tried.items()), *map(_scored, pair))
        for k, (tried, pair) in enumerate(zip(arm.tried, scores, strict=True))
    )
    columns = ("trial", *map(_name, arm.space), comparison.quantity, "best so far")
    return Table(columns, (True,) * len(columns), rows)


def _seeds(seeds: Sequence[int]) -> str:
    """'seed 5', 'seeds 5 and 6', 'seeds 0 to 4', 'seeds 3, 9, 4'."""
    if len(seeds) <= 2:
        return f"seed{'s' * (len(seeds) > 1)} {' and '.join(map(str, seeds))}"
    if list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"


def _setting(name: str, value: float) -> str:
    if name == "warmup" and value <= 1:
        return "no warm-up"
    return f"{_name(name)} {_value(name, value)}{UNITS.get(name, '')}"


def _scored(value: float) -> str:
    return number(value) if math.isfinite(value) else "diverged"


def _name(setting: str) -> str:
    return {"warmup": "warm-up", "weight_decay": "weight decay"}.get(setting, setting)


def _value(setting: str, value: float) -> str:
    return f"{value:.0f}" if setting == "warmup" else f"{value:.3g}"

"""Where a study's runs are made: each once, remembered, counted, and side by side where possible.

A study asks for runs and judges what comes back; it does not know where they were made. A run is a
function of its settings alone, its seed among them, so it can be looked up, sent elsewhere, or made
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sounding.train import Case, Progress, Trial, silent, train

Settings = Mapping[str, Any]  # plain values: numbers, words, and lists of these


class Lab:
    """Makes the runs of one study at one scale.

    Args:
        progress: Told of every run when it is done.
    """

    def __init__(self, progress: Progress = silent) -> None:
        self.progress = progress
        self.done = 0
        self.total = 0

    def plan(self, runs: int) -> None:
        """Say how many runs will come in all, so that progress knows its end."""
        self.total = max(self.total, runs)

    def map(
        self, measure: Callable[..., dict[str, Any]], settings: Iterable[Settings]
    ) -> list[dict[str, Any]]:
        """`measure(**s)` for every one of `settings`, in their order.

        Args:
            measure: A function at the top of its module, of plain settings alone, that returns
                plain values and arrays by name. It sets its own seeds and leaves global random
                state as it was.
            settings: One a run; no two alike.
        """
        jobs = list(settings)
        self.total = max(self.total, self.done + len(jobs))
        return [self._said(_line(measure, job), measure(**job)) for job in jobs]

    def train(self, case: Callable[..., Case], settings: Iterable[Settings]) -> list[Trial]:
        """Train `case(**s)`, without its key `seed`, on that seed, for every one of `settings`.

        Args:
            case: A function at the top of its module that makes a Case of plain settings.
            settings: One a run, each with a `seed`; no two alike.
        """
        jobs = list(settings)
        self.total = max(self.total, self.done + len(jobs))
        return [self._said(_line(case, job), _trained(case, job)) for job in jobs]

    def _said(self, line: str, outcome: Any) -> Any:
        self.done += 1
        self.progress(f"{line}: {outcome}" if isinstance(outcome, Trial) else line, self.done,
                      self.total)  # fmt: skip
        return outcome


def grid(seeds: Iterable[int], **axes: Sequence[Any]) -> list[dict[str, Any]]:
    """Every combination of the values of `axes`, on every seed; seeds vary fastest.

    >>> grid([0, 1], depth=[2])
    [{'depth': 2, 'seed': 0}, {'depth': 2, 'seed': 1}]
    """
    points: list[dict[str, Any]] = [{}]
    for name, values in {**axes, "seed": list(seeds)}.items():
        points = [{**point, name: value} for point in points for value in values]
    return points


def _trained(case: Callable[..., Case], settings: Settings) -> Trial:
    rest = {name: value for name, value in settings.items() if name != "seed"}
    return train(case(**rest), settings["seed"])


def _line(function: Callable[..., Any], settings: Settings) -> str:
    name = getattr(function, "__name__", "run").strip("_").replace("_", " ")
    return f"{name}: " + ", ".join(f"{key} {value}" for key, value in settings.items())

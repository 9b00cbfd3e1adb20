"""Where a study's runs are made: each once, remembered, counted, and side by side where possible.

A study asks for runs and judges what comes back; it does not know where they were made. A run is a
function of its settings alone, its seed among them, so it can be looked up, sent elsewhere, or made
again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from sounding.engine import results
from sounding.store import Key, Store, code_version
from sounding.store.packed import pack, unpack
from sounding.train import Case, Progress, Trial, silent, train

Settings = Mapping[str, Any]  # plain values: numbers, words, and lists of these
Made = tuple[dict[str, Any], float]  # what a run returned, and the seconds that it took

TOGETHER = 16  # training runs that one worker makes as one program


class Lab:
    """Makes the runs of one study at one scale.

    Args:
        study: The study's name, and
        scale: its scale: runs are stored under both.
        progress: Told of every run when it is done.
        store: Where runs are looked up and kept; None: nowhere.
        executor: Where runs are made; None: here, one after the other.
    """

    def __init__(
        self,
        study: str = "",
        scale: str = "quick",
        *,
        progress: Progress = silent,
        store: Store | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.study, self.scale = study, scale
        self.progress, self.store, self.executor = progress, store, executor
        self.done = 0
        self.total = 0
        self.seconds = 0.0  # that the runs took, also those that were in the store

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

        Raises:
            Exception: Whatever a run raised; those before it are in the store.
        """
        jobs = list(settings)

        def made(missing: Sequence[Settings]) -> Iterator[tuple[int, Made]]:
            calls = [{"measure": measure, "settings": job} for job in missing]
            yield from _raised(results(timed, calls, executor=self.executor))

        return self._all(measure, jobs, made, lambda value: value)

    def train(self, case: Callable[..., Case], settings: Iterable[Settings]) -> list[Trial]:
        """Train `case(**s)`, without its key `seed`, on that seed, for every one of `settings`.

        Args:
            case: A function at the top of its module that makes a Case of plain settings.
            settings: One a run, each with a `seed`; no two alike.
        """
        jobs = list(settings)

        def made(missing: Sequence[Settings]) -> Iterator[tuple[int, Made]]:
            if self.executor is None:
                for index, job in enumerate(missing):
                    yield index, trained(case, [job])[0]
                return
            parts = [missing[at : at + TOGETHER] for at in range(0, len(missing), TOGETHER)]
            calls = [{"case": case, "jobs": part} for part in parts]
            for part, runs in _raised(results(trained, calls, executor=self.executor)):
                yield from ((part * TOGETHER + k, run) for k, run in enumerate(runs))

        return self._all(case, jobs, made, Trial.from_dict)

    def _all(
        self,
        function: Callable[..., Any],
        jobs: Sequence[Settings],
        made: Callable[[Sequence[Settings]], Iterator[tuple[int, Made]]],
        read: Callable[[dict[str, Any]], Any],
    ) -> list[Any]:
        """What every job gives, from the store or made now; each is kept as soon as it is there."""
        self.total = max(self.total, self.done + len(jobs))
        keys = self._keys(function, jobs)
        outcomes: list[Any] = [None] * len(jobs)
        missing = []
        for index, key in enumerate(keys):
            kept = None if key is None or self.store is None else self.store.get(key)
            if kept is None:
                missing.append(index)
            else:
                outcomes[index] = read(kept["value"])
                self._count(kept["seconds"], f"{_line(function, jobs[index])}, known")
        for place, (value, seconds) in made([jobs[index] for index in missing]):
            index = missing[place]
            key = keys[index]
            packed = pack({"value": value, "seconds": seconds})
            if self.store is not None and key is not None:
                self.store.put(key, {"value": value, "seconds": seconds}, seconds=seconds)
            outcomes[index] = read(unpack(*packed)["value"])  # the same, stored or not
            self._count(seconds, _line(function, jobs[index]))
        return outcomes

    def _keys(
        self, function: Callable[..., Any], jobs: Sequence[Settings]
    ) -> list[Key] | list[None]:
        if self.store is None:
            return [None] * len(jobs)
        version = f"{code_version(function)}-{code_version(train)}"
        return [
            Key.of(function, job, study=self.study, scale=self.scale, version=version)
            for job in jobs
        ]

    def _count(self, seconds: float, line: str) -> None:
        self.done += 1
        self.seconds += seconds
        self.progress(line, self.done, self.total)


def grid(seeds: Iterable[int], **axes: Sequence[Any]) -> list[dict[str, Any]]:
    """Every combination of the values of `axes`, on every seed; seeds vary fastest.

    >>> grid([0, 1], depth=[2])
    [{'depth': 2, 'seed': 0}, {'depth': 2, 'seed': 1}]
    """
    points: list[dict[str, Any]] = [{}]
    for name, values in {**axes, "seed": list(seeds)}.items():
        points = [{**point, name: value} for point in points for value in values]
    return points


def timed(measure: Callable[..., dict[str, Any]], settings: Settings) -> Made:
    """`measure(**settings)`, and the seconds that it took."""
    began = time.perf_counter()
    return measure(**settings), time.perf_counter() - began


def trained(case: Callable[..., Case], jobs: Sequence[Settings]) -> list[Made]:
    """The trials of `jobs`, as plain values, and the seconds of each."""
    made = []
    for job in jobs:
        rest = {name: value for name, value in job.items() if name != "seed"}
        trial = train(case(**rest), job["seed"])
        made.append((trial.to_dict(), trial.seconds))
    return made


def _raised(outcomes: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """The outcomes, up to the first exception among them, which is raised."""
    for index, outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        yield index, outcome


def _line(function: Callable[..., Any], settings: Settings) -> str:
    name = getattr(function, "__name__", "run").strip("_").replace("_", " ")
    return f"{name}: " + ", ".join(f"{key} {value}" for key, value in settings.items())

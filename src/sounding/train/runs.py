"""Many runs: each one once, here or in an executor, and announced beforehand."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, as_completed
from typing import Any

from sounding.train.case import Case
from sounding.train.loop import train
from sounding.train.many import FAILURES, run_many
from sounding.train.progress import Progress
from sounding.train.trial import Trial

Job = tuple[tuple[Any, ...], int]  # (what is changed, seed)
Key = tuple[tuple[str, ...], int]


@dataclasses.dataclass(frozen=True)
class CaseArm:
    """Trains a case with changes; where :class:`Runs` has several runs to do, it does them at once.

    It can be pickled if `changed` can.
    """

    changed: Callable[[tuple[Any, ...]], Case]  # the case with these changes
    steps: int | None = None  # of every run, instead of those of the case's recipe

    def __call__(self, changes: tuple[Any, ...], seed: int) -> Trial:
        """One run."""
        return train(self.changed(changes), seed, steps=self.steps)


class Runs:
    """Remembers every run by its changes, as text, and its seed.

    So comparisons with the same arm share its runs: k remedies on n seeds take (k + 1) n of them.
    """

    def __init__(
        self,
        run: Callable[[tuple[Any, ...], int], Trial],
        progress: Progress,
        executor: Executor | None,
    ) -> None:
        self.run, self.progress, self.executor = run, progress, executor
        self.finished: dict[Key, Trial | Exception] = {}
        self.total = 0

    def plan(self, runs: int, text: str, steps: int | None) -> None:
        """Say how many runs may come, before they do."""
        self.total = len(self.finished) + runs
        length = "" if steps is None else f" of {steps} steps"
        self.progress(f"at most {runs} runs{length}: {text}", len(self.finished), self.total)

    def trials(self, jobs: Sequence[Job]) -> list[Trial]:
        """The trials of `jobs`, in order; raises what one of them raised."""
        self.prepare(jobs)
        trials = []
        for job in jobs:
            result = self.finished[_key(job)]
            if isinstance(result, Exception):
                raise result
            trials.append(result)
        return trials

    def prepare(self, jobs: Sequence[Job]) -> None:
        """Run those of `jobs` that have not run yet, side by side where there is an executor.

        Without one, runs of a :class:`CaseArm` go together as far as they can.
        The failure of a run with changes is remembered, and raised by whoever asks for its trial;
        without changes it is the case itself that fails, and that is raised at once.
        """
        missing = {_key(job): job for job in jobs if _key(job) not in self.finished}
        if isinstance(self.run, CaseArm) and self.executor is None and len(missing) > 1:
            self._run_together(self.run, missing)
            return
        if self.executor is None:
            for key, (changes, seed) in missing.items():
                self._keep(key, functools.partial(self.run, changes, seed))
            return
        futures = {self.executor.submit(self.run, *job): key for key, job in missing.items()}
        try:
            for future in as_completed(futures):
                self._keep(futures[future], future.result)
        finally:
            for future in futures:
                future.cancel()

    def end(self, message: str) -> None:
        """Say that no more runs will come."""
        self.progress(message, len(self.finished), len(self.finished))

    def _run_together(self, arm: CaseArm, missing: dict[Key, Job]) -> None:
        cases: dict[tuple[str, ...], Case] = {}
        for key, (changes, _) in missing.items():
            try:
                if key[0] not in cases:
                    cases[key[0]] = arm.changed(changes)
            except FAILURES as error:
                self._keep(key, functools.partial(_given, error))
        keys = [key for key in missing if key[0] in cases]

        def told(number: int, outcome: Trial | Exception) -> None:
            self._keep(keys[number], functools.partial(_given, outcome))

        def say(message: str) -> None:
            self.progress(message, len(self.finished), self.total)

        run_many([(cases[key[0]], key[1]) for key in keys], told, say, steps=arm.steps)

    def _keep(self, key: Key, result: Callable[[], Trial]) -> None:
        try:
            self.finished[key] = result()
        except FAILURES as error:
            if not key[0]:
                raise
            self.finished[key] = error
        changes = " + ".join(key[0]) or "untreated"
        outcome = self.finished[key]
        said = f"seed {key[1]}: {outcome}" if isinstance(outcome, Exception) else str(outcome)
        self.progress(f"{changes}: {said}", len(self.finished), self.total)


def _key(job: Job) -> Key:
    changes, seed = job
    return tuple(map(str, changes)), seed


def _given(outcome: Trial | Exception) -> Trial:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome

"""Many runs: each one once, here or in an executor, and announced beforehand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, as_completed
from typing import Any

from sounding.train.progress import Progress
from sounding.train.trial import Trial

Job = tuple[tuple[Any, ...], int]  # (what is changed, seed)
Key = tuple[tuple[str, ...], int]


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
        self.finished: dict[Key, Trial] = {}
        self.total = 0

    def plan(self, runs: int, text: str, steps: int | None) -> None:
        """Say how many runs may come, before they do."""
        self.total = len(self.finished) + runs
        length = "" if steps is None else f" of {steps} steps"
        self.progress(f"at most {runs} runs{length}: {text}", len(self.finished), self.total)

    def trials(self, jobs: Sequence[Job]) -> list[Trial]:
        """The trials of `jobs`, in order."""
        missing = {_key(job): job for job in jobs if _key(job) not in self.finished}
        if self.executor is None:
            for key, job in missing.items():
                self._keep(key, self.run(*job))
        else:
            self._run_in(self.executor, missing)
        return [self.finished[_key(job)] for job in jobs]

    def end(self, message: str) -> None:
        """Say that no more runs will come."""
        self.progress(message, len(self.finished), len(self.finished))

    def _run_in(self, executor: Executor, missing: dict[Key, Job]) -> None:
        futures = {executor.submit(self.run, *job): key for key, job in missing.items()}
        try:
            for future in as_completed(futures):
                self._keep(futures[future], future.result())
        finally:
            for future in futures:
                future.cancel()

    def _keep(self, key: Key, trial: Trial) -> None:
        self.finished[key] = trial
        changes = " + ".join(key[0]) or "untreated"
        self.progress(f"{changes}: {trial}", len(self.finished), self.total)


def _key(job: Job) -> Key:
    changes, seed = job
    return tuple(map(str, changes)), seed

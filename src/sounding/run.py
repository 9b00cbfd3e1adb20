"""Run a user's script unchanged and examine its training from within."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from sounding.exam import Checkup
from sounding.result import Result
from sounding.script.execute import check_target, execute
from sounding.train import Progress, silent
from sounding.watch.around import check_cadence, journalled, reason
from sounding.watch.diagnosis import diagnose
from sounding.watch.observer import Observer


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Run(Result):
    """What was seen of a script's training; `checkup` is None where no training was seen."""

    subject: str
    checkup: Checkup | None
    steps: int  # optimiser steps seen
    examined: tuple[int, ...]  # the steps that were examined
    overhead: float  # fraction of the time that examining took
    note: str = ""  # what was not seen, and why

    @property
    def problems(self) -> int:
        """How many problems were found."""
        return len(self.checkup.problems) if self.checkup is not None else 0


def run(
    target: Sequence[str],
    *,
    budget: float = 0.03,
    tests: bool = True,
    progress: Progress = silent,
) -> tuple[Run, BaseException | None]:
    """Run ``script.py args...`` (or ``-m module args...``) and examine its training.

    The script runs in this process as ``__main__``, with its own arguments; nothing of it is
    changed, and its random numbers stay the same. Examining takes the first step and then at most
    `budget` of the time. At the end suspicions are decided by tests on the script's own model,
    which may take a minute; without `tests` they stay suspicions, and are not reported.

    Returns:
        What was seen, and the exception that ended the script (SystemExit and KeyboardInterrupt
        too), None where it came to its end.

    Raises:
        FileNotFoundError, ValueError: If there is no such script.
    """
    observer, error = observe(target, budget=budget)
    return seen(observer, " ".join(target), tests=tests, progress=progress), error


def observe(
    target: Sequence[str],
    *,
    budget: float | None = 0.03,
    every: int | None = None,
    record: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> tuple[Observer, BaseException | None]:
    """The first half of :func:`run`: the script itself, watched.

    Args:
        target: As :func:`run` takes it.
        budget: Fraction of the time; None for 0.01 where a step takes 10 ms or more, 0.03 below.
        every: Steps from one examination to the next, in place of a budget.
        record: A file to write while the script runs.
        overwrite: Whether that file may exist, and be lost.
    """
    check_cadence(every, None if every is not None else budget)
    check_target(target)
    observer = Observer(budget=budget, every=every)
    error: BaseException | None = None
    with contextlib.ExitStack() as stack:
        if record is not None:
            subject = " ".join(target)
            stack.enter_context(journalled(observer, Path(record), subject, overwrite))
        with observer.watching():
            try:
                execute(target)
            except (
                BaseException
            ) as raised:  # handed back, so that the caller ends as the script did
                error = raised
        observer.ended(reason(error))
    return observer, error


def seen(
    observer: Observer, subject: str, *, tests: bool = True, progress: Progress = silent
) -> Run:
    """What an observer saw, judged."""
    checkup = diagnose(observer, subject, tests=tests, progress=progress)
    if observer.journal is not None:
        observer.journal.end(checkup)
    return Run(
        subject=subject,
        checkup=checkup,
        steps=observer.steps,
        examined=tuple(observer.examined),
        overhead=observer.overhead(),
        note=_note(observer),
    )


def _note(observer: Observer) -> str:
    if observer.failures:
        return f"the observer failed and stopped looking ({observer.failures[0]})"
    if not observer.steps and not observer.examined:
        return (
            "no optimiser step was seen, so there was no training to examine; a loop without "
            "torch.optim, or with torch.func, is not seen"
        )
    if not observer.examined:
        return "steps were seen, but no model's forward pass (compiled or scripted, perhaps)"
    return ""

"""The records of the processes of one training, put together: do they agree where they should?"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sounding.exam import Checkup, judged
from sounding.measure.ranks import Ranks
from sounding.result import Series
from sounding.rules import RULES, Finding, Outcome
from sounding.rules.ranking import rank
from sounding.watch.watched import Training, Watched, watched

CODES = ("SD702", "SD703")  # rules that need more than one process
FEW = 8  # processes that are counted one by one in a sentence


def file_of(path: Path, number: int) -> Path:
    """Of several processes each has a file: run.sounding, run.1.sounding, ..."""
    return path if not number else path.with_suffix(f".{number}{path.suffix}")


def gathered(path: str | os.PathLike[str]) -> Watched:
    """The record of the first process, with what those of the others add to it.

    Where they took part in the same training, the rules on several processes are asked with all
    records that are there; the file of one process is read as it is.

    Raises:
        FileNotFoundError, ValueError: As :func:`watched`, of the first one.
    """
    first = watched(path)
    others = {}
    for number in range(1, first.processes):
        file = file_of(Path(path), number)
        if file.exists():
            with contextlib.suppress(ValueError):  # cut before its first line was whole
                others[number] = watched(file)
    return put_together(first, others, path)


def put_together(
    first: Watched, others: Mapping[int, Watched], path: str | os.PathLike[str]
) -> Watched:
    """The record of the process 0 in `path`, with what `others`, by their numbers, add to it."""
    others = {k: one for k, one in sorted(others.items()) if one.subject == first.subject}
    if not others:
        return first
    every = {0: first, **others}
    columns = zip(*(one.trainings for one in every.values()), strict=False)
    whole = tuple(_together(parts, tuple(every)) for parts in columns)
    return dataclasses.replace(
        first,
        others=tuple(file_of(Path(path), k).name for k in others),
        checkup=_asked(first, every),
        trainings=(*whole, *first.trainings[len(whole) :]),
    )


def _together(parts: tuple[Training, ...], numbers: tuple[int, ...]) -> Training:
    """The first one; of a sharded training, with the norm of all parts of the gradient."""
    first = parts[0]
    beside = tuple(
        Series(quantity=f"process {number}", unit="", steps=part.steps, values=part.loss)
        for number, part in zip(numbers[1:], parts[1:], strict=True)
    )
    first = dataclasses.replace(first, beside=beside)
    if first.parallel != "FSDP" or any(not np.array_equal(p.steps, first.steps) for p in parts):
        return first
    norms = {
        name: np.sqrt(sum(getattr(part, name) ** 2 for part in parts))
        for name in ("gradient_norm", "peak")
    }
    return dataclasses.replace(first, **norms)


def _asked(first: Watched, every: dict[int, Watched]) -> Checkup | None:
    """The checkup of the first process, with the rules on several asked anew.

    What the rules found in other processes is added; of what not all found it says who did.
    """
    exam = first.checkup
    if exam is None:
        return None
    asked = tuple(rule for rule in RULES if rule.code in CODES)
    exams = []
    for together in zip(*(one.trainings for one in every.values()), strict=False):
        taken = dataclasses.replace(exam.readings, ranks=compared(together))
        exams.append(judged(taken, rules=asked))
    worst = next((e for e in exams if e.findings), exams[0] if exams else None)
    said = {k: one.checkup for k, one in every.items() if one.checkup is not None}
    kept = _everyones(said)
    outcomes = _worst(said, {f.code for f in kept})
    if worst is not None:
        kept = [f for f in kept if f.code not in CODES] + list(worst.findings)
        outcomes = [o for o in outcomes if o.code not in CODES] + list(worst.outcomes)
    return dataclasses.replace(
        exam,
        readings=exam.readings if worst is None else worst.readings,
        findings=rank(kept),
        outcomes=tuple(sorted(outcomes, key=lambda o: o.code)),
    )


def _everyones(exams: dict[int, Checkup]) -> list[Finding]:
    """Every finding once, from the first process that has it; and who has it, if not all."""
    found: dict[str, Finding] = {}
    whose: dict[str, list[int]] = {}
    for number, exam in exams.items():
        for one in exam.findings:
            found.setdefault(one.code, one)
            whose.setdefault(one.code, []).append(number)
    return [
        one
        if len(whose[code]) == len(exams)
        else dataclasses.replace(one, message=f"{one.message} ({counted(whose[code])} alone)")
        for code, one in found.items()
    ]


def _worst(exams: dict[int, Checkup], found: set[str]) -> list[Outcome]:
    """The outcomes of the first process, but where only others have a finding theirs."""
    firsts, *others = exams.values()
    outcomes = {o.code: o for o in firsts.outcomes}
    for exam in others:
        for one in exam.outcomes:
            bad = one.outcome in ("problem", "caution") and one.code in found
            if bad and outcomes.get(one.code, one).outcome not in ("problem", "caution"):
                outcomes[one.code] = one
    return list(outcomes.values())


def counted(numbers: Sequence[int]) -> str:
    """'process 1', 'processes 0, 1 and 3', '60 processes'."""
    if len(numbers) > FEW:
        return f"{len(numbers)} processes"
    *others, last = map(str, numbers)
    return f"processes {', '.join(others)} and {last}" if others else f"process {last}"


def compared(together: tuple[Training, ...]) -> Ranks:
    """One training beside itself in other processes, at the steps that all of them have."""
    steps = together[0].steps
    for training in together[1:]:
        steps = np.intersect1d(steps, training.steps)
    rows = [np.searchsorted(training.steps, steps) for training in together]
    return Ranks(
        parallel=together[0].parallel,
        steps=steps,
        loss=np.array([t.loss[r] for t, r in zip(together, rows, strict=True)]),
        gradient_norm=np.array([t.gradient_norm[r] for t, r in zip(together, rows, strict=True)]),
        weights=tuple(t.weights for t in together) if together[0].parallel != "FSDP" else (),
    )

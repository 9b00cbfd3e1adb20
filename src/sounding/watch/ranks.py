"""The records of the processes of one training, put together: do they agree where they should?"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from sounding.exam import Checkup, judged
from sounding.measure.ranks import Ranks
from sounding.rules import RULES
from sounding.rules.ranking import rank
from sounding.watch.watched import Training, Watched, watched

CODES = ("SD702", "SD703")  # rules that need more than one process


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
    found = [file_of(Path(path), k) for k in range(1, first.processes)]
    others = [(file, watched(file)) for file in found if file.exists()]
    others = [(file, one) for file, one in others if one.subject == first.subject]
    if not others:
        return first
    every = [first, *(one for _, one in others)]
    names = tuple(file.name for file, _ in others)
    whole = tuple(map(_together, zip(*(one.trainings for one in every), strict=False)))
    return dataclasses.replace(
        first,
        others=names,
        checkup=_asked(first, every),
        trainings=(*whole, *first.trainings[len(whole) :]),
    )


def _together(parts: tuple[Training, ...]) -> Training:
    """The first one; of a sharded training, with the norm of all parts of the gradient."""
    first = parts[0]
    if first.parallel != "FSDP" or any(not np.array_equal(p.steps, first.steps) for p in parts):
        return first
    norms = {
        name: np.sqrt(sum(getattr(part, name) ** 2 for part in parts))
        for name in ("gradient_norm", "peak")
    }
    return dataclasses.replace(first, **norms)


def _asked(first: Watched, every: list[Watched]) -> Checkup | None:
    """The checkup of the first process, with the rules on several asked anew."""
    exam = first.checkup
    if exam is None:
        return None
    asked = tuple(rule for rule in RULES if rule.code in CODES)
    exams = []
    for together in zip(*(one.trainings for one in every), strict=False):
        taken = dataclasses.replace(exam.readings, ranks=compared(together))
        exams.append(judged(taken, rules=asked))
    worst = next((e for e in exams if e.findings), exams[0] if exams else None)
    if worst is None:
        return exam
    kept = [f for f in exam.findings if f.code not in CODES]
    outcomes = [o for o in exam.outcomes if o.code not in CODES]
    return dataclasses.replace(
        exam,
        readings=worst.readings,
        findings=rank([*kept, *worst.findings]),
        outcomes=tuple(sorted([*outcomes, *worst.outcomes], key=lambda o: o.code)),
    )


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

"""What a study and its verdicts are called, in a page, a table and the terminal."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from sounding.studies.claim import SCALES, Study
from sounding.verdict import Verdict
from sounding.view.numbers import count, number, together
from sounding.view.wording import DECADES, MARKS

NEVER = "not run"
TITLE = "The book of verdicts"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One claim of the book: its results by scale; at least one."""

    name: str
    scales: dict[str, Study]

    @property
    def any(self) -> Study:
        """The quick result, or the full one where there is no other."""
        return next(self.scales[scale] for scale in SCALES if scale in self.scales)


def entries(studies: Iterable[Study]) -> dict[str, list[Entry]]:
    """Topic by topic, claim by claim, in the order given; of a scale the last result counts."""
    by_name: dict[str, dict[str, Study]] = {}
    for study in studies:
        by_name.setdefault(study.name, {})[study.scale] = study
    topics: dict[str, list[Entry]] = {}
    for name, scales in by_name.items():
        entry = Entry(name, scales)
        topics.setdefault(entry.any.topic, []).append(entry)
    return topics


def counts(studies: Iterable[Study]) -> str:
    """'41 supported, 2 refuted, 3 inconclusive'."""
    found = [study.outcome for study in studies]
    return ", ".join(f"{found.count(o)} {o}" for o in MARKS if o in found)


def book_said(topics: dict[str, list[Entry]]) -> str:
    """How many claims there are, and how they came out at each scale."""
    every = [entry for found in topics.values() for entry in found]
    said = [f"{count(len(every), 'claim')}."]
    for scale in SCALES:
        run = [entry.scales[scale] for entry in every if scale in entry.scales]
        if run:
            said.append(f"At the {scale} scale: {counts(run)}.")
    return " ".join(said)


def effect(verdict: Verdict) -> str:
    """'0.87 [0.84, 0.90] accuracy'; empty where nothing was measured."""
    if not math.isfinite(verdict.effect):
        return ""
    value, *ends = together([verdict.effect, *verdict.interval])
    known = all(math.isfinite(end) for end in verdict.interval)
    unit = f"decades of {_base(verdict)}" if verdict.unit.startswith(DECADES) else verdict.unit
    said = f"{value} [{', '.join(ends)}]" if known else value
    return f"{said} {unit}".strip().replace("-", "−")


def _base(verdict: Verdict) -> str:
    return verdict.unit.removeprefix(DECADES).removeprefix("of ")


def is_paired(verdict: Verdict) -> bool:
    """Whether there are two arms to draw; a bound that is the same for every seed is none."""
    arms = min(len(verdict.before), len(verdict.after))
    return arms > 0 and float(np.ptp(verdict.before)) > 0


def bound(verdict: Verdict) -> str:
    """The one number that every run was held against; empty where there is none."""
    if not len(verdict.before) or is_paired(verdict):
        return ""
    return number(float(verdict.before[0]))


def repeat(study: Study) -> str:
    """The command that makes this result again."""
    scale = "" if study.scale == "quick" else f" --scale {study.scale}"
    return f"sounding study run {study.name}{scale}"


def spent(study: Study) -> str:
    """How long the runs behind a result took."""
    if study.outcome == "not tested":
        return ""
    if study.seconds < 90:
        return f"{study.seconds:.0f} s"
    return f"{study.seconds / 60:.0f} min"

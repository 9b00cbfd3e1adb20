"""What a study is: a claim written before any run, and what is returned when it was judged."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sounding.result import Result
from sounding.studies.chart import Chart
from sounding.verdict import Verdict, untested

if TYPE_CHECKING:
    from sounding.studies.lab import Lab

SCALES = ("quick", "full")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Study(Result):
    """A judged claim, with the figures behind its verdict."""

    name: str  # 'he-2015-depth'
    topic: str  # 'initialisation'
    claim: str  # the statement
    source: str  # paper, section
    criterion: str  # written before the run
    scale: str  # 'quick' or 'full'
    verdicts: tuple[Verdict, ...]  # the first one is the study's; the others are its parts
    charts: tuple[Chart, ...]
    how: str  # what is measured, on what
    depends: str  # where the claim stops to hold, and what folklore has wrong
    changed: str  # what of the design was changed after a first look at results
    seconds: float  # of this run; runs that were in the store took none

    @property
    def outcome(self) -> str:
        """The claim's own verdict in one word."""
        return self.verdicts[0].outcome if self.verdicts else "not tested"

    def __str__(self) -> str:
        return f"{self.name} ({self.scale}): {self.outcome}, in {self.seconds:.0f} s; {self.claim}"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Studies(Result):
    """Many judged claims, and those that could not be judged because a run failed."""

    studies: tuple[Study, ...]
    failures: dict[str, str]  # what went wrong, by the study's name

    def __str__(self) -> str:
        found = [study.outcome for study in self.studies]
        parts = [f"{found.count(outcome)} {outcome}" for outcome in dict.fromkeys(found)]
        failed = [f"{len(self.failures)} failed"] if self.failures else []
        return ", ".join([*parts, *failed]) or "no studies"


Measured = tuple[Sequence[Verdict], Sequence[Chart]]  # the claim's own verdict comes first


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """What a study puts to the test, written before any run, and how each scale measures it."""

    name: str  # author, year, topic; or topic alone where no one paper claims it
    topic: str  # a heading of the book
    claim: str  # a sentence that could be false
    source: str  # authors, title, venue, section
    link: str = ""  # to the paper
    criterion: str  # of the quick scale
    quick: Callable[[Lab], Measured]  # two cores, under two minutes
    full: Callable[..., Measured]  # the published size; `not_tested` where that cannot be had here
    smoke: Mapping[str, Any] | None = None  # sizes at which `full` ends on a CPU within minutes
    full_criterion: str = ""  # where it differs
    how: str  # what is measured, on what
    depends: str = ""  # where the claim stops to hold, and what folklore has wrong
    changed: str = ""  # what of the design was changed after a first look at results

    def criterion_at(self, scale: str) -> str:
        """The rule of that scale."""
        return self.full_criterion if scale == "full" and self.full_criterion else self.criterion


def not_tested(claim: str, criterion: str, reason: str, unit: str = "") -> Measured:
    """What a scale returns that lacks data or hardware; `reason` is a sentence."""
    return (untested(claim, unit=unit, criterion=criterion, note=reason),), ()

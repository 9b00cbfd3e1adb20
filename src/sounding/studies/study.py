"""A claim that could be false, how it is measured, and what came out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from sounding.result import Profile, Result
from sounding.train import Progress
from sounding.verdict import Verdict


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Study(Result):
    """A judged claim, with the curves behind its verdict."""

    name: str  # 'he-2015-depth'
    claim: str  # the statement
    source: str  # paper, section
    criterion: str  # written before the run
    scale: str  # 'quick' or 'full'
    verdicts: tuple[Verdict, ...]  # the first one is the study's; the others are its parts
    profiles: tuple[Profile, ...]  # measured beside predicted, for the figure
    seconds: float

    def __str__(self) -> str:
        outcome = self.verdicts[0].outcome if self.verdicts else "not tested"
        return f"{self.name} ({self.scale}): {outcome}, in {self.seconds:.0f} s; {self.claim}"


Measured = tuple[tuple[Verdict, ...], tuple[Profile, ...]]  # the claim's own verdict comes first


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """What a study puts to the test, written before any run, and how each scale measures it."""

    name: str
    claim: str
    source: str
    criterion: str
    quick: Callable[[Progress], Measured]  # two cores, under two minutes
    full: Callable[[Progress], Measured]  # the published size; 'not tested' where it cannot be

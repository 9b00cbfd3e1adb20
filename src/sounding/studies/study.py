"""A claim that could be false, how it is measured, and what came out."""

from __future__ import annotations

import dataclasses

from sounding.result import Profile, Result
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

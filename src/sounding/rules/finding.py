"""What a rule says: one thing that it found, or why it found nothing."""

from __future__ import annotations

import dataclasses

from sounding.remedies.remedy import Remedy
from sounding.result import Result


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Finding(Result):
    """One fault, with the numbers that show it."""

    code: str  # 'SD303', never changes
    name: str  # 'initialisation-mismatch'
    severity: str  # 'problem': it stops the training; 'caution': it may
    message: str  # one sentence with the number in it
    layers: tuple[str, ...]  # names of the calls or parameters concerned
    source: str  # 'train.py:18' of the first of them, '' where Python cannot tell
    measured: dict[str, float]
    expected: dict[str, float]
    confidence: str  # 'exact', 'measured' (an interval decides) or 'theory'
    remedies: tuple[Remedy, ...] = ()
    because: str = ""  # code of the finding that causes this one, '' for a cause
    since: int = 0  # steps after which it was first seen, where it was looked for before


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Outcome(Result):
    """What one rule came to."""

    code: str
    name: str
    # 'problem', 'caution', 'passed', 'not applicable', 'untested', 'skipped' or 'ignored'
    outcome: str
    reason: str = ""
    test: str = ""  # the intervention that would decide, of an untested one

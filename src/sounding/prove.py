"""Prove a remedy with paired seeds; repair a case by stacking the remedies that are proven."""

from __future__ import annotations

import dataclasses

from sounding.checkup import Checkup
from sounding.remedies.remedy import Remedy
from sounding.result import Result, Series
from sounding.verdict import Verdict


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Proof(Result):
    """One remedy, judged: the verdict and the loss curves of both arms behind it."""

    remedy: Remedy
    verdict: Verdict  # on the training loss
    metrics: tuple[Verdict, ...]  # on whatever else was recorded, 'accuracy' first
    before: tuple[Series, ...]  # training loss of the untreated arm, one a seed
    after: tuple[Series, ...]  # of the treated arm
    code: str  # the remedy as code to paste


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Repair(Result):
    """What was tried on a sick case, what was proven, and the code that repairs it."""

    checkup: Checkup  # of the untreated case
    proofs: tuple[Proof, ...]  # in the order tried
    kept: tuple[Remedy, ...]  # the proven ones, stacked
    after: Checkup | None  # of the treated case, None where nothing was proven
    code: str  # everything kept, as code to paste
    subject: str = ""
    seconds: float = 0.0

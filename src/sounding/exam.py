"""What an examination ends in: every rule asked, the findings ranked."""

from __future__ import annotations

import dataclasses
import time

from sounding.measure.readings import Readings
from sounding.result import Result
from sounding.rules import RULES, Finding, Outcome, Rule, run
from sounding.rules.ranking import rank


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Checkup(Result):
    """Readings, findings (most likely cause first) and the outcome of every rule."""

    findings: tuple[Finding, ...]
    outcomes: tuple[Outcome, ...]
    readings: Readings
    seconds: float  # what the examination took
    subject: str = ""  # the script or case examined

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that stop the training."""
        return tuple(f for f in self.findings if f.severity == "problem")


def judged(
    taken: Readings,
    *,
    rules: tuple[Rule, ...] = RULES,
    ignore: tuple[str, ...] = (),
    subject: str = "",
    start: float | None = None,
) -> Checkup:
    """A Checkup from readings that were taken before: every rule asked, the findings ranked."""
    start = time.perf_counter() if start is None else start
    unknown = set(ignore) - {rule.code for rule in rules}
    if unknown:
        known = ", ".join(rule.code for rule in rules)
        raise ValueError(f"no rule is called {', '.join(sorted(unknown))}; there are {known}")
    asked = tuple(rule for rule in rules if rule.code not in ignore)
    findings, outcomes = run(asked, taken)
    left = [Outcome(code=r.code, name=r.name, outcome="ignored") for r in rules if r.code in ignore]
    return Checkup(
        findings=rank(findings),
        outcomes=tuple(sorted((*outcomes, *left), key=lambda o: o.code)),
        readings=taken,
        seconds=time.perf_counter() - start,
        subject=subject,
    )

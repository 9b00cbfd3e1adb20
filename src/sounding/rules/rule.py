"""A rule: a permanent code, a name, and a pure function from readings to findings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from sounding.measure.readings import Readings
from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.finding import Finding, Outcome

Check = Callable[[Readings], Finding | str | None]


@dataclasses.dataclass(frozen=True)
class Rule:
    """A check with a permanent code.

    `check` returns a Finding; or a sentence, where it suspected something that the readings then
    refuted; or None. It raises :class:`sounding.NotApplicable` where it has no meaning, and
    ``readings.test(name)`` raises :class:`Untested` for it where an intervention decides that has
    not been made: the procedure makes it, where it can, and asks again.

    A rule that comes `last` asks how a run could go on: nothing is tested for it where another one
    has found a problem.
    """

    code: str
    name: str
    check: Check
    last: bool = False


def run(rules: tuple[Rule, ...], readings: Readings) -> tuple[list[Finding], list[Outcome]]:
    """Ask every rule; a rule that itself fails is a row of the report, not a crash."""
    findings, outcomes = [], []
    for rule in rules:
        try:
            found = rule.check(readings)
        except Untested as reason:
            outcomes.append(_outcome(rule, "untested", str(reason), reason.test))
            continue
        except NotApplicable as reason:
            outcomes.append(_outcome(rule, "not applicable", str(reason)))
            continue
        except Exception as error:  # a user's rule may be wrong; the others still count
            reason = f"the rule itself failed: {type(error).__name__}: {error}"
            outcomes.append(_outcome(rule, "skipped", reason))
            continue
        if isinstance(found, Finding):
            findings.append(found)
            outcomes.append(_outcome(rule, found.severity))
        else:
            outcomes.append(_outcome(rule, "passed", found or ""))
    return findings, outcomes


def _outcome(rule: Rule, outcome: str, reason: str = "", test: str = "") -> Outcome:
    return Outcome(code=rule.code, name=rule.name, outcome=outcome, reason=reason, test=test)

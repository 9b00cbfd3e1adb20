"""From a watched training to its checkup: every reading judged, suspicions decided by tests."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from sounding.exam import Checkup, judged
from sounding.measure.held_out import HeldOut
from sounding.measure.intervene import Interventions
from sounding.measure.loop import Evaluations
from sounding.measure.readings import Readings
from sounding.measure.test import Test
from sounding.result import Series
from sounding.rules import RULES, Finding, Outcome, Rule
from sounding.rules.ranking import LAST, STATE, rank
from sounding.rules.relapse import lost
from sounding.train import Progress, silent
from sounding.watch.observer import Observer
from sounding.watch.record import Evaluated, Record
from sounding.watch.relapse import relapse
from sounding.watch.replay import provenance

ROUNDS = 12  # a test may raise a suspicion that asks for another
SECONDS = 60.0  # that all tests of one training may take, after which no further one is begun
SEEN = 0.25  # of a run: if no pass was read after that, what came on the way is no news


def diagnose(
    observer: Observer,
    subject: str,
    *,
    rules: tuple[Rule, ...] = RULES,
    ignore: tuple[str, ...] = (),
    tests: bool = True,
    progress: Progress = silent,
) -> Checkup | None:
    """The checkup of what `observer` saw: of its trainings the first one with a problem.

    Without a problem the first one with a finding, else the last; None where no pass was examined.
    With `tests` the suspicions are decided by interventions; they run on the model as it is now,
    and give everything back.
    """
    exams = []
    observer.unstepped()
    records = list(observer.records.values())
    for at, record in enumerate(records):
        record.facts.clipped_late = observer.clipped_late
        record.facts.overwritten = _overwritten(record, records[at + 1 :])
        _lend(record, observer)
        seen = observer.evaluated.get(id(record.model), Evaluated())
        if record.readings:
            look = functools.partial(judged, rules=rules, ignore=ignore, subject=subject)
            held_out = record.held_out.result(put_back=record.put_back)
            last = {rule.code for rule in rules if rule.last}
            exams.append(_examined(record, seen, held_out, look, last, tests, progress))
    for wanted in (lambda e: e.problems, lambda e: e.findings):
        if found := next((exam for exam in exams if wanted(exam)), None):
            return found
    return exams[-1] if exams else None


def _lend(record: Record, observer: Observer) -> None:
    """One backward that serves several optimisers is read once; the others get that reading."""
    if not record.readings and record.count:
        others = [r for r in observer.records.values() if r.model is record.model and r.readings]
        for other in others[:1]:
            record.readings, record.examined = [*other.readings], [*other.examined]


def _overwritten(record: Record, later: list[Record]) -> tuple[str, ...]:
    """The batch norms trained here that later trainings hold frozen, and in training mode."""
    moved: set[nn.Module] = set()
    for other in later:
        modules = dict(other.model.named_modules())
        calls = [call for reading in other.readings for call in reading.calls]
        norms = [c for c in calls if c.operation == "batch_norm" and c.arguments.get("training")]
        frozen = [c for c in norms if f"{c.module}.weight" in other.facts.frozen]
        tracked = [c.module for c in frozen if c.arguments.get("tracked")]
        moved |= {modules[name] for name in tracked if name in modules}
    own = [name for name, module in record.model.named_modules() if module in moved]
    return tuple(name for name in own if f"{name}.weight" not in record.facts.frozen)


def _examined(
    record: Record,
    seen: Evaluated,
    held_out: tuple[HeldOut, ...],
    look: Callable[[Readings], Checkup],
    last: set[str],
    tests: bool,
    progress: Progress,
) -> Checkup:
    start = time.perf_counter()
    broken = _broken(record) if tests else ()
    evaluations = seen.result(record.steps)
    taken = _completed(record, evaluations, held_out, broken)
    made = _relapsed(record) if tests else {}
    exams: list[Checkup] = []
    scene = dataclasses.replace(record.scene(), evaluated=evaluations.each) if tests else None
    interventions = None if scene is None else Interventions(scene)
    for _ in range(ROUNDS):
        exams = [look(dataclasses.replace(t, tests=made)) for t in taken]
        asked = _asked(exams, last, made)
        if interventions is None or not asked:
            break
        for at, name in enumerate(asked):
            progress(f"testing: {name}", at, len(asked))
            if time.perf_counter() - start > SECONDS:
                reason = f"the tests before it took {SECONDS:.0f} s"
                made[name] = Test(name=name, values={}, failed=reason)
            else:
                made[name] = _made(interventions, name)
    return _merged(exams, time.perf_counter() - start)


def _asked(exams: list[Checkup], last: set[str], made: dict[str, Test]) -> list[str]:
    """The tests still to be made; for the rules that come last, where they alone have something."""
    wanted = [o for e in exams for o in e.outcomes if o.test and o.test not in made]
    first = [o for o in wanted if o.code not in last]
    if not first and any(f.code != LAST for e in exams for f in e.problems):
        return []
    return list(dict.fromkeys(o.test for o in first or wanted))


def _made(interventions: Interventions, name: str) -> Test:
    """An intervention, which Ctrl-C ends without ending the diagnosis."""
    try:
        return interventions.make(name)
    except KeyboardInterrupt:
        return Test(name=name, values={}, failed="interrupted")


def _broken(record: Record) -> tuple[Readings, ...]:
    """The step in which a number first was none, made again and read, where that can be done."""
    found = None if record.ring is None else _replayed(provenance, record)
    return () if found is None else (found,)


def _relapsed(record: Record) -> dict[str, Test]:
    """Where a run lost what it had learnt, if that is among the last steps."""
    if record.ring is None or not lost(record.course().loss):
        return {}
    test = _replayed(relapse, record)
    return {} if test is None else {test.name: test}


def _replayed(look: Callable[..., Any], record: Record) -> Any:
    """What the last steps show as they are made again; None where they cannot be."""
    try:
        return look(record.ring, record.scene())
    except (ValueError, RuntimeError, TypeError, KeyboardInterrupt):
        return None  # a step that needs more than its model, such as a closure


def _completed(
    record: Record,
    evaluations: Evaluations,
    held_out: tuple[HeldOut, ...],
    last: tuple[Readings, ...],
) -> list[Readings]:
    """The record's readings, and the `last`, with what is known at the end."""
    course = record.course()
    loop = record.facts.loop(record.model, record.optimizer, evaluations)
    loop = dataclasses.replace(loop, several=record.several)
    steps = np.arange(course.steps)
    history = Series(quantity="training loss", unit="", steps=steps, values=course.loss)
    return [
        dataclasses.replace(reading, course=course, loop=loop, history=history, held_out=held_out)
        for reading in (*record.readings, *last)
    ]


def _merged(exams: list[Checkup], seconds: float) -> Checkup:
    """One checkup: every finding once, from the first reading in which it is worst.

    What a pass shows on the way, neither as the training began nor at its end, has passed; of what
    came on the way and was not looked for again in most of the run nobody knows.
    """
    found: dict[str, Finding] = {}
    since = _since(exams)
    gone = {code for code in STATE if _decided(exams, code) == ("passed", "passed")}
    if _looked_until(exams) < SEEN:
        gone |= set(since)
    outcomes: dict[str, Outcome] = {}
    for exam in exams:
        for finding in exam.findings:
            if finding.code in gone:
                continue
            known = found.get(finding.code)
            if known is None or (known.severity, finding.severity) == ("caution", "problem"):
                step = since.get(finding.code, 0)
                late = f"; not so as the training began, first seen after {step} steps"
                message = finding.message + late if step else finding.message
                found[finding.code] = dataclasses.replace(
                    finding, message=message, because="", since=step
                )
        for outcome in exam.outcomes:
            if outcome.code in gone and outcome.outcome != "passed":
                continue
            known = outcomes.get(outcome.code)
            if known is None or _weight(outcome) > _weight(known):
                outcomes[outcome.code] = outcome
    main = next((e for e in exams if e.problems), None)
    main = main or next((e for e in exams if e.findings), exams[-1])
    return dataclasses.replace(
        main,
        findings=rank(list(found.values())),
        outcomes=tuple(sorted(outcomes.values(), key=lambda o: o.code)),
        seconds=seconds,
    )


def _since(exams: list[Checkup]) -> dict[str, int]:
    """Of what one pass shows, and the first one did not: after how many steps it was there."""
    said = {}
    for code in STATE:
        steps = [e.readings.step for e in exams if any(f.code == code for f in e.findings)]
        at_first = any(o.code == code and o.outcome == "passed" for o in exams[0].outcomes)
        if steps and at_first and min(steps) > exams[0].readings.step:
            said[code] = min(steps)
    return said


def _looked_until(exams: list[Checkup]) -> float:
    """The share of the run that had been made when a pass was last read."""
    last = exams[-1].readings
    return 1.0 if last.course is None else last.step / max(last.course.steps, 1)


def _decided(exams: list[Checkup], code: str) -> tuple[str, str]:
    """What the first and the last reading say of it, of those that can tell."""
    said = [o.outcome for e in exams for o in e.outcomes if o.code == code]
    said = [outcome for outcome in said if outcome in ("passed", "caution", "problem")]
    return (said[0], said[-1]) if said else ("", "")


def _weight(outcome: Outcome) -> int:
    """The outcome that speaks for several readings: the worst, and what was refuted by a reason."""
    order = ("not applicable", "ignored", "skipped", "passed", "untested", "caution", "problem")
    return 2 * order.index(outcome.outcome) + bool(outcome.reason)

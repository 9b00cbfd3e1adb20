"""What counts as harm: how little a run has learnt, or how much better it is with one change.

The yardstick is the best constant prediction. What a net lowers its loss by below that, it has
learnt from the inputs; what a perfect prediction leaves (of grey targets, `floor`), nobody can.

HALF. A net that explains less than half of what the best constant leaves has more to learn than it
has learnt; the same half divides learning from not learning in `depth.learned`. And a cause that
accounts for more than half of what is left is the main cause, whatever the others are.

QUARTER. Half of that half. A fork must win a quarter of the constant's loss, so no run that ended
below a quarter of it can be accused by a fork: such a net has learnt, and that something else would
have made it faster is no fault.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from sounding.measure.course import Course
from sounding.measure.readings import Readings
from sounding.measure.test import Test, Untested
from sounding.result import NotApplicable

HALF, QUARTER = 0.5, 0.25
TWENTIETH = 0.05  # of the best constant's loss: a fifth of the QUARTER that there is to explain
ERRORS = 3.0  # standard errors: one in 700 by chance, and a run has few tests

T = TypeVar("T")


class Relief(NamedTuple):
    """What a fork came to."""

    harmful: bool  # the run as it is does clearly worse
    said: str  # 'the loss ends at 0.1 instead of 2.3 in 200 steps'
    measured: dict[str, float]
    expected: dict[str, float]


def watched(readings: Readings) -> Course:
    """The course of the training.

    Raises:
        NotApplicable: If none was watched, or its optimiser never stepped.
    """
    if readings.course is None:
        raise NotApplicable("no training was watched; `sounding run` watches one")
    if not readings.course.steps:
        raise NotApplicable("the optimiser never stepped")
    return readings.course


def explained(constant: Test) -> float:
    """The share of the best constant's loss that the net has done away with, of the test.

    Minus infinity where the training diverged; nan where the loss has no floor at 0.
    """
    level, now = constant["constant_loss"], constant["now_loss"]
    if not math.isfinite(now):
        return -math.inf
    floor = constant.values.get("floor", 0.0)
    return (level - now) / (level - floor) if level > floor and now >= 0 else math.nan


def above(constant: Test) -> bool:
    """Whether the net ended clearly above the best constant."""
    error = math.hypot(constant["constant_error"], constant["now_error"])
    return constant["now_loss"] - constant["constant_loss"] > ERRORS * error


def relief(readings: Readings, name: str) -> Relief:
    """Whether the fork `name` ends clearly lower, which the run as it is should have reached.

    It must win QUARTER of what a constant leaves; HALF of what the run as it is has left, or as
    much again as that has learnt; and more than its own error (or at every single step: a loss that
    falls from a peak has an error as large as itself). And it must come out below the constant. A
    run that is longer than its fork, and got over it in the end, is judged by that end. Below 0,
    where a loss may fall without end, the changed run itself is the floor.

    Raises:
        Untested: If the fork, or the best constant, is still to be made.
    """
    constant = _constant(readings)
    fork = readings.test(name)
    level, end = constant.get("constant_loss", fork["start"]), constant.get("now_loss", math.nan)
    changed, as_is = fork["changed"], fork["as_is"]
    reached = min((loss for loss in (as_is, end) if math.isfinite(loss)), default=math.nan)
    if not math.isfinite(reached):  # what diverges has learnt nothing, and falling at all beats it
        reached = level = max(level, fork["start"])
    gain, floor = reached - changed, min(constant.get("floor", 0.0), changed)
    main = min(HALF * (reached - floor), max(level - reached, 0.0)) * math.isfinite(as_is)
    said = f"the loss ends at {changed:.3g} instead of {as_is:.3g} in {fork['steps']:.0f} steps"
    harmful = (
        math.isfinite(changed)
        and changed < level
        and (fork["difference"] > ERRORS * fork["error"] or fork.values.get("wins") == 1)
        and gain > max(QUARTER * (level - floor), main)
    )
    expected = {"loss": changed}
    return Relief(harmful, said, {"loss": as_is, "best_constant": level}, expected)


def where_made(readings: Readings, ask: Callable[[], T]) -> T | None:
    """What `ask` comes to; None where a test that it needs was tried and cannot be made.

    Raises:
        Untested: If that test is still to be made.
    """
    try:
        return ask()
    except Untested as reason:
        if reason.test not in readings.tests:
            raise
        return None


def _constant(readings: Readings) -> dict[str, float]:
    """The values of the test 'constant'; none where it cannot be made."""
    return where_made(readings, lambda: readings.test("constant").values) or {}

"""SD201 through time: a recurrence whose gradient does not reach what there is to learn."""

from __future__ import annotations

import collections
import math

from sounding.capture.operations import RECURRENT
from sounding.measure.readings import Call, Readings
from sounding.measure.test import Test
from sounding.rules.depth import PROBLEM
from sounding.rules.finding import Finding
from sounding.rules.harm import ERRORS, HALF, QUARTER, explained, where_made
from sounding.rules.learning_rate import LOOK
from sounding.rules.loss_input import MIXES

AGAIN = 8  # calls of one layer in a pass: a recurrence written as a loop


def through_time(readings: Readings) -> Finding | str | None:
    """The gradient vanishes over the places of a sequence, before those that tell the target.

    Three things must come together: the run has learnt less than a quarter; at its start the
    derivative for the first quarter of the places is smaller by e^6 or more than the largest; and
    a simple regression on the places that it does not reach explains a quarter of the targets'
    variance, on the others less than half as much. Where the samples of a batch are mixed, the
    recurrence runs along these, and not along time: SD418 says so.
    """
    cells = _cells(readings)
    test = _test(readings) if cells else None
    if test is None:
        return None
    far, near, gain = test["far"], test["near"], test["log_gain"]
    if not gain < -PROBLEM or not far > QUARTER or not near < HALF * far:
        return None
    call, places = cells[0], test["places"]
    mixing = where_made(readings, lambda: readings.test("mixing"))
    if mixing is not None and mixing["eval"] > MIXES:
        return f"the gradient reaches no other place of {call.name}, but the samples are mixed"
    return Finding(
        code="SD201",
        name="vanishing-gradient",
        severity="problem",
        message=f"through the {places:.0f} time steps of {call.name} ({call.operation}) the "
        f"gradient shrinks by 10^{gain / math.log(10):+.1f}: {test['unreached']:.0f} of them get "
        f"none, and from these alone a simple regression explains {far:.0%} of the targets' "
        f"variance, from the others {near:.0%}; take gates (LSTM, GRU), start the recurrent "
        "weights orthogonal, or shorten the way (attention, pooling over time)",
        layers=(call.name,),
        source=call.source,
        measured={"log_gain": gain, "explained_by_unreached": far},
        expected={"log_gain": 0.0, "explained_by_unreached": 0.0},
        confidence="measured",
    )


def _cells(readings: Readings) -> list[Call]:
    """Recurrent layers of torch's, or layers that are called again and again in one pass."""
    times = collections.Counter(call.weight for call in readings.calls if call.weight)
    return [
        call
        for call in readings.calls
        if call.operation in RECURRENT or times[call.weight] >= AGAIN
    ]


def _test(readings: Readings) -> Test | None:
    """The test 'memory', of a run that has learnt little where there is something to learn."""
    course, several = readings.course, readings.loop is not None and readings.loop.several
    if course is None or course.steps < LOOK or several:
        return None
    return where_made(readings, lambda: _asked(readings))


def _asked(readings: Readings) -> Test | None:
    if not explained(readings.test("constant")) < QUARTER:
        return None
    simple = readings.test("baseline")
    there = simple["explained"] - ERRORS * simple["error"] > QUARTER
    return readings.test("memory") if there else None

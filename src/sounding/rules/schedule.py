"""SD503: a schedule that ends the training while there is still much to learn."""

from __future__ import annotations

import numpy as np

from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import QUARTER, explained, relief, watched

SPENT = 0.01  # of all the learning rate that was given, what the second half still gives


def schedule_ended_early(readings: Readings) -> Finding | str | None:
    """SD503: the second half of the steps was taken at next to no rate; with the first it learns.

    What a run can move is the sum of its rates. The suspicion is a second half with less than a
    hundredth of that sum (a cosine to zero gives it 18 %, a linear one 25 %, a step down to a tenth
    9 %); it is decided by going on from the end at the first rate.
    """
    course = watched(readings)
    lr = course.lr[np.isfinite(course.lr)]
    if len(lr) < 16 or not lr.sum() > 0:
        raise NotApplicable("fewer than 16 steps show no schedule")
    late = float(lr[len(lr) // 2 :].sum() / lr.sum())
    if late > SPENT:
        return None
    if not explained(readings.test("constant")) < 1 - QUARTER:
        return "the run had learnt most of what there is when its rate ended"
    found = relief(readings, "steady")
    if not found.harmful:
        return "going on at the first rate does not end clearly lower"
    spent = int(np.searchsorted(np.cumsum(lr) / lr.sum(), 0.99)) + 1
    return Finding(
        code="SD503",
        name="schedule-ended-early",
        severity="problem",
        message=(
            f"the schedule takes the learning rate from {lr[0]:.3g} to {lr[-1]:.3g}: 99 % of all "
            f"movement is over after step {spent} of {len(lr)}; going on at the first rate "
            f"{found.said}; step the scheduler once an epoch, not once a batch, or make it longer"
        ),
        layers=(),
        source="",
        measured=found.measured | {"share_of_second_half": late},
        expected=found.expected | {"share_of_second_half": 0.18},
        confidence="measured",
        remedies=(Remedy(name="hold_lr", touches="recipe"),),
    )

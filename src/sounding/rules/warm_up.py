"""SD509: an adaptive optimiser that begins at its full rate, and never recovers from it."""

from __future__ import annotations

import numpy as np

from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, explained, relief, watched

PART = 3  # the test 'warmed' lets the rate rise over the first third


def warm_up_missing(readings: Readings) -> Finding | str | None:
    """SD509: the same rate, reached step by step, ends clearly lower.

    In its first steps the divisor of Adam rests on a handful of gradients, so that every weight
    moves by about the full rate, in a direction that is mostly noise (Liu et al. 2020). The fork
    raises the rate linearly over its first third and goes on at the full one: where it ends clearly
    lower, the rate itself is not too high, only its beginning.
    """
    course = watched(readings)
    if readings.optimiser is None or not readings.optimiser.adaptive:
        raise NotApplicable("the optimiser does not divide by the gradient's size")
    lr = course.lr[np.isfinite(course.lr)]
    if not len(lr) or lr[0] < HALF * lr.max():
        return None  # it is warmed up
    if not explained(readings.test("constant")) < HALF:
        return None
    found = relief(readings, "warmed")
    if not found.harmful:
        return "the rate raised over the first third does not end clearly lower"
    steps = max(1, int(readings.test("warmed")["steps"]) // PART)
    return Finding(
        code="SD509",
        name="warm-up-missing",
        severity="problem",
        message=(
            f"the first step is taken at the full learning rate {lr[0]:.3g}, which the net does "
            f"not recover from; raised to it over {steps} steps {found.said}; multiply the rate by "
            f"min(1, (step + 1) / {steps})"
        ),
        layers=(),
        source="",
        measured=found.measured | {"first_lr": float(lr[0])},
        expected=found.expected | {"first_lr": float(lr[0]) / steps},
        confidence="measured",
        remedies=(Remedy(name="warm_up", arguments={"steps": steps}, touches="recipe"),),
    )

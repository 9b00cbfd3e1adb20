"""SD501, SD502: the learning rate, judged by forks of the training with another one."""

from __future__ import annotations

import math

import numpy as np

from sounding.measure.course import Course
from sounding.measure.readings import Readings
from sounding.measure.test import Untested
from sounding.remedies.remedy import Remedy
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, QUARTER, Relief, explained, relief, watched

SLOWER = {"slower": 0.1, "much_slower": 0.01, "far_slower": 1e-4}
FASTER = {"faster": 10.0, "much_faster": 100.0}


def learning_rate_too_high(readings: Readings) -> Finding | str | None:
    """SD501: the run diverged, rose or learnt too little, and a lower rate ends clearly lower.

    The run is begun again from its first weights on its first batches with a tenth, a hundredth and
    a ten-thousandth of the rate, the mildest first; the first that ends clearly lower decides.
    """
    course = watched(readings)
    said = unsettled(course) or _unlearned(readings, HALF)
    if said is None:
        return None
    return _decided(readings, SLOWER, said) or "no lower learning rate ends clearly lower"


def learning_rate_too_low(readings: Readings) -> Finding | str | None:
    """SD502: the run has learnt less than a quarter, falls smoothly, and a higher rate learns."""
    course = watched(readings)
    if unsettled(course) is not None:
        return None
    said = _unlearned(readings, QUARTER)
    if said is None:
        return None
    return _decided(readings, FASTER, said) or "no higher learning rate ends clearly lower"


def unsettled(course: Course) -> str | None:
    """A sentence that says that the loss diverged or ended above its start; None if it did not.

    The end is compared with the first step's loss, beyond three standard errors of the end.
    """
    bad = np.flatnonzero(~np.isfinite(course.loss))
    if bad.size:
        return f"the loss is no number from step {bad[0]} on"
    last = course.loss[-max(3, course.steps // 10) :]
    if course.steps < 8:
        return None
    error = float(last.std(ddof=1)) / math.sqrt(len(last))
    if last.mean() - course.loss[0] > 3 * error:
        return f"the loss rose from {course.loss[0]:.3g} to {last.mean():.3g}"
    return None


def _unlearned(readings: Readings, share: float) -> str | None:
    """A sentence that says how little was learnt, where it is below `share`; else None."""
    try:
        constant = readings.test("constant")
    except Untested:
        if "constant" not in readings.tests:
            raise
        return None
    done = explained(constant)
    if math.isnan(done) or done >= share:
        return None
    now, level = constant["now_loss"], constant["constant_loss"]
    return f"the loss ends at {now:.3g}, where the best constant prediction has {level:.3g}"


def _decided(readings: Readings, forks: dict[str, float], said: str) -> Finding | None:
    for name, factor in forks.items():
        try:
            found = relief(readings, name)
        except Untested:
            if name not in readings.tests:
                raise
            return None
        if found.harmful:
            return _finding(readings, found, factor, said)
    return None


def _finding(readings: Readings, found: Relief, factor: float, said: str) -> Finding:
    high = factor < 1
    course = watched(readings)
    lr = float(course.lr[0])
    change = f"{1 / factor:g} times lower" if high else f"{factor:g} times higher"
    message = (
        f"the learning rate {lr:.3g} is too {'high' if high else 'low'}: {said}; begun again with "
        f"a rate {change} {found.said}; take lr={lr * factor:.3g}"
    )
    return Finding(
        code="SD501" if high else "SD502",
        name="learning-rate-too-high" if high else "learning-rate-too-low",
        severity="problem",
        message=message,
        layers=(),
        source="",
        measured=found.measured | {"lr": lr},
        expected=found.expected | {"lr": lr * factor},
        confidence="measured",
        remedies=(
            Remedy(name="scale_lr", arguments={"factor": factor}, touches="recipe"),
            *([Remedy(name="warm_up", arguments={"steps": 100}, touches="recipe")] if high else []),
        ),
    )

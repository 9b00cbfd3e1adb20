"""SD501, SD502: the learning rate, judged by forks of the training with another one."""

from __future__ import annotations

import functools
import math

import numpy as np

from sounding.measure.course import Course
from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import (
    ERRORS,
    HALF,
    QUARTER,
    Relief,
    explained,
    relief,
    watched,
    where_made,
)

SLOWER = {"slower": 0.1, "much_slower": 0.01, "far_slower": 1e-4}
FASTER = {"faster": 10.0, "much_faster": 100.0, "far_faster": 1e4}
APART = 10.0  # the factor between the rates of groups that asks for a fork
LOOK = 100  # steps below which a run is a look at the beginning of a training


def learning_rate_too_high(readings: Readings) -> Finding | str | None:
    """SD501: the run diverged, rose or learnt too little, and a lower rate ends clearly lower.

    The run is begun again from its first weights on its first batches with a tenth, a hundredth and
    a ten-thousandth of the rate, the mildest first; the first that ends clearly lower decides. How
    far lr x sharpness was beyond what a step can stand is said where it can be measured.
    """
    course = watched(readings)
    said = unsettled(course) or _unlearned(readings, HALF)
    if said is None:
        return None
    return _decided(readings, SLOWER, said) or "no lower learning rate ends clearly lower"


def learning_rate_too_low(readings: Readings) -> Finding | str | None:
    """SD502: the run has learnt less than a quarter, falls smoothly, and a higher rate learns.

    A hundred times the rate moves as far as a hundred times the steps would. Of fewer than 100
    steps that is less than 10,000, an ordinary training, of which this is then the beginning: no
    run as short as that is judged. Nor is one that has gone a quarter of the way from its own first
    loss to that of the fork, where the net began above the best constant. Forks at 10, 100 and
    10,000 times the rate, the mildest first, decide. A rate of 0 at every step is exact. Where
    groups have rates that are a factor of ten or more apart, the fork in which all have the highest
    one is asked first; layers of a pre-trained net are slow on purpose, and win nothing by it.
    """
    course = watched(readings)
    if course.steps and not np.nan_to_num(course.lr, nan=1.0).any():
        return _zero(course)
    if course.steps < LOOK:
        raise NotApplicable(f"{course.steps} steps are but the beginning of a training")
    if unsettled(course) is not None and _rose(readings):
        return None
    behind, said = _group_left_behind(readings), _unlearned(readings, QUARTER)
    if behind is not None or said is None:
        return behind
    found = _decided(readings, FASTER, said)
    if found is None:
        return "no higher learning rate ends clearly lower"
    constant = readings.test("constant")
    fallen = constant["start_loss"] - constant["now_loss"]
    if fallen >= QUARTER * (constant["start_loss"] - found.expected["loss"]):
        return f"the loss is on its way down, {fallen:.3g} since the start"
    return found


def _group_left_behind(readings: Readings) -> Finding | None:
    """A group whose rate is far below the others', where that one keeps the net from learning."""
    groups = () if readings.loop is None else readings.loop.groups
    rates = [group.settings.get("lr", math.nan) for group in groups]
    if len(rates) < 2 or not max(rates) >= APART * min(rates):
        return None
    if (said := _unlearned(readings, 1 - QUARTER)) is None:
        return None
    found = where_made(readings, lambda: relief(readings, "evened"))
    if found is None or not found.harmful:
        return None
    slow = groups[rates.index(min(rates))]
    return Finding(
        code="SD502",
        name="learning-rate-too-low",
        severity="problem",
        message=f"{said}; the group of {slow.parameters[0]} ({len(slow.parameters)} parameters) "
        f"has a rate of {min(rates):.3g}, another one {max(rates):.3g}; with that rate for all "
        f"{found.said}",
        layers=slow.parameters,
        source="",
        measured={**found.measured, "lr": min(rates)},
        expected={**found.expected, "lr": max(rates)},
        confidence="measured",
    )


def _rose(readings: Readings) -> bool:
    """Whether the loss on the same batches is higher than at the start, not only on other ones."""
    constant = readings.test("constant")
    error = math.hypot(constant["constant_error"], constant["now_error"])
    return not constant["now_loss"] - constant["start_loss"] <= ERRORS * error


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
    constant = where_made(readings, lambda: readings.test("constant"))
    done = math.nan if constant is None else explained(constant)
    if constant is None or math.isnan(done) or done >= share:
        return None
    now, level = constant["now_loss"], constant["constant_loss"]
    return f"the loss ends at {now:.3g}, where the best constant prediction has {level:.3g}"


def _decided(readings: Readings, forks: dict[str, float], said: str) -> Finding | None:
    for name, factor in forks.items():
        found = where_made(readings, functools.partial(relief, readings, name))
        if found is None:
            return None
        if found.harmful:
            return _finding(readings, found, factor, said)
    return None


def _overshoot(readings: Readings) -> float:
    """Learning rate x sharpness at the start over its stable limit, nan where it is not known."""
    test = where_made(readings, lambda: readings.test("stability"))
    return math.nan if test is None else test["start"]


def _zero(course: Course) -> Finding:
    return Finding(
        code="SD502",
        name="learning-rate-too-low",
        severity="problem",
        message=(
            f"the learning rate is 0 at all {course.steps} steps: the schedule has not begun; step "
            "it once a batch, or let its warm-up begin above 0"
        ),
        layers=(),
        source="",
        measured={"lr": 0.0},
        expected={},
        confidence="exact",
    )


def _finding(readings: Readings, found: Relief, factor: float, said: str) -> Finding:
    high = factor < 1
    course = watched(readings)
    lr = float(course.lr[0])
    change = f"{1 / factor:g} times lower" if high else f"{factor:g} times higher"
    ratio = _overshoot(readings) if high else math.nan
    sharp = f", and lr x sharpness began at {ratio:.3g} times its limit" if ratio > 1 else ""
    message = (
        f"the learning rate {lr:.3g} is too {'high' if high else 'low'}: {said}{sharp}; begun "
        f"again with a rate {change} {found.said}; take lr={lr * factor:.3g}"
    )
    return Finding(
        code="SD501" if high else "SD502",
        name="learning-rate-too-high" if high else "learning-rate-too-low",
        severity="problem",
        message=message,
        layers=(),
        source="",
        measured=found.measured | {"lr": lr} | ({"lr_x_sharpness": ratio} if ratio > 1 else {}),
        expected=found.expected | {"lr": lr * factor},
        confidence="measured",
        remedies=(
            Remedy(name="scale_lr", arguments={"factor": factor}, touches="recipe"),
            *([Remedy(name="warm_up", arguments={"steps": 100}, touches="recipe")] if high else []),
        ),
    )

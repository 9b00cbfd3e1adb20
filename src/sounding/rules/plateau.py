"""SD705, SD708: a run that stands still far above what it could reach from there."""

from __future__ import annotations

import math

import numpy as np

from sounding.measure.readings import Readings
from sounding.measure.test import Untested
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import ERRORS, QUARTER, Relief, explained, relief, watched
from sounding.rules.learning_rate import LOOK

PARTS = 10  # windows of the second half of a run, through whose means a line is drawn
TWENTIETH = 0.05  # of the best constant's loss: a fifth of the QUARTER that a fork must win


def plateau(readings: Readings) -> Finding | str | None:
    """SD705: the loss has stood still for half of the run, and with longer steps falls again.

    The training is gone on with at ten times its last rate, and after a move along the direction of
    most negative curvature; either must end clearly lower than going on as it was. A net that is
    at the floor of the noise, or has learnt all it can, does not.
    """
    said = _still(readings)
    if said is None:
        return None
    for name, how in (
        ("heated", "at ten times the rate"),
        ("escaped", "after a move along the most negative curvature"),
    ):
        found = _made(readings, name)
        if found is not None and found.harmful:
            return _stuck(readings, name, how, said, found)
    return f"{said}, but neither longer steps nor a move along negative curvature get it on"


def oscillation(readings: Readings) -> Finding | str | None:
    """SD708: the loss has stood still for half of the run, and with shorter steps falls again.

    Steps too long for where the run has come to jump to and fro across what they should go down
    along; the loss they end on is set by their length. At the edge of stability they do so in a few
    directions and the loss falls all the same, which is no fault: the run must stand still, and the
    training gone on with at a tenth of its last rate must end clearly lower.
    """
    said = _still(readings)
    if said is None:
        return None
    found = _made(readings, "cooled")
    if found is None or not found.harmful:
        return f"{said}, but shorter steps do not get it on"
    rate = _last_rate(readings)
    return Finding(
        code="SD708",
        name="oscillation",
        severity="problem",
        message=(
            f"{said}: its steps jump to and fro; gone on with at a tenth of the rate, "
            f"{found.said}; lower the rate as the training goes on, from {rate:.3g} to "
            f"{rate / 10:.2g} or less"
        ),
        layers=(),
        source="",
        measured=found.measured | {"lr": rate},
        expected=found.expected | {"lr": rate / 10},
        confidence="measured",
        remedies=(Remedy(name="scale_lr", arguments={"factor": 0.1}, touches="recipe"),),
    )


def flat(loss: np.ndarray, level: float) -> bool:
    """Whether the second half of the losses does not fall any more.

    A line through the means of ten windows: what it falls by over the half is below TWENTIETH of
    `level`, or within two standard errors of none.
    """
    half = loss[len(loss) // 2 :]
    if not np.isfinite(half).all() or len(half) < 2 * PARTS:
        return False
    means = np.array([part.mean() for part in np.array_split(half, PARTS)])
    at = (np.arange(PARTS) - (PARTS - 1) / 2) / PARTS  # in halves of the run
    slope = float(at @ means / (at @ at))
    left = means - means.mean() - slope * at
    error = math.sqrt(float(left @ left) / (PARTS - 2) / float(at @ at))
    return -slope <= max(TWENTIETH * level, 2 * error)


def _still(readings: Readings) -> str | None:
    """A sentence that says where the run stands still, None where it does not or has learnt.

    Raises:
        NotApplicable: If the run is too short, or its loss cannot be judged.
    """
    course = watched(readings)
    if course.steps < LOOK:
        raise NotApplicable(f"{course.steps} steps are but the beginning of a training")
    if readings.loop is not None and readings.loop.several:
        raise NotApplicable("several optimisers take turns; such a training is not gone on with")
    constant = readings.test("constant")
    done, level = explained(constant), constant["constant_loss"]
    if math.isnan(done):
        raise NotApplicable("the loss has no floor at 0")
    if not TWENTIETH < done < 1 - QUARTER or not flat(course.loss, level):
        return None
    half = course.loss[course.steps // 2 :]
    return (
        f"the loss stands at {half.mean():.3g} from step {course.steps // 2} of {course.steps} on, "
        f"where the best constant prediction has {level:.3g}"
    )


def _made(readings: Readings, name: str) -> Relief | None:
    """What the fork came to; None where it cannot be made."""
    try:
        return relief(readings, name)
    except Untested:
        if name not in readings.tests:
            raise
        return None


def _last_rate(readings: Readings) -> float:
    rates = watched(readings).lr
    return float(rates[np.isfinite(rates)][-1]) if np.isfinite(rates).any() else math.nan


def _stuck(readings: Readings, name: str, how: str, said: str, found: Relief) -> Finding:
    rate = _last_rate(readings)
    heated = name == "heated"
    advice = f"keep the rate up, at {10 * rate:.2g}" if heated else "add noise, or take Adam"
    remedy = Remedy(name="scale_lr", arguments={"factor": 10.0}, touches="recipe")
    return Finding(
        code="SD705",
        name="plateau",
        severity="problem",
        message=f"{said}; gone on with {how}, {found.said}; {advice}",
        layers=(),
        source="",
        measured=found.measured | {"lr": rate},
        expected=found.expected,
        confidence="measured",
        remedies=(remedy if heated else Remedy(name="escape", touches="recipe"),),
    )

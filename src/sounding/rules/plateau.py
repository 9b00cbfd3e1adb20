"""SD705, SD708: a run that stands still far above what it could reach from there."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, QUARTER, Relief, explained, relief, watched, where_made
from sounding.rules.learning_rate import LOOK

EDGE = 0.9  # of the limit of rate x sharpness, which is measured to a few percent
PARTS = 10  # windows of the second half of a run, through whose means a line is drawn
TWENTIETH = 0.05  # of the best constant's loss: a fifth of the QUARTER that a fork must win

HOLD = Remedy(name="hold_lr", touches="recipe")
FASTER = Remedy(name="scale_lr", arguments={"factor": 10.0}, touches="recipe")
SLOWER = Remedy(name="scale_lr", arguments={"factor": 0.1}, touches="recipe")
ESCAPE = Remedy(name="escape", touches="recipe")


class _Way(NamedTuple):
    test: str
    how: str  # the training is gone on with
    advice: str
    remedy: Remedy


def plateau(readings: Readings) -> Finding | str | None:
    """SD705: the loss has stood still for half of the run, and with longer steps falls again.

    The training is gone on with at its first rate (where it has fallen), at ten times its last one,
    and after a move along the direction of most negative curvature; one must end clearly lower than
    going on as it was. A net that is at the floor of the noise, or has learnt all it can, does not.
    """
    said = _still(readings)
    if said is None:
        return None
    first, last = _rates(readings)
    for way in (
        _Way("reheated", "at its first rate", f"let the rate fall later than to {last:.2g}", HOLD),
        _Way("heated", "at ten times the rate", f"take {10 * last:.2g}", FASTER),
        _Way("escaped", "after a move along negative curvature", "add noise, or take Adam", ESCAPE),
    ):
        if way.test == "reheated" and not last < HALF * first:
            continue
        found = where_made(readings, functools.partial(relief, readings, way.test))
        if found is not None and found.harmful:
            return _finding("SD705", "plateau", readings, way, said, found)
    return f"{said}, but neither longer steps nor a move along negative curvature get it on"


def oscillation(readings: Readings) -> Finding | str | None:
    """SD708: the loss has stood still for half of the run, and with shorter steps falls again.

    Steps too long for where the run has come to jump to and fro across what they should go down
    along; the loss they end on is set by their length. At the edge of stability they do so in a few
    directions and the loss falls all the same, which is no fault: the run must stand still, and the
    training gone on with at a tenth of its last rate must end clearly lower. Whether single
    directions overshoot or the noise of the batches is too much for the rate, rate x sharpness at
    the end says, over its limit.
    """
    said = _still(readings)
    if said is None:
        return None
    found = where_made(readings, functools.partial(relief, readings, "cooled"))
    if found is None or not found.harmful:
        return f"{said}, but shorter steps do not get it on"
    last = _rates(readings)[1]
    advice = f"{_edge(readings)}; let the rate fall as the training goes on, to {last / 10:.2g}"
    way = _Way("cooled", "at a tenth of the rate", advice, SLOWER)
    return _finding("SD708", "oscillation", readings, way, said, found)


def _edge(readings: Readings) -> str:
    """Why shorter steps are better, as far as rate x sharpness tells."""
    test = where_made(readings, lambda: readings.test("stability"))
    ratio = math.nan if test is None else test["end"]
    why = "it jumps across its valley" if ratio > EDGE else "the batches' noise throws it about"
    if math.isfinite(ratio):
        return f"rate x sharpness is at {ratio:.2g} of its limit: {why}"
    return "its steps throw it about"


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
    if not -math.inf < done < 1 - QUARTER or not flat(course.loss, level):
        return None
    half = course.loss[course.steps // 2 :]
    return (
        f"the loss stands at {half.mean():.3g} from step {course.steps // 2} of {course.steps} on, "
        f"where the best constant prediction has {level:.3g}"
    )


def _rates(readings: Readings) -> tuple[float, float]:
    """The first learning rate, and the last one."""
    rates = watched(readings).lr
    known = rates[np.isfinite(rates)]
    return (float(known[0]), float(known[-1])) if len(known) else (math.nan, math.nan)


def _finding(
    code: str, name: str, readings: Readings, way: _Way, said: str, found: Relief
) -> Finding:
    return Finding(
        code=code,
        name=name,
        severity="problem",
        message=f"{said}; gone on with {way.how} {found.said}; {way.advice}",
        layers=(),
        source="",
        measured=found.measured | {"lr": _rates(readings)[1]},
        expected=found.expected,
        confidence="measured",
        remedies=(way.remedy,),
    )

"""SD706: from some step on a net learns its training samples by heart."""

from __future__ import annotations

import math

import numpy as np

from sounding.measure.held_out import HeldOut
from sounding.measure.readings import Readings
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import ERRORS, HALF, watched
from sounding.rules.learning_rate import LOOK

LEAST = 6  # evaluations, of which the last quarter, and at least three, tell where it ends
AFTER = 3
TWENTIETH = 0.05  # of the best constant's loss: less is no harm, however little was learnt
WIDTH = 20  # steps around an evaluation whose mean is the training loss of the time


def overfitting(readings: Readings) -> Finding | str | None:
    """SD706: more than half of what was known of held-out samples is lost, as training goes on.

    The script's own losses without gradients, evaluation by evaluation. Of the distance from the
    best constant's loss to the best evaluation the last ones must all have lost more than HALF, by
    more than evaluations scatter from one to the next, while the loss in training fell on. A
    caution, with the step of the best evaluation; silent where the script itself comes back to
    it, or took a copy of the weights there.
    """
    course = watched(readings)
    if course.steps < LOOK:
        raise NotApplicable(f"{course.steps} steps are but the beginning of a training")
    if readings.loop is not None and readings.loop.several:
        raise NotApplicable("several optimisers take turns; a loss then says little")
    held = [one for one in readings.held_out if one.function == readings.loss_name]
    held = [one for one in held if len(one.loss) >= LEAST and np.isfinite(one.loss).all()]
    if not held:
        raise NotApplicable(f"fewer than {LEAST} evaluations with the loss of the training")
    level = readings.test("constant")["constant_loss"]
    said = None
    for one in held:
        found = _judged(one, course.loss, level)
        if isinstance(found, Finding):
            return found
        said = said or found
    return said


def _judged(held: HeldOut, training: np.ndarray, level: float) -> Finding | str | None:
    at = int(np.argmin(held.loss))
    count = max(AFTER, len(held.loss) // 4)
    last = held.loss[-count:]
    best, end = float(held.loss[at]), float(np.median(last))
    if at >= len(held.loss) - count or not level > best:
        return None
    scatter = float(np.median(np.abs(np.diff(held.loss)))) * ERRORS
    if not last.min() - best > max(HALF * (level - best), TWENTIETH * level, scatter):
        return None
    before, now = _around(training, int(held.steps[at])), _around(training, len(training))
    step = int(held.steps[at])
    said = f"the held-out loss was lowest, {best:.3g}, after step {step} and ends at {end:.3g}"
    if not before[0] - now[0] > ERRORS * math.hypot(before[1], now[1]):
        return f"{said}, but the training loss does not fall on either"
    following = int(held.steps[at + 1])
    if ((held.copies >= step) & (held.copies < following)).any():
        return f"{said}, but the weights of that step were copied"
    if held.put_back:
        return f"{said}, but the weights were changed after the last step"
    return Finding(
        code="SD706",
        name="over-fitting",
        severity="caution",
        message=(
            f"{said}, while the training loss fell from {before[0]:.3g} to {now[0]:.3g}: from "
            f"about step {step} on the net learns its training samples by heart, and has lost "
            f"{min((end - best) / (level - best), 1):.0%} of what it knew of others; keep the "
            "weights of the best evaluation, and stop there"
        ),
        layers=(),
        source="",
        measured={"held_out_loss": end, "training_loss": now[0], "best_step": float(step)},
        expected={"held_out_loss": best},
        confidence="measured",
    )


def _around(loss: np.ndarray, step: int) -> tuple[float, float]:
    """Mean of the training loss around a step, and its standard error."""
    part = loss[max(0, min(step, len(loss)) - WIDTH) : step + WIDTH]
    part = part[np.isfinite(part)]
    if len(part) < 2:
        return math.nan, math.nan
    return float(part.mean()), float(part.std(ddof=1) / math.sqrt(len(part)))

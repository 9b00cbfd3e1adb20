"""SD104, SD213: a run that came to nothing, and one whose loop undoes what its parts can do."""

from __future__ import annotations

import math

from sounding.measure.readings import Readings
from sounding.result import NotApplicable
from sounding.rules.blocked import looped
from sounding.rules.finding import Finding
from sounding.rules.harm import ERRORS, QUARTER, TWENTIETH, relief, watched
from sounding.rules.learning_rate import LOOK


def nothing_learnt(readings: Readings) -> Finding | str | None:
    """SD104: after a hundred steps or more the net predicts no better than a constant does.

    The last resort: it says that the run has failed, not why, and stands behind every other
    finding. The loss as the run ended is compared with that of the best constant prediction of the
    same targets: not lower by three standard errors, or lower by less than a twentieth. That there
    is something to learn, the test 'baseline' shows: kernel ridge regression on the raw inputs
    explains a quarter of the targets' variance, of samples that were left out. Not judged where
    several optimisers take turns, because a loss may then be held up by an adversary.
    """
    course = watched(readings)
    if course.steps < LOOK:
        raise NotApplicable(f"{course.steps} steps are but the beginning of a training")
    if readings.loop is not None and readings.loop.several:
        raise NotApplicable("several optimisers take turns; what one gains, another may take")
    constant = readings.test("constant")
    level, now = constant["constant_loss"], constant["now_loss"]
    if not math.isfinite(now):
        return None  # SD103 says so
    error = math.hypot(constant["constant_error"], constant["now_error"])
    least = max(ERRORS * error, TWENTIETH * level)
    if level - min(now, course.end()) > least:  # what was learnt may be lost by a later training
        return None
    baseline = readings.test("baseline")
    simple, unsure = baseline["explained"], baseline["error"]
    if not simple - ERRORS * unsure > 0 or not simple > QUARTER:
        return (
            f"the loss is {now:.4g}, a constant's {level:.4g}; but a regression on the inputs "
            f"explains no more than {simple:.0%} ± {unsure:.0%} either"
        )
    little = "nothing" if level - now <= ERRORS * error else "next to nothing"
    return Finding(
        code="SD104",
        name="nothing-learnt",
        severity="problem",
        message=f"after {course.steps} steps the loss is {now:.4g} ± {error:.2g}, and that of the "
        f"best constant prediction {level:.4g}: from its inputs, of which a "
        f"simple regression explains {simple:.0%} ± {unsure:.0%} of the targets' variance, the net "
        f"has learnt {little}",
        layers=(),
        source="" if readings.loss_call is None else readings.loss_call.source,
        measured={"loss": now},
        expected={"loss": (1 - simple) * level},
        confidence="measured",
    )


def loop_interferes(readings: Readings) -> Finding | str | None:
    """SD213: the same weights, batches, loss and optimiser train, but not in the user's loop.

    The training is begun again by the plainest loop there is, zero_grad, backward, step, on the
    batches that were kept, and is compared with the run on the same batches (the test 'replayed').
    Where that ends clearly lower, the loop itself does something to weights or gradients in
    between. An optimiser that is made anew for every step is a caution in any case: exact.
    """
    found, remade = relief(readings, "replayed"), looped(readings).remade
    often = 2 * remade > watched(readings).steps
    if not found.harmful and not often:
        return None
    why = "something else in the loop changes gradients or weights, or keeps steps from being made"
    if often:
        why = (
            f"a new optimiser is made {remade} times, and forgets momentum and moments each time; "
            "make it once, before the loop"
        )
    return Finding(
        code="SD213",
        name="loop-interferes",
        severity="problem" if found.harmful else "caution",
        message="begun again by a plain loop of zero_grad, backward and step, with the same "
        f"weights, batches, loss and optimiser, {found.said}: {why}",
        layers=(),
        source="",
        measured=found.measured,
        expected=found.expected,
        confidence="measured",
    )

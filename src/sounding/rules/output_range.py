"""SD407: an activation at the output that the targets lie outside of."""

from __future__ import annotations

import math

import numpy as np

from sounding.measure.loss_call import ABOVE_ZERO, BETWEEN, LossCall
from sounding.measure.readings import Readings
from sounding.measure.test import Test
from sounding.rules.comparison import called, contradiction, removal, squared, target_of
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, QUARTER, explained
from sounding.rules.loss_input import SQUASHED, lowest_binary, sigmoid

DISTANCES = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
MOST = 0.75  # of what is left lies out of reach: halfway between what noise can put there and all
CHANCE = 1e-3  # that a class which is found half of the time is never found


def output_range(readings: Readings) -> Finding | str | None:
    """SD407: targets that the activation at the output cannot reach, or scores that it cuts off.

    *Targets.* The mean square distance of the targets from the activation's range is a floor under
    the squared error. Noise around targets at the very edge puts half of its square outside, around
    targets one deviation inside 7.5 %. So a quarter of the error left is more than noise where the
    net explains less than half, and three quarters of it are so in any case. Without a training, a
    quarter of the targets' variance.

    *Scores of classes.* Between a and b they keep cross_entropy above ln(1 + (K - 1) exp(a - b)),
    exactly. A rectifier has no such floor; its harm is a class whose output is zero on every
    sample, or that is never predicted.
    """
    call = called(readings)
    if call.operation not in BETWEEN and call.operation not in ABOVE_ZERO:
        return None
    if call.function == "cross_entropy":
        clipped = call.operation in ABOVE_ZERO
        return _rectified(readings, call) if clipped else _bounded(readings, call)
    if call.function == "binary_cross_entropy_with_logits":
        return _bounded(readings, call)
    if call.function in DISTANCES or squared(readings, call):
        return _unreachable(readings, call)
    return None


def _bounded(readings: Readings, call: LossCall) -> Finding | None:
    """Scores that end at some value, so that no probability comes near 0 or 1."""
    low, high = BETWEEN.get(call.operation, (0.0, math.inf))
    if call.function == "cross_entropy":
        if call.operation == "softmax" or call.classes < 2:
            return None  # SD401, SD403
        floor = math.log1p((call.classes - 1) * math.exp(low - high))
        most = math.exp(-floor)
        said = f"its softmax gives the right class {most:.3g} at most"
    else:
        if call.operation in SQUASHED:
            return None  # SD402
        floor = lowest_binary(call, (low, high))
        most = sigmoid(low) if math.isinf(high) else sigmoid(high)
        said = f"no probability {'below' if math.isinf(high) else 'above'} {most:.3g} can be said"
    if not floor > 0:
        return None
    return contradiction(
        readings,
        call,
        "SD407",
        "output-range",
        f"the scores given to {call.function} come out of a {call.operation}: {said}, and the loss "
        f"stays above {floor:.3g}; drop the {call.operation}",
        {"lowest_loss": floor},
        {"lowest_loss": 0.0},
        remove=True,
    )


def _rectified(readings: Readings, call: LossCall) -> Finding | str | None:
    """A rectifier on scores: of classes that it keeps at zero nothing can be learnt."""
    said = f"the scores given to {call.function} come out of a {call.operation}"
    if call.silent is not None and call.counts is not None:
        dead = np.flatnonzero(call.silent & (call.counts > 0))
        if len(dead):
            return contradiction(
                readings,
                call,
                "SD407",
                "output-range",
                f"{said}: the score of class {dead[0]} is the same for all samples and gets no "
                f"gradient, as for {len(dead)} of {call.classes} classes; drop the "
                f"{call.operation}",
                {"dead_classes": float(len(dead))},
                {"dead_classes": 0.0},
                remove=True,
            )
    test = readings.test("classes")
    lost = [key for key, recall in test.values.items() if key.startswith("recall_") and not recall]
    if not lost or HALF ** test["minority_count"] > CHANCE:
        return f"{said}, yet every class is found"
    return Finding(
        code="SD407",
        name="output-range",
        severity="problem",
        message=f"{said}, which are never below 0: {len(lost)} of {test['classes']:.0f} classes "
        f"are never predicted; drop the {call.operation}",
        layers=(),
        source=call.source,
        measured={"lost_classes": float(len(lost))},
        expected={"lost_classes": 0.0},
        confidence="measured",
        remedies=removal(readings, call),
    )


def _unreachable(readings: Readings, call: LossCall) -> Finding | str | None:
    if not call.unreachable > 0:
        return None
    beyond, target = call.beyond, target_of(call)
    said = (
        f"{call.unreachable:.0%} of the targets, which run from {target.low:.3g} to "
        f"{target.high:.3g}, lie outside of what a {call.operation} puts out"
    )
    constant = readings.test("constant") if readings.course is not None else None
    left = 1.0 if constant is None else 1 - explained(constant)
    if not _harmful(beyond, left, constant, square=squared(readings, call)):
        return f"{said}, yet only by {beyond:.2g} of their variance"
    return contradiction(
        readings,
        call,
        "SD407",
        "output-range",
        f"{said}: {min(beyond, 1):.0%} of their variance is out of reach; "
        f"drop the {call.operation}",
        {"unreachable": call.unreachable, "variance_out_of_reach": beyond},
        {"unreachable": 0.0, "variance_out_of_reach": 0.0},
        remove=True,
    )


def _harmful(beyond: float, left: float, constant: Test | None, *, square: bool) -> bool:
    """Whether what is out of reach matters, for `left` of the constant's loss at the end."""
    if not math.isfinite(left):
        return beyond > QUARTER
    hardly = constant is None or left > HALF
    return (hardly and beyond > QUARTER * left) or (square and beyond > MOST * left)

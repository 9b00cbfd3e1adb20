"""SD304, SD305: an untrained output that is worse than a constant, and what a bias would save.

The loss of an output that is zero everywhere has a closed form. Above it lies what random outputs
of deviation s cost (s^2 / 2 in a cross-entropy of many classes, s^2 in a squared error); between it
and the best constant's loss, what the last layer's bias would save.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sounding.measure.loss_call import LossCall
from sounding.measure.readings import Readings
from sounding.measure.test import Test
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.comparison import called, squared, target_of
from sounding.rules.finding import Finding
from sounding.rules.harm import ERRORS, HALF, QUARTER, above, where_made
from sounding.rules.loss_input import SQUASHED
from sounding.rules.redrawing import better_redrawn

SCALE_TABLE = Remedy(name="scale_embeddings", touches="weights")
SET_BIAS = Remedy(name="set_output_bias", touches="weights")
AS_TORCH = "with weights drawn as torch does"
LOGITS = ("cross_entropy", "binary_cross_entropy_with_logits")
# A random output's loss s is twice the best constant's or more, and half of the excess or more lies
# above the zero output's loss z. At the least s - z = z - c and s = 2c, so that s = 4/3 z.
SUSPECT = 4 / 3
SAME = 1e-3  # of the zero output's loss is left to a constant: nothing is to be learnt


class Start(NamedTuple):
    """The loss of the untrained net, of a zero output and of the best constant."""

    start: float
    zero: float
    constant: float


def initial_output(readings: Readings) -> Finding | str | None:
    """SD304: outputs of the untrained net so large that training only shrinks them.

    Harm: they cost as much as the best constant's whole loss, and the net as the run ended is still
    a quarter above that; or the same net from weights drawn the usual way ends clearly lower. Or
    both, where the run got over it on its own samples, on others that it was not fitted to.
    """
    call = called(readings)
    zero = _zero(readings, call)
    if not loud(readings):
        return None
    at = _start(readings, zero)
    said = f"the untrained net's loss is {at.start:.3g}, of an output of zeros it is {at.zero:.3g}"
    refuted = _refuted(readings, call, at, HALF)
    harm = (
        f"after {_steps(readings)} the loss is still above the best constant's, {at.constant:.3g}"
    )
    if refuted and not (harm := _from_usual_weights(readings, at)):
        return f"{said}, {refuted}"
    if at.start - at.zero < HALF * (at.start - at.constant):
        return f"{said}; most of it is the missing bias"
    size = _size(call, at)
    return _finding(
        readings,
        "SD304",
        "initial-output",
        f"{said}: its outputs are about {size:.2g} in size, and {harm}; draw the last layer's "
        f"weights (or the embeddings that it shares) {size:.2g} times smaller",
        at,
        _shrink(readings, size),
    )


def loud(readings: Readings) -> bool:
    """Whether the untrained net's outputs cost more than the targets' mean would; a suspicion."""
    try:
        return _first(readings) > SUSPECT * _zero(readings, called(readings))
    except NotApplicable:
        return False


def output_bias(readings: Readings) -> Finding | str | None:
    """SD305: a last bias that is not at the targets' mean, or the classes' log-frequencies.

    Harm: the best constant has less than a quarter of the untrained net's loss, and the net as the
    run ended is still a quarter above it. The mean of pixels, or of a picture's background, costs
    every net some steps.
    """
    call = called(readings)
    zero = _zero(readings, call)
    if not zero * QUARTER * 2 > _spread(call):  # half of the excess or more is the bias's
        return None
    at = _start(readings, zero)
    said = f"the best constant's loss is {at.constant:.3g}, the untrained net's {at.start:.3g}"
    if refuted := _refuted(readings, call, at, QUARTER):
        return f"{said}, {refuted}"
    if at.zero - at.constant < HALF * (at.start - at.constant):
        return f"{said}; most of it comes from the size of the outputs"
    bias = {
        "cross_entropy": "the logarithms of the classes' frequencies",
        "binary_cross_entropy_with_logits": "log(p / (1 - p))",
    }.get(call.function, "the mean of the targets")
    return _finding(
        readings,
        "SD305",
        "output-bias",
        f"{said}, and {_steps(readings)} were too few to close the gap: begin with the last "
        f"layer's bias at {bias}",
        at,
        (SET_BIAS,),
    )


def _zero(readings: Readings, call: LossCall) -> float:
    """The loss of an output that is zero everywhere, in closed form.

    Raises:
        NotApplicable: If there is none.
    """
    target = target_of(call)
    scale = call.factor if call.function else 1.0
    weighed = bool(call.function) and not call.reduced  # by the user's code, sample by sample
    if call.operation in SQUASHED or weighed or not scale > 0:
        raise NotApplicable("the loss of a zero output is not known here")
    if call.function == "cross_entropy" and call.classes > 1:
        return scale * math.log(call.classes)
    if call.function == "binary_cross_entropy_with_logits" and not call.weighted:
        return scale * math.log(2)
    if squared(readings, call):
        return scale * (target.mean**2 + target.std**2)
    raise NotApplicable("the loss of a zero output is not known here")


def _spread(call: LossCall) -> float:
    """What the best constant leaves on this batch alone: entropy or variance; a suspicion only."""
    if call.counts is None:
        return target_of(call).std ** 2
    shares = call.counts / max(call.counts.sum(), 1)
    return float(-(shares * np.log(np.maximum(shares, 1e-300))).sum())


def _first(readings: Readings) -> float:
    if readings.course is not None and readings.course.steps:
        return float(readings.course.loss[0])
    return readings.loss if readings.step == 0 else math.nan


def _start(readings: Readings, zero: float) -> Start:
    test = readings.test("constant")
    return Start(test["start_loss"], zero, test["constant_loss"])


def _refuted(readings: Readings, call: LossCall, at: Start, share: float) -> str:
    """Why there is no harm; '' where the constant has less than a `share` of the start."""
    test = readings.test("constant")
    if at.constant <= (SAME * at.zero if call.function in LOGITS else 0):
        return "but the targets are all the same"
    if not at.constant < share * at.start:
        return f"where the best constant has {at.constant:.3g}"
    if not _left(test):
        return f"and the run ended at {test['now_loss']:.3g}"
    if not test["now_loss"] < at.start:
        return "and training made it no better"
    return ""


def _from_usual_weights(readings: Readings, at: Start) -> str:
    """How much better the run ends from these, on its own samples or on others; '' if no better."""
    redrawn = better_redrawn(readings)
    return _by_heart(readings, at) if redrawn is None else f"{AS_TORCH} {redrawn.said}"


def _by_heart(readings: Readings, at: Start) -> str:
    """A sentence, where all that the run learnt is its own samples; '' where it is more.

    On those held out it ends a quarter above the best constant, and from weights drawn the usual
    way below it, by another quarter and more than its error.
    """
    if readings.step or not at.constant < HALF * at.start:
        return ""
    unseen = where_made(readings, lambda: readings.test("redrawn_unseen"))
    if unseen is None:
        return ""
    as_is, changed, error = unseen["as_is"], unseen["changed"], ERRORS * unseen["error"]
    above_it = as_is - at.constant > max(QUARTER * at.constant, error)
    below_it = at.constant > changed and as_is - changed > max(QUARTER * at.constant, error)
    if not (above_it and below_it):
        return ""
    return (
        f"on {unseen['samples']:.0f} samples that were held out the loss ends at {as_is:.3g}, the "
        f"best constant's is {at.constant:.3g}, and {AS_TORCH} it ends at {changed:.3g}"
    )


def _left(test: Test) -> bool:
    return above(test) and test["now_loss"] > (1 + QUARTER) * test["constant_loss"]


def _size(call: LossCall, at: Start) -> float:
    """The deviation of the outputs that explains the untrained loss."""
    excess = at.start - at.zero
    return math.sqrt(2 * excess if call.function in LOGITS else excess)


def _shrink(readings: Readings, size: float) -> tuple[Remedy, ...]:
    """Smaller weights in the last layer, or in the table that it shares; or a fixed factor."""
    tables = {call.weight for call in readings.calls if call.operation.startswith("embedding")}
    shared = bool(readings.path) and readings.calls[readings.path[-1]].weight in tables
    last = Remedy(name="scale_last_layer", arguments={"factor": 1 / size}, touches="weights")
    whole = Remedy(
        name="scale_output", arguments={"mean": 0.0, "std": 1 / size}, touches="architecture"
    )
    return (SCALE_TABLE if shared else last, whole)


def _steps(readings: Readings) -> str:
    return f"{readings.course.steps} steps" if readings.course is not None else "the training"


def _finding(
    readings: Readings, code: str, name: str, message: str, at: Start, remedies: tuple[Remedy, ...]
) -> Finding:
    call = readings.calls[readings.path[-1]] if readings.path else None
    return Finding(
        code=code,
        name=name,
        severity="problem",
        message=message,
        layers=() if call is None else (call.name,),
        source="" if call is None else call.source,
        measured={"start_loss": at.start, "zero_output_loss": at.zero},
        expected={"start_loss": at.constant},
        confidence="measured",
        remedies=remedies,
    )

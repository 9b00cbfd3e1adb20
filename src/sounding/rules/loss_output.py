"""SD405, SD406, SD412: what the loss makes of output and target, and what backward makes of it."""

from __future__ import annotations

import math

from sounding.measure.loss_call import LossCall
from sounding.measure.readings import Readings
from sounding.rules.blocked import looped
from sounding.rules.comparison import (
    DIFFERENCES,
    absolute,
    called,
    contradiction,
    removal,
    squared,
    target_of,
)
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, explained, watched

PROBABILITIES = ("softmax", "sigmoid", "hardsigmoid")
AVERAGES, SIZES = {"mean", "sum", "div"}, {"pow", "square", "abs"}


def broadcast_loss(readings: Readings) -> Finding | str | None:
    """SD405: shapes that make the loss compare every output with every target.

    Exact: both have as many entries, in shapes that differ by dimensions of 1 and in their number,
    and the loss has more. Its best output is one constant for all samples. Who compares all pairs
    on purpose gives both sides the same number of dimensions.
    """
    call = called(readings)
    target = target_of(call)
    one, other = call.output.shape, target.shape
    entries = math.prod(one)
    if len(one) == len(other) or _without_ones(one) != _without_ones(other):
        return None
    if call.elements <= entries:
        return None
    return contradiction(
        readings,
        call,
        "SD405",
        "broadcast-loss",
        f"the output has shape {one} and the target {other}: every output is compared with every "
        f"target, {call.elements} times in place of {entries}, so that the mean of the targets is "
        "the best output for all; write target.view_as(output)",
        {"elements": float(call.elements)},
        {"elements": float(entries)},
    )


def wrong_loss_for_classes(readings: Readings) -> Finding | str | None:
    """SD406: the squared or absolute error of probabilities, on which a net has hardly learnt.

    Behind a softmax at p = 1/K, where training starts, the gradient of the mean squared error is
    exactly 2/K^2 times that of the cross-entropy, and so is that of the mean absolute one; behind a
    sigmoid 2/K p (1 - p), as are both at p = 1/2. It vanishes where the net is surely wrong. The
    square is a proper score nonetheless, and nets may learn with either: only where the best
    constant explains half of what is left, the loss is at fault. Adaptive optimisers divide a small
    gradient out.
    """
    call = called(readings)
    classes = call.one_hot or (call.counts is not None and call.classes == 1)
    square = squared(readings, call)
    compared = square or absolute(readings, call)
    if call.operation not in PROBABILITIES or not classes or not compared:
        return None
    test = readings.test("constant")
    share = explained(test)
    said = f"the {'squared' if square else 'absolute'} error of {call.operation} outputs"
    level, now = test["constant_loss"], test["now_loss"]
    if not share < HALF:
        return f"{said}, yet it fell to {now:.3g}, where the best constant leaves {level:.3g}"
    count = max(call.classes, 2)
    factor = 2 / count**2 if call.operation == "softmax" else 2 / call.classes / 4
    adaptive = readings.optimiser is not None and readings.optimiser.adaptive
    return Finding(
        code="SD406",
        name="wrong-loss-for-classes",
        severity="caution" if adaptive else "problem",
        message=f"{said} ended at {now:.3g}, the best constant leaves {level:.3g}: its gradient is "
        f"{factor:.2g} times that of the cross-entropy at the start, and vanishes where the net is "
        f"surely wrong; give the scores before the {call.operation} to "
        f"{'cross_entropy' if call.classes > 1 else 'binary_cross_entropy_with_logits'}",
        layers=(),
        source=call.source,
        measured={"explained": share, "gradient_factor": factor},
        expected={"explained": 1.0, "gradient_factor": 1.0},
        confidence="measured",
        remedies=removal(readings, call),
    )


def ascent(readings: Readings) -> Finding | str | None:
    """SD412: what backward starts from falls when the loss function rises.

    Exact: the slope of the one with respect to the other is negative. Not judged where the user's
    code weights each sample (policy gradients have weights of both signs), and where the target is
    the same for all samples, as in an adversary's loss. A loss that is written by hand is judged by
    its best constant prediction: where none minimises it, but one minimises its negative, it falls
    without end.
    """
    seen = readings.loss_call
    known = seen is not None and (seen.function or squared(readings, seen))
    if seen is None or seen.target is None or not (known or _negated_square(readings)):
        return _falls_without_end(readings)
    call = called(readings)
    target = target_of(call)
    if target.low == target.high:
        return None
    upwards = _upwards(readings, call)
    factor = -1.0 if not call.function and _negated_square(readings) else call.factor
    factor = -factor if upwards else factor
    if call.function and not call.reduced and not _plain(call):
        return None
    if not factor < 0:
        return None
    name = call.function or "squared error"
    how = "the optimiser maximises it" if upwards else f"its factor is {factor:.3g}"
    return contradiction(
        readings,
        call,
        "SD412",
        "ascent",
        f"every step makes the {name} larger: in what backward is called on, {how}; "
        f"take away the {'maximize' if upwards else 'minus'}",
        {"factor": factor},
        {"factor": abs(factor)},
    )


def _falls_without_end(readings: Readings) -> Finding | None:
    """A loss by hand that has no lower bound, and whose negative has one."""
    if readings.course is None or looped(readings).several:
        return None
    if "constant" not in readings.tests:
        readings.test("constant")
    if "no minimum" not in readings.tests["constant"].failed:
        return None
    level = readings.test("mirrored")["mirrored_loss"]
    end = watched(readings).end()
    return Finding(
        code="SD412",
        name="ascent",
        severity="problem",
        message=f"the loss falls without end, to {end:.3g} by now: no constant prediction "
        f"minimises it, but one minimises its negative, {level:.3g}; put a minus before it",
        layers=(),
        source="" if readings.loss_call is None else readings.loss_call.source,
        measured={"loss": end},
        expected={"loss": level},
        confidence="measured",
    )


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _plain(call: LossCall) -> bool:
    """Whether the mean or the sum of the samples' losses is negated as it is."""
    return any(math.isclose(call.factor, -n, rel_tol=1e-5) for n in (1, call.elements))


def _upwards(readings: Readings, call: LossCall) -> bool:
    loop = readings.loop
    return loop is not None and any(group.settings.get("maximize", 0) for group in loop.groups)


def _negated_square(readings: Readings) -> bool:
    """Whether the pass ends in the negated mean of squares, or sizes, of differences."""
    calls = readings.calls

    def before(at: int, kinds: set[str]) -> int:
        """The input of the nearest call that is no average, if that is of these `kinds`; or -1."""
        while at >= 0 and calls[at].operation in AVERAGES:
            at = calls[at].main
        return calls[at].main if at >= 0 and calls[at].operation in kinds else -1

    at = before(before(len(calls) - 1, {"neg"}), SIZES)
    return at >= 0 and calls[at].operation in DIFFERENCES

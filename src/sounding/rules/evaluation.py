"""SD602, SD607: the net is evaluated otherwise than it should be, or on other inputs."""

from __future__ import annotations

import math

from sounding.measure.loop import Evaluations
from sounding.measure.readings import Readings
from sounding.result import NotApplicable
from sounding.rules.blocked import looped
from sounding.rules.finding import Finding
from sounding.rules.harm import ERRORS, HALF, QUARTER, watched

TENTH = 0.1  # of the loss, by which an evaluation in the wrong mode is off
ROWS = 32  # evaluated samples whose mean and deviation are compared
TWICE = 2.0  # the deviation of the inputs in training, or half of it


def evaluated_in_training_mode(readings: Readings) -> Finding | str | None:
    """SD602: most evaluations ran in training mode, which makes the loss higher than it is.

    Exact facts: more than half of the calls without gradients were in training mode (a first one
    may be in the right one before train() is called), and modules are there that act otherwise in
    it. They matter where the loss on the same batches is higher in training mode than in evaluation
    mode by a tenth and by more than its error (the test 'repeat'), for a batch norm also where the
    batches are cut into as few samples as one evaluation has. Calls that belong
    to the training (one around every step), and repeated calls on the same inputs, whose spread is
    wanted, are no evaluations.
    """
    loop = looped(readings)
    asked = _evaluations(readings)
    if not asked.training > HALF * asked.count or not loop.modes or not loop.training:
        return None
    said = f"{asked.training} of {asked.count} evaluations ran in training mode"
    if sampled_on_purpose(asked):
        return f"{said}, on the same inputs again and again: their spread is asked for"
    repeat = readings.test("repeat")
    right = repeat["eval_loss"]
    gap, error, parts = repeat["gap"], repeat["gap_error"], ""
    if repeat.values.get("parts_gap", -math.inf) > gap:
        gap, error = repeat["parts_gap"], repeat["parts_error"]
        parts = f", {asked.each} samples at a time,"
    wrong = right + gap
    if not gap > max(TENTH * abs(right), ERRORS * error):
        return f"{said}, where the loss is {wrong:.3g} and not {right:.3g}: it makes no difference"
    return Finding(
        code="SD602",
        name="evaluated-in-training-mode",
        severity="problem",
        message=f"{said}, in which {loop.modes[0]} acts: on the same batches{parts} the loss is "
        f"{wrong:.3g} so and {right:.3g} in evaluation mode; call model.eval() before evaluating, "
        "and model.train() after it",
        layers=tuple(mode.split(" (")[0] for mode in loop.modes),
        source="",
        measured={"in_training_mode": float(asked.training), "loss": wrong},
        expected={"in_training_mode": 0.0, "loss": right},
        confidence="exact",
    )


def evaluation_inputs_differ(readings: Readings) -> Finding | str | None:
    """SD607: the inputs of the evaluation are not of the training's kind.

    Were both drawn alike, an entry would lie outside of all n training values of its feature with
    the probability 2 / (n + 1), and the deviations would agree. Reported where a shift or a factor
    cannot be a choice of samples any more: a mean a whole deviation away, twice or half the
    deviation, or more than half of the entries outside. And where the mean image is apart from that
    of training by more than three of its errors, and less than a quarter of that (of squares) is
    left with the images turned over, or with their channels in reverse.
    """
    asked = _evaluations(readings)
    mean, std = asked.mean, asked.std
    if not all(map(math.isfinite, (*mean, *std))) or not std[0] > 0:
        raise NotApplicable("the inputs of training and evaluation have no numbers to compare")
    if asked.rows < ROWS:
        raise NotApplicable(f"{asked.rows} evaluated samples are too few to compare")
    shift, factor = (mean[1] - mean[0]) / std[0], std[1] / std[0]
    alike = abs(shift) < 1 and 1 / TWICE < factor < TWICE
    if alike and not asked.outside > HALF:
        return _turned(asked)
    return Finding(
        code="SD607",
        name="evaluation-inputs-differ",
        severity="problem",
        message=f"the inputs have mean {mean[0]:.3g} and deviation {std[0]:.3g} in training, "
        f"{mean[1]:.3g} and {std[1]:.3g} in evaluation, where {asked.outside:.0%} of them lie "
        f"outside of all that was trained on ({asked.expected:.1g} by chance): apply the same "
        "transform, with the numbers of the training set, to both",
        layers=(),
        source="",
        measured={"outside": asked.outside, "shift": shift, "factor": factor},
        expected={"outside": asked.expected, "shift": 0.0, "factor": 1.0},
        confidence="measured",
    )


def _turned(asked: Evaluations) -> Finding | None:
    as_is, turned = asked.apart
    if not (as_is > ERRORS**2 and turned < QUARTER * as_is):
        return None
    return Finding(
        code="SD607",
        name="evaluation-inputs-differ",
        severity="problem",
        message=f"the mean image of the evaluation is {math.sqrt(as_is):.2g} times its error apart "
        f"from that of training, and {math.sqrt(turned):.2g} times {asked.turned}: bring the "
        "dimensions into the same order for both",
        layers=(),
        source="",
        measured={"apart": as_is},
        expected={"apart": turned},
        confidence="measured",
    )


def sampled_on_purpose(asked: Evaluations) -> bool:
    """Whether most evaluations repeat an input that the one block of them has had already."""
    return 2 * asked.again > asked.count


def _evaluations(readings: Readings) -> Evaluations:
    """The calls without gradients.

    Raises:
        NotApplicable: If there is none, or they come around every step, as a part of the training.
    """
    asked = looped(readings).evaluations
    if not asked.count:
        raise NotApplicable("no call of the model without gradients was seen")
    if 2 * asked.blocks > watched(readings).steps:
        raise NotApplicable("calls without gradients are a part of the training's steps")
    return asked

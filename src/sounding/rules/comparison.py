"""The call that compares the model's output with a target, as rules ask for it."""

from __future__ import annotations

import math

from sounding.measure.loss_call import LossCall, Values
from sounding.measure.readings import Call, Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.depth import EPS, FLOAT32
from sounding.rules.finding import Finding

REMOVE = Remedy(name="remove_output_activation", touches="architecture")
SQUARES = {"pow", "square", "mul"}  # of a difference: a squared error written by hand
DIFFERENCES = {"sub", "rsub"}


def called(readings: Readings) -> LossCall:
    """How the loss was called.

    Raises:
        NotApplicable: If that was not seen.
    """
    if readings.loss_call is None:
        raise NotApplicable("the call that compares the output with a target was not seen")
    return readings.loss_call


def target_of(call: LossCall) -> Values:
    """What the output is compared with.

    Raises:
        NotApplicable: If everything that the loss is given comes from the model itself.
    """
    if call.target is None:
        raise NotApplicable("the loss compares the model's outputs with one another, not a target")
    return call.target


def maker(readings: Readings, call: LossCall) -> Call | None:
    """The call that made the output, None where it is not among the recorded ones."""
    found = [c for c in readings.calls if c.operation == call.operation and c.role != "input"]
    return found[-1] if found else None


def removal(readings: Readings, call: LossCall) -> tuple[Remedy, ...]:
    """Taking away the operation at the output, where it stands in the model and not in the loss."""
    made = maker(readings, call)
    return (REMOVE,) if made is not None and made.role != "loss" else ()


def squared(readings: Readings, call: LossCall) -> bool:
    """Whether the loss squares the difference of output and target, by torch or by hand."""
    return call.function == "mse_loss" if call.function else _of_difference(readings, call, SQUARES)


def absolute(readings: Readings, call: LossCall) -> bool:
    """Whether the loss takes the size of the difference of output and target."""
    return call.function == "l1_loss" if call.function else _of_difference(readings, call, {"abs"})


def _of_difference(readings: Readings, call: LossCall, operations: set[str]) -> bool:
    """Whether a loss by hand makes that of the difference of output and target."""
    made = maker(readings, call)
    return any(
        one.operation in operations
        and len(one.inputs) == 1
        and readings.calls[one.inputs[0]].operation in DIFFERENCES
        and made in [readings.calls[i] for i in readings.calls[one.inputs[0]].inputs]
        for one in readings.calls
        if one.role == "loss"
    )


def sums_to_one(call: LossCall, distance: float, terms: int) -> bool:
    """Whether `distance` of a sum from 1 is rounding.

    Of probabilities each one is rounded to its own precision, which together are at most one eps;
    of log-probabilities it is eps times the entropy, which is log(terms) at most. The sum itself is
    taken in single precision.
    """
    eps = EPS.get(call.output.dtype, FLOAT32)
    return distance <= 2 * eps * (1 + math.log(max(terms, 1))) + terms * FLOAT32


def contradiction(
    readings: Readings,
    call: LossCall,
    code: str,
    name: str,
    message: str,
    measured: dict[str, float],
    expected: dict[str, float],
    *,
    remove: bool = False,
) -> Finding:
    """A problem that the call itself proves; `remove`: cured by taking the operation away."""
    made = maker(readings, call)
    return Finding(
        code=code,
        name=name,
        severity="problem",
        message=message,
        layers=() if made is None else (made.name,),
        source=call.source or ("" if made is None else made.source),
        measured=measured,
        expected=expected,
        confidence="exact",
        remedies=removal(readings, call) if remove else (),
    )

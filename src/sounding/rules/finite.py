"""SD101, SD103: NaN or Inf, and the first call that produced it; a training that ends in it."""

from __future__ import annotations

import math

import numpy as np

from sounding.capture.operations import PRODUCTS, RECURRENT
from sounding.measure.readings import Readings
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.relapse import lost

LAYERS = {"linear", "conv1d", "conv2d", "conv3d"}
SUMS = RECURRENT | PRODUCTS | LAYERS | {"add", "sub", "mul", "sum", "square", "relu", "leaky_relu"}


def nonfinite(readings: Readings) -> Finding | str | None:
    """SD101: the first call, forwards or else backwards, whose output is not finite.

    Exact: the norms of all outputs and gradients are taken over every entry. Later than at an
    examined step, the step at which it happened is made again from those that were kept.
    """
    forwards = readings.signal.nonfinite
    backwards: tuple[int, ...] = ()
    if readings.gradients is not None:
        backwards = readings.gradients.nonfinite
    if not forwards and not backwards:
        return None
    before = None if readings.course is None else lost(readings.course.loss)
    if before is not None and before.onset < readings.step - 1:
        return (
            f"the loss had risen from step {before.onset} on, and left what numbers can hold at "
            f"step {readings.step}: a consequence"
        )
    index = next(iter(forwards or backwards))
    call = readings.calls[index]
    message = _forward(readings, index) if forwards else _backward(readings, index)
    return Finding(
        code="SD101",
        name="non-finite",
        severity="problem",
        message=f"at step {readings.step}, {message}" if readings.step else message,
        layers=(call.name,),
        source=call.source,
        measured={
            "calls_with_nan_or_inf": float(len(forwards) or len(backwards)),
            **({"overflow": 1.0} if _overflowed(readings, index) else {}),
        },
        expected={"calls_with_nan_or_inf": 0.0},
        confidence="exact",
    )


def nonfinite_loss(readings: Readings) -> Finding | str | None:
    """SD103: the loss of a watched training becomes NaN or infinite, and stays so. Exact.

    What caused it, another rule says where one can; a loss that comes back was skipped on purpose,
    as gradient scalers do.
    """
    if readings.course is None:
        raise NotApplicable("no training was watched; `sounding run` watches one")
    finite = np.isfinite(readings.course.loss)
    if finite.all():
        return None
    if finite[-1]:
        return f"the loss was no number at {int((~finite).sum())} steps, and came back"
    start = len(finite) - int(np.argmax(finite[::-1])) if finite.any() else 0
    before = readings.course.loss[start - 1] if start else np.nan
    norm = readings.course.gradient_norm[start - 1] if start else np.nan
    sized = f", with a gradient of norm {norm:.3g}" if np.isfinite(norm) else ""
    return Finding(
        code="SD103",
        name="non-finite-loss",
        severity="problem",
        message=(
            f"the loss is no number from step {start} of {len(finite)} on; one step before it was "
            f"{before:.3g}{sized}: everything after that step was in vain"
        ),
        layers=(),
        source="",
        measured={"steps_without_a_loss": float(len(finite) - start)},
        expected={"steps_without_a_loss": 0.0},
        confidence="exact",
    )


def _overflowed(readings: Readings, index: int) -> bool:
    """Whether sums and products left float32, which is an explosion's end and no cause itself.

    Those calls have no singular point: from finite inputs, and weights that are finite, they reach
    infinity through size alone. In half precision the format is to blame.
    """
    call = readings.calls[index]
    if call.operation not in SUMS or "float16" in call.dtype or readings.overflowed:
        return False
    return bool(readings.signal.nonfinite) and call.weight_second_moment != math.inf


def _forward(readings: Readings, index: int) -> str:
    call = readings.calls[index]
    if call.role == "input":
        return "the batch itself holds NaN or Inf; clean the data before it reaches the model"
    named = f"{call.name} ({call.operation})"
    weight, bias = call.weight_second_moment, call.bias_second_moment
    for name, moment in ((call.weight, weight), (call.bias, bias)):
        if name in readings.overflowed:
            return (
                f"the optimiser's own step before made {name} NaN or Inf, from finite gradients: "
                "its epsilon or its moments leave what the weights' format can hold"
            )
        if name and not moment < float("inf"):
            return f"the parameter {name} holds NaN or Inf, so {named} does too"
    before = readings.signal.rms[call.main] if call.main >= 0 else float("nan")
    return (
        f"{named} is the first call to produce NaN or Inf, "
        f"from inputs of rms {before:.3g} that were finite"
    )


def _backward(readings: Readings, index: int) -> str:
    call = readings.calls[index]
    users = [c for c in readings.calls if index in c.inputs]
    by = f"{users[0].name} ({users[0].operation})" if users else "the loss"
    return (
        f"the forward pass is finite, but the gradient that {by} sends back to {call.name} "
        "holds NaN or Inf (a square root or logarithm of 0, or 0/0, has no finite slope)"
    )

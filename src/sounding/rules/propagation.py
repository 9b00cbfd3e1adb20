"""SD201, SD202, SD205, SD206: gradient and signal that vanish or explode over the depth."""

from __future__ import annotations

import math

from sounding.measure.readings import Attribution, Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.depth import Gain, adaptive, gradient_gain, learned, severity, signal_gain
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF
from sounding.rules.memory import through_time

REINITIALISE = Remedy(name="reinitialise", arguments={"scheme": "kaiming"}, touches="weights")
FIXUP = Remedy(name="reinitialise", arguments={"scheme": "fixup"}, touches="weights")
ORTHOGONAL = Remedy(name="reinitialise", arguments={"scheme": "orthogonal"}, touches="weights")
DATA_DRIVEN = Remedy(name="data_driven_init", touches="weights")
INSERT_NORM = Remedy(name="insert_norm", arguments={"kind": "batch"}, touches="architecture")
TO_RELU = Remedy(name="change_activation", arguments={"to": "relu"}, touches="architecture")
SATURATING = ("sigmoid", "tanh", "hardtanh", "hardsigmoid", "softsign")


def vanishing_gradient(readings: Readings) -> Finding | str | None:
    """SD201: the gradient's norm falls by more than depth theory allows on its way back.

    Over the layers; or, in a recurrence, over time.
    """
    try:
        found = _finding(
            readings, gradient_gain(readings), "SD201", "vanishing-gradient", "gradient", -1
        )
    except NotApplicable:
        if (late := through_time(readings)) is not None:
            return late
        raise
    return found if isinstance(found, Finding) else through_time(readings) or found


def exploding_gradient(readings: Readings) -> Finding | str | None:
    """SD202: the gradient's norm grows by more than depth theory allows on its way back."""
    gain = gradient_gain(readings)
    return _finding(readings, gain, "SD202", "exploding-gradient", "gradient", +1)


def vanishing_signal(readings: Readings) -> Finding | str | None:
    """SD205: what tells inputs apart shrinks, or is lost in rounding, on its way up."""
    gain = signal_gain(readings)
    return _finding(readings, gain, "SD205", "vanishing-signal", "signal", -1)


def exploding_signal(readings: Readings) -> Finding | str | None:
    """SD206: the signal grows by more than depth theory allows on its way up."""
    gain = signal_gain(readings)
    return _finding(readings, gain, "SD206", "exploding-signal", "signal", +1)


def remedies(readings: Readings, sign: int) -> tuple[Remedy, ...]:
    """What can bring a product over layers back to one, the least invasive first.

    Weights that have He's variance are not drawn from it again. Where sums grow that nothing
    normalises, Fixup comes first.
    """
    kinds = {readings.calls[i].activation for i in readings.path}
    change = (TO_RELU,) if kinds & set(SATURATING) else ()
    draw = () if _drawn_by_he(readings) else (REINITIALISE,)
    roles = {call.role for call in readings.calls}
    sums = (FIXUP,) if sign > 0 and "skip" in roles and "normalisation" not in roles else ()
    return (*sums, *draw, *change, DATA_DRIVEN, INSERT_NORM)


def _drawn_by_he(readings: Readings) -> bool:
    """Whether most weights before the last have that variance; by chance one in a hundred has not.

    As `kaiming_normal_` leaves them for a ReLU, by either fan.
    """
    names = {call.weight for call in readings.path_calls()[:-1] if call.weight}
    weights = readings.weights
    known = zip(weights.parameters, weights.scheme, strict=True)
    he = [scheme.startswith("kaiming") for name, scheme in known if name in names]
    return bool(he) and sum(he) > HALF * len(he)


def _finding(
    readings: Readings, gain: Gain, code: str, name: str, what: str, sign: int
) -> Finding | str | None:
    grade = _grade(readings, gain, sign)
    if grade is None:
        return None
    if refuted := learned(readings):
        return f"{what} changes by {_factor(gain.total)} over the depth, yet {refuted}"
    calls = {call.name: call for call in readings.calls}
    measured = {"log_gain": gain.total, "factor_per_layer": gain.factor}
    measured["factor_per_layer_error"] = gain.factor_error
    parts = readings.backward if what == "gradient" else None
    return Finding(
        code=code,
        name=name,
        severity=grade,
        message=_message(gain, what, sign) + _blame(parts),
        layers=gain.layers,
        source=calls[gain.layers[0]].source,
        measured=measured,
        expected={"log_gain": 0.0, "factor_per_layer": 1.0},
        confidence="theory",
        remedies=remedies(readings, sign),
    )


def _grade(readings: Readings, gain: Gain, sign: int) -> str | None:
    """How bad the gain is in the direction of `sign`; a signal lost in rounding is a problem."""
    if gain.rounded >= 0:
        return "problem" if sign < 0 else None
    if math.isnan(gain.total) or math.copysign(1, gain.total) != sign:
        return None
    return severity(gain.judged, adaptive=adaptive(readings))


def _message(gain: Gain, what: str, sign: int) -> str:
    first, last = gain.layers[0], gain.layers[-1]
    subject = "the difference between inputs" if what == "signal" else "the gradient"
    if gain.rounded >= 0 and not gain.total < -1:
        return f"{subject} is lost in rounding from {gain.layers[gain.rounded]} on"
    if not math.isfinite(gain.total):
        return f"{subject} is exactly zero when it arrives at {last}"
    verb = "shrinks" if sign < 0 else "grows"
    error = f" ± {gain.factor_error:.1g}" if math.isfinite(gain.factor_error) else ""
    lost = f"; from {gain.layers[gain.rounded]} on it is lost in rounding"
    return (
        f"{subject} {verb} by {_factor(gain.total)} from {first} to {last}, "
        f"a factor {gain.factor:.3g}{error} per layer{lost if gain.rounded >= 0 else ''}"
    )


def _blame(parts: Attribution | None) -> str:
    """Which factor did it, where the parts are finite."""
    if parts is None:
        return ""
    sums = {name: float(values.sum()) for name, values in parts.parts().items()}
    if not all(math.isfinite(value) for value in sums.values()):
        return ""
    named = ", ".join(f"{name} {value:+.1f}" for name, value in sums.items() if abs(value) > 0.05)
    return f" (log-gain {sum(sums.values()):+.1f}: {named})"


def _factor(log_gain: float) -> str:
    if not math.isfinite(log_gain):
        return "everything"
    return f"10^{log_gain / math.log(10):+.1f}"

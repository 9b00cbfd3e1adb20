"""SD203, SD204: units that are dead or saturated on the whole batch."""

from __future__ import annotations

import math

import numpy as np

from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.depth import learned, severity
from sounding.rules.finding import Finding
from sounding.rules.propagation import DATA_DRIVEN, INSERT_NORM, REINITIALISE, TO_RELU
from sounding.rules.trunk import bridges, bypassed, trunk

SAMPLES = 32  # a unit that fires for one input in ten is missed by 32 with probability 0.03
HALF = 0.5  # of the outputs of a layer saturated: a caution, never more
FLAT = 1e-3  # spread of a saturated layer's outputs, relative to their size: as good as constant

LEAKY = Remedy(name="change_activation", arguments={"to": "leaky_relu"}, touches="architecture")


def dead_units(readings: Readings) -> Finding | str | None:
    """SD203: a rectifier's units that are zero on every sample of the batch.

    A problem where a whole layer is dead that nothing leads around, exactly; else where the units
    left alive, multiplied over the layers, pass as little as the limits of depth say. Half of them
    is the normal state of a deep random net, in which all inputs look alike; a sparse layer, each
    unit of which is zero on most samples, is healthy too.
    """
    signal = readings.signal
    rows = [i for i in _through(readings) if signal.dead[i] >= 0 and readings.calls[i].units > 1]
    outputs = [i for i in _outputs(readings) if signal.dead[i] >= 0]
    if not rows and not outputs:
        raise NotApplicable("no rectifier was called behind a layer")
    if readings.batch < SAMPLES:
        raise NotApplicable(f"{readings.batch} samples are too few to call a unit dead")
    return _dead_between(readings, rows) or _dead_outputs(readings, outputs)


def _dead_between(readings: Readings, rows: list[int]) -> Finding | str | None:
    signal = readings.signal
    units = np.array([readings.calls[i].units for i in rows], dtype=np.float64)
    alive = 1 - signal.dead[rows] / units
    passed = _log_passed(np.minimum(2 * alive, 1.0))
    grade = severity(passed)
    if grade is None:
        return None
    worst = int(alive.argmin())
    dead, call = int(signal.dead[rows[worst]]), readings.calls[rows[worst]]
    said = f"{dead} of {call.units} units of {call.name} are zero on all {readings.batch} samples"
    if alive[worst] > 0 and (refuted := learned(readings)):
        return f"{said}, yet {refuted}"
    blocked = ", so no gradient reaches anything before it"
    concerned = [readings.calls[i] for i, a in zip(rows, alive, strict=True) if a <= alive[worst]]
    return Finding(
        code="SD203",
        name="dead-units",
        severity=grade,
        message=said + (blocked if alive[worst] == 0 else _together(passed, len(rows))),
        layers=tuple(one.name for one in concerned),
        source=call.source,
        measured={"dead": float(dead), "units": float(call.units), "log_gain": passed},
        expected={"dead": 0.0, "units": float(call.units), "log_gain": 0.0},
        confidence="exact" if alive[worst] == 0 else "measured",
        remedies=(REINITIALISE, DATA_DRIVEN, LEAKY, INSERT_NORM),
    )


def _dead_outputs(readings: Readings, rows: list[int]) -> Finding | str | None:
    """A rectifier behind the last weights: what is dead there gets no gradient from the loss.

    Of outputs that are not scores of classes, some may be zero on every sample by right.
    """
    classes = readings.loss_name in ("cross_entropy", "nll_loss")
    for index in rows:
        call, dead = readings.calls[index], int(readings.signal.dead[index])
        if not dead or (dead < call.units and not classes):
            continue
        whole = f"all {readings.batch} samples"
        said = f"{dead} of {call.units} outputs of {call.name} are zero on {whole}"
        if dead < call.units and (refuted := learned(readings)):
            return f"{said}, yet {refuted}"
        return Finding(
            code="SD203",
            name="dead-units",
            severity="problem" if dead == call.units else "caution",
            message=f"{said} and get no gradient; take away the {call.operation} at the end",
            layers=(call.name,),
            source=call.source,
            measured={"dead": float(dead), "units": float(call.units)},
            expected={"dead": 0.0, "units": float(call.units)},
            confidence="exact",
        )
    return None


def saturated_units(readings: Readings) -> Finding | str | None:
    """SD204: activations on flat ground, where they pass less than a hundredth of a gradient.

    A caution from half of a layer on; a problem where what all layers let through falls to the
    limits of depth, or where a layer's outputs hardly differ between inputs any more. Rectifiers
    are flat on one side by design; output activations behind the last weights, gates and branches
    that something leads around are left out.
    """
    signal = readings.signal
    rows = [i for i in _through(readings) if signal.saturated[i] >= 0 and not signal.dead[i] >= 0]
    if not rows:
        raise NotApplicable("no saturating activation before the last layer")
    flat = signal.saturated[rows]
    surely = flat - 2 * np.nan_to_num(signal.saturated_error[rows])
    if not (surely > HALF).any():
        return None
    worst = int(flat.argmax())
    index = rows[worst]
    call, passed = readings.calls[index], _log_passed(1 - flat)
    error = float(signal.saturated_error[index])
    said = f"{flat[worst]:.0%} ± {error:.0%} of {call.name}'s outputs are saturated"
    if readings.step > 0 and (refuted := learned(readings)):
        return f"{said}, yet {refuted}"
    constant = any(_constant(readings, i) for i, s in zip(rows, surely, strict=True) if s > HALF)
    blocks = constant or (len(rows) > 1 and severity(passed) == "problem")
    return Finding(
        code="SD204",
        name="saturated-units",
        severity="problem" if blocks else "caution",
        message=f"{said}: the slope there is under 0.01{_together(passed, len(rows))}",
        layers=tuple(readings.calls[i].name for i, s in zip(rows, surely, strict=True) if s > HALF),
        source=call.source,
        measured={"saturated": float(flat[worst]), "saturated_error": error, "log_gain": passed},
        expected={"saturated": 0.0, "log_gain": 0.0},
        confidence="measured",
        remedies=(REINITIALISE, TO_RELU, INSERT_NORM, DATA_DRIVEN),
    )


def _through(readings: Readings) -> list[int]:
    """The activations between the weighted calls that signal and gradient cannot go around."""
    calls = trunk(readings, list(readings.path))
    around = bridges(readings, calls)
    return [i for i in calls if readings.calls[i].role == "activation" and not bypassed(i, around)]


def _outputs(readings: Readings) -> list[int]:
    """The activations right behind the last weighted call."""
    last = readings.path[-1] if readings.path else -1
    return [
        i
        for i, call in enumerate(readings.calls)
        if call.role == "activation" and call.main == last and last >= 0
    ]


def _log_passed(open_: np.ndarray) -> float:
    """Log-amplitude of the gradient that is left where only these fractions of a layer pass it."""
    return float(0.5 * np.log(open_).sum()) if (open_ > 0).all() else -math.inf


def _constant(readings: Readings, index: int) -> bool:
    signal = readings.signal
    return bool(signal.spread[index] < FLAT * signal.rms[index])


def _together(passed: float, layers: int) -> str:
    if layers < 2 or not math.isfinite(passed):
        return ""
    return f"; {layers} layers together pass {math.exp(passed):.2g} of the gradient"

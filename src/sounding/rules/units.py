"""SD203, SD204: units that are dead or saturated on the whole batch."""

from __future__ import annotations

from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.depth import learned
from sounding.rules.finding import Finding
from sounding.rules.propagation import DATA_DRIVEN, INSERT_NORM, REINITIALISE

SAMPLES = 32  # a unit that fires for one input in ten is missed by 32 with probability 0.03
FEW = 0.1  # fraction of units alive under which a layer is called nearly dead
MOST = 0.9  # fraction saturated above which a layer passes next to nothing
HALF = 0.5

LEAKY = Remedy(name="change_activation", arguments={"to": "leaky_relu"}, touches="architecture")
TO_RELU = Remedy(name="change_activation", arguments={"to": "relu"}, touches="architecture")


def dead_units(readings: Readings) -> Finding | str | None:
    """SD203: a rectifier's units that are zero on every sample of the batch.

    A problem only where a whole layer is dead, which blocks every gradient behind it exactly; a
    sparse layer is healthy, and fewer than one unit in ten alive is a caution.
    """
    rows = [
        (i, readings.signal.dead[i], readings.calls[i].units)
        for i, call in enumerate(readings.calls)
        if readings.signal.dead[i] >= 0 and call.units > 1
    ]
    if not rows:
        raise NotApplicable("no rectifier was called")
    if readings.batch < SAMPLES:
        raise NotApplicable(f"{readings.batch} samples are too few to call a unit dead")
    sick = [(i, dead, units) for i, dead, units in rows if dead > (1 - FEW) * units]
    if not sick:
        return None
    index, dead, units = max(sick, key=lambda row: row[1] / row[2])
    if dead < units and (refuted := learned(readings)):
        return f"{dead:.0f} of {units} units of {readings.calls[index].name} are dead, yet {refuted}"
    call = readings.calls[index]
    blocked = ", so no gradient reaches anything before it" if dead == units else ""
    return Finding(
        code="SD203",
        name="dead-units",
        severity="problem" if dead == units else "caution",
        message=f"{dead:.0f} of {units} units of {call.name} are zero on all "
        f"{readings.batch} samples{blocked}",
        layers=tuple(readings.calls[i].name for i, _, _ in sick),
        source=call.source,
        measured={"dead": float(dead), "units": float(units)},
        expected={"dead": 0.0, "units": float(units)},
        confidence="exact" if dead == units else "measured",
        remedies=(REINITIALISE, DATA_DRIVEN, LEAKY, INSERT_NORM),
    )


def saturated_units(readings: Readings) -> Finding | str | None:
    """SD204: activations on flat ground, where they pass less than a hundredth of a gradient.

    Output activations behind the last weights are left out: a trained classifier's are saturated
    because it is sure.
    """
    last = readings.path[-1] if readings.path else -1
    rows = [
        (i, readings.signal.saturated[i], readings.signal.saturated_error[i])
        for i in range(len(readings.calls))
        if readings.signal.saturated[i] >= 0 and i < last
    ]
    if not rows:
        raise NotApplicable("no saturating activation before the last layer")
    sick = [(i, value, error) for i, value, error in rows if value - 2 * (error or 0.0) > HALF]
    if not sick:
        return None
    index, value, error = max(sick, key=lambda row: row[1])
    call = readings.calls[index]
    said = f"{value:.0%} ± {error:.0%} of {call.name}'s outputs are saturated"
    if refuted := learned(readings):
        return f"{said}, yet {refuted}"
    return Finding(
        code="SD204",
        name="saturated-units",
        severity="problem" if value - 2 * error > MOST else "caution",
        message=f"{said}: the slope there is under 0.01, so the gradient stops",
        layers=tuple(readings.calls[i].name for i, _, _ in sick),
        source=call.source,
        measured={"saturated": float(value), "saturated_error": float(error)},
        expected={"saturated": 0.0},
        confidence="measured",
        remedies=(REINITIALISE, TO_RELU, INSERT_NORM, DATA_DRIVEN),
    )

"""SD704: units that fired as the training began, and died in it."""

from __future__ import annotations

import math

from sounding.measure.readings import Readings
from sounding.measure.test import Test, Untested
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import QUARTER, Relief, explained, relief, watched
from sounding.rules.learning_rate import LOOK
from sounding.rules.units import LEAKY

FORKS = ("leaking", "leaking_on")  # from the beginning, from the end


def units_died(readings: Readings) -> Finding | str | None:
    """SD704: a layer lost units in training, and with units that cannot die it learns clearly more.

    Counted exactly, on the same stored samples with the first and the last weights: units that
    fired for one of them and fire for none any more. More than a QUARTER of a layer is a suspicion;
    nets lose units and are none the worse. A fork in which every ReLU lets a tenth of what is
    negative through decides: the training begun again so, or gone on with so.
    """
    course = watched(readings)
    if course.steps < LOOK:
        raise NotApplicable(f"{course.steps} steps are but the beginning of a training")
    if readings.loop is not None and readings.loop.several:
        raise NotApplicable("several optimisers take turns; such a training is not begun again")
    if not explained(readings.test("constant")) < 1 - QUARTER:
        return None
    test = readings.test("deaths")
    shares = _shares(test)
    if not max(shares.values()) > QUARTER:
        return None
    layer = max(shares, key=lambda name: shares[name])
    said = (
        f"{test[f'died:{layer}']:.0f} of the {test[f'alive:{layer}']:.0f} units of {layer} that "
        f"fired at first are zero on all {test['samples']:.0f} samples at the end"
    )
    for name in FORKS:
        found = _decided(readings, name)
        if found is not None and found.harmful:
            return _finding(readings, test, shares, said, name, found)
    return f"{said}, but with units that cannot die the training does not end clearly lower"


def _decided(readings: Readings, name: str) -> Relief | None:
    """What the fork came to; None where it cannot be made."""
    try:
        return relief(readings, name)
    except Untested:
        if name not in readings.tests:
            raise
        return None


def _shares(test: Test) -> dict[str, float]:
    """Of the units that were alive, the share that died, by layer."""
    layers = [key.removeprefix("alive:") for key in test.values if key.startswith("alive:")]
    return {name: test[f"died:{name}"] / test[f"alive:{name}"] for name in layers}


def _finding(
    readings: Readings, test: Test, shares: dict[str, float], said: str, fork: str, found: Relief
) -> Finding:
    onset = test["onset"]
    when = f"half of them by step {onset:.0f}" if math.isfinite(onset) else ""
    when = when or f"most of them after step {test['after']:.0f}"
    again = "begun again" if fork == FORKS[0] else "gone on with"
    layer = max(shares, key=lambda name: shares[name])
    sources = {call.name: call.source for call in readings.calls}
    return Finding(
        code="SD704",
        name="units-died",
        severity="problem",
        message=(
            f"{said}, {when}: no gradient reaches them; {again} with a slope of 0.1 below 0, "
            f"{found.said}; lower the learning rate, or take leaky ReLUs"
        ),
        layers=tuple(name for name, share in shares.items() if share > QUARTER),
        source=sources.get(layer, ""),
        measured=found.measured | {"died": shares[layer], "onset": onset},
        expected=found.expected | {"died": 0.0},
        confidence="measured",
        remedies=(LEAKY,),
    )

"""SD704: units that fired as the training began, and died in it."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from sounding.measure.readings import Readings
from sounding.measure.test import Test
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, QUARTER, Relief, explained, relief, watched, where_made
from sounding.rules.learning_rate import LOOK
from sounding.rules.units import LEAKY

SLOWER = Remedy(name="scale_lr", arguments={"factor": 0.1}, touches="recipe")


class _Fork(NamedTuple):
    test: str
    how: str
    advice: str
    remedy: Remedy


FORKS = (
    _Fork("slower", "begun again with a tenth of the rate", "lower the learning rate", SLOWER),
    _Fork("leaking", "begun again with a slope of 0.1 below 0", "take leaky ReLUs", LEAKY),
    _Fork("leaking_on", "gone on with, with a slope of 0.1 below 0", "take leaky ReLUs", LEAKY),
)


def units_died(readings: Readings) -> Finding | str | None:
    """SD704: a layer lost units in training, and where they cannot die the net learns clearly more.

    Counted exactly, on the same stored samples with the first and the last weights: units that
    fired for one of them and fire for none any more. More than a QUARTER of a layer is a suspicion;
    nets lose units and are none the worse. Forks decide: the training begun again with a tenth of
    the rate, which must also spare HALF of the units; or so that every ReLU lets a tenth of what is
    negative through; or gone on with so.
    """
    course = watched(readings)
    if course.steps < LOOK:
        raise NotApplicable(f"{course.steps} steps are but the beginning of a training")
    if readings.loop is not None and readings.loop.several:
        raise NotApplicable("several optimisers take turns; such a training is not begun again")
    if not (readings.signal.dead >= 0).any():
        raise NotApplicable("no rectifier was called")
    if not explained(readings.test("constant")) < 1 - QUARTER:
        return None
    test = readings.test("deaths")
    shares = _shares(test)
    layer = max(shares, key=lambda name: shares[name])
    if not shares[layer] > QUARTER:
        return None
    said = (
        f"{test[f'died:{layer}']:.0f} of the {test[f'alive:{layer}']:.0f} units of {layer} that "
        f"fired at first are zero on all {test['samples']:.0f} samples at the end"
    )
    for fork in FORKS:
        if fork.test == "slower" and not test["slower"] < HALF * test["as_is"]:
            continue
        found = where_made(readings, functools.partial(relief, readings, fork.test))
        if found is not None and found.harmful:
            return _finding(readings, test, shares, said, fork, found)
    return f"{said}, but where units cannot die the training does not end clearly lower"


def _shares(test: Test) -> dict[str, float]:
    """Of the units that were alive, the share that died, by layer."""
    layers = [key.removeprefix("alive:") for key in test.values if key.startswith("alive:")]
    return {name: test[f"died:{name}"] / test[f"alive:{name}"] for name in layers}


def _finding(
    readings: Readings, test: Test, shares: dict[str, float], said: str, fork: _Fork, found: Relief
) -> Finding:
    layer, onset = max(shares, key=lambda name: shares[name]), test["onset"]
    when = f"half of them by step {onset:.0f}" if math.isfinite(onset) else ""
    when = when or f"most of them after step {test['steps']:.0f}"
    sources = {call.name: call.source for call in readings.calls}
    return Finding(
        code="SD704",
        name="units-died",
        severity="problem",
        message=(
            f"{said}, {when}, and get no gradient any more; {fork.how} {found.said}; {fork.advice}"
        ),
        layers=tuple(name for name, share in shares.items() if share > QUARTER),
        source=sources.get(layer, ""),
        measured=found.measured | {"died": shares[layer], "onset": onset},
        expected=found.expected | {"died": 0.0},
        confidence="measured",
        remedies=(fork.remedy,),
    )

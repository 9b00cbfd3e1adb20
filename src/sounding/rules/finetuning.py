"""SD508: weights that were trained before, and a rate that undoes it within a few steps."""

from __future__ import annotations

import numpy as np

from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.blocked import random_weights
from sounding.rules.finding import Finding
from sounding.rules.harm import ERRORS, HALF, explained, relief, watched
from sounding.rules.learning_rate import SLOWER


def features_destroyed(readings: Readings) -> Finding | str | None:
    """SD508: the run begins with trained weights, learns too little, and a lower rate learns.

    Trained weights are known by two signs, either of which will do. The layers before the last one
    have no longer the variance of any known initialisation while the last one still has: a new head
    on an old net. Or the loss begins clearly below that of the best constant. A net that has been
    trained has something to lose, which is what tells this from any other rate that is too high.
    """
    watched(readings)
    if readings.step > 0:
        raise NotApplicable("the weights that the training began with are in its first reading")
    constant = readings.test("constant")
    if not explained(constant) < HALF:
        return None
    known = constant["constant_loss"] - constant["start_loss"]
    begun = known > ERRORS * np.hypot(constant["constant_error"], constant["now_error"])
    old = _trained(readings)
    if not old and not begun:
        return None
    for name, factor in SLOWER.items():
        found = relief(readings, name)
        if found.harmful:
            return _finding(readings, old, found.said, factor, found.measured, found.expected)
    return "the net was trained before, but no lower rate ends clearly lower"


def _trained(readings: Readings) -> list[str]:
    """Weights before the last layer that are no random ones, where those of the last layer are.

    At least half of them: the variance of one in a hundred random ones is called unknown by chance.
    """
    names = [call.weight for call in readings.path_calls() if call.weight]
    if len(names) < 2 or not random_weights(readings, names[-1:]):
        return []
    old = [name for name in names[:-1] if not random_weights(readings, [name])]
    return old if len(old) >= HALF * (len(names) - 1) else []


def _finding(
    readings: Readings,
    old: list[str],
    said: str,
    factor: float,
    measured: dict[str, float],
    expected: dict[str, float],
) -> Finding:
    lr = float(watched(readings).lr[0])
    what = "the net comes trained"
    if old:
        what = f"{len(old)} weights come trained, {old[0]} the first of them"
    sources = {call.weight: call.source for call in readings.calls}
    return Finding(
        code="SD508",
        name="features-destroyed",
        severity="problem",
        message=(
            f"{what}, and the learning rate {lr:.3g} destroys that; {1 / factor:g} times lower "
            f"{said}; take lr={lr * factor:.3g}, or train the new layers alone first"
        ),
        layers=tuple(old),
        source=sources.get(old[0], "") if old else "",
        measured=measured | {"lr": lr},
        expected=expected | {"lr": lr * factor},
        confidence="measured",
        remedies=(
            Remedy(name="scale_lr", arguments={"factor": factor}, touches="recipe"),
            Remedy(name="warm_up", arguments={"steps": 100}, touches="recipe"),
        ),
    )

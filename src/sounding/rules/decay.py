"""SD504: weight decay that is stronger than the loss."""

from __future__ import annotations

import math

from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, QUARTER, explained, relief, watched


def weight_decay_too_strong(readings: Readings) -> Finding | str | None:
    """SD504: the run learnt too little, and without weight decay it ends clearly lower.

    Where it learnt half of what there is, what decay keeps it from may be its samples by heart. It
    must end clearly lower on samples that it was not fitted to as well, then.
    """
    watched(readings)
    loop = readings.loop
    decays = [g.settings.get("weight_decay", 0.0) for g in loop.groups] if loop else []
    if not any(decays):
        raise NotApplicable("no parameter group has weight decay")
    learnt = explained(readings.test("constant"))
    if not learnt < 1 - QUARTER:
        return None
    found = relief(readings, "undecayed")
    if not found.harmful:
        return "without weight decay the loss does not end clearly lower"
    if not learnt < HALF and not relief(readings, "undecayed_unseen").harmful:
        return f"without weight decay {found.said}, but not so on samples that it has not seen"
    decay = max(decays)
    return Finding(
        code="SD504",
        name="weight-decay-too-strong",
        severity="problem",
        message=(
            f"weight decay {decay:.3g} drowns the loss{_halves(readings, decay)}; without it "
            f"{found.said}; take weight_decay=1e-4 or less"
        ),
        layers=(),
        source="",
        measured=found.measured | {"weight_decay": decay},
        expected=found.expected | {"weight_decay": 1e-4},
        confidence="measured",
        remedies=(
            Remedy(name="set_weight_decay", arguments={"value": 1e-4}, touches="recipe"),
            Remedy(name="set_weight_decay", arguments={"value": 0.0}, touches="recipe"),
        ),
    )


def _halves(readings: Readings, decay: float) -> str:
    """How fast a weight without gradient shrinks; what divides decay by its own size does not say.

    Momentum adds steps up, and the rate is that of the first step.
    """
    loop, optimiser = readings.loop, readings.optimiser
    if loop is None or optimiser is None or (optimiser.adaptive and not loop.decoupled):
        return ""
    momentum = max(group.settings.get("momentum", 0.0) for group in loop.groups)
    rate = float(watched(readings).lr[0]) * decay / (1 - momentum)
    return f": it halves a weight without gradient every {math.log(2) / rate:.0f} steps"

"""SD505: weight decay on rows of a table that are looked up too rarely to make up for it."""

from __future__ import annotations

import math

import numpy as np

from sounding.measure.loop import Group
from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import ERRORS, watched


def decay_on_rare_rows(readings: Readings) -> Finding | str | None:
    """SD505: between two visits the decay takes more than half of what a rare row has learnt.

    A row that no batch looks up gets no gradient but decays at every step: after n steps it is
    exp(-n lr decay) times what it was. Exact, once the half-life ln 2 / (lr decay) and the wait n
    are known; harm is that the fork without decay ends clearly lower. Its share of the loss does
    not count, because the rows are rare. With AdamW's defaults the half-life is 69,000 steps.
    """
    course = watched(readings)
    half_life, table = _shortest(readings, course.lr)
    if half_life > course.steps:
        return None
    visits = readings.test("visits")
    wait = visits["wait"]
    if wait < half_life:
        return (
            f"a rare row of {table} waits {wait:.0f} steps, less than the {half_life:.0f} in which "
            "its decay halves it"
        )
    fork = readings.test("undecayed")
    if not fork["difference"] > ERRORS * fork["error"]:
        return f"decay halves rare rows of {table} between visits, but the loss does not show it"
    left = 2 ** (-wait / half_life)
    return Finding(
        code="SD505",
        name="decay-on-rare-rows",
        severity="problem",
        message=(
            f"weight decay halves {table} every {half_life:.0f} steps, and its rarer rows wait "
            f"{wait:.0f} steps between two visits, which leaves {left:.1%} of them; without decay "
            f"the loss ends at {fork['changed']:.3g} instead of {fork['as_is']:.3g}; put {table} "
            "into a parameter group with weight_decay=0"
        ),
        layers=(table,),
        source=next((c.source for c in readings.calls if c.weight == table), ""),
        measured={"wait": wait, "half_life": half_life, "loss": fork["as_is"]},
        expected={"wait": half_life, "loss": fork["changed"]},
        confidence="measured",
        remedies=(Remedy(name="no_decay_on", arguments={"kinds": "embeddings"}, touches="recipe"),),
    )


def _shortest(readings: Readings, lr: np.ndarray) -> tuple[float, str]:
    """The shortest half-life of a table in steps, and the table's name.

    Raises:
        NotApplicable: If nothing is looked up, or no table decays.
    """
    tables = {c.weight for c in readings.calls if c.operation.startswith("embedding") and c.weight}
    groups = readings.loop.groups if readings.loop else ()
    schedule = (
        float(np.nanmean(lr) / lr[-1]) if lr[-1] > 0 else 1.0
    )  # settings are those of the end
    found = [(_half_life(g, schedule), n) for g in groups for n in g.parameters if n in tables]
    if not found or not min(found)[0] < math.inf:
        raise NotApplicable("no table of rows decays")
    return min(found)


def _half_life(group: Group, schedule: float) -> float:
    """Steps in which a weight without gradient is halved; momentum adds its own steps up."""
    lr, decay = (group.settings.get(name, 0.0) for name in ("lr", "weight_decay"))
    rate = schedule * lr * decay / (1 - group.settings.get("momentum", 0.0))
    return math.log(2) / rate if rate > 0 else math.inf

"""SD606: a normalisation that multiplies its output by nothing."""

from __future__ import annotations

from sounding.measure.readings import Call, Readings
from sounding.rules.blocked import learnt, looped
from sounding.rules.finding import Finding
from sounding.rules.trunk import bridges, bypassed, trunk

# Root of torch's eps of 1e-5: a signal of unit size, scaled below it, is lost in the eps of the
# next normalisation, which then makes it no larger again; and the gradient is scaled by it too.
DEAD = 10**-2.5


def dead_scales(readings: Readings) -> Finding | str | None:
    """SD606: all scales of a normalisation are as good as zero, and nothing is learnt.

    The largest of them decides, so scales that were thinned out on purpose do not count; nor does a
    norm at the end of a residual branch, which may begin at zero and stay there, for the signal
    goes around it.
    """
    loop = looped(readings)
    dead = {name: size for name, size in loop.scales.items() if size < DEAD}
    calls = [call for call in _through(readings) if f"{call.module}.weight" in dead]
    if not calls:
        return None
    first = calls[0]
    size = dead[f"{first.module}.weight"]
    said = f"no scale of {first.name} is larger than {size:.2g}"
    if (share := learnt(readings)) > 0:
        return f"{said}, yet {share:.0%} of the loss is explained"
    return Finding(
        code="SD606",
        name="dead-scales",
        severity="problem",
        message=f"{said}, so neither signal nor gradient passes it, and nothing is learnt: set its "
        "weight to ones, and leave the parameters of norms out of the weight decay",
        layers=tuple(call.name for call in calls),
        source=first.source,
        measured={"largest_scale": size},
        expected={"largest_scale": 1.0},
        confidence="measured",
    )


def _through(readings: Readings) -> list[Call]:
    """The normalisations that the main path cannot go around."""
    calls = trunk(readings, list(readings.path))
    around = bridges(readings, calls)
    return [
        readings.calls[i]
        for i in calls
        if readings.calls[i].role == "normalisation" and not bypassed(i, around)
    ]

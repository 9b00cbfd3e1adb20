"""SD102: gradients too small for float16, and steps too small for half-precision weights."""

from __future__ import annotations

import math

import numpy as np

from sounding.measure.readings import Readings
from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import ERRORS, HALF, explained, relief, watched

STEP = 2.0**-24  # the smallest number above 0 that float16 has; below half of it all is 0
LOST = 4 * STEP  # an rms from which on down a tenth or more of a normal's entries becomes 0


def half_precision_underflow(readings: Readings) -> Finding | str | None:
    """SD102: gradients in float16 rounded to zero, or steps that half precision rounds away.

    Raises:
        NotApplicable: If no layer computes in float16, and no weight is in half precision.
    """
    weights = readings.loop is not None and bool(readings.loop.rounded)
    try:
        found = small_gradients(readings)
    except NotApplicable as reason:
        if isinstance(reason, Untested) or not weights:
            raise
        found = None
    return found or (lost_steps(readings) if weights else found)


def lost_steps(readings: Readings) -> Finding | str | None:
    """SD102: weights in half precision that a step leaves as they are.

    Near a weight w the numbers of bfloat16 are |w| / 256 to |w| / 128 apart, those of float16
    |w| / 2048 to |w| / 1024: a step of less than half of that is rounded away, however often it is
    made. Counted at the steps that were looked at, of the entries with a gradient, and averaged
    over the weights; looked into from one half on, where most of what training does is lost. Exact
    as a fact; harm is that the same training with float32 weights ends clearly lower, and lower
    than the run itself came in the end.
    """
    watched(readings)
    assert readings.loop is not None
    rounded = readings.loop.rounded
    share = float(np.mean(list(rounded.values())))
    if share < HALF:
        return None
    said = f"{share:.0%} of the weights' steps are rounded away in half precision"
    fork = relief(readings, "widened")
    test, end = readings.test("widened"), readings.test("constant").values.get("now_loss", math.inf)
    if not (test["difference"] > ERRORS * test["error"] and test["changed"] < end):
        return f"{said}, yet in float32 {fork.said}"
    worst = sorted(rounded, key=lambda name: -rounded[name])
    return Finding(
        code="SD102",
        name="half-precision-underflow",
        severity="problem",
        message=(
            f"{said}: they are smaller than half the distance to the next number; in float32 "
            f"{fork.said}; keep the weights in float32 and compute under torch.autocast"
        ),
        layers=tuple(name for name in worst if rounded[name] >= HALF),
        source=next((c.source for c in readings.calls if c.weight == worst[0]), ""),
        measured={"rounded_share": share, **fork.measured},
        expected={"rounded_share": 0.0, **fork.expected},
        confidence="exact",
    )


def small_gradients(readings: Readings) -> Finding | str | None:
    """SD102: gradients in float16 of which a good part is rounded to zero.

    Of normally distributed entries with an rms of 4 x 2^-24 a tenth is below 2^-25 and becomes 0,
    and what is left has two bits. Behind a gradient as small as that an exact 0 is one that was
    rounded away. What a gradient scaler multiplies is measured as it is: large enough.
    """
    gradients = readings.gradients
    if gradients is None:
        raise NotApplicable("no backward pass was recorded")
    half = [i for i in readings.path if _dtype(readings, i) == "float16"]
    sizes = np.array([gradients.rms[i] for i in half])
    if not len(half) or not np.isfinite(sizes).any():
        raise NotApplicable("no layer computes in float16")
    small = [i for i, size in zip(half, sizes, strict=True) if 0 < size < LOST]
    gone = [i for i, size in zip(half, sizes, strict=True) if size == 0 and _behind(readings, i)]
    if not small and not gone:
        return None
    said = (
        f"{len(small) + len(gone)} of {len(half)} layers in float16 get gradients below {LOST:.1g}"
    )
    if readings.course is not None and explained(readings.test("constant")) >= HALF:
        return f"{said}, yet the run learns"
    named = [readings.calls[i] for i in sorted({*small, *gone})]
    least = min(float(gradients.rms[i]) for i in {*small, *gone})
    return Finding(
        code="SD102",
        name="half-precision-underflow",
        severity="problem" if gone or readings.course is not None else "caution",
        message=(
            f"{said}, that of {named[0].name} an rms of {least:.2g}, where float16 has nothing "
            f"between 0 and {STEP:.1g}; scale the loss with torch.amp.GradScaler, or compute in "
            "bfloat16"
        ),
        layers=tuple(call.name for call in named),
        source=named[0].source,
        measured={"gradient_rms": least},
        expected={"gradient_rms": LOST},
        confidence="exact" if gone else "measured",
    )


def _dtype(readings: Readings, index: int) -> str:
    return readings.calls[index].dtype or readings.dtype


def _behind(readings: Readings, index: int) -> bool:
    """Whether a call nearer to the loss gets a gradient that is small already, and not 0."""
    assert readings.gradients is not None
    sizes = [size for size in readings.gradients.rms[index + 1 :] if size > 0]
    return bool(sizes) and min(sizes) < 2.0**-14  # from here on down float16 loses bits

"""SD102: gradients that are too small for float16."""

from __future__ import annotations

import numpy as np

from sounding.measure.readings import Readings
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, explained

STEP = 2.0**-24  # the smallest number above 0 that float16 has; below half of it all is 0
LOST = 4 * STEP  # an rms from which on down a tenth or more of a normal's entries becomes 0


def half_precision_underflow(readings: Readings) -> Finding | str | None:
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

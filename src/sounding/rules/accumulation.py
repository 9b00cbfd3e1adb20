"""SD210, SD211: gradients that add up over steps, or over the batches of one step."""

from __future__ import annotations

import math

import numpy as np

from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, Relief, relief, watched, where_made

SAME = 1e-3  # of a norm, for rounding in half precision


def accumulated_gradients(readings: Readings) -> Finding | str | None:
    """SD210: the gradients of the step before are still there when backward begins. Exact.

    What is there before the first backward of a step has the very norm with which the optimiser has
    just stepped. Zeros left by ``zero_grad(set_to_none=False)`` have none; a momentum by hand is
    scaled; what another optimiser's backward leaves behind, as in a pair of adversaries, is another
    gradient. A problem unless the fork that zeroes the gradients ends no lower: then a caution.
    """
    course = watched(readings)
    before, carried = course.gradient_norm[:-1], course.carried[1:]
    known = np.isfinite(before) & np.isfinite(carried)
    if not known.any():
        raise NotApplicable("fewer than two steps were looked at")
    before, carried = before[known], carried[known]
    share = float(((carried > 0) & (np.abs(carried - before) <= SAME * before)).mean())
    if share < HALF:
        return None
    found = _zeroed(readings)
    norms = course.gradient_norm[np.isfinite(course.gradient_norm)]
    grew = f"and their norm goes from {norms[0]:.3g} to {norms.max():.3g}"
    then = f"; with it {found.said}" if found and found.harmful else ""
    return Finding(
        code="SD210",
        name="accumulated-gradients",
        severity="problem" if found is None or found.harmful else "caution",
        message=(
            f"at {share:.0%} of the steps backward adds to the gradients of the steps before, "
            f"{grew}; call optimizer.zero_grad() in every step{then}"
        ),
        layers=(),
        source="",
        measured=(found.measured if found else {}) | {"steps_with_old_gradients": share},
        expected=(found.expected if found else {}) | {"steps_with_old_gradients": 0.0},
        confidence="exact",
        remedies=(Remedy(name="zero_gradients", touches="recipe"),),
    )


def _zeroed(readings: Readings) -> Relief | None:
    """The fork with fresh gradients; None where it cannot be made."""
    return where_made(readings, lambda: relief(readings, "fresh_gradients"))


def undivided_accumulation(readings: Readings) -> Finding | str | None:
    """SD211: k calls of backward a step, each on the whole mean loss: the gradient is k-fold."""
    course = watched(readings)
    counts = course.backwards[course.backwards > 0]
    k = float(np.median(counts)) if counts.size else 0.0
    if k < 2:
        raise NotApplicable("one backward pass a step")
    call = readings.loss_call
    factor = call.factor if call is not None else math.nan
    if math.isfinite(factor) and factor * k < 1.5:
        return None  # each was divided
    found = relief(readings, "averaged")
    if not found.harmful:
        return f"{k:.0f} losses are summed in each step, but their mean does not end clearly lower"
    return Finding(
        code="SD211",
        name="undivided-accumulation",
        severity="problem",
        message=(
            f"each step sums the gradients of {k:.0f} backward passes on undivided losses, so it "
            f"is {k:.0f} times as long as for their mean; divided by {k:.0f} {found.said}; write "
            f"(loss / {k:.0f}).backward()"
        ),
        layers=(),
        source=call.source if call is not None else "",
        measured=found.measured | {"sum_over_mean": k},
        expected=found.expected | {"sum_over_mean": 1.0},
        confidence="measured",
        remedies=(Remedy(name="divide_gradients", arguments={"by": k}, touches="recipe"),),
    )

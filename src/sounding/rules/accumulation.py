"""SD210, SD211: gradients that add up over steps, or over the batches of one step."""

from __future__ import annotations

import math

import numpy as np

from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import relief, watched


def accumulated_gradients(readings: Readings) -> Finding | str | None:
    """SD210: the gradients of the step before are still there when backward begins. Exact.

    Zeros left by ``zero_grad(set_to_none=False)`` have no norm. Gradients that are carried over on
    purpose (a momentum by hand) are told by the fork that zeroes them: it does not end lower.
    """
    course = watched(readings)
    carried = course.carried[1:]
    known = carried[np.isfinite(carried)]
    if not known.size:
        raise NotApplicable("fewer than two steps were looked at")
    share = float((known > 0).mean())
    if share < 0.5:
        return None
    found = relief(readings, "fresh_gradients")
    if not found.harmful:
        return "gradients are carried over from step to step, but zeroing them does not end lower"
    norms = course.gradient_norm[np.isfinite(course.gradient_norm)]
    return Finding(
        code="SD210",
        name="accumulated-gradients",
        severity="problem",
        message=(
            f"gradients are never zeroed: at {share:.0%} of the steps backward adds to those of "
            f"all steps before, and their norm goes from {norms[0]:.3g} to {norms.max():.3g}; with "
            f"zero_grad() before every backward {found.said}"
        ),
        layers=(),
        source="",
        measured=found.measured | {"steps_with_old_gradients": share},
        expected=found.expected | {"steps_with_old_gradients": 0.0},
        confidence="exact",
        remedies=(Remedy(name="zero_gradients", touches="recipe"),),
    )


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

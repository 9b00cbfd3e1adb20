"""SD409, SD416: what the model is given."""

from __future__ import annotations

import numpy as np

from sounding.measure.readings import Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.comparison import called
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, explained, relief, where_made
from sounding.rules.trunk import trunk

STANDARDISE = Remedy(name="standardise_inputs", touches="architecture")
# A suspicion only, which a fork decides. Default weights suit inputs of size 1; a factor 3 is one
# of ten in the square, which gradient and curvature of the first layer are proportional to.
SIZES = (1 / 3, 3.0)
FAR = 3.0  # deviations that the mean lies away from 0, again ten in the square
UNEVEN = 10.0  # range of one feature over the middle one
SAME = 8  # samples: that two equally likely ones are drawn alone has the chance 2^-7


def unscaled_inputs(readings: Readings) -> Finding | str | None:
    """SD409: inputs far from mean 0 and deviation 1, where the same training with such learns.

    Size, offset and unevenness of the features raise the suspicion; the fork 'standardised' decides
    over it.
    """
    index = _given(readings)
    signal = readings.signal
    size, mean, spread = (float(v[index]) for v in (signal.rms, signal.mean, signal.spread))
    uneven = _unevenness(readings)
    if not size > 0 or not spread > 0:
        return None
    if SIZES[0] < size < SIZES[1] and abs(mean) < FAR * spread and not uneven > UNEVEN:
        return None
    said = f"the inputs have mean {mean:.3g} and deviation {spread:.3g} over the samples"
    if uneven > UNEVEN:
        said += f", and one feature ranges {uneven:.2g} times as far as the middle one"
    found = relief(readings, "standardised")
    if not found.harmful:
        return f"{said}; standardised, {found.said}"
    first = readings.calls[readings.path[0]]
    return Finding(
        code="SD409",
        name="unscaled-inputs",
        severity="problem",
        message=f"{said}; with every feature at mean 0 and deviation 1 {found.said}: "
        "subtract the training set's mean and divide by its deviation",
        layers=(first.name,),
        source=first.source,
        measured={"mean": mean, "deviation": spread, **found.measured},
        expected={"mean": 0.0, "deviation": 1.0, **found.expected},
        confidence="measured",
        remedies=(STANDARDISE,),
    )


def duplicated_samples(readings: Readings) -> Finding | str | None:
    """SD416: all samples of a batch are one, or each occurs equally often.

    Exact: inputs that do not differ at all, or pairs of output and target that occur twice, all of
    them, or three times. Drawing at random repeats some samples more than others. Of a training the
    stored inputs themselves are compared (the test 'copies'), where outputs may agree by chance;
    and copies are a problem where less than half was learnt.
    """
    call = called(readings)
    inputs = [i for i, one in enumerate(readings.calls) if one.role == "input"]
    spreads = readings.signal.spread[inputs]
    alike = call.silent is not None and bool(call.silent.all())
    if len(inputs) and alike and readings.batch >= SAME and bool((spreads == 0).all()):
        return _finding(readings.batch, readings.batch, harm=True)
    rows = call.output.shape[0]
    copies = call.copies
    if copies < 2 and readings.course is not None:
        test = where_made(readings, lambda: readings.test("copies"))
        copies = 1 if test is None or test["rows"] != rows else int(test["copies"])
    if copies < 2 or rows < SAME:
        return None
    return _finding(copies, rows, harm=copies == rows or _unlearnt(readings))


def _unlearnt(readings: Readings) -> bool:
    if readings.course is None:
        return False
    constant = where_made(readings, lambda: readings.test("constant"))
    return constant is not None and explained(constant) < HALF


def _finding(copies: int, rows: int, *, harm: bool) -> Finding:
    what = (
        "are one and the same" if copies == rows else f"are {rows // copies}, each {copies} times"
    )
    return Finding(
        code="SD416",
        name="duplicated-samples",
        severity="problem" if harm else "caution",
        message=f"the {rows} samples of the batch {what}: the step is that of a batch of "
        f"{rows // copies}; look at the sampler and the indices of the data set",
        layers=(),
        source="",
        measured={"samples": float(rows // copies)},
        expected={"samples": float(rows)},
        confidence="exact",
    )


def _given(readings: Readings) -> int:
    """The call that makes what the first layer on the main path is given.

    Raises:
        NotApplicable: If that consists of indices, was not seen, or is normalised in the model.
    """
    if not readings.path:
        raise NotApplicable("no weighted layer was called")
    first = readings.calls[readings.path[0]]
    if first.operation.startswith("embedding"):
        raise NotApplicable("the inputs are indices into a table")
    if first.main < 0:
        raise NotApplicable("the input of the first layer was not seen")
    before = trunk(readings, [0, first.main])
    if any(readings.calls[i].role == "normalisation" for i in before):
        raise NotApplicable("the model normalises its inputs itself")
    return first.main


def _unevenness(readings: Readings) -> float:
    """The widest range of a feature over the middle one, in training; 1 where it is not known."""
    loop = readings.loop
    if loop is None or loop.evaluations.low is None or loop.evaluations.high is None:
        return 1.0
    widths = loop.evaluations.high - loop.evaluations.low
    widths = widths[np.isfinite(widths) & (widths > 0)]
    return float(widths.max() / np.median(widths)) if len(widths) > 1 else 1.0

"""SD418: a model that mixes the samples of a batch, and learns little."""

from __future__ import annotations

from sounding.capture.operations import RECURRENT
from sounding.measure.readings import Readings
from sounding.result import NotApplicable
from sounding.rules.comparison import called
from sounding.rules.finding import Finding
from sounding.rules.harm import ERRORS, HALF, QUARTER, explained, watched
from sounding.rules.learning_rate import LOOK
from sounding.rules.loss_input import MIXES, matched


def samples_mixed(readings: Readings) -> Finding | str | None:
    """SD418: in evaluation mode an output depends on the other samples of its batch.

    Nets on graphs or sets do so on purpose, and learn. So it is asked only of a run that has learnt
    less than half of what a constant leaves, though a simple regression on each sample alone (the
    test 'baseline') explains a quarter of the targets' variance. The others of a batch are
    exchanged, and the outputs compared (the test 'mixing').
    """
    course, call = watched(readings), called(readings)
    if course.steps < LOOK or readings.batch < 4:
        raise NotApplicable("the run is too short, or its batches too small")
    if readings.loop is not None and readings.loop.several:
        raise NotApplicable("several optimisers take turns")
    if matched(call) or not explained(readings.test("constant")) < HALF:
        return None
    baseline = readings.test("baseline")
    simple, unsure = baseline["explained"], baseline["error"]
    if not simple - ERRORS * unsure > 0 or not simple > QUARTER:
        return None
    mixed = readings.test("mixing")["eval"]
    if not mixed > MIXES:
        return None
    first = next((c for c in readings.calls if c.operation in RECURRENT), None)
    hint = (
        "a view or reshape that should be a transpose, or a sum, norm or softmax along dimension 0"
        if first is None
        else f"{first.name} ({first.operation}) takes the samples for time steps unless "
        "batch_first=True, or the input is transposed; a view or reshape mixes both"
    )
    return Finding(
        code="SD418",
        name="samples-mixed",
        severity="problem",
        message=f"exchanging the others of its batch changes an output by {mixed:.2g} of its "
        f"deviation, in evaluation mode too, and the net has learnt little, though a regression on "
        f"each sample alone explains {simple:.0%} ± {unsure:.0%}: {hint}",
        layers=() if first is None else (first.name,),
        source="" if first is None else first.source,
        measured={"change": mixed, "regression": simple},
        expected={"change": 0.0},
        confidence="measured",
    )

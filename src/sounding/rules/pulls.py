"""SD419, SD420: scores that were reshaped away from their classes, samples the loss leaves out."""

from __future__ import annotations

from sounding.measure.readings import Readings
from sounding.result import NotApplicable
from sounding.rules.blocked import looped
from sounding.rules.comparison import called
from sounding.rules.finding import Finding
from sounding.rules.harm import HALF, QUARTER
from sounding.rules.loss_input import MIXES

CANCELS, STAYS = 1e-3, 0.05  # of the largest entry: float32 leaves 1e-6 of a sum that is 0
FEW = 8  # samples in a batch, from which on a share of them is worth a word


def reshaped_scores(readings: Readings) -> Finding | str | None:
    """SD419: the scores that a cross-entropy takes for those of one place are of several ones.

    Exact. The derivative of a cross-entropy sums to 0 over the classes of each place. It does so
    over the classes as the loss counts them, and along no dimension of the model's output: the
    scores were brought to that shape by a view or reshape, which keeps their order, where classes
    and places had to change places.
    """
    call = called(readings)
    looped(readings)
    if call.function != "cross_entropy" or len(call.output.shape) < 3 or call.classes < 2:
        raise NotApplicable("the loss is no cross-entropy of several places a sample")
    test = readings.test("pull")
    if not (test["along"] > STAYS and test["reshaped"] < CANCELS):
        return None
    return Finding(
        code="SD419",
        name="reshaped-scores",
        severity="problem",
        message=f"cross_entropy is given scores of shape {tuple(call.output.shape)}, whose "
        f"dimension 1 of size {call.classes} is no dimension of the model's output: a view or "
        "reshape mixed the classes of several places; use transpose(1, 2) or permute",
        layers=(),
        source=call.source,
        measured={"sum_along_classes": test["along"]},
        expected={"sum_along_classes": 0.0},
        confidence="exact",
    )


def unused_samples(readings: Readings) -> Finding | str | None:
    """SD420: half of a batch's samples or more never have a say in the loss.

    Exact: the derivative of the loss for their outputs is 0 in every stored batch, at the same
    places of the batch, with the first weights. Losses that let easy samples rest leave out others
    each time; neighbours in a graph, which have no target of their own, change the others' outputs
    (the test 'mixing'), and are silent.
    """
    looped(readings)
    if readings.batch < FEW:
        raise NotApplicable("the batches are too small to leave out a share of them")
    test = readings.test("pull")
    share = test["rows"]
    if share > HALF or test["batches"] < FEW:
        return None
    if readings.test("mixing")["eval"] > MIXES:
        return f"the loss depends on {share:.0%} of the samples, whose outputs the others change"
    used = round(share * readings.batch)
    return Finding(
        code="SD420",
        name="unused-samples",
        severity="problem" if share <= QUARTER else "caution",
        message=f"of the {readings.batch} samples of a batch the loss depends on {used}, the same "
        "places in every batch: look for an index such as output[0] or output[:1], or a mask",
        layers=(),
        source="" if readings.loss_call is None else readings.loss_call.source,
        measured={"samples_used": float(used)},
        expected={"samples_used": float(readings.batch)},
        confidence="exact",
    )

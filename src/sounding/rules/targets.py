"""SD408, SD410, SD411, SD415: what the output is compared with."""

from __future__ import annotations

import math

import numpy as np

from sounding.capture.losses import LABELLED
from sounding.measure.loss_call import LossCall
from sounding.measure.readings import Readings
from sounding.measure.test import Test
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.comparison import called, contradiction, squared, target_of
from sounding.rules.finding import Finding
from sounding.rules.harm import (
    ERRORS,
    HALF,
    QUARTER,
    TWENTIETH,
    above,
    explained,
    relief,
    watched,
    where_made,
)
from sounding.rules.learning_rate import LOOK
from sounding.rules.loss_input import matched

DISTANCES = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
BINARY = ("binary_cross_entropy", "binary_cross_entropy_with_logits")
# z grows with the root of the number of samples. A relation that holds half as well on those held
# out as on those fitted is looked for only where it gives 4: below 2 it is then once in 44.
EXPECTED, FRESH = 4.0, 2.0
EARLY = 8  # steps, in which hardly a sample is seen twice
ENOUGH = 30  # samples held out, so that a mean over them is near to normal
SIZES = (1 / 3, 3.0)  # of the targets: a suspicion only, which a fork decides
TWICE = 2.0  # as frequent as any class: a mask leaves out most, and classes share the rest
RARE = 10.0  # times as frequent: ln 10 = 2.3 is the head start of the other class's score
CHANCE = 1e-3


def uninformative_labels(readings: Readings) -> Finding | str | None:
    """SD408: targets that have nothing to do with the inputs, or are all the same.

    Suspected where the net hardly beats a constant, or did not yet do so in its first steps. The
    test 'labels' decides: a net fitted to some batches does better with
    the true targets than with exchanged ones there, and no better on the others. Where a net can
    hardly be fitted, a second and quite different learner is asked, the regression of the test
    'baseline': what neither of them finds, and no changed training either, is hardly there.
    """
    call = called(readings)
    course = watched(readings)
    if readings.path and readings.calls[readings.path[0]].operation.startswith("embedding"):
        raise NotApplicable("a rare index tells nothing of another one, whatever the targets are")
    if not _compares(readings, call) or matched(call):
        raise NotApplicable("the loss is no plain comparison of outputs with targets")
    constant = readings.test("constant")
    if _one_label(call, constant):
        return _uninformative(
            readings,
            call,
            f"the label is {target_of(call).low:.0f} for all stored samples, "
            f"though the net has {call.classes} classes to choose from",
            {"classes": 1.0},
            {"classes": float(call.classes)},
        )
    late = float(np.mean(course.loss[:EARLY])) >= constant["constant_loss"]
    if not (explained(constant) < HALF or late):
        return None
    test = readings.test("labels")
    fit, fresh, samples = test["z_fit"], test["z_fresh"], test["n_fresh"]
    said = f"on {samples:.0f} samples that a net was not fitted to, the true targets do {fresh:.1f}"
    said += " standard errors better than exchanged ones"
    fitted = test.values.get("n_fit", 48 * readings.batch)  # of 64 batches a quarter is held out
    expected = HALF * fit * math.sqrt(samples / fitted)
    if not fresh < FRESH or samples < ENOUGH:
        return f"{said}; on those that it was fitted to, {fit:.1f}"
    if not expected >= EXPECTED:
        weak = f"{said}; on those that it was fitted to, {fit:.1f}"
        return _found_by_none(readings, constant, said) or weak
    return _uninformative(
        readings,
        call,
        f"{said}, on those that it was fitted to {fit:.0f}: it can only learn them by heart; look "
        "at how inputs and targets are brought together, shuffled and sorted",
        {"z_fresh": fresh, "z_fit": fit},
        {"z_fresh": expected},
    )


def _found_by_none(readings: Readings, constant: Test, said: str) -> Finding | None:
    """Nothing is learnt in a hundred steps, by no changed training, and by a regression neither."""
    floor, level = constant.values.get("floor", 0.0), constant["constant_loss"]
    least = QUARTER * (level - floor)
    forks = [t.values["changed"] for t in readings.tests.values() if "changed" in t.values]
    if watched(readings).steps < LOOK or not explained(constant) < QUARTER:
        return None
    if any(level - changed > least for changed in forks):
        return None
    baseline = where_made(readings, lambda: readings.test("baseline"))
    if baseline is None or baseline["explained"] + ERRORS * baseline["error"] > TWENTIETH:
        return None
    simple, unsure = baseline["explained"], baseline["error"]
    return _uninformative(
        readings,
        called(readings),
        f"{said}, and a regression on the inputs explains {simple:.0%} ± {unsure:.0%} of the "
        "targets' variance: nothing in the inputs tells the targets; look at how they are "
        "brought together, shuffled and sorted",
        {"explained": simple},
        {"explained": TWENTIETH},
    )


def unscaled_targets(readings: Readings) -> Finding | str | None:
    """SD410: targets of a regression far from size 1, where the same training with such learns.

    The size raises the suspicion; the fork 'scaled_targets' decides, with both losses in the units
    of the targets as they are.
    """
    call = called(readings)
    target = target_of(call)
    if call.function not in DISTANCES and not squared(readings, call):
        raise NotApplicable("the loss is no distance between outputs and targets")
    size = math.hypot(target.mean, target.std)
    if call.one_hot or call.counts is not None or SIZES[0] < size < SIZES[1] or not size > 0:
        return None
    said = f"the targets have mean {target.mean:.3g} and deviation {target.std:.3g}"
    found = relief(readings, "scaled_targets")
    if not found.harmful:
        return f"{said}; standardised, {found.said}"
    scale = Remedy(
        name="standardise_targets",
        arguments={"mean": target.mean, "std": target.std},
        touches="architecture",
    )
    return Finding(
        code="SD410",
        name="unscaled-targets",
        severity="problem",
        message=f"{said}; with mean 0 and deviation 1 {found.said}, in the same units: "
        "train on standardised targets, and multiply the predictions back",
        layers=(),
        source=call.source,
        measured={"mean": target.mean, "deviation": target.std, **found.measured},
        expected={"mean": 0.0, "deviation": 1.0, **found.expected},
        confidence="measured",
        remedies=(scale,),
    )


def class_imbalance(readings: Readings) -> Finding | str | None:
    """SD411: a class so rare that the net never says it, and says the most frequent one always.

    By the test 'classes' on the stored batches: there are so many of the rare class that a net
    which knew half of them would hardly miss as many. Only where one label stands for a sample, and
    the net knows the frequencies at least. A single output is a probability, which may serve
    without a decision at one half: a caution then.
    """
    call = called(readings)
    if call.counts is None or not _compares(readings, call):
        raise NotApplicable("the targets are no labels of classes")
    if call.counts.sum() != readings.batch or RARE * call.counts.min() > call.counts.max():
        return None
    test = readings.test("classes")
    count = test["minority_count"]
    share, often = test["minority_share"], test["majority_share"]
    hits = round(test["minority_recall"] * count)
    said = f"{hits} of {count:.0f} samples of the rarest class ({share:.2g} of all) are recognised"
    if RARE * share > often or call.weighted:
        return None
    unseen = at_most(hits, round(count)) < CHANCE and hits <= share * count
    if not unseen or test["majority_recall"] < 1 - share:
        return f"{said}, and of the most frequent {test['majority_recall']:.0%}"
    constant = readings.test("constant")
    if above(constant):
        return f"{said}, but the net does not know the classes' frequencies yet"
    return Finding(
        code="SD411",
        name="class-imbalance",
        severity="problem" if call.classes > 1 else "caution",
        message=f"{said}, and {test['majority_recall']:.0%} of the most frequent: weight the "
        f"classes by 1 / frequency ({often / share:.3g} to 1), draw them equally often, or move "
        "the threshold",
        layers=(),
        source=call.source,
        measured={"minority_recall": test["minority_recall"], "minority_share": share},
        expected={"minority_recall": 1.0, "minority_share": 1 / test["classes"]},
        confidence="measured",
    )


def label_range(readings: Readings) -> Finding | str | None:
    """SD415: targets outside of [0, 1] in a binary cross-entropy, or labels of no use to it.

    The first is exact: such a loss has no floor. The others are harmless to the loss but not to the
    predictions. All labels from 1 to K - 1 occur, and 0 never does, which by chance would have the
    probability (1 - 1/K)^N. Or the loss leaves out one label (the test 'pull'), which is as
    frequent as a class and stands between the others, not at the ends of the samples as padding.
    """
    call = called(readings)
    target = target_of(call)
    if call.function in BINARY:
        return _outside(readings, call)
    if call.function not in LABELLED or call.counts is None:
        raise NotApplicable("the targets are no labels of classes")
    counts, count = call.counts, call.counts.sum()
    if (left := _left_out(readings, call)) is not None:
        return left
    if len(counts) < 3 or counts[0] or (counts[1:] == 0).any() or count != readings.batch:
        return None
    said = f"the labels run from 1 to {target.high:.0f} for {call.classes} outputs"
    if readings.course is not None:
        seen = readings.test("classes")
        if "recall_0" in seen.values:
            return f"{said} in this batch; 0 occurs in others"
        count = seen.values.get("labels", float(count))
    if (1 - 1 / call.classes) ** float(count) > CHANCE:
        return f"{said}, but {count:.0f} samples may miss one by chance"
    return Finding(
        code="SD415",
        name="label-range",
        severity="caution",
        message=f"{said}: output 0 is never used; subtract 1 from the labels and have "
        f"{call.classes - 1} outputs",
        layers=(),
        source=call.source,
        measured={"lowest_label": target.low, "outputs": float(call.classes)},
        expected={"lowest_label": 0.0, "outputs": float(call.classes - 1)},
        confidence="measured",
    )


def _left_out(readings: Readings, call: LossCall) -> Finding | None:
    """A class whose samples or places have no say in the loss.

    What is masked on purpose is far more frequent than any class, and padding stands at an end.
    """
    if readings.course is None or call.weighted or call.function != "cross_entropy":
        return None
    pull = where_made(readings, lambda: readings.test("pull"))
    if pull is None or "ignored" not in pull.values:
        return None
    label, share, largest = (pull[name] for name in ("ignored", "share", "largest"))
    if share > TWICE * largest or pull["padded"] > HALF:
        return None
    return Finding(
        code="SD415",
        name="label-range",
        severity="caution",
        message=f"the loss leaves out label {label:.0f}, which {share:.0%} of the targets have "
        f"(the most frequent other one {largest:.0%}) in between, and not as padding: output "
        f"{label:.0f} is never learnt; take ignore_index=-100, torch's own, if it is a class",
        layers=(),
        source=call.source,
        measured={"ignored_label": label, "share": share},
        expected={"ignored_label": -100.0},
        confidence="exact",
    )


def at_most(hits: int, count: int) -> float:
    """The chance of so few hits among `count` tosses of a coin."""
    return sum(math.comb(count, k) for k in range(hits + 1)) / 2**count


def _compares(readings: Readings, call: LossCall) -> bool:
    """Whether one loss function compares the outputs with targets, each sample like the others."""
    if call.target is None:
        return False
    return call.reduced if call.function else squared(readings, call)


def _one_label(call: LossCall, constant: Test) -> bool:
    """Whether one class is right for every stored sample, which a constant then says for nothing.

    The scores must come from a layer with one unit a class: where samples are scored against one
    another, the first of them is the right one by design.
    """
    target = target_of(call)
    plain = call.operation in ("linear", "softmax", "log_softmax") or call.operation[:4] == "conv"
    one = call.function in LABELLED and call.classes > 1 and target.low == target.high
    return one and plain and constant["constant_loss"] < CHANCE * math.log(call.classes)


def _uninformative(
    readings: Readings,
    call: LossCall,
    message: str,
    measured: dict[str, float],
    expected: dict[str, float],
) -> Finding:
    return Finding(
        code="SD408",
        name="uninformative-labels",
        severity="problem",
        message=message,
        layers=(),
        source=call.source,
        measured=measured,
        expected=expected,
        confidence="measured",
    )


def _outside(readings: Readings, call: LossCall) -> Finding | None:
    target = target_of(call)
    if target.low >= 0 and target.high <= 1:
        return None
    return contradiction(
        readings,
        call,
        "SD415",
        "label-range",
        f"the targets of {call.function} run from {target.low:.3g} to {target.high:.3g}, where "
        "probabilities between 0 and 1 are expected: the loss has no lower bound; "
        f"{'divide by 255' if target.high == 255 else 'map them to 0 and 1'}",
        {"lowest_target": target.low, "highest_target": target.high},
        {"lowest_target": 0.0, "highest_target": 1.0},
    )

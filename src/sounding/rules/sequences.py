"""SD417: sequences whose outputs are shown what they are to predict."""

from __future__ import annotations

import math

from sounding.measure.readings import Readings
from sounding.result import NotApplicable
from sounding.rules.comparison import called, target_of
from sounding.rules.finding import Finding
from sounding.rules.loss_input import MIXES


def answer_in_the_input(readings: Readings) -> Finding | str | None:
    """SD417: the target of a place is an input further on, and the output there depends on it.

    Exact. What is asked for at a place of the sequence stands, bit for bit, some places ahead among
    the inputs; exchanging that input changes the output which is to predict it. Such a net learns
    to copy, and has nothing to copy from when it is used. Where the targets are the inputs of the
    same place, which an autoencoder may mean, only a net that otherwise looks backwards alone is
    concerned: there the shift by one is missing.
    """
    call, batch = called(readings), readings.batch
    target = target_of(call)
    if batch < 2 or math.prod(target.shape) < 3 * batch or target.kind == "bool":
        raise NotApplicable("there is no sequence of targets")
    try:
        test = readings.test("answers")
    except NotApplicable as reason:
        if "answers" in readings.tests:
            return f"the outputs are not shown their targets: {reason}"
        raise
    shift, own = int(test["shift"]), test["own"]
    copies = shift == 0 and own > MIXES and test["before"] <= MIXES < test["after"]
    if not copies and not (shift > 0 and own > MIXES):
        return "the targets are among the inputs, but no output depends on its own"
    places = "1 place" if shift == 1 else f"{shift} places"
    said = (
        "each target is the input of the same place, in a net that looks backwards: it only has to "
        "copy; compare the output of a place with the input of the next one, ids[:, 1:]"
        if copies
        else f"each target is the input {places} ahead, and exchanging that input changes the "
        f"output which is to predict it by {own:.2g} of its deviation: the net copies what it will "
        "not have when it is used; mask what lies ahead (is_causal=True, an upper triangle of "
        "-inf, a softmax over the keys, no bidirectional layer)"
    )
    made = next((c for c in reversed(readings.calls) if c.role == "attention"), None)
    return Finding(
        code="SD417",
        name="answer-in-the-input",
        severity="problem",
        message=said,
        layers=() if made is None else (made.name,),
        source=call.source if made is None else made.source,
        measured={"change": own, "places_ahead": float(shift)},
        expected={"change": 0.0},
        confidence="exact",
    )

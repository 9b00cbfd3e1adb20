"""SD603, SD604: dropout that drowns the signal, and dropout that does not end with the training.

`call.arguments["p"]` of a dropout, or of an attention that drops, is the probability of a zero.
"""

from __future__ import annotations

from sounding.measure.readings import Call, Readings
from sounding.remedies.remedy import Remedy
from sounding.rules.blocked import looped
from sounding.rules.comparison import maker
from sounding.rules.evaluation import sampled_on_purpose
from sounding.rules.finding import Finding
from sounding.rules.harm import QUARTER, Relief, relief, watched

SOME = Remedy(name="set_dropout", arguments={"p": 0.1}, touches="architecture")


def dropout_too_strong(readings: Readings) -> Finding | str | None:
    """SD603: so much is dropped that the net cannot learn, not even as it is evaluated.

    A dropped unit has the relative variance p / (1 - p): from p = 1/2 on its noise is larger than
    its signal, which raises the suspicion. Dropout raises the training loss by design, so the same
    training without it (the test 'undropped') must end clearly below both the training loss and the
    loss in evaluation mode, in which nothing is dropped. Dropout of the predictions themselves is
    no regularisation, and is judged by the training loss alone.
    """
    watched(readings)
    strong = [call for call in _dropouts(readings) if call.arguments["p"] >= 1 / 2]
    if not strong:
        return None
    worst = max(strong, key=lambda call: call.arguments["p"])
    p = worst.arguments["p"]
    noise = p / (1 - p) if p < 1 else float("inf")
    said = f"{worst.name} drops {p:.0%} of the units, whose noise is {noise:.2g} times the signal"
    found = relief(readings, "undropped")
    level, changed = found.measured["best_constant"], found.expected["loss"]
    if found.harmful and (end := _at_the_output(readings)):
        return _output_dropped(end, found)
    evaluated = readings.test("repeat")["eval_loss"]
    if not found.harmful or evaluated - changed < QUARTER * level:
        return f"{said}; without any {found.said}, and {evaluated:.3g} as it is evaluated"
    meant = f"; if {p:g} is the share to keep, give {1 - p:.2g}" if p > 1 / 2 else ""
    return Finding(
        code="SD603",
        name="dropout-too-strong",
        severity="problem",
        message=f"{said} (in variance); without any {found.said}, and even in evaluation mode the "
        f"net as it is has {evaluated:.3g}: lower p{meant}",
        layers=tuple(call.name for call in strong),
        source=worst.source,
        measured={"p": p, "noise": noise, "evaluated": evaluated, **found.measured},
        expected={"p": 0.1, "noise": 0.11, **found.expected},
        confidence="measured",
        remedies=(SOME,),
    )


def _at_the_output(readings: Readings) -> Call | None:
    """The dropout whose output the loss is given, if there is one."""
    compared = readings.loss_call
    made = None if compared is None else maker(readings, compared)
    return made if made is not None and made.arguments.get("p", 0) > 0 else None


def _output_dropped(call: Call, found: Relief) -> Finding:
    p = call.arguments["p"]
    return Finding(
        code="SD603",
        name="dropout-too-strong",
        severity="problem",
        message=f"{call.name} drops {p:.0%} of the predictions themselves, which the loss compares "
        f"with targets; without it {found.said}: take it away from the output",
        layers=(call.name,),
        source=call.source,
        measured={"p": p, **found.measured},
        expected={"p": 0.0, **found.expected},
        confidence="measured",
        remedies=(Remedy(name="set_dropout", arguments={"p": 0.0}, touches="architecture"),),
    )


def dropout_always_on(readings: Readings) -> Finding | str | None:
    """SD604: two passes in evaluation mode differ, and they do not with all dropout off.

    Exact. Asked only where a dropout is called by no module that switches it off: a function
    without `training=self.training`, a module in a Python list. Nets that draw random numbers on
    purpose (a variational autoencoder, a policy) still differ with all dropout off.
    """
    loop = looped(readings)
    modules = {mode.split(" (")[0] for mode in loop.modes}
    loose = [call for call in _dropouts(readings) if call.module not in modules]
    if not loose:
        return None
    repeat, first = readings.test("repeat"), loose[0]
    if not repeat["difference"] > 0:
        return f"{first.name} drops in training and, as two passes show, not in evaluation"
    if repeat["undropped"] > 0:
        return "two passes in evaluation mode differ, also with all dropout off"
    if sampled_on_purpose(loop.evaluations):
        return f"{first.name} drops in evaluation too, where the same inputs are asked repeatedly"
    passed = "training=self.training" if first.role != "attention" else "dropout_p only in training"
    return Finding(
        code="SD604",
        name="functional-dropout-always-on",
        severity="problem",
        message=f"two passes in evaluation mode differ by {repeat['difference']:.0%} of the "
        f"output's deviation, and not at all without dropout: {first.name} goes on after eval(); "
        f"pass {passed}, or use a registered nn.Dropout",
        layers=tuple(call.name for call in loose),
        source=first.source,
        measured={"difference": repeat["difference"]},
        expected={"difference": 0.0},
        confidence="exact",
    )


def _dropouts(readings: Readings) -> list[Call]:
    return [call for call in readings.calls if call.arguments.get("p", 0) > 0]

"""SD601, SD605, SD608: batch norms whose statistics are noisy, stale, or should not move.

`call.arguments` of a batch norm: 'samples' (entries behind each statistic), 'training' (1: it takes
the batch's own statistics), 'tracked' (1: it keeps running ones), 'momentum'.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from sounding.measure.readings import Call, Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.blocked import looped
from sounding.rules.finding import Finding
from sounding.rules.harm import ERRORS, HALF, QUARTER, relief, watched

TENTH = 0.1  # of the best constant's loss, lost by evaluating instead of training
SETTLED = 22  # steps after which torch's momentum of 0.1 has forgotten 9/10: ln 0.1 / ln 0.9

RECALIBRATE = Remedy(name="recalibrate_statistics", touches="weights")
FREEZE = Remedy(name="freeze_norm", touches="recipe")


def batch_too_small(readings: Readings) -> Finding | str | None:
    """SD601: so few samples stand behind each statistic that batch norm makes noise of the signal.

    The deviation of m independent samples has the relative error 1 / sqrt(2 (m - 1)). From a
    quarter on, 9 samples or fewer, it is suspected; two samples are normalised to +1 and -1,
    whatever they were. Positions of one image count as one sample here, for they are much alike.
    The suspicion is decided by the same training with norms over each sample's own channels (the
    test 'unbatched'), which must also beat what the net reaches with its running statistics: by a
    quarter of the best constant's loss, or, where the two samples of a statistic leave nothing but
    signs and training sees another function than the evaluation, by half of what that has left.
    """
    norms = [call for call in _norms(readings) if not _frozen(readings, call)]
    rows = readings.batch
    error = 1 / math.sqrt(2 * (rows - 1)) if rows > 1 else math.inf
    if error < QUARTER or not norms:
        return None
    first = norms[0]
    said = f"{rows} samples stand behind each statistic of {first.name}"
    found = relief(readings, "unbatched")
    evaluated = readings.test("repeat")["eval_loss"]
    level, changed = found.measured["best_constant"], found.expected["loss"]
    signs = first.arguments["samples"] == 2
    least = min(QUARTER * level, HALF * evaluated if signs else math.inf)
    if not found.harmful or evaluated - changed < least:
        return f"{said}; with norms over each sample's own channels {found.said}"
    positions = first.arguments["samples"] / rows
    to = "group" if positions > 1 else "layer"
    return Finding(
        code="SD601",
        name="batch-too-small-for-batch-norm",
        severity="problem",
        message=f"only {said}, {_noise(rows, error)}; with norms over each sample's own channels "
        f"{found.said}: use larger batches, or a {to} norm",
        layers=tuple(call.name for call in norms),
        source=first.source,
        measured={"samples": float(rows), "relative_error": error, **found.measured},
        expected={"samples": 32.0, "relative_error": 1 / math.sqrt(62), **found.expected},
        confidence="measured",
        remedies=(Remedy(name="exchange_norm", arguments={"to": to}, touches="architecture"),),
    )


def stale_statistics(readings: Readings) -> Finding | str | None:
    """SD605: the running statistics are not those of the data, so evaluation is far worse.

    Decided by taking them anew over the stored batches, with the weights as they are (the test
    'recalibrated'): the loss in evaluation mode must fall by more than a tenth of the best
    constant's, by more than half of itself, and by more than its own error. A run of fewer steps
    than torch's own momentum needs to settle has only just begun.
    """
    norms = [call for call in _norms(readings) if call.arguments["tracked"]]
    steps = watched(readings).steps
    if not norms or steps < SETTLED:
        return None
    stale = _stale(readings)
    said, before, after = stale.said, stale.before, stale.after
    if not stale.harmful:
        return said if stale.lower else None
    slowest = min(norms, key=lambda call: call.arguments["momentum"])
    return Finding(
        code="SD605",
        name="stale-statistics",
        severity="problem",
        message=f"{said}: batch norm's running ones are not those of the data"
        f"{_momentum(slowest, steps)}; recalibrate them after training",
        layers=tuple(call.name for call in norms),
        source=slowest.source,
        measured={"loss": before, "momentum": slowest.arguments["momentum"]},
        expected={"loss": after, "momentum": 0.1},
        confidence="measured",
        remedies=(RECALIBRATE,),
    )


def frozen_norm_in_training_mode(readings: Readings) -> Finding | str | None:
    """SD608: batch norms of a frozen part take the batch's statistics, and move their own.

    A frozen part computes the same function at every step only with its norms in evaluation mode.
    That they are not is common and, with large batches of the same kind of data, harmless. So a
    fork decides: the same steps with them in evaluation mode (the test 'settled') end clearly
    lower. Where the script trained that part itself before, it is that training which can tell: its
    own loss in evaluation mode is ruined by statistics that it has not left (as in SD605).
    """
    if looped(readings).overwritten:
        return _overwritten(readings, looped(readings).overwritten)
    norms = [c for c in _norms(readings) if c.arguments["tracked"] and _frozen(readings, c)]
    if not norms:
        return None
    said = f"{len(norms)} frozen batch norms are in training mode, {norms[0].name} the first"
    found = relief(readings, "settled")
    if not found.harmful:
        return f"{said}; in evaluation mode {found.said}"
    return Finding(
        code="SD608",
        name="frozen-batch-norm-in-training-mode",
        severity="problem",
        message=f"{said}: their weights are frozen, and what they compute changes with every "
        f"batch; in evaluation mode {found.said}: call eval() on them after every train()",
        layers=tuple(call.name for call in norms),
        source=norms[0].source,
        measured={"norms": float(len(norms)), **found.measured},
        expected={"norms": 0.0, **found.expected},
        confidence="measured",
        remedies=(FREEZE,),
    )


class _Stale(NamedTuple):
    """What taking the running statistics anew comes to."""

    harmful: bool
    lower: bool  # clearly, but by too little to be a problem
    before: float
    after: float
    said: str


def _stale(readings: Readings) -> _Stale:
    anew = readings.test("recalibrated")
    before, after = anew["before"], anew["after"]
    level = readings.test("constant")["constant_loss"]
    gain = before - after
    lower = gain > ERRORS * anew["error"] and gain > HALF * before
    said = (
        f"in evaluation mode the loss is {before:.3g}, and {after:.3g} with statistics taken anew"
    )
    return _Stale(lower and gain > TENTH * level, lower, before, after, said)


def _overwritten(readings: Readings, names: tuple[str, ...]) -> Finding | str:
    watched(readings)
    stale = _stale(readings)
    said = f"a later training holds {len(names)} batch norms frozen, {names[0]} the first of them"
    if not stale.harmful:
        return f"{said}, and in training mode, but their statistics still fit"
    return Finding(
        code="SD608",
        name="frozen-batch-norm-in-training-mode",
        severity="problem",
        message=f"{said}, but goes on with their running statistics: on the batches of this one "
        f"{stale.said}; call eval() on the frozen part after every train()",
        layers=names,
        source=next((c.source for c in readings.calls if c.name == names[0]), ""),
        measured={"norms": float(len(names)), "loss": stale.before},
        expected={"norms": 0.0, "loss": stale.after},
        confidence="measured",
        remedies=(RECALIBRATE,),
    )


def _norms(readings: Readings) -> list[Call]:
    """The batch norms that normalise by their batch, in order.

    Raises:
        NotApplicable: If there is none.
    """
    found = [
        call
        for call in readings.calls
        if call.operation == "batch_norm" and call.arguments.get("training")
    ]
    if not found:
        raise NotApplicable("no batch norm takes the statistics of its batch")
    return found


def _frozen(readings: Readings, call: Call) -> bool:
    """Whether the scales of the norm are frozen: then SD608 speaks of it, and SD601 does not."""
    return readings.loop is not None and f"{call.module}.weight" in readings.loop.frozen


def _noise(rows: int, error: float) -> str:
    if rows == 1:
        return "which is normalised by itself in training, and by others in evaluation"
    alone = ", and each sample leaves it as +1 or -1" if rows == 2 else ""
    return f"whose deviation is off by {error:.0%} then{alone}"


def _momentum(call: Call, steps: int) -> str:
    momentum = call.arguments["momentum"]
    left = (1 - momentum) ** steps if momentum < 1 else 0.0
    if left < TENTH:
        return ""
    return f" (momentum {momentum:g} keeps {left:.0%} of the first values over {steps} steps)"

"""SD207: what the optimiser holds and the loss is computed from, but no gradient ever reaches."""

from __future__ import annotations

import math

import numpy as np

from sounding.measure.loop import Loop
from sounding.measure.readings import Call, Readings
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.harm import ERRORS, HALF, explained


def looped(readings: Readings) -> Loop:
    """The facts of the loop.

    Raises:
        NotApplicable: If no training was watched.
    """
    if readings.loop is None:
        raise NotApplicable("no training was watched; `sounding run` watches one")
    return readings.loop


def blocked_gradient(readings: Readings) -> Finding | str | None:
    """SD207: a part that is meant to learn, feeds one that does, and never gets a gradient.

    Exact: the optimiser holds it, it requires a gradient, and a layer that is trained is computed
    from it; an output that nothing uses, or a branch that ends in the loss as its target, is no
    such part. Who feeds a head with pre-trained features on purpose, and only forgot to take them
    out of the optimiser, is known by two signs: the weights are no random ones, and the head has
    learnt. A part without `requires_grad` that the optimiser holds nevertheless is reported where
    its weights are random and less than half was learnt.
    """
    loop = looped(readings)
    cut = frozenset(loop.cut)
    if cut and not _reached(readings).any():
        return _nowhere(readings, loop)
    between = _between(readings, cut) if cut else None
    if between is None:
        return _frozen(readings, loop)
    last, first = between
    weights = [name for name in loop.cut if name in readings.weights.parameters]
    share = math.nan if random_weights(readings, weights) else learnt(readings)
    if share >= HALF:
        return (
            f"no gradient reaches {last.name}, yet its weights are no random ones, and what it "
            f"feeds explains {share:.0%} of the loss: freeze it with requires_grad_(False)"
        )
    return Finding(
        code="SD207",
        name="blocked-gradient",
        severity="problem",
        message=f"no gradient ever reaches {last.name}, though the optimiser holds its weights and "
        f"{first.name} is computed from it ({len(cut)} parameters in all): {_way(last, first)}",
        layers=tuple(sorted(cut)),
        source=loop.cut_source or last.source,
        measured={"parameters_without_gradient": float(len(cut))},
        expected={"parameters_without_gradient": 0.0},
        confidence="exact",
    )


def _way(last: Call, first: Call) -> str:
    if first.severed >= 0:
        return (
            f"argmax, round, a comparison or the like between {last.name} and {first.name} has no "
            "gradient; take a softmax, or a straight-through estimate"
        )
    return (
        "take away the detach(), no_grad(), .data, .item() or numpy() between "
        f"{last.name} and {first.name}"
    )


def random_weights(readings: Readings, names: list[str]) -> bool:
    """Whether these weights have the variance of a known initialisation, all of them.

    Of an embedding that is torch's own, a variance of 1.
    """
    weights = readings.weights
    looked_up = {c.weight for c in readings.calls if c.operation.startswith("embedding")}
    rows = [i for i, name in enumerate(weights.parameters) if name in names]
    return bool(rows) and all(
        abs(weights.variance[i] - 1) < ERRORS * weights.variance_error[i]
        if weights.parameters[i] in looked_up
        else weights.scheme[i]
        for i in rows
    )


def learnt(readings: Readings) -> float:
    """The share of the best constant's loss that was explained; 0 where nothing surely was.

    Of a loss without a floor at 0, which has no share, it is 1 where the net ended clearly below
    the constant.
    """
    constant = readings.test("constant")
    if not constant["learned"] > ERRORS:
        return 0.0
    share = explained(constant)
    return 1.0 if math.isnan(share) else share


def _reached(readings: Readings) -> np.ndarray:
    """(P,) whether a gradient arrived at each trainable parameter."""
    gradients = readings.gradients
    return np.zeros(0, bool) if gradients is None else np.isfinite(gradients.norm)


def _between(readings: Readings, cut: frozenset[str]) -> tuple[Call, Call] | None:
    """The last layer that is cut and feeds a trained one, and the first that it feeds."""
    calls, gradients = readings.calls, readings.gradients
    if gradients is None:
        return None
    reached = {n for n, r in zip(gradients.parameters, _reached(readings), strict=True) if r}
    behind: dict[int, int] = {}  # call -> the last cut layer that it is computed from
    for index, call in enumerate(calls):
        sources = [behind[i] for i in call.inputs if i in behind]
        if call.weight in cut:
            behind[index] = index
        elif sources:
            behind[index] = max(sources)
        elif call.severed in behind:
            behind[index] = behind[call.severed]
        elif (lost := _lost(readings, index, behind)) >= 0:
            behind[index] = lost
        if call.weight in reached and index in behind:
            return calls[behind[index]], call
    return None


def _lost(readings: Readings, index: int, behind: dict[int, int]) -> int:
    """The cut layer whose output comes back as a tensor of unknown origin, of the same size.

    numpy, `item` and a new tensor leave no trace: but what went into them is used by nobody, and
    later something from outside has its size. -1: there is none.
    """
    call = readings.calls[index]
    wanted = call.size if call.role == "input" else call.fan_in if not call.inputs else 0
    used = {i for c in readings.calls for i in c.inputs}
    ends = [i for i in behind if i not in used and readings.calls[i].role != "loss"]
    return max((behind[i] for i in ends if 0 < readings.calls[i].size == wanted), default=-1)


def _nowhere(readings: Readings, loop: Loop) -> Finding:
    gradients = readings.gradients
    if gradients is not None and (np.nan_to_num(gradients.rms) > 0).any():
        return _taken(loop)
    compared = "" if readings.loss_call is None else readings.loss_call.source
    what = (
        "the output is cut off on its way to any loss; take away the detach(), no_grad() or .data "
        "between this model and the others"
        if loop.several
        else "the loss is a new number, made by item(), detach() or torch.tensor(); call backward "
        "on what the loss function returns"
    )
    return Finding(
        code="SD207",
        name="blocked-gradient",
        severity="problem",
        message=f"backward reaches none of the {len(loop.cut)} parameters that the optimiser holds "
        f"and the model uses: {what}",
        layers=loop.cut,
        source=compared or loop.cut_source,
        measured={"parameters_without_gradient": float(len(loop.cut))},
        expected={"parameters_without_gradient": 0.0},
        confidence="exact",
    )


def _taken(loop: Loop) -> Finding:
    """Backward went through the layers, and yet nothing is there as the optimiser steps."""
    return Finding(
        code="SD207",
        name="blocked-gradient",
        severity="problem",
        message="backward goes through the layers, and as the optimiser steps none of its "
        f"{len(loop.cut)} parameters has a gradient: zero_grad() stands between backward() and "
        "step(); call it before backward",
        layers=loop.cut,
        source="",
        measured={"parameters_without_gradient": float(len(loop.cut))},
        expected={"parameters_without_gradient": 0.0},
        confidence="exact",
    )


def _frozen(readings: Readings, loop: Loop) -> Finding | str | None:
    """What requires no gradient and is held nevertheless, random, in a run that learnt little."""
    held = {name for group in loop.groups for name in group.parameters}
    frozen = [n for n in loop.frozen if n in held and n in readings.weights.parameters]
    if not random_weights(readings, frozen):
        return None
    if (share := learnt(readings)) >= HALF:
        return (
            f"the optimiser holds frozen random weights, yet {share:.0%} of the loss is explained"
        )
    call = next(c for c in readings.calls if c.weight in frozen)
    return Finding(
        code="SD207",
        name="blocked-gradient",
        severity="problem",
        message=f"{len(frozen)} weights that the optimiser holds, {frozen[0]} the first of them, "
        f"have requires_grad=False and their random first values, and {share:.0%} is learnt; "
        "if they are meant to learn, call requires_grad_(True) on them",
        layers=tuple(frozen),
        source=call.source,
        measured={"frozen_and_held": float(len(frozen))},
        expected={"frozen_and_held": 0.0},
        confidence="measured",
    )

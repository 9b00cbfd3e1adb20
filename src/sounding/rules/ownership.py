"""SD208, SD209: parameters that learn from nobody's steps, because nobody holds them."""

from __future__ import annotations

import numpy as np

from sounding.measure.loop import Loop
from sounding.measure.readings import Readings
from sounding.result import NotApplicable
from sounding.rules.blocked import looped, random_weights
from sounding.rules.finding import Finding
from sounding.rules.harm import relief, watched


def not_optimised(readings: Readings) -> Finding | str | None:
    """SD208: parameters that get gradients, are in no optimiser, and are moved by nobody else.

    Exact where the optimiser holds, in their place, tensors that belong to no model and never get a
    gradient: those of layers which the model no longer has. A part left out may be so on purpose (a
    probe on frozen features, a second training to come): it is a problem where it still has its
    random first values, and the same steps with it in the optimiser (the test 'adopted') end
    clearly lower. Who optimises an image leaves out the whole net: what is held there belongs to no
    model either, but gets gradients. Exact too where backward is called and the optimiser never
    steps, and every weight is to the bit what it was.
    """
    loop = looped(readings)
    if loop.unstepped or not loop.missing:
        return _unstepped(readings, loop) if loop.unstepped else None
    norms = watched(readings).gradient_norm
    norms = norms[np.isfinite(norms)]
    if loop.stale or (len(norms) and not norms.any()):
        return _stale(readings, loop)
    left = [name for name in loop.missing if name in readings.weights.parameters]
    said = f"{_count(len(loop.missing))} that get gradients are in no optimiser"
    if not random_weights(readings, left):
        return f"{said}, {loop.missing[0]} among them, which are no random ones"
    if loop.foreign:
        return f"{said}; it holds others that belong to no model, and do get gradients"
    found = relief(readings, "adopted")
    if not found.harmful:
        return f"{said}; with them in it {found.said}"
    return _finding(
        readings,
        loop,
        f"{said} ({left[0]} the first): they keep their random values; held by it "
        f"{found.said}: give the optimiser model.parameters() when the model is final",
        {"missing": float(len(loop.missing)), **found.measured},
        {"missing": 0.0, **found.expected},
        "measured",
    )


def unregistered_parameters(readings: Readings) -> Finding | str | None:
    """SD209: weights that get a gradient and are parameters of no module and in no optimiser.

    Exact: a call of the forward pass used them, they want a gradient, and one arrives at that call.
    Weights computed from parameters, and tensors that an optimiser holds directly, do not count.
    """
    loop = looped(readings)
    if not loop.unregistered:
        return None
    if readings.gradients is None:
        raise NotApplicable("no backward pass was recorded")
    arrives = np.nan_to_num(readings.gradients.rms) > 0
    calls = [
        call
        for call, arrived in zip(readings.calls, arrives, strict=True)
        if call.name in loop.unregistered and arrived
    ]
    if not calls:
        return "layers that belong to no module are used, and no gradient arrives at them"
    why = (
        "they are new ones at every call: make the layer in __init__, not in forward"
        if loop.fresh
        else "keep layers in nn.ModuleList and tensors in nn.Parameter, made in __init__"
    )
    where = f"in {calls[0].module}" if calls[0].module else "in the model itself"
    return Finding(
        code="SD209",
        name="unregistered-parameters",
        severity="problem",
        message=f"{len(calls)} calls, {calls[0].name} ({calls[0].operation}) {where} first, use "
        "weights that want a gradient and are parameters of no module, so no step moves them; "
        f"{why}",
        layers=tuple(call.name for call in calls),
        source=calls[0].source,
        measured={"calls": float(len(calls))},
        expected={"calls": 0.0},
        confidence="exact",
    )


def _unstepped(readings: Readings, loop: Loop) -> Finding:
    return _finding(
        readings,
        loop,
        f"backward was called {loop.unstepped} times and optimizer.step() never, so every weight "
        "is what it was at the start; call it behind backward",
        {"steps": 0.0, "backwards": float(loop.unstepped)},
        {"steps": float(loop.unstepped)},
        "exact",
    )


def _stale(readings: Readings, loop: Loop) -> Finding:
    held = sum(len(group.parameters) for group in loop.groups)
    dead = f"{loop.stale} of the {held}" if loop.stale else f"all {held}"
    return _finding(
        readings,
        loop,
        f"{dead} tensors that the optimiser holds never get a gradient, and "
        f"{_count(len(loop.missing))} of the model that do ({loop.missing[0]} the first) are in no "
        "optimiser: layers were exchanged after it was built; build it when the model is final",
        {"missing": float(len(loop.missing)), "stale": float(loop.stale)},
        {"missing": 0.0, "stale": 0.0},
        "exact",
    )


def _finding(
    readings: Readings,
    loop: Loop,
    message: str,
    measured: dict[str, float],
    expected: dict[str, float],
    confidence: str,
) -> Finding:
    first = next((c for c in readings.calls if c.weight in loop.missing), None)
    return Finding(
        code="SD208",
        name="not-optimised",
        severity="problem",
        message=message,
        layers=loop.missing,
        source="" if first is None else first.source,
        measured=measured,
        expected=expected,
        confidence=confidence,
    )


def _count(number: int) -> str:
    return f"{number} parameter{'s' * (number != 1)}"

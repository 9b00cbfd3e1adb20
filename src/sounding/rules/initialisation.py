"""SD301, SD302, SD303: weights that start at zero, equal to one another, or at the wrong scale."""

from __future__ import annotations

import math

import numpy as np

from sounding.measure.readings import Call, Readings
from sounding.remedies.remedy import Remedy
from sounding.result import NotApplicable
from sounding.rules.depth import CAUTION, gradient_gain, learned, severity, signal_gain
from sounding.rules.finding import Finding
from sounding.rules.propagation import DATA_DRIVEN, INSERT_NORM, ORTHOGONAL, REINITIALISE

NAMES = {"pytorch default": "PyTorch's default, 1/(3 fan_in)", "xavier": "Xavier"}


def zero_initialisation(readings: Readings) -> Finding | str | None:
    """SD301: weights that are all zero and whose gradient is all zero, so they stay zero.

    Exact: a zero gate or head whose gradient is not zero is healthy and passes.
    """
    gradients = readings.gradients
    if gradients is None:
        raise NotApplicable("no backward pass was recorded")
    norms = dict(zip(gradients.parameters, gradients.norm, strict=True))
    moments = dict(zip(readings.weights.parameters, readings.weights.second_moment, strict=True))
    stuck = [n for n, moment in moments.items() if moment == 0 and norms.get(n, 1.0) == 0]
    if not stuck:
        return None
    return _exact(
        readings,
        "SD301",
        "zero-initialisation",
        stuck,
        f"{_count(stuck)} all zero and so {_has(stuck)} gradient: "
        "neither this step nor any later one can change them",
        {"zero_weights": float(len(stuck))},
    )


def symmetric_units(readings: Readings) -> Finding | str | None:
    """SD302: units with the same weights and the same gradient, which stay equal for ever.

    Exact: twins with different gradients part at the first step and pass.
    """
    weights = readings.weights
    lookups = {c.weight for c in readings.calls if c.operation.startswith("embedding")}
    alike = [
        (name, int(twins), int(units))
        for name, twins, units, moment in zip(
            weights.parameters, weights.symmetric, weights.units, weights.second_moment, strict=True
        )
        if twins * 2 > units > 1 and moment > 0 and name not in lookups
    ]
    if not alike:
        return None
    names = [name for name, _, _ in alike]
    name, twins, units = alike[0]
    message = (
        f"{twins} of {units} units of {name} have a twin with the same weights and the same "
        "gradient: no step can tell them apart"
    )
    measured = {"units_with_twin": float(twins), "units": float(units)}
    return _exact(readings, "SD302", "symmetric-units", names, message, measured)


def initialisation_mismatch(readings: Readings) -> Finding | str | None:
    """SD303: the scale of the weights does not fit the activation, and this explains the depth.

    A finding only where signal or gradient leave the trainable range *and* the same net with the
    needed variance would stay inside it: the measured log-gain less the weights' share.
    """
    gains = [_try(signal_gain, readings), _try(gradient_gain, readings)]
    totals = [g.steady for g in gains if g is not None and math.isfinite(g.steady)]
    if not totals:
        raise NotApplicable("fewer than three weighted layers in a row")
    worst = max(totals, key=abs)
    grade = severity(worst)
    layers = [readings.calls[i] for i in readings.path[1:]]
    shares = [_share(call, readings) for call in readings.path_calls()[:-1]]
    share = float(np.nansum(shares))
    if grade is None or not _explains(worst, share):
        return None
    if refuted := learned(readings):
        return f"the weights' scale changes the signal by 10^{share / math.log(10):+.1f}, yet {refuted}"
    return _mismatch(readings, grade, layers, share)


def _mismatch(readings: Readings, grade: str, layers: list[Call], share: float) -> Finding:
    call = _typical(readings)
    row = readings.weights.parameters.index(call.weight)
    weights = readings.weights
    measured = float(weights.second_moment[row] * weights.fan_in[row])
    needed = float(weights.needed[row])
    error = float(weights.variance_error[row] * weights.fan_in[row])
    gain = _try(signal_gain, readings) or gradient_gain(readings)
    predicted = math.sqrt(measured / needed)
    verb = "loses" if predicted < 1 else "gains"
    scheme = weights.scheme[row]
    factor = gain.factor if predicted > 1 else 1 / gain.factor
    exact = 3 * needed if scheme == "pytorch default" else max(needed / measured, measured / needed)
    error_of = factor * gain.factor_error / gain.factor
    spread = f" ± {error_of:.1g}" if math.isfinite(error_of) else ""
    message = (
        f"the signal {verb} a factor {factor:.3g}{spread} "
        f"per layer (theory {math.sqrt(exact):.3g} = sqrt({exact:.3g})): the weights of {len(layers)} "
        f"layers have variance {measured:.3g}/fan_in{f' ({NAMES.get(scheme, scheme)})' if scheme else ''}"
        f" where {call.activation or 'a layer without activation'} needs {needed:.3g}/fan_in"
    )
    return Finding(
        code="SD303",
        name="initialisation-mismatch",
        severity=grade,
        message=message,
        layers=tuple(c.name for c in [readings.path_calls()[0], *layers]),
        source=call.source,
        measured={
            "variance_x_fan_in": measured,
            "variance_x_fan_in_error": error,
            "factor_per_layer": gain.factor,
            "factor_per_layer_error": gain.factor_error,
            "log_gain_of_weights": share,
        },
        expected={
            "variance_x_fan_in": needed,
            "factor_per_layer": predicted,
            "log_gain_of_weights": 0.0,
        },
        confidence="theory",
        remedies=(REINITIALISE, ORTHOGONAL, DATA_DRIVEN, INSERT_NORM),
    )


def _explains(total: float, share: float) -> bool:
    """Whether taking the weights' share away brings the total back into the trainable range."""
    if abs(share) < CAUTION or math.copysign(1, total) != math.copysign(1, share):
        return False
    return abs(total - share) < CAUTION or abs(share) > abs(total)


def _share(call: Call, readings: Readings) -> float:
    """log-gain that this call's weights add to what its activation needs: 0 for a fitting scale.

    Weights with a mean add up coherently: fan_in^2 mean^2 on inputs of one sign.
    """
    if call.weight not in readings.weights.parameters:
        return float("nan")
    row = readings.weights.parameters.index(call.weight)
    weights = readings.weights
    variance, needed = float(weights.variance[row]), float(weights.needed[row])
    mean_square = max(float(weights.second_moment[row]) - variance, 0.0)
    fan_in = float(weights.fan_in[row])
    effective = fan_in * variance + fan_in**2 * mean_square
    if not needed > 0 or not effective > 0:
        return float("nan")
    return 0.5 * math.log(effective / needed)


def _typical(readings: Readings) -> Call:
    """The call whose weights are off by the median amount: one number that speaks for all."""
    calls = [c for c in readings.path_calls()[:-1] if math.isfinite(_share(c, readings))]
    return sorted(calls, key=lambda c: _share(c, readings))[len(calls) // 2]


def _try(gain, readings: Readings):
    try:
        return gain(readings)
    except NotApplicable:
        return None


def _exact(
    readings: Readings,
    code: str,
    name: str,
    parameters: list[str],
    message: str,
    measured: dict[str, float],
) -> Finding:
    calls = [c for c in readings.calls if c.weight in parameters]
    return Finding(
        code=code,
        name=name,
        severity="problem",
        message=message,
        layers=tuple(c.name for c in calls),
        source=calls[0].source if calls else "",
        measured=measured,
        expected=dict.fromkeys(measured, 0.0) | ({"units": measured["units"]} if "units" in measured else {}),
        confidence="exact",
        remedies=(REINITIALISE, Remedy(name="data_driven_init", touches="weights")),
    )


def _count(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{len(names)} weights ({names[0]}, ...) are"


def _has(names: list[str]) -> str:
    return "has no" if len(names) == 1 else "have no"

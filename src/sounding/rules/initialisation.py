"""SD301, SD302, SD303: weights that start at zero, equal to one another, or at the wrong scale."""

from __future__ import annotations

import math
from collections.abc import Callable

from sounding.measure.readings import Call, Readings
from sounding.result import NotApplicable
from sounding.rules.depth import (
    CAUTION,
    PROBLEM,
    Gain,
    adaptive,
    gradient_gain,
    learned,
    severity,
    signal_gain,
)
from sounding.rules.finding import Finding
from sounding.rules.harm import Relief
from sounding.rules.initial_output import loud
from sounding.rules.propagation import DATA_DRIVEN, INSERT_NORM, ORTHOGONAL, REINITIALISE
from sounding.rules.redrawing import Odd, better_redrawn, oddest, rate_alone
from sounding.rules.scale import effective_variance, share, shares
from sounding.rules.trunk import unrepeated

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
    """SD303: weights of another scale than the net needs, by theory over the depth or by a trial.

    Theory: signal or gradient leave the trainable range *and* the same net with the needed variance
    would stay inside it: the measured log-gain less the weights' share. Where that says nothing,
    because the net is shallow, or gates and softmaxes are concerned, the training is begun again
    from weights drawn the usual way. What loud outputs alone explain is SD304's.
    """
    try:
        found = _over_depth(readings)
    except NotApplicable as reason:
        found = reason
    if isinstance(found, Finding):
        return found
    redrawn = None if loud(readings) else better_redrawn(readings)
    if redrawn is not None and (odd := oddest(readings)) is not None:
        return rate_alone(readings, redrawn, odd) or _redrawn(redrawn, odd)
    if isinstance(found, NotApplicable):
        raise found
    return found


def _redrawn(trial: Relief, odd: Odd) -> Finding:
    size = "large" if odd.ratio > 1 else "small"
    factor = max(odd.ratio, 1 / odd.ratio)
    return Finding(
        code="SD303",
        name="initialisation-mismatch",
        severity="problem",
        message=f"begun again from weights drawn as torch does, {trial.said}; farthest from that "
        f"is {odd.name}, {factor:.3g} times too {size}",
        layers=(odd.call.name,),
        source=odd.call.source,
        measured={**trial.measured, "size": odd.ratio},
        expected={**trial.expected, "size": 1.0},
        confidence="measured",
        remedies=(REINITIALISE, ORTHOGONAL, DATA_DRIVEN),
    )


def _over_depth(readings: Readings) -> Finding | str | None:
    gains = [g for g in (_try(signal_gain, readings), _try(gradient_gain, readings)) if g]
    gains = [g for g in gains if math.isfinite(g.total)]
    if not gains:
        raise NotApplicable("fewer than three weighted layers in a row to compare")
    worst = max(gains, key=lambda gain: abs(gain.judged))
    grade = severity(worst.judged, adaptive=adaptive(readings))
    path = unrepeated(readings)
    weights = float(shares(readings, path).sum()) - worst.outlier
    if grade is None or not _explains(worst.judged, weights):
        return None
    if refuted := learned(readings):
        scale = f"10^{weights / math.log(10):+.1f}"
        return f"the weights' scale changes the signal by {scale}, yet {refuted}"
    return _mismatch(readings, grade, path, gains[0], weights)


def _mismatch(
    readings: Readings, grade: str, path: list[int], gain: Gain, log_gain: float
) -> Finding:
    culprit, concerned = _culprit(readings, path)
    row = readings.weights.parameters.index(culprit.weight)
    scale = effective_variance(readings, row)
    fan_in, needed = readings.weights.fan_in[row], float(readings.weights.needed[row])
    theory = math.exp(log_gain / (len(path) - 1))
    if not scale.coherent:  # mean-field theory is about weights of mean zero
        theory = _predicted(readings, path) or theory
    return Finding(
        code="SD303",
        name="initialisation-mismatch",
        severity=grade,
        message=f"{_per_layer(gain, theory)}: the weights of {_layers(concerned)} have "
        f"{_described(readings, row)} where {culprit.activation or 'a layer without activation'} "
        f"needs {needed:.3g}/fan_in, which is {_ratio(scale.total, needed)}",
        layers=tuple(call.name for call in concerned),
        source=culprit.source,
        measured={
            "variance_x_fan_in": float(readings.weights.variance[row] * fan_in),
            "variance_x_fan_in_error": float(readings.weights.variance_error[row] * fan_in),
            "factor_per_layer": gain.factor,
            "factor_per_layer_error": gain.factor_error,
            "log_gain_of_weights": log_gain,
        },
        expected={
            "variance_x_fan_in": needed,
            "factor_per_layer": theory,
            "log_gain_of_weights": 0.0,
        },
        confidence="theory",
        remedies=(REINITIALISE, ORTHOGONAL, DATA_DRIVEN, INSERT_NORM),
    )


def _per_layer(gain: Gain, theory: float) -> str:
    """The measured factor a layer beside the predicted one, both above 1 where they agree."""
    loses = gain.factor < 1
    factor = 1 / gain.factor if loses else gain.factor
    error = factor * gain.factor_error / gain.factor
    spread = f" ± {error:.1g}" if math.isfinite(error) else ""
    predicted = 1 / theory if loses else theory
    verb = "loses" if loses else "gains"
    return f"the signal {verb} a factor {factor:.3g}{spread} per layer (theory {predicted:.3g})"


def _described(readings: Readings, row: int) -> str:
    """What the weights are, in words: their variance, or a mean that adds up over the inputs."""
    weights, scale = readings.weights, effective_variance(readings, row)
    if scale.coherent:
        inputs = f"{weights.fan_in[row]:.0f} inputs"
        return f"a mean of size {scale.mean:.3g}, which adds up over {inputs},"
    scheme = weights.scheme[row]
    called = f" ({NAMES.get(scheme, scheme)})" if scheme else ""
    return f"variance {scale.total:.3g}/fan_in{called}"


def _predicted(readings: Readings, path: list[int]) -> float | None:
    """Mean factor a layer by mean-field theory, None where it has no say."""
    if readings.expectation is None:
        return None
    spread = readings.expectation.spread
    if len(spread) != len(path) or not spread[-1] > 0:
        return None
    return float(spread[-1] / spread[0]) ** (1 / (len(path) - 1))


def _ratio(measured: float, needed: float) -> str:
    """The factor in amplitude between two variances: 'sqrt(6) = 2.45 times too small'."""
    ratio = max(measured / needed, needed / measured)
    size = "large" if measured > needed else "small"
    return f"sqrt({ratio:.3g}) = {math.sqrt(ratio):.3g} times too {size}"


def _explains(total: float, weights: float) -> bool:
    """Whether taking the weights' share away brings the total back to where training works.

    Into the trainable range; or, in a deep net, whose layers' scatter adds up, out of the range in
    which training fails, with a quarter of the total left at most.
    """
    if abs(weights) < CAUTION or math.copysign(1, total) != math.copysign(1, weights):
        return False
    rest = abs(total - weights)
    return rest < max(CAUTION, min(abs(total) / 4, PROBLEM)) or abs(weights) > abs(total)


def _culprit(readings: Readings, path: list[int]) -> tuple[Call, list[Call]]:
    """The call whose weights are off by the middle amount, and all that are off by half of it.

    Where most layers fit and one does not, that one.
    """
    off = {i: share(readings, readings.calls[i]) for i in path}
    known = sorted((i for i in path if math.isfinite(off[i])), key=lambda i: off[i])
    middle = known[len(known) // 2]
    extreme = max(known, key=lambda i: abs(off[i]))
    chosen = middle if abs(off[middle]) > 0.1 * abs(off[extreme]) else extreme
    concerned = [i for i in path if off[i] / off[chosen] >= 0.5]
    return readings.calls[chosen], [readings.calls[i] for i in concerned]


def _layers(calls: list[Call]) -> str:
    return calls[0].name if len(calls) == 1 else f"{len(calls)} layers"


def _try(gain: Callable[[Readings], Gain], readings: Readings) -> Gain | None:
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
        expected={name: value if name == "units" else 0.0 for name, value in measured.items()},
        confidence="exact",
        remedies=(REINITIALISE, DATA_DRIVEN),
    )


def _count(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{len(names)} weights ({names[0]}, ...) are"


def _has(names: list[str]) -> str:
    return "has no" if len(names) == 1 else "have no"

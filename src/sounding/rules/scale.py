"""The scale of each layer's weights against the scale that its activation needs."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sounding.measure.readings import Call, Readings
from sounding.rules.trunk import last_normalisation


class Scale(NamedTuple):
    """How much a layer's weights multiply the mean square of its inputs."""

    total: float  # fan_in x variance, and what the mean adds
    mean: float  # size of the weights' mean
    coherent: bool  # whether the mean does more than the variance


def effective_variance(readings: Readings, row: int) -> Scale:
    """fan_in Var(w) + fan_in^2 E(w)^2: on inputs of one sign a mean adds up coherently."""
    weights = readings.weights
    fan_in, variance = float(weights.fan_in[row]), float(weights.variance[row])
    mean_square = max(float(weights.second_moment[row]) - variance, 0.0)
    spread, sum_ = fan_in * variance, fan_in**2 * mean_square
    return Scale(spread + sum_, math.sqrt(mean_square), sum_ > spread)


def share(readings: Readings, call: Call) -> float:
    """Log-gain that this call's weights add to what its activation needs: 0 for a fitting scale."""
    weights = readings.weights
    if call.weight not in weights.parameters:
        return math.nan
    row = weights.parameters.index(call.weight)
    total, needed = effective_variance(readings, row).total, float(weights.needed[row])
    return 0.5 * math.log(total / needed) if needed > 0 and total > 0 else math.nan


def shares(readings: Readings, path: list[int]) -> np.ndarray:
    """(L - 1,) the shares of all but the first layer: what they add from its output on.

    0 where it is unknown, and before a normalisation, which makes every scale the same.
    """
    start = last_normalisation(readings, path)
    values = [share(readings, readings.calls[i]) if i > start else 0.0 for i in path[1:]]
    return np.nan_to_num(np.array(values))


def outlier(readings: Readings, path: list[int], sign: float) -> float:
    """By how much the most extreme share in the direction of `sign` exceeds the middle one."""
    values = shares(readings, path)
    extreme = values.max() if sign > 0 else values.min()
    return float(extreme - np.median(values))

"""How signal and gradient grow or shrink over the depth, and the limits of what trains.

All gains here are natural logarithms of ratios of amplitude, from the first weighted call on the
main path to the last.

Where the limits come from. In a random net the squared difference of two inputs, and the squared
gradient, are multiplied by chi in every layer; xi = 1 / |log chi| is the depth scale. Schoenholz et
al. (2017) find nets trainable up to a depth of about 6 xi: a total of 6 in the square, 3 in
amplitude. At 12 xi (6 in amplitude) training fails; docs/concepts/limits.md has the calibration.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sounding.measure.readings import Readings
from sounding.result import NotApplicable

CAUTION = 3.0  # log-amplitude lost or gained over the whole depth: 6 xi
PROBLEM = 6.0  # 12 xi
EPS = {"float16": 9.8e-4, "bfloat16": 7.8e-3, "float64": 2.2e-16}
FLOAT32 = 1.2e-7


@dataclasses.dataclass(frozen=True)
class Gain:
    """Total log-gain over the depth, and the geometric mean factor a layer with its error."""

    total: float
    factor: float
    factor_error: float
    layers: tuple[str, ...]  # the weighted calls that the gain runs over
    rounded: int = -1  # position of the first layer whose differences are rounding noise

    @property
    def steady(self) -> float:
        """The total that the mean factor a layer alone would give: without blocks and rounding."""
        return math.log(self.factor) * (len(self.layers) - 1) if self.factor > 0 else math.nan


def signal_gain(readings: Readings) -> Gain:
    """How the spread (what tells inputs apart) changes from the first layer to the last.

    Raises:
        NotApplicable: With fewer than three layers, or a batch of one sample.
    """
    path = _path(readings)
    spread = readings.signal.spread[path]
    if not np.isfinite(spread[0]):
        raise NotApplicable("a batch of one sample shows no difference between inputs")
    noise = 8 * EPS.get(readings.dtype, FLOAT32) * readings.signal.rms[path]
    below = np.flatnonzero(spread <= noise)
    rounded = int(below[0]) if len(below) else -1
    return _gain(readings, spread, path, rounded)


def gradient_gain(readings: Readings) -> Gain:
    """How the norm of one sample's gradient changes from the last layer back to the first.

    Raises:
        NotApplicable: With fewer than three layers, or where no gradient reaches the last one.
    """
    path = _path(readings)
    if readings.gradients is None:
        raise NotApplicable("no backward pass was recorded")
    sizes = np.sqrt([readings.calls[i].size for i in path])
    norms = (readings.gradients.rms[path] * sizes)[::-1]
    if not norms[0] > 0:
        raise NotApplicable("no gradient reaches the last layer: the loss is at a minimum or flat")
    return _gain(readings, norms, path[::-1], -1)


def learned(readings: Readings, least: float = 0.1) -> str | None:
    """A sentence that says the loss is falling, which refutes a suspicion of harm; else None.

    Compares the first and the last tenth of the watched run; the fall must exceed two standard
    errors and the fraction `least` of the first.
    """
    history = readings.history
    if history is None or len(history.values) < 20:
        return None
    values = history.values
    count = max(len(values) // 10, 3)
    first, last = values[:count], values[-count:]
    if not np.isfinite(last).all():
        return None
    fall = first.mean() - last.mean()
    error = math.sqrt(first.var(ddof=1) / count + last.var(ddof=1) / count)
    if fall > 2 * error and fall > least * abs(first.mean()):
        return f"the loss fell from {first.mean():.3g} to {last.mean():.3g} in {len(values)} steps"
    return None


def severity(total: float) -> str | None:
    """'problem', 'caution' or None for a total log-gain in either direction."""
    if not math.isfinite(total) or abs(total) >= PROBLEM:
        return "problem"
    return "caution" if abs(total) >= CAUTION else None


def _path(readings: Readings) -> list[int]:
    path = list(readings.path)
    if len(path) < 3:
        raise NotApplicable(f"{len(path)} weighted layers in a row are no depth to speak of")
    if readings.signal.nonfinite:
        raise NotApplicable("the pass holds NaN or Inf, which SD101 reports")
    return path


def _gain(readings: Readings, values: np.ndarray, path: list[int], rounded: int) -> Gain:
    end = rounded if rounded > 1 else len(values)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(values)
        steps = np.diff(logs[:end])
    finite = steps[np.isfinite(steps)]
    mean = float(finite.mean()) if len(finite) else float("nan")
    error = float(finite.std(ddof=1) / math.sqrt(len(finite))) if len(finite) > 1 else math.nan
    return Gain(
        total=float(logs[-1] - logs[0]) if np.isfinite(logs[0]) else math.nan,
        factor=math.exp(mean),
        factor_error=math.exp(mean) * error,
        layers=tuple(readings.calls[i].name for i in path),
        rounded=rounded,
    )

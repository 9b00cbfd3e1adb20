"""How signal and gradient grow or shrink over the depth, and the limits of what trains.

All gains here are natural logarithms of ratios of amplitude, from the first weighted call on the
main path to the last.

Where the limits come from. In a random net the squared difference of two inputs, and the squared
gradient, are multiplied by chi in every layer; xi = 1 / |log chi| is the depth scale. Schoenholz et
al. (2017) find nets trainable up to a depth of about 6 xi: a total of 6 in the square, 3 in
amplitude. At twice that gradient descent fails. A step of it lowers the loss in proportion to the
gradient's square; a step of Adam and its like, which divide the gradient by its own size, in
proportion to the gradient itself. So what vanishes may vanish twice as far under these.
docs/concepts/limits.md has the measurements behind all three sentences.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sounding.measure.readings import Readings
from sounding.result import NotApplicable
from sounding.rules.harm import above, where_made
from sounding.rules.scale import outlier
from sounding.rules.trunk import POOLS, last_normalisation, trunk, unrepeated

CAUTION = 3.0  # log-amplitude lost or gained over the whole depth: 6 xi
PROBLEM = 6.0  # 12 xi
FAR = 2.0  # times as far may signal and gradient vanish under an adaptive optimiser
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
    outlier: float = 0.0  # part of the total for which the weights of one layer alone account
    pooled: float = 0.0  # part of it that comes from poolings

    @property
    def judged(self) -> float:
        """The total without the two parts that do no lasting harm; never of another sign.

        One small layer between sound ones gets a sound gradient itself and grows within a few
        steps; a mean over positions divides the gradient among these, and the layer before it adds
        it up again.
        """
        left = self.total - self.outlier - self.pooled
        return left if left * self.total > 0 else 0.0


def signal_gain(readings: Readings) -> Gain:
    """How the spread (what tells inputs apart) changes from the first layer to the last.

    What a normalisation rescales counts by its share of the rms only.

    Raises:
        NotApplicable: With fewer than three layers, or a batch of one sample.
    """
    path = _path(readings)
    spread, rms = readings.signal.spread, readings.signal.rms
    if not np.isfinite(spread[path[0]]):
        raise NotApplicable("a batch of one sample shows no difference between inputs")
    logs = _log(spread)[path] - _rescaled(readings, path)
    noise = 8 * EPS.get(readings.dtype, FLOAT32) * rms[path]
    moved = [readings.calls[i].weight_second_moment == 0 for i in path]
    below = np.flatnonzero((spread[path] <= noise) & ~np.array(moved))
    rounded = int(below[0]) if len(below) else -1
    return _gain(readings, logs, path, rounded=rounded)


def gradient_gain(readings: Readings) -> Gain:
    """How the norm of one sample's gradient changes from the last layer back to the first.

    Before a normalisation, which makes the gradient of a small signal large, the product of both
    counts.

    Raises:
        NotApplicable: With fewer than three layers, or where no gradient is there to compare.
    """
    gradients = readings.gradients
    if gradients is None:
        raise NotApplicable("no backward pass was recorded")
    if gradients.nonfinite:
        raise NotApplicable("the gradients hold NaN or Inf, which SD101 reports")
    norms = gradients.rms * np.sqrt([call.size for call in readings.calls])
    path = _reached(readings, norms)
    if not norms[path[-1]] > 0:
        raise NotApplicable("no gradient reaches the last layer: the loss is at a minimum or flat")
    logs = _log(norms)[path] + _rescaled(readings, path)
    return _gain(readings, logs[::-1], path[::-1], pooled=_pooled(readings, path, _log(norms)))


def learned(readings: Readings, least: float = 0.5) -> str | None:
    """A sentence that says the loss is falling, which refutes a suspicion of harm; else None.

    Compares the first and the last tenth of the watched run; the fall must exceed two standard
    errors and the fraction `least` of the first. By default half: the bias of the last layer alone
    fits the mean of the targets, or the classes' frequencies, and lowers the loss by that much.
    A loss that is still clearly above the best constant prediction's has not begun to learn, from
    whatever height it fell.
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
    if fall > 2 * error and fall > least * abs(first.mean()) and not _above_constant(readings):
        return f"the loss fell from {first.mean():.3g} to {last.mean():.3g} in {len(values)} steps"
    return None


def _above_constant(readings: Readings) -> bool:
    if readings.course is None:
        return False
    constant = where_made(readings, lambda: readings.test("constant"))
    return constant is not None and above(constant)


def adaptive(readings: Readings) -> bool | None:
    """Whether the optimiser divides the gradient by its own size; None where it is not known."""
    return None if readings.optimiser is None else readings.optimiser.adaptive


def severity(total: float, *, adaptive: bool | None = False) -> str | None:
    """'problem', 'caution' or None for a total log-gain in either direction.

    Args:
        total: The log-gain.
        adaptive: Of the optimiser, which may let signal and gradient vanish FAR times as far. None:
            not known; then a problem is what stops gradient descent, and a caution, which would be
            none under the other kind, is not given.
    """
    caution = FAR * CAUTION if adaptive is not False and total < 0 else CAUTION
    problem = FAR * PROBLEM if adaptive and total < 0 else PROBLEM
    if not math.isfinite(total) or abs(total) >= problem:
        return "problem"
    return "caution" if abs(total) >= caution else None


def _path(readings: Readings) -> list[int]:
    path = unrepeated(readings)
    if len(path) < 3:
        raise NotApplicable(f"{len(path)} weighted layers in a row are no depth to speak of")
    if readings.signal.nonfinite:
        raise NotApplicable("the pass holds NaN or Inf, which SD101 reports")
    return path


def _reached(readings: Readings, norms: np.ndarray) -> list[int]:
    """The path without frozen layers at its beginning."""
    path = _path(readings)
    reached = [i for i in path if np.isfinite(norms[i])]
    if len(reached) < 3:
        cut = next(readings.calls[i].name for i in reversed(path) if not np.isfinite(norms[i]))
        raise NotApplicable(f"no gradient arrives at {cut}: it is frozen, or the graph is cut")
    return reached


def _rescaled(readings: Readings, path: list[int]) -> np.ndarray:
    """(L,) log-size of each layer's output that a later normalisation takes out again.

    Relative to the output of the last one; 0 for the layers behind it.
    """
    start = last_normalisation(readings, path)
    if start < 0:
        return np.zeros(len(path))
    logs = _log(readings.signal.rms)
    with np.errstate(invalid="ignore"):
        return np.where(np.array(path) < start, logs[path] - logs[start], 0.0)


def _pooled(readings: Readings, path: list[int], logs: np.ndarray) -> float:
    """Log-gain of the gradient over the poolings between the layers."""
    calls = [(i, readings.calls[i]) for i in trunk(readings, path)]
    pools = [i for i, call in calls if any(word in call.operation for word in POOLS)]
    with np.errstate(invalid="ignore"):
        steps = np.array([logs[readings.calls[i].main] - logs[i] for i in pools])
    return float(steps[np.isfinite(steps)].sum())


def _gain(
    readings: Readings,
    logs: np.ndarray,
    path: list[int],
    *,
    rounded: int = -1,
    pooled: float = 0.0,
) -> Gain:
    end = _moving(readings, logs, path)
    logs, path = logs[:end], path[:end]
    known = logs[: rounded if rounded > 1 else end]
    steps = np.diff(known[np.isfinite(known)])
    mean = float(steps.mean()) if len(steps) else math.nan
    error = float(steps.std(ddof=1) / math.sqrt(len(steps))) if len(steps) > 1 else math.nan
    total = float(logs[-1] - logs[0]) if np.isfinite(logs[0]) else math.nan
    return Gain(
        total=total,
        factor=math.exp(mean),
        factor_error=math.exp(mean) * error,
        layers=tuple(readings.calls[i].name for i in path),
        rounded=rounded,
        outlier=_outlier(readings, sorted(path), total),
        pooled=pooled if pooled * total > 0 else 0.0,
    )


def _moving(readings: Readings, logs: np.ndarray, path: list[int]) -> int:
    """How many layers to compare: up to one whose weights are zero, if a step will change that.

    Raises:
        NotApplicable: If so few are left that nothing can be compared.
    """
    zero = np.flatnonzero(np.isneginf(logs))
    if not len(zero) or zero[0] == 0:
        return len(path)
    at = path[zero[0]] if path[0] < path[-1] else path[zero[0] - 1]  # forwards, or backwards
    call = readings.calls[at]
    if call.weight_second_moment != 0 or not _moves(readings, call.weight):
        return len(path)
    if zero[0] < 2:
        raise NotApplicable(f"the weights of {call.name} are zero until the first step")
    return int(zero[0])


def _moves(readings: Readings, weight: str) -> bool:
    """Whether the weight has a gradient, so that the first step changes it."""
    gradients = readings.gradients
    if gradients is None or weight not in gradients.parameters:
        return False
    return bool(gradients.norm[gradients.parameters.index(weight)] > 0)


def _outlier(readings: Readings, path: list[int], total: float) -> float:
    """The part of one layer's weights; a large layer is harmless to adaptive steps only."""
    if not math.isfinite(total) or (total > 0 and not adaptive(readings)):
        return 0.0
    return outlier(readings, path, math.copysign(1, total))


def _log(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(values)

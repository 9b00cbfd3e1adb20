"""The depth chart as data: what it draws, whatever draws it.

Letters: L weighted calls on the main path, input first.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from sounding.measure.readings import Attribution, Readings
from sounding.view.numbers import number, span

RESOLUTIONS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """One quantity over depth, beside what theory predicts for it."""

    label: str
    values: np.ndarray  # (L,)
    error: np.ndarray  # (L,) one standard error, nan where unknown
    expected: np.ndarray | None  # (L,)
    broken: np.ndarray  # (L,) whether NaN or Inf was found there
    backwards: bool = False  # the gradient travels from the last layer to the first
    floor: np.ndarray | None = None  # (L,) below it are only rounding errors

    def factor(self, values: np.ndarray | None = None) -> float:
        """Geometric mean of the change per layer, in the direction of travel; nan if unknown."""
        first, last, layers = self.ends(values)
        return (last / first) ** (1 / layers) if layers else math.nan

    def ends(self, values: np.ndarray | None = None) -> tuple[float, float, int]:
        """First and last drawable value in the direction of travel, and the layers between."""
        values = self.values if values is None else values
        known = np.flatnonzero(drawable(values) & ~self.rounded())
        if not len(known):
            return math.nan, math.nan, 0
        start, end = (known[-1], known[0]) if self.backwards else (known[0], known[-1])
        return float(values[start]), float(values[end]), abs(int(end - start))

    def rounded(self) -> np.ndarray:
        """From where on the values are lost in the rounding of the numbers they come from."""
        if self.floor is None:
            return np.zeros(len(self.values), dtype=bool)
        with np.errstate(invalid="ignore"):
            below = drawable(self.values) & (self.values <= self.floor)
        return np.logical_or.accumulate(below)  # what comes after noise is noise


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Depth:
    """Everything of the depth chart."""

    layers: tuple[str, ...]  # (L,)
    curves: tuple[Curve, ...]
    forward: Attribution | None
    backward: Attribution | None
    source: str  # of the prediction, '' without one

    def travelling(self, *, backwards: bool) -> tuple[Curve, ...]:
        """The curves of one direction."""
        return tuple(c for c in self.curves if c.backwards == backwards)


def depth(readings: Readings) -> Depth:
    """The depth chart of `readings`."""
    path = np.array(readings.path, dtype=np.int64)
    signal, theory, gradients = readings.signal, readings.expectation, readings.gradients
    curves = [
        Curve(
            label="rms",
            values=signal.rms[path],
            error=signal.rms_error[path],
            expected=theory.rms if theory else None,
            broken=np.isin(path, signal.nonfinite),
        ),
        Curve(
            label="spread",
            values=signal.spread[path],
            error=signal.spread_error[path],
            expected=theory.spread if theory else None,
            broken=np.isin(path, signal.nonfinite),
            floor=_resolution(readings.dtype) * signal.rms[path],
        ),
    ]
    if gradients is not None:
        curves.append(
            Curve(
                label="gradient",
                values=gradients.rms[path],
                error=gradients.rms_error[path],
                expected=theory.gradient if theory else None,
                broken=np.isin(path, gradients.nonfinite),
                backwards=True,
            )
        )
    return Depth(
        layers=tuple(readings.calls[i].name for i in readings.path),
        curves=tuple(curves),
        forward=readings.forward,
        backward=readings.backward,
        source=theory.source if theory else "",
    )


def _resolution(dtype: str) -> float:
    """Eight times the distance from 1 to the next number: what SD205 takes for rounding."""
    return 8 * RESOLUTIONS.get(dtype, RESOLUTIONS["float32"])


def drawable(values: np.ndarray) -> np.ndarray:
    """Where a logarithmic axis can show `values`: positive and finite."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(values) & (values > 0)


def decades(curves: tuple[Curve, ...]) -> tuple[int, int]:
    """Whole powers of ten around all that the curves hold, at least two apart."""
    shown = [c.values for c in curves] + [c.expected for c in curves if c.expected is not None]
    every = np.concatenate([np.asarray(v, dtype=float) for v in shown]) if shown else np.ones(1)
    every = np.log10(every[drawable(every)]) if drawable(every).any() else np.zeros(1)
    low, high = math.floor(every.min() - 0.02), math.ceil(every.max() + 0.02)
    return (low, high) if high - low >= 2 else (low - 1, high + 1)


def trend(curve: Curve) -> str:
    """What a curve does, in one clause: 'spread falls from 0.52 to 2.8e-12, a factor 0.408 ...'."""
    first, last, layers = curve.ends()
    if not layers:
        return f"{curve.label} is {alone(curve)}"
    change = last / first
    does = "falls" if change < 0.5 else "grows" if change > 2 else "keeps its size"
    said = f"{curve.label} {does}, {number(first)} to {number(last)}"
    said += f": a factor {number(curve.factor())} per layer"
    if curve.expected is not None and drawable(curve.expected).any():
        said += f", predicted {number(curve.factor(curve.expected))}"
    return said


def finding(chart: Depth) -> str:
    """The depth chart's finding in one sentence: what a layer does to the signal and gradient."""
    forward = [c for c in chart.travelling(backwards=False) if c.label == "spread"]
    said = [
        f"{way} {_multiplied(curve)}"
        for way, curves in (("the signal's", forward), ("the", chart.travelling(backwards=True)))
        for curve in curves
        if not math.isnan(curve.factor())
    ]
    if not said:
        return caption(chart)
    return "Each layer multiplies " + ", and on the way back ".join(said) + "." + caveats(chart)


def _multiplied(curve: Curve) -> str:
    predicted = math.nan if curve.expected is None else curve.factor(curve.expected)
    beside = "" if math.isnan(predicted) else f" (predicted {number(predicted)})"
    return f"{curve.label} by {number(curve.factor())}{beside}"


def alone(curve: Curve) -> str:
    """What to say of a curve without two values that a logarithmic scale can show."""
    first, _, _ = curve.ends()
    if not math.isnan(first):
        return number(first)
    return "zero throughout" if np.all(curve.values == 0) else "nowhere finite"


def caption(chart: Depth) -> str:
    """What every curve of the depth chart does, in words."""
    ways = []
    for word, backwards in (("Forward", False), ("Backward", True)):
        clauses = [trend(c) for c in chart.travelling(backwards=backwards)]
        if clauses:
            ways.append(f"{word}, {'; '.join(clauses)}.")
    return " ".join(ways) + caveats(chart)


def caveats(chart: Depth) -> str:
    """Where NaN, Inf or nothing but rounding was met, as sentences after others."""
    rounded = [chart.layers[k] for c in chart.curves for k in np.flatnonzero(c.rounded())]
    said = f" From {rounded[0]} on the spread is lost in rounding." if rounded else ""
    for way, backwards in (("signal", False), ("gradient", True)):
        curves = chart.travelling(backwards=backwards)
        broken = [name for k, name in enumerate(chart.layers) if any(c.broken[k] for c in curves)]
        said += f" The {way} is NaN or Inf at {span(broken)}." if broken else ""
    return said


def sums(attribution: Attribution) -> dict[str, float]:
    """What each part adds up to over all layers, in natural logarithms; absent parts left out."""
    parts = {name: values[np.isfinite(values)] for name, values in attribution.parts().items()}
    return {name: float(v.sum()) for name, v in parts.items() if np.any(np.abs(v) > 1e-9)}

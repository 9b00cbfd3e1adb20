"""Rows of numbers behind the figures, as text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from sounding.measure.readings import Readings
from sounding.result import Profile, Result
from sounding.studies.chart import Chart
from sounding.verdict import Verdict
from sounding.view.depth import Depth
from sounding.view.numbers import number, together
from sounding.view.svg import shortened


@dataclasses.dataclass(frozen=True)
class Table:
    """Column names, which of them hold numbers, and rows."""

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]


def calls_table(readings: Readings) -> Table:
    """Every call with what was measured at it; columns without any number are left out."""
    signal, gradients = readings.signal, readings.gradients
    order = {call: str(k + 1) for k, call in enumerate(readings.path)}
    calls = range(len(readings.calls))
    unknown = np.full(len(readings.calls), math.nan)
    variance, needed = _variances(readings)
    return _table(
        {
            "#": [order.get(i, "") for i in calls],
            "layer": [call.name or "the model" for call in readings.calls],
            "operation": [call.operation for call in readings.calls],
        },
        {
            "units": [call.units or math.nan for call in readings.calls],
            "rms": signal.rms,
            "spread": signal.spread,
            "zeros": signal.zeros,
            "dead units": signal.dead,
            "saturated": signal.saturated,
            "gradient": unknown if gradients is None else gradients.rms,
            "variance × fan-in": variance,
            "needed": needed,
        },
    )


def _variances(readings: Readings) -> tuple[list[float], list[float]]:
    """Variance times fan-in of each call's weight, and what the following activation needs."""
    weights = readings.weights
    at = {name: i for i, name in enumerate(weights.parameters)}
    index = [at.get(call.weight) if call.weight else None for call in readings.calls]
    product = weights.variance * weights.fan_in
    return (
        [math.nan if i is None else float(product[i]) for i in index],
        [math.nan if i is None else float(weights.needed[i]) for i in index],
    )


def depth_table(chart: Depth) -> Table:
    """The numbers of the depth chart, a row a weighted layer."""
    numbers: dict[str, Iterable[float]] = {}
    for curve in chart.curves:
        numbers[curve.label] = curve.values
        numbers[f"± {curve.label}"] = curve.error
        if curve.expected is not None:
            numbers[f"{curve.label} predicted"] = curve.expected
    for way, attribution in (("forward", chart.forward), ("backward", chart.backward)):
        if attribution is not None and len(attribution.total) == len(chart.layers) - 1:
            for name, values in attribution.parts().items():
                if np.any(np.nan_to_num(values) != 0):
                    numbers[f"{name}, {way}"] = [*values, math.nan]
    ordinal = [str(k + 1) for k in range(len(chart.layers))]
    return _table({"#": ordinal, "layer": list(chart.layers)}, numbers)


def profile_table(profile: Profile) -> Table:
    """Measured beside expected, a row a layer."""
    numbers: dict[str, Iterable[float]] = {"measured": profile.values, "± error": profile.error}
    if profile.expected is not None:
        numbers["expected"] = profile.expected
    return _table({"of": list(profile.layers)}, numbers)


def outcomes_table(verdict: Verdict) -> Table:
    """A row a run."""
    runs = range(len(verdict.after))
    seeds = verdict.seeds if len(verdict.seeds) == len(verdict.after) else runs
    return _table({"run": [str(seed) for seed in seeds]}, {"measured": verdict.after})


def chart_table(chart: Chart) -> Table:
    """A row a point, line after line."""
    points = [
        (line.label, x, y, math.nan if line.error is None else line.error[k])
        for line in chart.lines
        for k, (x, y) in enumerate(zip(line.x, line.y, strict=True))
    ]
    labels, x, y, error = zip(*points, strict=True) if points else ((), (), (), ())
    return _table({"line": list(labels)}, {chart.x_label: x, chart.y_label: y, "± error": error})


def trends_table(chart: Depth) -> Table:
    """Where each curve starts and ends, and what a layer does to it."""
    predicted = any(curve.expected is not None for curve in chart.curves)
    rows = []
    for curve in chart.curves:
        first, last, _ = curve.ends()
        factors = [curve.factor()]
        if predicted:
            factors.append(math.nan if curve.expected is None else curve.factor(curve.expected))
        said = ["" if math.isnan(f) else f"×{number(f)}" for f in factors]
        rows.append((curve.label, number(first), number(last), *said))
    columns = ("curve", "from", "to", "per layer", "predicted")[: len(rows[0])]
    return Table(columns, (False, True, True, True, True)[: len(columns)], tuple(rows))


def cursor_rows(chart: Depth) -> list[dict[str, object]]:
    """What the page's cursor says at each layer."""
    rows = []
    for k, layer in enumerate(chart.layers):
        cells = [
            [
                curve.label,
                number(curve.values[k]),
                "" if curve.expected is None else number(curve.expected[k]),
            ]
            for curve in chart.curves
        ]
        rows.append({"layer": layer, "cells": cells, "step": _step_said(chart, k)})
    return rows


def _step_said(chart: Depth, k: int) -> str:
    """'to the next layer: weight −0.55, activation −0.35'."""
    if chart.forward is None or k >= len(chart.forward.total):
        return ""
    parts = {name: v[k] for name, v in chart.forward.parts().items() if v[k] != 0}
    values = together(parts.values(), sign=True)
    said = ", ".join(f"{n} {v}" for n, v in zip(parts, values, strict=True))
    return said and f"to the next layer, in natural logarithms: {said}".replace("-", "−")


def _table(words: dict[str, list[str]], numbers: dict[str, Iterable[float]]) -> Table:
    columns = {name: (False, values) for name, values in words.items()}
    for name, values in numbers.items():
        said = ["" if math.isnan(v) else number(v) for v in map(float, values)]
        if any(said):
            columns[name] = (True, said)
    rows = tuple(zip(*(values for _, values in columns.values()), strict=True))
    return Table(tuple(columns), tuple(numeric for numeric, _ in columns.values()), rows)


def fields_table(result: Result) -> Table:
    """A result without a figure of its own: its fields, long ones cut."""
    rows = tuple(
        (field.name, shortened(str(getattr(result, field.name)), 200))
        for field in dataclasses.fields(result)
    )
    return Table(("field", "value"), (False, False), rows)

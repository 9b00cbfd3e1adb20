"""Rows of numbers behind the figures of curvature, as text."""

from __future__ import annotations

import math

import numpy as np

from sounding.curvature.monitor import SharpnessSeries
from sounding.view.numbers import number, rough, uncertain
from sounding.view.spectrum import Chart, Stick
from sounding.view.stability import limit, ranked
from sounding.view.tables import Table

MOST_DENSITIES = 60  # rows of the density's table


def eigenvalues_table(chart: Chart) -> Table:
    """Every eigenvalue found, from the largest down."""
    sticks = chart.sticks()
    upper = [stick for stick in sticks if stick.end == "largest"]
    lower = [stick for stick in reversed(sticks) if stick.end != "largest"]
    rows = [_eigenvalue(stick) for stick in [*upper, *lower]]
    columns = ("end", "eigenvalue", "residual", "error", "place")
    numeric = (False, True, True, True, False)
    if not any(row[-1] for row in rows):
        columns, numeric, rows = columns[:-1], numeric[:-1], [row[:-1] for row in rows]
    return Table(columns, numeric, tuple(rows))


def _eigenvalue(stick: Stick) -> tuple[str, ...]:
    place = {True: "outlier", False: "in the bulk", None: ""}[stick.outlier]
    value = uncertain(stick.value, stick.residual)
    return f"{stick.end} {stick.rank}", value, rough(stick.residual), rough(stick.error), place


def density_table(chart: Chart) -> Table:
    """The density at places that are evenly spread over the axis."""
    columns = chart.columns(MOST_DENSITIES)
    error = (columns.upper - columns.lower) / 4
    rows = tuple(
        (number(at), number(value), rough(one))
        for at, value, one in zip(columns.at, columns.values, error, strict=True)
        if value >= chart.floor
    )
    return Table(("eigenvalue", "density", "± error"), (True, True, True), rows)


def sharpness_table(series: SharpnessSeries) -> Table:
    """A row a measurement: the largest eigenvalue, the others, and the limit."""
    values, limits = ranked(series), limit(series)
    residuals = np.reshape(series.residuals, values.shape)
    k = values.shape[1]
    others = [f"eigenvalue {i + 1}" for i in range(1, k)]
    rows = []
    for t in range(len(series.steps)):
        largest = float(values[t, 0]) if k else math.nan
        residual = float(residuals[t, 0]) if k else math.nan
        rows.append(
            (
                f"{int(series.steps[t]):,}",
                uncertain(largest, residual),
                rough(residual),
                *(uncertain(values[t, i], residuals[t, i]) for i in range(1, k)),
                number(limits[t]),
                number(largest / limits[t]),
                "certified" if series.certified[t] else "followed",
                str(int(series.products[t])),
            )
        )
    columns = ("step", "sharpness", "residual", *others, "limit", "ratio", "search", "products")
    numeric = (True, True, True, *(True for _ in others), True, True, False, True)
    return Table(columns, numeric, tuple(rows))

"""The chart of a spectrum in eleven lines of text."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from rich.text import Text

from sounding.view.spectrum import Chart

ROWS = 7
GUTTER = 8  # columns for the numbers on the left
MOST_COLUMNS = 84
FAINT = "bright_black"


@dataclasses.dataclass(frozen=True)
class Marks:
    """What the chart is drawn with."""

    heights: str  # from an empty cell to a full one
    negative: str  # a cell below zero
    stick: str
    found: str  # on the axis, where an eigenvalue was found
    gutter: str
    corner: str
    axis: str


BLOCKS = Marks(" ▁▂▃▄▅▆▇█", "░", "│", "┼", "│", "└", "─")
PLAIN = Marks(" #", "=", "|", "+", "|", "+", "-")


def spectrum_lines(chart: Chart, width: int, *, ascii_only: bool = False) -> list[Text]:
    """The density over its axis, and what the marks mean; nothing without a density."""
    if chart.density is None:
        return []
    marks = PLAIN if ascii_only else BLOCKS
    columns = max(20, min(width - GUTTER, MOST_COLUMNS))
    cells = _cells(chart, columns, marks)
    labels = _powers(chart)
    lines = [
        Text(f"{labels.get(row, ''):>{GUTTER - 2}} {marks.gutter}", style=FAINT).append_text(
            Text("".join(cells[row]).rstrip(), style="blue")
        )
        for row in range(ROWS)
    ]
    said = [
        "density, log scale",
        *([f"{marks.negative} below zero"] if chart.below_zero() else []),
        *(["[ ] edges of the bulk"] if chart.bulk else []),
        *([f"{marks.found} found"] if chart.ends else []),
    ]
    return [
        *lines,
        _axis(chart, columns, marks),
        _ticks(chart, columns, ascii_only),
        Text(" " * GUTTER + ", ".join(said), style=FAINT),
    ]


def _cells(chart: Chart, columns: int, marks: Marks) -> list[list[str]]:
    """Rows of cells from the top; a stick stands where the density leaves room."""
    density = chart.columns(columns)
    levels = ROWS * chart.height(density.values)
    negative = chart.below_zero() & (density.at < 0) & (density.at >= chart.lowest)
    one = ROWS * float(chart.height(chart.one))
    sticks = _places(chart, columns)
    rows = []
    for row in range(ROWS - 1, -1, -1):
        parts = np.clip(levels - row, 0, 1)
        full = [round(float(part) * (len(marks.heights) - 1)) for part in parts]
        line = [marks.heights[f] for f in full]
        for i in np.flatnonzero(negative & (parts >= 0.5)):
            line[i] = marks.negative
        for i in sticks:
            if one - row >= 0.5 and parts[i] < 0.5:
                line[i] = marks.stick
        rows.append(line)
    return rows


def _places(chart: Chart, columns: int) -> list[int]:
    """The columns in which eigenvalues were found."""
    found = [stick.value for stick in chart.sticks() if math.isfinite(stick.value)]
    return [_column(chart, value, columns) for value in found]


def _column(chart: Chart, value: float, columns: int) -> int:
    return min(columns - 1, int(float(chart.scale(value)) * columns))


def _powers(chart: Chart) -> dict[int, str]:
    """Rows with the power of ten that lies in them, evenly thinned."""
    low, high = math.ceil(math.log10(chart.floor)), math.floor(math.log10(chart.top))
    every = max(1, math.ceil((high - low + 1) / ROWS))
    found = {}
    for power in range(high, low - 1, -every):
        row = ROWS - 1 - min(ROWS - 1, int(ROWS * float(chart.height(10.0**power))))
        found.setdefault(row, f"1e{power}")
    return found


def _axis(chart: Chart, columns: int, marks: Marks) -> Text:
    """The axis with the bulk in brackets and the eigenvalues found."""
    line = [marks.axis] * columns
    for place in _places(chart, columns):
        line[place] = marks.found
    for bracket, edge in zip("[]", chart.bulk or (), strict=False):
        line[_column(chart, edge, columns)] = bracket
    return Text(" " * (GUTTER - 1) + marks.corner + "".join(line), style=FAINT)


def _ticks(chart: Chart, columns: int, ascii_only: bool) -> Text:
    """Numbers below the axis, as many as there is room for; zero always."""
    line = [" "] * (columns + GUTTER)
    ticks = chart.scale.ticks(max(3, columns // 10), ascii_only=ascii_only)
    for place, label in sorted(ticks, key=lambda tick: tick[1] != "0"):
        middle = GUTTER + min(columns - 1, int(place * columns))
        start = max(0, min(len(line) - len(label), middle - len(label) // 2))
        around = line[max(0, start - 1) : start + len(label) + 1]
        if not "".join(around).strip():
            line[start : start + len(label)] = label
    return Text("".join(line).rstrip(), style=FAINT)

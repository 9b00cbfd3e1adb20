"""The depth chart in at most twelve lines of text."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from rich.text import Text

from sounding.view.depth import Curve, Depth, alone, decades, drawable
from sounding.view.numbers import number
from sounding.view.svg import shortened

MARKS = {  # mark, mark without UTF-8, colour
    "rms": ("●", "o", "blue"),
    "spread": ("■", "#", "green"),
    "gradient": ("▲", "^", "red"),
}
PREDICTED = ("·", ".", "bright_black")
GUTTER = 8  # columns for the numbers on the left
MOST_STEPS = 7


@dataclasses.dataclass(frozen=True)
class Grid:
    """Rows of equal distance on a logarithmic scale, and columns for the layers."""

    high: int  # power of ten of the top row
    step: float  # decades a row
    rows: int
    columns: int
    layers: int

    def place(self, layer: int, value: float) -> tuple[int, int]:
        """Row and column of a value."""
        row = round((self.high - math.log10(value)) / self.step)
        column = round(layer * (self.columns - 1) / max(self.layers - 1, 1))
        return min(max(row, 0), self.rows - 1), column


def depth_lines(chart: Depth, width: int, *, ascii_only: bool = False) -> list[Text]:
    """Curves over layers, the layers' names, and what each curve does, a line each."""
    grid = _grid(chart, width - GUTTER)
    cells: dict[tuple[int, int], tuple[str, str]] = {}
    for curve in chart.curves:
        if curve.expected is not None:
            _put(cells, grid, curve.expected, PREDICTED, ascii_only)
    for curve in chart.curves:
        _put(cells, grid, curve.values, MARKS[curve.label], ascii_only)
    lines = [_row(grid, row, cells) for row in range(grid.rows)]
    predicted = any(curve.expected is not None for curve in chart.curves)
    said = f"{PREDICTED[int(ascii_only)]} predicted" if predicted else ""
    return [
        *lines,
        _names(chart.layers, grid, said),
        *(_said(curve, ascii_only) for curve in chart.curves),
    ]


def _grid(chart: Depth, columns: int) -> Grid:
    low, high = decades(chart.curves)
    extent = high - low
    step = math.ceil(extent / MOST_STEPS) if extent > 3 else 0.5
    layers = len(chart.layers)
    return Grid(
        high=high,
        step=step,
        rows=math.ceil(extent / step) + 1,
        columns=_columns(layers, columns),
        layers=layers,
    )


def _columns(layers: int, room: int) -> int:
    """The same whole number of columns a layer, where there is room for that."""
    between = min(12 if layers <= 6 else 3, (room - 1) // max(layers - 1, 1))
    return min(room, max(1, between) * (layers - 1) + 1)


def _put(
    cells: dict[tuple[int, int], tuple[str, str]],
    grid: Grid,
    values: np.ndarray,
    mark: tuple[str, str, str],
    ascii_only: bool,
) -> None:
    for layer in np.flatnonzero(drawable(values)):
        place = grid.place(int(layer), float(values[layer]))
        cells[place] = (mark[1] if ascii_only else mark[0], mark[2])


def _row(grid: Grid, row: int, cells: dict[tuple[int, int], tuple[str, str]]) -> Text:
    power = grid.high - row * grid.step
    label = f"1e{int(power)}" if power == int(power) else ""
    line = Text(f"{label:>{GUTTER - 2}} │", style="bright_black")
    for column in range(max((c for r, c in cells if r == row), default=-1) + 1):
        mark, style = cells.get((row, column), (" ", ""))
        line.append(mark, style=style)
    return line


def _names(layers: tuple[str, ...], grid: Grid, said: str) -> Text:
    """The first layer on the left and the last on the right, `said` between them."""
    most = max(8, (grid.columns - 12) // 2)
    first, last = (
        f"1: {shortened(layers[0], most)}",
        f"{len(layers)}: {shortened(layers[-1], most)}",
    )
    if len(layers) == 1:
        return Text(" " * GUTTER + first, style="bright_black")
    gap = max(2, grid.columns - len(first) - len(last))
    return Text(
        f"{'':{GUTTER}}{first}{said if gap >= len(said) + 4 else '':^{gap}}{last}",
        style="bright_black",
    )


def _said(curve: Curve, ascii_only: bool) -> Text:
    """'■ spread    0.582 -> 2.71e-12   ×0.407 a layer (predicted ×0.408)'."""
    mark, plain, style = MARKS[curve.label]
    first, last, layers = curve.ends()
    label = f"{curve.label}, backward" if curve.backwards else curve.label
    line = Text("  ").append(plain if ascii_only else mark, style=style)
    if not layers:
        return line.append(f" {label:<19} {alone(curve)}")
    line.append(f" {label:<19} {f'{number(first)} -> {number(last)}':<20}")
    line.append(f" ×{number(curve.factor())} a layer")
    if curve.expected is not None:
        line.append(f" (predicted ×{number(curve.factor(curve.expected))})", style="bright_black")
    return line

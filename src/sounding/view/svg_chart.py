"""A study's chart as inline SVG: what was measured with its error, what theory says dashed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from sounding.studies.chart import Chart, Line
from sounding.view.svg import (
    Axis,
    Point,
    area,
    fitted,
    group,
    horizontal_grid,
    legend,
    marker,
    path,
    tag,
    vertical_ticks,
)

WIDTHS = {"wide": 620.0, "narrow": 328.0}
LEFT, RIGHT, HEIGHT = 58.0, 14.0, 230.0
SHAPES = ("circle", "square", "triangle", "cross")
COLOURS = 8  # series classes of the style sheet
DENSE = 24  # points from which an error is a band, and marks would only hide the line


def chart_svg(chart: Chart, key: str) -> Markup:
    """Both variants; the style sheet shows one."""
    return Markup("").join(_sheet(chart, f"{key}-{name}", name) for name in WIDTHS)


def _sheet(chart: Chart, ident: str, name: str) -> Markup:
    width, colours = WIDTHS[name], colours_of(chart.lines)
    swatches, y = legend(_entries(chart.lines, colours), width)
    top = y + 14
    bottom = top + HEIGHT
    down = fitted(_heights(chart), bottom, top, log_from=1 + 1e-9 if chart.log_y else math.inf)
    across = fitted(
        itertools.chain.from_iterable(line.x for line in chart.lines),
        LEFT + 6, width - RIGHT - 6, log_from=1 + 1e-9 if chart.log_x else math.inf,
    )  # fmt: skip
    said = f"{chart.y_label}{', log scale' if down.log else ''}"
    return tag(
        "svg",
        tag("title", chart.title, id=f"{ident}-title"),
        tag("desc", f"{chart.y_label} over {chart.x_label}", id=f"{ident}-desc"),
        tag("text", said, x=0, y=14, class_="panel"),
        swatches,
        horizontal_grid(down, LEFT, width - RIGHT),
        *(_drawn(line, colours[k], across, down) for k, line in enumerate(chart.lines)),
        vertical_ticks(across, bottom, most=7 if name == "wide" else 5),
        tag("text", f"{chart.x_label}{', log scale' if across.log else ''}",
            x=width - RIGHT, y=bottom + 31, class_="tick end"),
        class_=f"chart medium {name}",
        viewbox=f"0 0 {width:.0f} {bottom + 38:.0f}",
        role="img",
        aria_labelledby=f"{ident}-title {ident}-desc",
    )  # fmt: skip


def colours_of(lines: Sequence[Line]) -> list[int]:
    """A colour a line; a prediction has that of the measured line whose label its own begins with.

    Predictions of their own come after the measured lines.
    """
    measured = [line.label for line in lines if not line.theory]
    colours, others = [], itertools.count(len(measured))
    for line in lines:
        own = [label for label in measured if line.label.startswith(label)]
        owner = max(own, key=len) if own else None
        colours.append((next(others) if owner is None else measured.index(owner)) % COLOURS)
    return colours


def _heights(chart: Chart) -> list[float]:
    """Every height that is drawn; on a logarithmic axis an error bar may reach below all of it."""
    values = [float(v) for line in chart.lines for v in line.y]
    for line in chart.lines:
        reach = _reach(line)
        low = line.y - reach
        values += [float(v) for v in line.y + reach]
        values += [float(v) for v in low if not chart.log_y or v > 0]
    return [v for v in values if not chart.log_y or v > 0]


def _reach(line: Line) -> np.ndarray:
    """Two standard errors; 0 where there is none."""
    return np.zeros(len(line.y)) if line.error is None else 2 * np.nan_to_num(line.error)


def _drawn(line: Line, colour: int, across: Axis, down: Axis) -> Markup:
    shade, x = f"s{colour}", [across(float(v)) for v in line.x]
    points = list(zip(x, (down(float(v)) for v in line.y), strict=True))
    if line.theory:
        return tag("path", d=path(points), class_=f"line dashed {shade}")
    parts = [_error(line, x, down, shade), tag("path", d=path(points), class_=f"line {shade}")]
    if len(points) < DENSE:
        mark = _mark(colour)
        parts += [
            tag("path", d=marker(SHAPES[colour % 4], *point, 3.4), class_=f"{mark} {shade}")
            for point in points
            if not math.isnan(point[1])
        ]
    return group(parts)


def _mark(colour: int) -> str:
    return "line" if SHAPES[colour % 4] == "cross" else "mark"


def _error(line: Line, x: list[float], down: Axis, shade: str) -> Markup:
    reach = _reach(line)
    if not reach.any():
        return Markup("")
    floor = 10.0**down.low if down.log else -math.inf
    lows = [down(max(float(v), floor)) for v in line.y - reach]
    upper: list[Point] = list(zip(x, (down(float(v)) for v in line.y + reach), strict=True))
    lower: list[Point] = list(zip(x, lows, strict=True))
    if len(x) >= DENSE:
        return tag("path", d=area(upper, lower), class_=f"band {shade}")
    bars = "".join(path(pair) for pair in zip(lower, upper, strict=True))
    return tag("path", d=bars, class_=f"line bar {shade}")


def _entries(lines: Sequence[Line], colours: list[int]) -> list[tuple[Markup, str]]:
    """The measured lines, the predictions that have no measured one, and what dashes mean."""
    shown = {k for k, line in enumerate(lines) if not line.theory}
    taken = {colours[k] for k in shown}
    shown |= {k for k, line in enumerate(lines) if line.theory and colours[k] not in taken}
    entries = [(_swatch(lines[k], colours[k]), lines[k].label) for k in sorted(shown)]
    owners = {colours[k]: line.label for k, line in enumerate(lines) if not line.theory}
    dashed = {
        line.label.removeprefix(owners[colours[k]]).strip(" ,:")
        for k, line in enumerate(lines)
        if line.theory and colours[k] in taken
    }
    if dashed:  # what the dashes are called in all labels, such as 'published'
        said = dashed.pop() if len(dashed) == 1 else "theory"
        entries.append((tag("path", d="M0 -4H18", class_="line expected"), said or "theory"))
    return entries


def _swatch(line: Line, colour: int) -> Markup:
    shade = f"s{colour}"
    stroke = tag("path", d="M0 -4H18", class_=f"line {'dashed ' if line.theory else ''}{shade}")
    if line.theory or len(line.x) >= DENSE:
        return stroke
    dot = marker(SHAPES[colour % 4], 9, -4, 3.4)
    return stroke + tag("path", d=dot, class_=f"{_mark(colour)} {shade}")

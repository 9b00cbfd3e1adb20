"""The chart of a spectrum as inline SVG, once for wide pages and once for phones.

The density on a logarithmic axis, the eigenvalues found as sticks as high as one eigenvalue; where
there is no density, the eigenvalues by rank.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from markupsafe import Markup

from sounding.curvature.eigenpairs import Eigenpairs
from sounding.view import wording_curvature as wording
from sounding.view.numbers import number
from sounding.view.spectrum import Chart, Stick
from sounding.view.svg import (
    LETTER,
    Axis,
    Point,
    area,
    group,
    horizontal_grid,
    legend,
    marker,
    path,
    tag,
)

ROW = 17.0  # pixels of a row of labels
SHAPES = {"largest": "circle", "smallest": "square"}


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Sizes in pixels of one variant."""

    name: str
    width: float
    left: float
    right: float
    height: float  # of the panel
    columns: int  # of the density
    title: str
    ticks: int


WIDE = Sheet("wide", 880, 58, 14, 250, 400, "Share of the eigenvalues per unit of eigenvalue", 12)
NARROW = Sheet("narrow", 328, 44, 8, 210, 140, "Share per unit of eigenvalue", 6)


def spectrum_svg(chart: Chart, key: str) -> Markup:
    """Both variants; the style sheet shows one. `key` makes their ids the page's own."""
    return _sheet(chart, WIDE, key) + _sheet(chart, NARROW, key)


def _sheet(chart: Chart, sheet: Sheet, key: str) -> Markup:
    ident = f"{key}-{sheet.name}"
    entries, y = legend(_entries(chart, ident), sheet.width)
    labels, top = _end_labels(chart, sheet, y)
    bottom = top + _height(chart, sheet)
    panel = _ranks if chart.density is None else _density
    title = "Eigenvalues by rank" if chart.density is None else f"{sheet.title}, log scale"
    drawn = [
        tag("text", title, x=0, y=14, class_="panel"),
        entries,
        _frame(chart, sheet, top, bottom),
        panel(chart, sheet, top, bottom, ident),
        labels,
        _bounds(chart, sheet, top, bottom),
    ]
    return tag(
        "svg",
        tag("title", "Spectrum", id=f"{ident}-title"),
        tag("desc", _described(chart), id=f"{ident}-desc"),
        _hatch(ident),
        *drawn,
        class_=f"chart {sheet.name}",
        viewbox=f"0 0 {sheet.width:.0f} {bottom + 38:.0f}",
        role="img",
        aria_labelledby=f"{ident}-title {ident}-desc",
    )


def _height(chart: Chart, sheet: Sheet) -> float:
    """Of the panel: a few ranks need less room than a density."""
    if chart.density is not None:
        return sheet.height
    ranks = max((stick.rank for stick in _shown(chart)), default=1)
    return min(sheet.height, max(60.0, 34.0 * ranks + 10))


def _described(chart: Chart) -> str:
    """What the chart says, in words."""
    said = [wording.beyond(pairs) for pairs in chart.ends]
    return "; ".join([*said, wording.bulk(chart)] if chart.bulk else said) or "no eigenvalue"


def _across(chart: Chart, sheet: Sheet, value: float) -> float:
    """The pixel of an eigenvalue; nan where it cannot be shown."""
    place = float(chart.scale(value))
    return sheet.left + place * (sheet.width - sheet.left - sheet.right)


def _frame(chart: Chart, sheet: Sheet, top: float, bottom: float) -> Markup:
    """Ticks below, the zero line, and how the axis is to be read."""
    room = sheet.width - sheet.left - sheet.right
    ticks = [(sheet.left + place * room, label) for place, label in chart.scale.ticks(sheet.ticks)]
    how = wording.scale(chart)
    end = sheet.width - sheet.right
    zero = _across(chart, sheet, 0.0)
    inside = chart.scale.low <= 0 <= chart.scale.high and not chart.empty()
    return group(
        [
            *(tag("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="zero") for x, _ in ticks),
            *(tag("text", label, x=x, y=bottom + 16, class_="tick middle") for x, label in ticks),
            tag("line", x1=sheet.left, x2=end, y1=bottom, y2=bottom, class_="zero"),
            *([tag("line", x1=zero, x2=zero, y1=top, y2=bottom, class_="zero")] if inside else []),
            tag(
                "text",
                "eigenvalue" + (f", {how}" if how else ""),
                x=end,
                y=bottom + 33,
                class_="tick end",
            ),
        ]
    )


def _density(chart: Chart, sheet: Sheet, top: float, bottom: float, ident: str) -> Markup:
    """Error band, line, the part below zero hatched, and the sticks over it."""
    columns = chart.columns(sheet.columns)
    axis = Axis(math.log10(chart.floor), math.log10(chart.top), bottom, top, log=True)
    across = [_across(chart, sheet, float(at)) for at in columns.at]

    def points(values: np.ndarray) -> list[Point]:
        return [
            (x, bottom - float(place) * (bottom - top))
            for x, place in zip(across, chart.height(values), strict=True)
        ]

    seen = columns.values >= chart.floor
    seen = seen | np.roll(seen, 1) | np.roll(seen, -1)  # down to the floor, but not along it
    line = points(columns.values)
    drawn = [
        horizontal_grid(axis, sheet.left, sheet.width - sheet.right),
        tag("path", d=area(points(columns.upper), points(columns.lower)), class_="band rms"),
    ]
    if chart.below_zero():
        edge = _across(chart, sheet, chart.lowest), _across(chart, sheet, 0.0)
        below = [p for p in line if edge[0] <= p[0] <= edge[1]]
        under = area(below, [(x, bottom) for x, _ in below])
        drawn.append(tag("path", d=under, fill=f"url(#{ident}-below)"))
    curve = [(x, y if shown else math.nan) for (x, y), shown in zip(line, seen, strict=True)]
    for value in chart.bulk or ():
        x = _across(chart, sheet, value)
        drawn.append(tag("line", x1=x, x2=x, y1=top, y2=bottom, class_="edge"))
    drawn.append(tag("path", d=path(curve), class_="line rms"))
    height = bottom - float(chart.height(chart.one)) * (bottom - top)
    for stick in _shown(chart):
        x = _across(chart, sheet, stick.value)
        drawn.append(tag("line", x1=x, x2=x, y1=bottom, y2=height, class_="stick"))
        drawn.append(_mark(chart, sheet, stick, height))
    return group(drawn)


def _ranks(chart: Chart, sheet: Sheet, top: float, bottom: float, ident: str) -> Markup:
    """A row a rank, the outermost on top."""
    shown = _shown(chart)
    if not shown:
        middle = (sheet.left + sheet.width - sheet.right) / 2
        said = "no eigenvalue is a number"
        return tag("text", said, x=middle, y=(top + bottom) / 2, class_="middle")
    most = max(stick.rank for stick in shown)
    row = (bottom - top) / most
    drawn = []
    for rank in range(1, most + 1):
        y = top + row * (rank - 0.5)
        if row >= 12 or rank % 5 == 0 or rank == 1:
            drawn.append(tag("text", rank, x=sheet.left - 8, y=y + 4, class_="tick end"))
        end = sheet.width - sheet.right
        drawn.append(tag("line", x1=sheet.left, x2=end, y1=y, y2=y, class_="grid"))
    drawn += [_mark(chart, sheet, s, top + row * (s.rank - 0.5)) for s in shown]
    return group(drawn)


def _shown(chart: Chart) -> list[Stick]:
    return [stick for stick in chart.sticks() if math.isfinite(stick.value)]


def _mark(chart: Chart, sheet: Sheet, stick: Stick, y: float) -> Markup:
    """A mark with the residual as a bar across it."""
    x = _across(chart, sheet, stick.value)
    mark = tag("path", d=marker(SHAPES.get(stick.end, "circle"), x, y, 3.2), class_="effect")
    if not math.isfinite(stick.residual):
        return mark
    ends = [_across(chart, sheet, stick.value + s * stick.residual) for s in (-1, 1)]
    bar = path([(ends[0], y), (ends[1], y)])
    caps = "".join(path([(end, y - 4), (end, y + 4)]) for end in ends)
    return tag("path", d=bar + caps, class_="stick") + mark


def _bounds(chart: Chart, sheet: Sheet, top: float, bottom: float) -> Markup:
    """A thin line at either end beyond which nothing lies."""
    return group(
        tag("line", x1=x, x2=x, y1=top - 8, y2=bottom, class_="bound")
        for x in (_across(chart, sheet, p.bound) for p in chart.ends if _inside(chart, p))
    )


def _inside(chart: Chart, pairs: Eigenpairs) -> bool:
    return wording.bounded(pairs) and chart.scale.low <= pairs.bound <= chart.scale.high


def _end_labels(chart: Chart, sheet: Sheet, y: float) -> tuple[Markup, float]:
    """'largest 34.47, nothing above 34.50 (99.9 %)' above its line, a row each."""
    drawn = []
    for pairs in chart.ends:
        said = wording.beyond(pairs).replace("-", "−")
        if LETTER * len(said) > sheet.width:
            said = said.split(",")[0]
        if _inside(chart, pairs):
            x = _across(chart, sheet, pairs.bound)
            toward_right = x + LETTER * len(said) <= sheet.width
            x = x if toward_right else max(x, LETTER * len(said))
            side = "label" if toward_right else "label end"
        else:
            x, side = sheet.left, "label"
        y += ROW
        drawn.append(tag("text", said, x=x, y=y, class_=side))
    return group(drawn), y + 14


def _entries(chart: Chart, ident: str) -> list[tuple[Markup, str]]:
    """What each mark and line is."""
    entries = []
    if chart.density is not None:
        band = tag("rect", x=0, y=-9, width=18, height=10, class_="band rms")
        line = tag("path", d="M0 -4H18", class_="line rms")
        entries.append((band + line, "density, ± 2 standard errors"))
    if chart.density is not None and chart.below_zero():
        fill = f"url(#{ident}-below)"
        entries.append((tag("rect", x=0, y=-9, width=18, height=10, fill=fill), "below zero"))
    if chart.bulk is not None:
        low, high = (number(v).replace("-", "−") for v in chart.bulk)
        dash = tag("line", x1=9, x2=9, y1=-11, y2=3, class_="edge")
        entries.append((dash, f"edges of the bulk, {low} and {high}"))
    for end in sorted({stick.end for stick in _shown(chart)}):
        mark = tag("path", d=marker(SHAPES.get(end, "circle"), 9, -4, 3.2), class_="effect")
        bar = tag("path", d="M2 -4H16M2 -8V0M16 -8V0", class_="stick")
        entries.append((bar + mark, f"{end} eigenvalues, ± residual"))
    return entries


def _hatch(ident: str) -> Markup:
    """The fill of what is below zero, told apart without its colour."""
    lines = tag("path", d="M0 6L6 0M-1 1L1 -1M5 7L7 5", class_="below")
    pattern = tag(
        "pattern", lines, id=f"{ident}-below", width=6, height=6, patternUnits="userSpaceOnUse"
    )
    return tag("defs", pattern)

"""A surface as inline SVG: filled contours with holes, path and scale; a line in one dimension."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
from markupsafe import Markup

from sounding.landscape.surface import Surface
from sounding.view.numbers import number
from sounding.view.relief import BANDS, Relief, colour, relief
from sounding.view.svg import (
    LETTER,
    Axis,
    coordinate,
    group,
    horizontal_grid,
    legend,
    marker,
    path,
    tag,
    vertical_ticks,
)
from sounding.view.wording_landscape import centre


@dataclasses.dataclass(frozen=True)
class Sheet:
    """Sizes in pixels of one variant."""

    name: str
    width: float
    left: float
    right: float  # room for the colour bar
    height: float  # of the panel
    ticks: int


WIDE = Sheet("wide", 880, 64, 96, 520, 9)
NARROW = Sheet("narrow", 328, 44, 62, 250, 5)
BAR = 16.0  # pixels of the colour bar's width


def surface_svg(surface: Surface, key: str) -> Markup:
    """Both variants; the style sheet shows one. `key` makes their ids the page's own."""
    drawn = relief(surface)
    if drawn is None:
        return Markup("")
    draw = _line if surface.dims == 1 else _map
    return draw(drawn, WIDE, key) + draw(drawn, NARROW, key)


# -- two dimensions -------------------------------------------------------------------------------


def _map(drawn: Relief, sheet: Sheet, key: str) -> Markup:
    ident = f"{key}-{sheet.name}"
    swatches, y = legend(_entries(drawn.surface, ident), sheet.width, y=14)
    top = y + 26  # the name of the scale stands below the legend
    bottom = top + sheet.height
    x, y_axis = (np.asarray(a, float) for a in drawn.surface.axes)
    across = Axis(float(x[0]), float(x[-1]), sheet.left, sheet.width - sheet.right)
    up = Axis(float(y_axis[0]), float(y_axis[-1]), bottom, top)
    return _figure(
        drawn, sheet, ident, bottom,
        [
            swatches,
            _background(across, up, ident),
            *_bands(drawn, across, up),
            *_isolines(drawn, across, up),
            *_blanks(drawn.surface, across, up, ident),
            _travelled(drawn.surface, across, up),
            _centre(drawn.surface, across, up),
            _frame(drawn.surface, across, up, sheet),
            _bar(drawn, sheet, top, bottom),
        ],
        **{"data-x": f"{across.start:.1f} {across.end:.1f}",
           "data-y": f"{up.start:.1f} {up.end:.1f}"},
    )  # fmt: skip


def _generator(drawn: Relief) -> Any:
    """Contours of the places, nothing where one is missing."""
    import contourpy  # what matplotlib itself draws contours with

    x, y = drawn.surface.axes
    places = np.ma.masked_invalid(drawn.places().T)
    return contourpy.contour_generator(
        x, y, places, corner_mask=True, fill_type=contourpy.FillType.OuterOffset
    )


def _bands(drawn: Relief, across: Axis, up: Axis) -> list[Markup]:
    generator = _generator(drawn)
    edges = np.linspace(0, 1, BANDS + 1)
    found = []
    for low, high in itertools.pairwise(edges):
        upper = high if high < 1 else 1.001
        lower = low if low > 0 else -0.001
        points, offsets = generator.filled(lower, upper)
        d = "".join(
            path([(across(a), up(b)) for a, b in ring[i:j]]) + "Z"
            for ring, cuts in zip(points, offsets, strict=True)
            for i, j in itertools.pairwise(cuts)
        )
        if d:
            fill = colour((low + high) / 2)
            found.append(tag("path", d=d, fill=fill, stroke=fill, stroke_width="0.6",
                             fill_rule="evenodd"))  # fmt: skip
    return found


def _isolines(drawn: Relief, across: Axis, up: Axis) -> list[Markup]:
    """A line at every number of the scale."""
    generator = _generator(drawn)
    lines = []
    for place, _ in drawn.ticks():
        if 0.01 < place < 0.99:
            for line in generator.lines(place):
                d = path([(across(a), up(b)) for a, b in line])
                lines.append(tag("path", d=d, class_="isoline"))
    return lines


def _background(across: Axis, up: Axis, ident: str) -> Markup:
    """What is seen where nothing is drawn: hatched, a hole."""
    return tag(
        "rect", x=across.start, y=up.end, width=across.end - across.start,
        height=up.start - up.end, fill=f"url(#{ident}-hole)",
    )  # fmt: skip


def _blanks(surface: Surface, across: Axis, up: Axis, ident: str) -> list[Markup]:
    """A blank cell around every point that was not measured."""
    x, y = (np.asarray(a, float) for a in surface.axes)
    found = []
    for i, j in np.argwhere(~surface.measured):
        left, right = _cell(x, i)
        low, high = _cell(y, j)
        a, b, c, d = across(left), across(right), up(high), up(low)
        found.append(tag("rect", x=a, y=c, width=b - a, height=d - c, class_="blank"))
    return found


def _cell(axis: np.ndarray, i: int) -> tuple[float, float]:
    """Half way to the neighbours."""
    low = (axis[i] + axis[max(i - 1, 0)]) / 2
    high = (axis[i] + axis[min(i + 1, len(axis) - 1)]) / 2
    return float(low), float(high)


def _travelled(surface: Surface, across: Axis, up: Axis) -> Markup:
    """The trajectory, or the given points, as dots joined in their order; the last one filled."""
    inside = [(across(a), up(b)) for a, b in surface.trajectory]
    if not inside:
        return Markup("")
    drawn = []
    if surface.along == "trajectory":
        drawn = [
            tag("path", d=path(inside), class_="travelled casing"),
            tag("path", d=path(inside), class_="travelled"),
        ]
    few = inside if len(inside) <= 60 else inside[:: len(inside) // 40]
    drawn += [tag("path", d=marker("circle", *at, 2.6), class_="stop") for at in few]
    drawn.append(tag("path", d=marker("square", *inside[0], 4.2), class_="stop first"))
    return group(drawn)


def _centre(surface: Surface, across: Axis, up: Axis) -> Markup:
    return tag("path", d=_star(across(0.0), up(0.0), 7.5), class_="centre")


def _star(x: float, y: float, size: float) -> str:
    points = []
    for k in range(10):
        radius = size if k % 2 == 0 else size * 0.42
        angle = math.pi * (k / 5 - 0.5)
        points.append((x + radius * math.cos(angle), y + radius * math.sin(angle)))
    return path(points) + "Z"


def _frame(surface: Surface, across: Axis, up: Axis, sheet: Sheet) -> Markup:
    """Ticks and names of both axes."""
    middle = (up.start + up.end) / 2
    longest = max(10, int((up.start - up.end) / LETTER))
    name = surface.names[1] if len(surface.names[1]) <= longest else _cut(surface.names[1], longest)
    below = _cut(surface.names[0], int((sheet.width - sheet.left) / LETTER))
    return group(
        [
            tag("rect", x=across.start, y=up.end, width=across.end - across.start,
                height=up.start - up.end, class_="frame"),
            vertical_ticks(across, up.start + 2, most=sheet.ticks),
            group(
                tag("text", label, x=across.start - 7, y=y + 4, class_="tick end")
                for y, label in up.ticks(sheet.ticks)
            ),
            tag("text", below, x=across.start, y=up.start + 36, class_="label"),
            tag("text", name, x=0, y=0, class_="label middle",
                transform=f"translate(11 {coordinate(middle)}) rotate(-90)"),
        ]
    )  # fmt: skip


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _bar(drawn: Relief, sheet: Sheet, top: float, bottom: float) -> Markup:
    """The scale: bands from low to high with their losses."""
    left, step = sheet.width - sheet.right + 16, (bottom - top) / BANDS
    boxes = [
        tag("rect", x=left, y=bottom - (i + 1) * step, width=BAR, height=step + 0.5,
            fill=colour((i + 0.5) / BANDS))
        for i in range(BANDS)
    ]  # fmt: skip
    labels = [
        tag("text", label, x=left + BAR + 5, y=bottom - place * (bottom - top) + 4, class_="tick")
        for place, label in drawn.ticks()
    ]
    short = {"linear": "loss", "logarithmic": "loss, log", "bent": "loss, bent"}[drawn.kind]
    title = tag("text", short, x=sheet.width, y=top - 6, class_="tick end")
    return group([*boxes, *labels, title])


def _entries(surface: Surface, ident: str) -> list[tuple[Markup, str]]:
    """What each mark is."""
    what = centre(surface) if surface.along in ("trajectory", "points") else "the model"
    entries = [(tag("path", d=_star(9, -4, 7), class_="centre"), what)]
    if surface.along == "trajectory":
        line = tag("path", d="M0 -4H18", class_="travelled casing") + tag(
            "path", d="M0 -4H18", class_="travelled"
        )
        entries.append((line, f"{len(surface.trajectory)} points of the way, projected"))
        entries.append(
            (tag("path", d=marker("square", 9, -4, 4.2), class_="stop first"), "the first")
        )
    elif len(surface.trajectory):
        entries.append((tag("path", d=marker("circle", 9, -4, 3), class_="stop"), "given points"))
    box = {"x": 0, "y": -11, "width": 18, "height": 13}
    if surface.holes:
        entries.append((tag("rect", **box, fill=f"url(#{ident}-hole)"), "no finite loss"))
    if not surface.complete:
        entries.append((tag("rect", **box, class_="blank"), "not measured"))
    return entries


def _figure(
    drawn: Relief, sheet: Sheet, ident: str, bottom: float, parts: list[Markup], **data: str
) -> Markup:
    stripes = tag("path", d="M0 7L7 0M-1 1L1 -1M6 8L8 6", class_="hatched")
    pattern = tag("pattern", tag("rect", width=7, height=7, class_="behind"), stripes,
                  id=f"{ident}-hole", width=7, height=7, patternUnits="userSpaceOnUse")  # fmt: skip
    said = (
        f"loss from {number(drawn.low)} to {number(drawn.high)}, {drawn.said()}; "
        f"{number(drawn.surface.loss)} at {centre(drawn.surface)}"
    )
    svg = tag(
        "svg",
        tag("title", "Loss surface", id=f"{ident}-title"),
        tag("desc", said, id=f"{ident}-desc"),
        tag("defs", pattern),
        *parts,
        class_=f"chart {sheet.name} relief-map",
        viewbox=f"0 0 {sheet.width:.0f} {bottom + 44:.0f}",
        role="img",
        aria_labelledby=f"{ident}-title {ident}-desc",
    )
    more = "".join(f' {name}="{value}"' for name, value in data.items())
    return Markup(str(svg).replace("<svg", f"<svg{more}", 1))


# -- one dimension --------------------------------------------------------------------------------


def _line(drawn: Relief, sheet: Sheet, key: str) -> Markup:
    ident = f"{key}-{sheet.name}"
    surface = drawn.surface
    top, bottom = 30.0, 30.0 + sheet.height * 0.62
    x = np.asarray(surface.axes[0], float)
    across = Axis(float(x[0]), float(x[-1]), sheet.left, sheet.width - 14)
    places = drawn.places()
    at = [(across(a), bottom - p * (bottom - top)) for a, p in zip(x, places, strict=True)]
    seen = [(a, b) for a, b in at if not math.isnan(b)]
    stops = seen if len(seen) <= 60 else []
    holes = [
        tag("path", d=marker("cross", across(float(a)), top + 6, 4), class_="broken")
        for a in x[surface.measured & ~np.isfinite(surface.values)]
    ]
    centre = bottom - float(drawn(surface.loss)) * (bottom - top)
    given = [
        tag(
            "line", x1=across(float(t[0])), x2=across(float(t[0])), y1=top, y2=bottom, class_="edge"
        )
        for t in surface.trajectory
    ]
    log = drawn.kind == "logarithmic"
    ends = (math.log10(drawn.low), math.log10(drawn.high)) if log else (drawn.low, drawn.high)
    up = Axis(*ends, bottom, top, log=log)
    grid = (
        horizontal_grid(up, sheet.left, sheet.width - 14)
        if drawn.kind != "bent"
        else _bent_grid(drawn, sheet, top, bottom)
    )
    return _figure(
        drawn, sheet, ident, bottom,
        [
            tag("text", f"Loss, {drawn.said()}", x=0, y=14, class_="panel"),
            grid,
            *given,
            tag("path", d=path(at), class_="line rms"),
            *(tag("path", d=marker("circle", *p, 2.2), class_="mark rms") for p in stops),
            *holes,
            tag("path", d=_star(across(0.0), centre, 7), class_="centre"),
            vertical_ticks(across, bottom + 2, most=sheet.ticks),
            tag("text", _cut(surface.names[0], int((sheet.width - sheet.left) / LETTER)),
                x=sheet.left, y=bottom + 36, class_="label"),
        ],
    )  # fmt: skip


def _bent_grid(drawn: Relief, sheet: Sheet, top: float, bottom: float) -> Markup:
    rows = [(bottom - place * (bottom - top), label) for place, label in drawn.ticks()]
    return group(
        tag("line", x1=sheet.left, x2=sheet.width - 14, y1=y, y2=y, class_="grid")
        + tag("text", label, x=sheet.left - 6, y=y + 4, class_="tick end")
        for y, label in rows
    )

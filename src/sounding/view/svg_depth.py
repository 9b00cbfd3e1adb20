"""The depth chart as inline SVG, once for wide pages and once for phones.

Panels share the axis of layers: the signal forwards, the gradient backwards, and below them which
part of the net did it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup

from sounding.measure.readings import Attribution
from sounding.view.depth import Curve, Depth, caption, decades, sums
from sounding.view.svg import (
    Axis,
    apart,
    area,
    coordinate,
    group,
    horizontal_grid,
    marker,
    path,
    shortened,
    tag,
)
from sounding.view.wording import together

SHAPES = {"rms": "circle", "spread": "square", "gradient": "triangle"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Sizes in pixels of one variant."""

    name: str
    width: float
    left: float
    right: float
    direct: bool  # labels at the curves' ends, where there is room for them
    heights: tuple[float, float, float]  # signal, gradient, attribution
    legend: float  # room for one entry of the attribution's legend
    letters: int  # of a layer's name


WIDE = Layout("wide", 880, 52, 84, True, (210, 150, 104), 132, 34)
NARROW = Layout("narrow", 328, 40, 6, False, (170, 130, 92), 104, 20)

Panel = tuple[Markup, float]  # what is drawn, and where it ends


def depth_svg(chart: Depth, key: str) -> Markup:
    """Both variants; the style sheet shows one. `key` makes their ids the page's own."""
    return _sheet(chart, WIDE, key) + _sheet(chart, NARROW, key)


def _sheet(chart: Depth, layout: Layout, key: str) -> Markup:
    across = Axis(0, len(chart.layers), layout.left, layout.width - layout.right)
    ident = f"{key}-{layout.name}"
    panels: list[Markup] = []
    y = 0.0
    for draw in _panels(chart, layout, across, ident):
        drawn, y = draw(y)
        panels.append(drawn)
    bottom = y
    panels.append(_layer_axis(chart.layers, layout, across, bottom))
    cursor = tag("line", class_="cursor", x1=0, x2=0, y1=18, y2=bottom, visibility="hidden")
    return tag(
        "svg",
        tag("title", "Depth chart", id=f"{ident}-title"),
        tag("desc", caption(chart), id=f"{ident}-desc"),
        _patterns(ident),
        *panels,
        cursor,
        class_=f"chart {layout.name}",
        viewbox=f"0 0 {layout.width} {bottom + 36:.0f}",
        role="img",
        aria_labelledby=f"{ident}-title {ident}-desc",
        data_left=layout.left,
        data_right=layout.width - layout.right,
        data_layers=len(chart.layers),
    )


def _panels(
    chart: Depth, layout: Layout, across: Axis, ident: str
) -> list[Callable[[float], Panel]]:
    """The panels from the top, each a function of where it starts."""
    signal, gradient, parts = layout.heights
    forward = chart.travelling(backwards=False)
    backward = chart.travelling(backwards=True)

    def curves(title: str, which: tuple[Curve, ...], height: float) -> Callable[[float], Panel]:
        return lambda y: _curves_panel(title, which, layout, across, y, height)

    def bars(title: str, which: Attribution) -> Callable[[float], Panel]:
        return lambda y: _parts_panel(title, which, layout, across, y, parts, ident)

    panels = [curves("Signal, forward", forward, signal)]
    if backward:
        panels.append(curves("Gradient, backward", backward, gradient))
    if chart.forward is not None:
        panels.append(bars("What changed the signal", chart.forward))
    if chart.backward is not None:
        panels.append(bars("What changed the gradient", chart.backward))
    return panels


def _curves_panel(
    title: str, curves: tuple[Curve, ...], layout: Layout, across: Axis, y: float, height: float
) -> Panel:
    top = y + (26 if layout.direct else 42)
    low, high = decades(curves)
    down = Axis(low, high, top + height, top, log=True)
    drawn = [
        tag("text", title, x=0, y=y + 14, class_="panel"),
        horizontal_grid(down, across.start, across.end, most=max(4, int(height / 28))),
        *(_curve(curve, across, down) for curve in curves),
    ]
    label = _end_labels if layout.direct else _legend
    drawn.append(label(curves, layout, across, down, y))
    return group(drawn), top + height + 16


def _curve(curve: Curve, across: Axis, down: Axis) -> Markup:
    """Error band, measured line, marks, and the prediction in dashes over them."""
    centres = [across(k + 0.5) for k in range(len(curve.values))]
    points = [(x, down(v)) for x, v in zip(centres, curve.values, strict=True)]
    error = np.nan_to_num(2 * curve.error)
    upper = [(x, down(v)) for x, v in zip(centres, curve.values + error, strict=True)]
    lower_values = np.maximum(curve.values - error, curve.values * 1e-3)
    lower = [(x, down(v)) for x, v in zip(centres, lower_values, strict=True)]
    every = max(1, math.ceil(len(points) / 45))
    shape = SHAPES.get(curve.label, "circle")
    marks = "".join(marker(shape, x, y, 2.6) for x, y in points[::every] if not math.isnan(y))
    drawn = [
        tag("path", d=area(upper, lower), class_=f"band {curve.label}"),
        tag("path", d=path(points), class_=f"line {curve.label}"),
        tag("path", d=marks, class_=f"mark {curve.label}"),
        *_edge_marks(curve, centres, down),
    ]
    if curve.expected is not None:
        expected = [(x, down(v)) for x, v in zip(centres, curve.expected, strict=True)]
        drawn.append(tag("path", d=path(expected), class_="line expected"))
    return group(drawn)


def _edge_marks(curve: Curve, centres: Sequence[float], down: Axis) -> list[Markup]:
    """A 0 at the lower edge for exact zeros, a cross at the upper edge for NaN and Inf."""
    zeros = [
        tag("text", "0", x=x, y=down.start - 2, class_="tick middle")
        for x, v in zip(centres, curve.values, strict=True)
        if v == 0
    ]
    crosses = "".join(
        marker("cross", x, down.end + 5)
        for x, broken in zip(centres, curve.broken, strict=True)
        if broken
    )
    return zeros + ([tag("path", d=crosses, class_="broken")] if crosses else [])


def _end_labels(
    curves: tuple[Curve, ...], layout: Layout, across: Axis, down: Axis, y: float
) -> Markup:
    """Names at the right ends of their curves."""
    ends = []
    for curve in curves:
        shown = [down(v) for v in curve.values if not math.isnan(down(v))]
        ends.append(shown[-1] if shown else down.start)
    x = across.end + 10
    return group(
        tag(
            "path", d=marker(SHAPES.get(curve.label, "circle"), x, at), class_=f"mark {curve.label}"
        )
        + tag("text", curve.label, x=x + 9, y=at + 4, class_="label")
        for curve, at in zip(curves, apart(ends, 16), strict=True)
    )


def _legend(
    curves: tuple[Curve, ...], layout: Layout, across: Axis, down: Axis, y: float
) -> Markup:
    """Names above the panel, where the margin has no room for them."""
    return group(
        tag(
            "path",
            d=marker(SHAPES.get(curve.label, "circle"), layout.left + 4 + 84 * i, y + 28),
            class_=f"mark {curve.label}",
        )
        + tag("text", curve.label, x=layout.left + 13 + 84 * i, y=y + 32, class_="label")
        for i, curve in enumerate(curves)
    )


def _parts_panel(
    title: str,
    attribution: Attribution,
    layout: Layout,
    across: Axis,
    y: float,
    height: float,
    ident: str,
) -> Panel:
    whole = sums(attribution)
    columns = max(1, int((layout.width - layout.left) / layout.legend))
    top = y + 30 + 17 * math.ceil(len(whole) / columns)
    down = Axis(*_extent(attribution), top + height, top)
    drawn = [
        tag("text", title, x=0, y=y + 14, class_="panel"),
        _parts_legend(whole, layout, y + 32, columns, ident),
        horizontal_grid(down, across.start, across.end, most=4),
        _bars(attribution, across, down, ident),
        tag("line", x1=across.start, x2=across.end, y1=down(0), y2=down(0), class_="zero"),
        _totals(attribution, across, down),
    ]
    return group(drawn), top + height + 16


def _extent(attribution: Attribution) -> tuple[float, float]:
    """The lowest and highest stack, with zero between them."""
    stack = np.nan_to_num(np.stack(list(attribution.parts().values())), posinf=0, neginf=0)
    low = float(np.minimum(stack, 0).sum(0).min(initial=0))
    high = float(np.maximum(stack, 0).sum(0).max(initial=0))
    room = 0.06 * (high - low) or 0.5
    return min(low - room, -2 * room), max(high + room, 2 * room)


def _parts_legend(
    whole: dict[str, float], layout: Layout, y: float, columns: int, ident: str
) -> Markup:
    """The parts present, each with its sum over all layers."""
    entries = []
    for i, (name, value) in enumerate(zip(whole, together(whole.values(), sign=True), strict=True)):
        x = layout.left + (i % columns) * layout.legend
        at = y + 17 * (i // columns)
        entries.append(
            tag("rect", x=x, y=at - 10, width=11, height=11, fill=f"url(#{ident}-{name})")
            + tag(
                "text",
                name,
                " ",
                tag("tspan", value.replace("-", "−"), class_="strong"),
                x=x + 16,
                y=at,
                class_="label",
            )
        )
    return group(entries)


def _bars(attribution: Attribution, across: Axis, down: Axis, ident: str) -> Markup:
    """Stacked bars between the layers: what grows upwards, what shrinks downwards."""
    width = _bar_width(across)
    above, below = np.zeros(len(attribution.total)), np.zeros(len(attribution.total))
    drawn = []
    for name, values in attribution.parts().items():
        bars = []
        for k, value in enumerate(values):
            if math.isfinite(value) and value != 0:
                side = above if value > 0 else below
                start, side[k] = side[k], side[k] + value
                bars.append(_bar(across(k + 1), down(start), down(side[k]), width))
        if bars:
            drawn.append(tag("path", d="".join(bars), fill=f"url(#{ident}-{name})"))
    return group(drawn)


def _bar(middle: float, start: float, end: float, width: float) -> str:
    x, y, w, h = (coordinate(v) for v in (middle - width / 2, start, width, end - start))
    return f"M{x} {y}v{h}h{w}v{coordinate(start - end)}z"


def _bar_width(across: Axis) -> float:
    return min(56.0, max(1.0, 0.72 * (across(1) - across(0))))


def _totals(attribution: Attribution, across: Axis, down: Axis) -> Markup:
    """A dash at each step's total."""
    half = _bar_width(across) / 2 + 1
    d = "".join(
        path([(across(k + 1) - half, down(total)), (across(k + 1) + half, down(total))])
        for k, total in enumerate(attribution.total)
        if math.isfinite(total)
    )
    return tag("path", d=d, class_="total")


def _patterns(ident: str) -> Markup:
    """A fill for each part, told apart without its colour."""
    hatches = {
        "weight": None,
        "activation": "M0 6L6 0M-1 1L1 -1M5 7L7 5",
        "normalisation": "M0 3H6",
        "skip": "M3 0V6",
        "other": "M0 0L6 6M0 6L6 0",
    }
    return tag(
        "defs",
        *(
            tag(
                "pattern",
                tag("rect", width=6, height=6, class_=f"part {name}"),
                tag("path", d=hatch, class_="hatch") if hatch else None,
                id=f"{ident}-{name}",
                width=6,
                height=6,
                patternUnits="userSpaceOnUse",
            )
            for name, hatch in hatches.items()
        ),
    )


def _layer_axis(layers: tuple[str, ...], layout: Layout, across: Axis, y: float) -> Markup:
    """Names below the panels where they fit, numbers and the two ends where they do not."""
    n, slot = len(layers), across(1) - across(0)
    if max(len(name) for name in layers) * 7 <= slot:
        return group(
            tag("text", name, x=across(k + 0.5), y=y, class_="tick middle")
            for k, name in enumerate(layers)
        )
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, n) if s * slot >= 22)
    shown = sorted({1, *range(step, n + 1, step)})
    numbers = [
        tag("text", str(k), x=across(k - 0.5), y=y, class_="tick middle")
        for k in shown
        if k == 1 or (k - 1) * slot >= 18
    ]
    first, last = (shortened(layers[i], layout.letters) for i in (0, -1))
    ends = [
        tag("text", f"1: {first}", x=across.start, y=y + 18, class_="tick"),
        tag("text", f"{n}: {last}", x=across.end, y=y + 18, class_="tick end"),
    ]
    return group(numbers + ends)


def attribution_svg(attribution: Attribution, key: str) -> Markup:
    """The attribution alone, in both variants."""
    return Markup("").join(_attribution_sheet(attribution, lay, key) for lay in (WIDE, NARROW))


def _attribution_sheet(attribution: Attribution, layout: Layout, key: str) -> Markup:
    ident = f"{key}-{layout.name}"
    across = Axis(0, len(attribution.layers), layout.left, layout.width - layout.right)
    drawn, bottom = _parts_panel(
        "What changed, layer by layer", attribution, layout, across, 0, layout.heights[1], ident
    )
    return tag(
        "svg",
        tag("title", "Attribution", id=f"{ident}-title"),
        _patterns(ident),
        drawn,
        _layer_axis(attribution.layers, layout, across, bottom),
        class_=f"chart {layout.name}",
        viewbox=f"0 0 {layout.width} {bottom + 36:.0f}",
        role="img",
        aria_labelledby=f"{ident}-title",
    )

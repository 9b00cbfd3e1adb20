"""The depth chart as inline SVG, once for wide pages and once for phones.

Panels share the axis of layers: the signal forwards, the gradient backwards, and below them which
part of the net did it.
"""

from __future__ import annotations

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
    group,
    horizontal_grid,
    marker,
    path,
    tag,
)
from sounding.view.svg_layers import NARROW, WIDE, Layout, Panel, layer_axis
from sounding.view.svg_parts import parts_panel, patterns

SHAPES = {"rms": "circle", "spread": "square", "gradient": "triangle"}


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
    panels.append(layer_axis(chart.layers, layout, across, bottom))
    cursor = tag("line", class_="cursor", x1=0, x2=0, y1=18, y2=bottom, visibility="hidden")
    return tag(
        "svg",
        tag("title", "Depth chart", id=f"{ident}-title"),
        tag("desc", caption(chart), id=f"{ident}-desc"),
        patterns(ident),
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
        return lambda y: parts_panel(title, which, layout, across, y, parts, ident)

    panels = [curves("Signal, forward", forward, signal)]
    if backward:
        panels.append(curves("Gradient, backward", backward, gradient))
    if chart.forward is not None and sums(chart.forward):
        panels.append(bars("What changed the signal", chart.forward))
    if chart.backward is not None and sums(chart.backward):
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
        *_floor(curve, centres, down),
        tag("path", d=area(upper, lower), class_=f"band {curve.label}"),
        tag("path", d=path(points), class_=f"line {curve.label}"),
        tag("path", d=marks, class_=f"mark {curve.label}"),
        *_edge_marks(curve, centres, down),
    ]
    if curve.expected is not None:
        expected = [(x, down(v)) for x, v in zip(centres, curve.expected, strict=True)]
        drawn.append(tag("path", d=path(expected), class_="line expected"))
    return group(drawn)


def _floor(curve: Curve, centres: Sequence[float], down: Axis) -> list[Markup]:
    """Shade what is lost in rounding, where something is."""
    if curve.floor is None or not curve.rounded().any():
        return []
    edge = [(x, down(v)) for x, v in zip(centres, curve.floor, strict=True)]
    below = area(edge, [(x, down.start) for x in centres])
    label = tag("text", "lost in rounding", x=centres[0], y=down.start - 6, class_="tick")
    return [tag("path", d=below, class_="floor"), label]


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

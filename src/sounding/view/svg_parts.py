"""Attribution as inline SVG: stacked bars of what each step to the next layer is made of."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup

from sounding.measure.readings import Attribution
from sounding.view.depth import sums
from sounding.view.numbers import together
from sounding.view.svg import Axis, coordinate, group, horizontal_grid, path, tag
from sounding.view.svg_layers import NARROW, WIDE, Layout, Panel, layer_axis


def parts_panel(
    title: str,
    attribution: Attribution,
    layout: Layout,
    across: Axis,
    y: float,
    height: float,
    ident: str,
) -> Panel:
    """Title, legend with each part's sum, and the bars, from `y` downwards."""
    whole = sums(attribution)
    columns = max(1, int((layout.width - layout.left) / layout.legend))
    top = y + 30 + 17 * math.ceil(len(whole) / columns)
    down = Axis(*_extent(attribution), top + height, top)
    drawn = [
        tag("text", title, x=0, y=y + 14, class_="panel"),
        _parts_legend(whole, layout, y + 32, columns, ident),
        horizontal_grid(down, across.start, across.end, most=6),
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


def patterns(ident: str) -> Markup:
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


def attribution_svg(attribution: Attribution, key: str) -> Markup:
    """The attribution alone, in both variants."""
    return Markup("").join(_attribution_sheet(attribution, lay, key) for lay in (WIDE, NARROW))


def _attribution_sheet(attribution: Attribution, layout: Layout, key: str) -> Markup:
    ident = f"{key}-{layout.name}"
    across = Axis(0, len(attribution.layers), layout.left, layout.width - layout.right)
    drawn, bottom = parts_panel(
        "What changed, layer by layer", attribution, layout, across, 0, layout.heights[1], ident
    )
    return tag(
        "svg",
        tag("title", "Attribution", id=f"{ident}-title"),
        patterns(ident),
        drawn,
        layer_axis(attribution.layers, layout, across, bottom),
        class_=f"chart {layout.name}",
        viewbox=f"0 0 {layout.width} {bottom + 36:.0f}",
        role="img",
        aria_labelledby=f"{ident}-title",
    )

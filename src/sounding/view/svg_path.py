"""A path between two solutions as inline SVG: loss with its error, and the barrier."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup

from sounding.landscape.paths import Path
from sounding.view.numbers import number
from sounding.view.svg import Axis, area, fitted, horizontal_grid, legend, marker, path, tag
from sounding.view.wording_landscape import path_headline

WIDTHS = {"wide": 880.0, "narrow": 328.0}
LEFT, RIGHT = 58.0, 14.0


def path_svg(result: Path, key: str) -> Markup:
    """Both variants; the style sheet shows one."""
    return Markup("").join(_sheet(result, key, name) for name in WIDTHS)


def _sheet(result: Path, key: str, name: str) -> Markup:
    width, ident = WIDTHS[name], f"{key}-{name}"
    swatches, y = legend(_entries(result), width)
    top, bottom = y + 16, y + 16 + (300 if name == "wide" else 210)
    error = 2 * np.nan_to_num(result.errors)
    log = bool((result.losses - error > 0).all())
    values = [*(result.losses - error), *(result.losses + error), 0.0 if not log else math.nan]
    up = fitted([float(v) for v in values], bottom, top, log_from=20 if log else math.inf)
    across = Axis(0.0, 1.0, LEFT, width - RIGHT)
    line = [(across(float(t)), up(float(v))) for t, v in zip(result.at, result.losses, strict=True)]
    band = [
        [(across(float(t)), up(float(v))) for t, v in zip(result.at, values, strict=True)]
        for values in (result.losses + error, result.losses - error)
    ]
    said = "Loss along the path" + (", log scale" if up.log else "")
    return tag(
        "svg",
        tag("title", "Loss along the path", id=f"{ident}-title"),
        tag("desc", path_headline(result), id=f"{ident}-desc"),
        tag("text", said, x=0, y=14, class_="panel"),
        swatches,
        horizontal_grid(up, LEFT, width - RIGHT),
        tag("path", d=area(*band), class_="band rms"),
        tag("path", d=_base(result, across, up), class_="line expected"),
        _barrier(result, across, up, width),
        tag("path", d=path(line), class_="line rms"),
        *(tag("path", d=marker("circle", *p, 2.8), class_="mark rms") for p in line
          if not math.isnan(p[1])),
        *(tag("text", label, x=across(t), y=bottom + 16, class_="tick middle")
          for t, label in ((0.25, "0.25"), (0.5, "0.5"), (0.75, "0.75"))
          if name == "wide" or t == 0.5),
        tag("text", "0, one solution", x=LEFT, y=bottom + 16, class_="tick"),
        tag("text", "the other, 1", x=width - RIGHT, y=bottom + 16, class_="tick end"),
        class_=f"chart {name}",
        viewbox=f"0 0 {width:.0f} {bottom + 24:.0f}",
        role="img",
        aria_labelledby=f"{ident}-title {ident}-desc",
    )  # fmt: skip


def _base(result: Path, across: Axis, up: Axis) -> str:
    """The straight line between the losses at the ends, which is curved on a logarithmic axis."""
    first, last = float(result.losses[0]), float(result.losses[-1])
    return path((across(t), up(first + t * (last - first))) for t in np.linspace(0, 1, 41))


def _barrier(result: Path, across: Axis, up: Axis, width: float) -> Markup:
    """From that line up to the loss at the peak."""
    if not (math.isfinite(result.barrier) and result.barrier > 0):
        return Markup("")
    x, t = across(result.peak), result.peak
    base = (1 - t) * float(result.losses[0]) + t * float(result.losses[-1])
    low, high = up(base), up(base + result.barrier)
    said = f"barrier {number(result.barrier)}"
    left = x + 8 + 6.3 * len(said) < width - RIGHT
    return tag("line", x1=x, x2=x, y1=low, y2=high, class_="interval") + tag(
        "text", said, x=x + 8 if left else x - 8, y=(low + high) / 2 + 4,
        class_="strong" if left else "strong end",
    )  # fmt: skip


def _entries(result: Path) -> list[tuple[Markup, str]]:
    band = tag("rect", x=0, y=-9, width=18, height=10, class_="band rms")
    line = tag("path", d="M0 -4H18", class_="line rms")
    error = ", ± 2 standard errors" if np.isfinite(result.errors).any() else ""
    dash = tag("path", d="M0 -4H18", class_="line expected")
    return [(band + line, f"loss{error}"), (dash, "between the ends")]

"""Sharpness over the steps of a training as inline SVG, beside the largest that is stable."""

from __future__ import annotations

import itertools
import math

import numpy as np
from markupsafe import Markup

from sounding.curvature.monitor import SharpnessSeries
from sounding.view.stability import FAR, largest, limit, ranked
from sounding.view.svg import (
    Axis,
    Point,
    fitted,
    horizontal_grid,
    legend,
    marker,
    path,
    tag,
    vertical_ticks,
)
from sounding.view.wording_sharpness import series_headline

WIDTHS = {"wide": 880.0, "narrow": 328.0}
LEFT, RIGHT, BOTTOM = 52.0, 20.0, 290.0
MOST_MARKS = {"wide": 120, "narrow": 40}


def sharpness_svg(series: SharpnessSeries, key: str) -> Markup:
    """Both variants; the style sheet shows one. `key` makes their ids the page's own."""
    return Markup("").join(_sheet(series, key, name) for name in WIDTHS)


def _sheet(series: SharpnessSeries, key: str, variant: str) -> Markup:
    width, ident = WIDTHS[variant], f"{key}-{variant}"
    said, y = legend(_entries(series), width)
    steps = [float(s) for s in series.steps] or [0.0]
    across = Axis(min(steps), max(max(steps), min(steps) + 1), LEFT, width - RIGHT)
    shown = [*np.ravel(ranked(series)), *limit(series)]
    down = fitted([float(v) for v in shown], BOTTOM, y + 18, log_from=FAR)
    title = "Eigenvalues of the Hessian" + (", log scale" if down.log else "")
    drawn = [
        tag("text", title, x=0, y=14, class_="panel"),
        said,
        horizontal_grid(down, LEFT, width - RIGHT),
        *_curves(series, across, down),
        *_marks(series, across, down, MOST_MARKS[variant]),
        vertical_ticks(across, BOTTOM + 4, most=9 if variant == "wide" else 5),
        tag("text", "step", x=width - RIGHT, y=BOTTOM + 34, class_="tick end"),
    ]
    return tag(
        "svg",
        tag("title", "Sharpness", id=f"{ident}-title"),
        tag("desc", series_headline(series), id=f"{ident}-desc"),
        *drawn,
        class_=f"chart {variant}",
        viewbox=f"0 0 {width:.0f} {BOTTOM + 40:.0f}",
        role="img",
        aria_labelledby=f"{ident}-title {ident}-desc",
    )


def _curves(series: SharpnessSeries, across: Axis, down: Axis) -> list[Markup]:
    """The smaller eigenvalues thin, the largest with its residuals, the limit dashed on top."""
    values = ranked(series)
    residuals = np.reshape(series.residuals, values.shape)
    drawn = [
        tag("path", d=path(_points(series, values[:, i], across, down)), class_="line faint")
        for i in range(1, values.shape[1])
    ]
    drawn.append(
        tag("path", d=path(_points(series, largest(series), across, down)), class_="line rms")
    )
    bars = [
        path([(across(float(step)), down(v - r)), (across(float(step)), down(v + r))])
        for step, v, r in zip(series.steps, largest(series), residuals[:, :1].ravel(), strict=False)
        if math.isfinite(v) and math.isfinite(r) and (not down.log or v > r)
    ]
    drawn.append(tag("path", d="".join(bars), class_="line rms"))
    drawn.append(tag("path", d=path(_stairs(series, across, down)), class_="line expected"))
    return drawn


def _points(series: SharpnessSeries, values: np.ndarray, across: Axis, down: Axis) -> list[Point]:
    return [(across(float(s)), down(float(v))) for s, v in zip(series.steps, values, strict=True)]


def _stairs(series: SharpnessSeries, across: Axis, down: Axis) -> list[Point]:
    """The limit holds until the next measurement."""
    points = _points(series, limit(series), across, down)
    stairs = points[:1]
    for (_, before), (x, y) in itertools.pairwise(points):
        stairs += [(x, before), (x, y)]
    return stairs


def _marks(series: SharpnessSeries, across: Axis, down: Axis, most: int) -> list[Markup]:
    """Filled circles for what was certified, open squares for what was only followed."""
    points = _points(series, largest(series), across, down)
    every = max(1, math.ceil(len(points) / most))
    kept = {
        name: "".join(
            marker(shape, *point, 3.4 if certified else 2.8)
            for i, point in enumerate(points)
            if bool(series.certified[i]) == certified
            and not math.isnan(point[1])
            and (certified or i % every == 0)
        )
        for name, shape, certified in (("open rms", "square", False), ("mark rms", "circle", True))
    }
    return [tag("path", d=d, class_=name) for name, d in kept.items() if d]


def _entries(series: SharpnessSeries) -> list[tuple[Markup, str]]:
    """What each mark and line is."""
    followed = marker("square", 9, -4, 2.8)
    entries = [
        (tag("path", d=marker("circle", 9, -4, 3.4), class_="mark rms"), "largest, certified"),
        (tag("path", d=followed, class_="open rms"), "largest, followed only"),
    ]
    if ranked(series).shape[1] > 1:
        entries.append((tag("path", d="M0 -4H18", class_="line faint"), "next largest"))
    if np.isfinite(limit(series)).any():
        said = "2 (1 + momentum) / lr" if series.momentum else "2 / lr"
        dashes = tag("path", d="M0 -4H18", class_="line expected")
        entries.append((dashes, f"stable limit {said}"))
    return entries

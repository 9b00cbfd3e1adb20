"""A profile or a series as inline SVG: measured with its error beside what was expected."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup

from sounding.result import Profile, Series
from sounding.view.svg import (
    Axis,
    fitted,
    group,
    horizontal_grid,
    marker,
    path,
    shortened,
    tag,
    vertical_ticks,
)
from sounding.view.svg_bars import as_bars, bars_svg

WIDTHS = {"wide": 560.0, "narrow": 328.0}
LEFT, RIGHT, TOP, BOTTOM = 58.0, 12.0, 34.0, 240.0


def profile_svg(profile: Profile, key: str) -> Markup:
    """Dots with two standard errors either way, and dashes where theory expects them.

    Where the names are too long for that, a bar a layer.
    """
    if as_bars(profile):
        drawn = (bars_svg(profile, v, WIDTHS[v], f"{key}-{v}") for v in WIDTHS)
        return Markup("").join(drawn)
    return Markup("").join(_profile(profile, key, name) for name in WIDTHS)


def series_svg(series: Series, key: str) -> Markup:
    """A line over steps."""
    return Markup("").join(_series(series, key, name) for name in WIDTHS)


def _profile(profile: Profile, key: str, variant: str) -> Markup:
    width = WIDTHS[variant]
    n = len(profile.layers)
    expected = [] if profile.expected is None else list(profile.expected)
    reach = np.nan_to_num(2 * profile.error)
    shown = [*profile.values, *(profile.values - reach), *(profile.values + reach), *expected]
    down = fitted([float(v) for v in shown], BOTTOM, TOP)
    across = Axis(0, max(n, 1), LEFT, width - RIGHT)
    unit = f", {profile.unit}" if profile.unit else ""
    drawn = [
        tag("text", f"{profile.quantity}{unit}", x=0, y=13, class_="panel"),
        horizontal_grid(down, LEFT, width - RIGHT),
        *(_expected(k, v, across, down) for k, v in enumerate(expected)),
        *(_measured(profile, k, across, down) for k in range(n)),
        _names(profile.layers, across),
    ]
    said = f"{profile.quantity}: {n} measured values" + (" beside theory" if expected else "")
    return _figure(profile.quantity, said, drawn, key, variant)


def _expected(k: int, value: float, across: Axis, down: Axis) -> Markup:
    half = min(0.36 * (across(1) - across(0)), 40)
    middle, y = across(k + 0.5), down(value)
    return tag("path", d=path([(middle - half, y), (middle + half, y)]), class_="line expected")


def _measured(profile: Profile, k: int, across: Axis, down: Axis) -> Markup:
    value, error = float(profile.values[k]), float(profile.error[k])
    x, y = across(k + 0.5), down(value)
    if math.isnan(y):
        return tag("path", d=marker("cross", x, TOP), class_="broken")
    ends = [(x, down(value - 2 * error)), (x, down(value + 2 * error))]
    return group(
        (
            tag("path", d=path(ends), class_="line rms"),
            tag("path", d=marker("circle", x, y, 3.6), class_="mark rms"),
        )
    )


def _names(layers: tuple[str, ...], across: Axis) -> Markup:
    slot = across(1) - across(0)
    every = max(1, math.ceil(30 / slot))
    letters = max(3, int(slot * every / 6.4))
    return group(
        tag(
            "text", shortened(name, letters), x=across(k + 0.5), y=BOTTOM + 16, class_="tick middle"
        )
        for k, name in enumerate(layers)
        if k % every == 0
    )


def _series(series: Series, key: str, variant: str) -> Markup:
    width = WIDTHS[variant]
    steps = [float(s) for s in series.steps] or [0.0]
    down = fitted([float(v) for v in series.values], BOTTOM, TOP)
    across = Axis(min(steps), max(max(steps), min(steps) + 1), LEFT, width - RIGHT)
    points = [(across(s), down(float(v))) for s, v in zip(series.steps, series.values, strict=True)]
    unit = f", {series.unit}" if series.unit else ""
    drawn = [
        tag("text", f"{series.quantity}{unit}", x=0, y=13, class_="panel"),
        horizontal_grid(down, LEFT, width - RIGHT),
        tag("path", d=path(points), class_="line rms"),
        vertical_ticks(across, BOTTOM),
        tag("text", "step", x=width - RIGHT, y=BOTTOM + 30, class_="tick end"),
    ]
    return _figure(
        series.quantity, f"{series.quantity} over {len(steps)} steps", drawn, key, variant
    )


def _figure(title: str, description: str, drawn: list[Markup], key: str, variant: str) -> Markup:
    ident = f"{key}-{variant}"
    return tag(
        "svg",
        tag("title", title, id=f"{ident}-title"),
        tag("desc", description, id=f"{ident}-desc"),
        *drawn,
        class_=f"chart medium {variant}",
        viewbox=f"0 0 {WIDTHS[variant]:.0f} {BOTTOM + 36:.0f}",
        role="img",
        aria_labelledby=f"{ident}-title {ident}-desc",
    )

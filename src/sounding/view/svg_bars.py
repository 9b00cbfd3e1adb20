"""A profile with long names as inline SVG: a bar a layer, its name and its number beside it."""

from __future__ import annotations

import math

import numpy as np
from markupsafe import Markup

from sounding.result import Profile
from sounding.view.numbers import number
from sounding.view.svg import Axis, coordinate, group, path, shortened, tag

MOST_BARS = 60
FITTING = 90  # letters of all names together that stand side by side
ROW, TOP = 24.0, 26.0
LETTER = 6.6  # pixels of a letter of a name, about


def as_bars(profile: Profile) -> bool:
    """Whether names are too long to stand side by side, and few enough to stand one a row."""
    letters = sum(len(name) for name in profile.layers)
    return profile.expected is None and letters > FITTING and len(profile.layers) <= MOST_BARS


def bars_svg(profile: Profile, variant: str, width: float, ident: str) -> Markup:
    """One variant: names on the left, on a phone above their bars."""
    above = variant == "narrow"
    longest = min(34, max(len(name) for name in profile.layers))
    left = 0.0 if above else LETTER * longest + 10
    row = 1.7 * ROW if above else ROW
    reach = 2 * np.nan_to_num(profile.error)
    ends = np.concatenate([profile.values - reach, profile.values + reach])
    known = [float(v) for v in ends if math.isfinite(v)]
    low, high = min([0.0, *known]), max([0.0, *known])
    across = Axis(low, high if high > low else low + 1, left + (50 if low < 0 else 0), width - 56)
    rows = [
        _row(profile, k, TOP + row * (k + 1) - ROW / 2, across, above)
        for k in range(len(profile.layers))
    ]
    bottom = TOP + row * len(profile.layers)
    zero = tag("line", x1=across(0), x2=across(0), y1=TOP, y2=bottom, class_="zero")
    unit = f", {profile.unit}" if profile.unit else ""
    return tag(
        "svg",
        tag("title", profile.quantity, id=f"{ident}-title"),
        tag("text", f"{profile.quantity}{unit}, ± 2 errors", x=0, y=13, class_="panel"),
        *rows,
        zero,
        class_=f"chart medium {variant}",
        viewbox=f"0 0 {width:.0f} {bottom + 8:.0f}",
        role="img",
        aria_labelledby=f"{ident}-title",
    )


def _row(profile: Profile, k: int, y: float, across: Axis, above: bool) -> Markup:
    value, error = float(profile.values[k]), 2 * float(np.nan_to_num(profile.error[k]))
    name = shortened(profile.layers[k], 44 if above else 34)
    at = y - 12 if above else y + 4
    drawn = [tag("text", name, x=0, y=at, class_="label")]
    end = across(value)
    if math.isnan(end):
        return group([*drawn, tag("text", "NaN", x=across(0) + 6, y=y + 4, class_="tick")])
    start, length = min(across(0), end), abs(end - across(0))
    bar = f"M{coordinate(start)} {coordinate(y - 6)}h{coordinate(length)}v12h-{coordinate(length)}z"
    ends = [(across(value - error), y), (across(value + error), y)]
    side = "strong end" if value < 0 else "strong"
    beside = across(value + math.copysign(error, value)) + math.copysign(6, value)
    return group(
        [
            *drawn,
            tag("path", d=bar, class_="mark rms"),
            tag("path", d=path(ends), class_="stick"),
            tag("text", number(value), x=beside, y=y + 4, class_=side),
        ]
    )

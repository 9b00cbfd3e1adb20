"""Inline SVG as text: elements, axes, ticks and lines; the same input gives the same bytes.

Colours are classes that the page's style sheet defines for both colour schemes.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from markupsafe import Markup, escape

from sounding.view.numbers import power_of_ten, printable

Point = tuple[float, float]
LETTER = 6.3  # pixels of a letter of a label, about


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """One element; text and attributes are escaped, `class_` is class and `_` in names is `-`."""
    written = "".join(
        f' {"viewBox" if key == "viewbox" else key.rstrip("_").replace("_", "-")}="{_text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(_text(child) for child in children if child is not None)
    return Markup(f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>")


def group(children: Iterable[Markup], **attributes: object) -> Markup:
    """Elements in a <g>."""
    return tag("g", Markup("").join(children), **attributes)


def _text(value: object) -> str:
    if isinstance(value, Markup):
        return str(value)
    if isinstance(value, float | np.floating):
        return coordinate(float(value))
    return str(escape(printable(str(value))))


def coordinate(value: float) -> str:
    """A pixel position with one decimal."""
    return f"{value:.1f}".removesuffix(".0")


@dataclasses.dataclass(frozen=True)
class Axis:
    """A map from numbers between `low` and `high` to pixels between `start` and `end`.

    On a logarithmic axis `low` and `high` are powers of ten.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of `value`, held inside the axis; nan where it cannot be shown."""
        if self.log:
            value = math.log10(value) if value > 0 and math.isfinite(value) else math.nan
        if math.isnan(value):
            return math.nan
        part = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def _few_decades(self, most: int) -> list[tuple[float, str]]:
        """Ticks at 1, 2 and 5 times the powers of ten, or at fewer of these."""
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        for multiples in ((1, 2, 5), (1, 3), (1,)):
            at = [m * 10.0**p for p in powers for m in multiples]
            at = [v for v in at if self.low <= math.log10(v) <= self.high]
            if len(at) <= most:
                break
        return [(self(v), f"{v:g}") for v in at]

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """At most `most` pixels with their labels."""
        if self.log and self.high - self.low < 2:
            return self._few_decades(most)
        if self.log:
            step = max(1.0, _step(self.high - self.low, most, (1, 2, 3, 4, 5, 10)))
            first = math.ceil(self.low / step) * step
            powers = range(int(first), math.floor(self.high) + 1, int(step))
            return [(self(10.0**p), power_of_ten(p)) for p in powers]
        step = _step(self.high - self.low, most, (1, 2, 5, 10))
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [(self(i * step), _signed(i * step, decimals)) for i in range(first, last + 1)]


def _step(extent: float, most: int, nice: Sequence[int]) -> float:
    """The smallest nice distance that gives at most `most` ticks."""
    rough = extent / max(most - 1, 1)
    scale = 10.0 ** math.floor(math.log10(rough))
    return next((n * scale for n in nice if n * scale >= rough * (1 - 1e-9)), 10 * scale)


def _signed(value: float, decimals: int) -> str:
    return f"{value if abs(value) > 1e-12 else 0:.{decimals}f}".replace("-", "−")


def fitted(
    values: Iterable[float], start: float, end: float, *, zero: bool = False, log_from: float = 100
) -> Axis:
    """An axis around `values`: logarithmic where they are positive and span a factor `log_from`."""
    known = [float(v) for v in values if math.isfinite(v)] + ([0.0] if zero else [])
    if not known:
        return Axis(0.0, 1.0, start, end)
    low, high = min(known), max(known)
    if low > 0 and high / low >= log_from:
        ends = math.log10(low), math.log10(high)
        room = 0.04 * (ends[1] - ends[0])
        return Axis(ends[0] - room, ends[1] + room, start, end, log=True)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return Axis(low - room, high + room, start, end)


def path(points: Iterable[Point]) -> str:
    """The `d` of a line through `points`, broken where one cannot be shown."""
    said, down = [], False
    for x, y in points:
        if math.isnan(x) or math.isnan(y):
            down = False
            continue
        said.append(f"{'L' if down else 'M'}{coordinate(x)} {coordinate(y)}")
        down = True
    return "".join(said)


def area(upper: Sequence[Point], lower: Sequence[Point]) -> str:
    """The `d` of the band between two lines, in as many pieces as there are gaps."""
    pieces: list[str] = []
    edge: list[tuple[Point, Point]] = []
    for above, below in [*zip(upper, lower, strict=True), ((math.nan, 0.0), (0.0, 0.0))]:
        if not any(math.isnan(v) for v in (*above, *below)):
            edge.append((above, below))
        elif edge:
            around = [a for a, _ in edge] + [b for _, b in reversed(edge)]
            pieces.append(path(around) + "Z")
            edge = []
    return "".join(pieces)


def marker(shape: str, x: float, y: float, size: float = 3.0) -> str:
    """The `d` of a small mark: 'circle', 'square', 'triangle' or 'cross'."""
    a, b = coordinate(x), coordinate(y)
    s, w = coordinate(size), coordinate(2 * size)
    left, top = coordinate(x - size), coordinate(y - size)
    if shape == "circle":
        return f"M{left} {b}a{s} {s} 0 1 0 {w} 0a{s} {s} 0 1 0 -{w} 0Z"
    if shape == "square":
        return f"M{left} {top}h{w}v{w}h-{w}Z"
    if shape == "triangle":
        return f"M{a} {top}l{s} {w}h-{w}Z"
    return f"M{left} {top}l{w} {w}m0 -{w}l-{w} {w}"


def horizontal_grid(axis: Axis, left: float, right: float, *, most: int = 6) -> Markup:
    """Lines across a panel with their numbers on the left."""
    return group(
        (
            tag("line", x1=left, x2=right, y1=y, y2=y, class_="grid")
            + tag("text", label, x=left - 6, y=y + 4, class_="tick end")
            for y, label in axis.ticks(most)
        )
    )


def vertical_ticks(axis: Axis, y: float, *, most: int = 6) -> Markup:
    """Numbers below a panel."""
    return group(
        tag("text", label, x=x, y=y + 14, class_="tick middle") for x, label in axis.ticks(most)
    )


def legend(
    entries: Iterable[tuple[Markup, str]], width: float, *, y: float = 34.0
) -> tuple[Markup, float]:
    """Swatches with their words, in as many rows as `width` needs; and where the last row stands.

    A swatch is 18 pixels wide and reaches from 9 above its baseline, y = 0, to 1 below it.
    """
    x, drawn = 0.0, []
    for swatch, said in entries:
        length = 24 + LETTER * len(said)
        if x and x + length > width:
            x, y = 0.0, y + 17
        drawn.append(tag("g", swatch, transform=f"translate({coordinate(x)} {coordinate(y)})"))
        drawn.append(tag("text", said, x=x + 24, y=y, class_="label"))
        x += length + 18
    return group(drawn), y


def apart(places: Sequence[float], distance: float) -> list[float]:
    """`places` moved so that neighbours are at least `distance` apart, in the same order."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for before, after in itertools.pairwise(order):
        moved[after] = max(moved[after], moved[before] + distance)
    return moved


def shortened(name: str, most: int) -> str:
    """`name` with its middle left out if it is longer than `most`."""
    if len(name) <= most:
        return name
    return f"{name[: most // 2 - 1]}…{name[-(most - most // 2) :]}"

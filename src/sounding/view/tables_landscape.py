"""Rows of numbers behind the pictures of landscapes, as text and as JSON."""

from __future__ import annotations

import json
import math

import numpy as np
from markupsafe import Markup

from sounding.landscape.paths import Path
from sounding.landscape.surface import Surface
from sounding.view.numbers import number, rough
from sounding.view.relief import COLOURS, interpolated, relief
from sounding.view.tables import Table

MOST = 13  # rows and columns of a surface's table


def surface_table(surface: Surface) -> Table:
    """The losses, thinned evenly where there are many."""
    rows = _thinned(len(surface.axes[0]), 61 if surface.dims == 1 else MOST)
    x = surface.axes[0]
    if surface.dims == 1:
        found = tuple((number(x[i]), _loss(surface, (i,))) for i in rows)
        return Table(("coordinate", "loss"), (True, True), found)
    columns = _thinned(len(surface.axes[1]), MOST)
    found = tuple((number(x[i]), *(_loss(surface, (i, j)) for j in columns)) for i in rows)
    names = ("first \\ second", *(number(surface.axes[1][j]) for j in columns))
    return Table(names, (True,) * len(names), found)


def _loss(surface: Surface, at: tuple[int, ...]) -> str:
    if not surface.measured[at]:
        return ""
    value = float(surface.values[at])
    return number(value) if math.isfinite(value) else ("NaN" if math.isnan(value) else "∞")


def _thinned(count: int, most: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def path_table(result: Path) -> Table:
    """A row a place."""
    rows = tuple(
        (number(t), number(v), rough(e))
        for t, v, e in zip(result.at, result.losses, result.errors, strict=True)
    )
    return Table(("place", "loss", "± error"), (True, True, True), rows)


def relief_data(surface: Surface) -> Markup:
    """What the page's script draws, as JSON that cannot end the script element it stands in."""
    drawn = relief(surface)
    assert drawn is not None
    places = drawn.places()
    travelled = [
        [*map(_short, point), _short(interpolated(surface, places, point))]
        for point in (surface.trajectory if surface.along == "trajectory" else ())
    ]
    data = {
        "axes": [[_short(v) for v in axis] for axis in surface.axes],
        "names": list(surface.names),
        "places": [[_short(v) for v in row] for row in places],
        "losses": [[_loss(surface, (i, j)) for j in range(len(surface.axes[1]))]
                   for i in range(len(surface.axes[0]))],
        "colours": list(COLOURS),
        "ticks": [[_short(p), label] for p, label in drawn.ticks()],
        "scale": f"loss, {drawn.said()}",
        "path": travelled,
        "centre": [0, 0, _short(float(drawn(surface.loss)))],
    }  # fmt: skip
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _short(value: float) -> float | None:
    value = float(value)
    return float(f"{value:.5g}") if math.isfinite(value) else None

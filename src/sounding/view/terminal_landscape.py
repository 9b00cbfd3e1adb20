"""Landscapes in a terminal: the sentence, a map of shades or a row of bars, and how to read it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.text import Text

from sounding.landscape.paths import Path
from sounding.landscape.surface import Surface
from sounding.view import wording_landscape as wording
from sounding.view.numbers import number
from sounding.view.relief import colour, relief
from sounding.view.terminal_lines import holds_utf8, put

FAINT = "bright_black"
SHADES = " .:-=+*#%@"  # from low to high
BARS = "▁▂▃▄▅▆▇█"
LABEL = 21  # columns before what a fact says
MOST = 39  # rows and columns of a map


def show_surface(console: Console, result: Surface, title: str) -> None:
    """The map, a character pair a point, and the facts."""
    put(console, Text(wording.surface_looked_at(result), style=FAINT))
    put(console, Text(title, style="bold"))
    drawn = relief(result)
    if drawn is not None:
        put(console)
        places = drawn.places()
        rows = [Text(_bars(places, console))] if result.dims == 1 else _map(places, console)
        for row in rows:
            put(console, row, indent=2, wrap=False)
        ends = f"lowest {number(drawn.low)}, highest {number(drawn.high)}, {drawn.said()}"
        put(console, Text(f"{ends}; the centre is {number(result.loss)}", style=FAINT), indent=2)
    put(console)
    for said in wording.surface_trouble(result):
        put(console, Text(said), indent=2, first=Text("- ", FAINT))
    for name, said in wording.surface_facts(result):
        _fact(console, name, said)


def show_facts(
    console: Console, title: str, facts: Sequence[tuple[str, str]], notes: Sequence[str]
) -> None:
    """A sentence, what to know beside it, and rows of facts."""
    put(console, Text(title.replace("→", "->"), style="bold"))
    for said in notes:
        put(console, Text(said), indent=2, first=Text("- ", FAINT))
    for name, said in facts:
        _fact(console, name, said)


def show_path(console: Console, result: Path, title: str) -> None:
    """The barrier, the profile as bars, and the facts."""
    put(console, Text(wording.path_looked_at(result), style=FAINT))
    put(console, Text(title, style="bold"))
    finite = result.losses[np.isfinite(result.losses)]
    if finite.size:
        low, high = float(finite.min()), float(finite.max())
        put(console)
        with np.errstate(invalid="ignore"):
            places = (result.losses - low) / ((high - low) or 1.0)
        put(console, Text(_bars(np.where(np.isfinite(places), places, np.nan), console)), indent=2)
        ends = f"loss from {number(low)} to {number(high)}, from one solution to the other"
        put(console, Text(ends, style=FAINT), indent=2)
    put(console)
    for said in result.notes:
        put(console, Text(said), indent=2, first=Text("- ", FAINT))
    for name, said in wording.path_facts(result):
        _fact(console, name, said)


def _fact(console: Console, name: str, said: str) -> None:
    put(console, Text(said), indent=LABEL, first=Text(f"  {name:<{LABEL - 2}}", "cyan"))


def _bars(places: np.ndarray, console: Console) -> str:
    marks = BARS if holds_utf8(console) else SHADES[1:]
    return "".join(
        "x" if np.isnan(p) else marks[min(int(p * len(marks)), len(marks) - 1)] for p in places
    )


def _map(places: np.ndarray, console: Console) -> list[Text]:
    """The second axis upwards, thinned evenly; colours where the terminal has them."""
    columns, rows = (
        np.unique(np.linspace(0, n - 1, min(n, MOST)).round().astype(int)) for n in places.shape
    )
    lines = []
    for j in rows[::-1]:
        line = Text()
        for i in columns:
            p = places[i, j]
            if np.isnan(p):
                line.append("x ", style=FAINT)
            elif console.color_system and console.is_terminal:
                line.append("  ", style=f"on {colour(float(p))}")
            else:
                line.append(2 * SHADES[min(int(p * len(SHADES)), len(SHADES) - 1)])
        lines.append(line)
    return lines

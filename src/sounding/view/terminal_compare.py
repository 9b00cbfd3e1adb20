"""A comparison in a terminal: the protocol, a row an arm, what was judged, and the sentence."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from sounding.compare import Comparison
from sounding.pairs import Pair
from sounding.view import wording_compare as wording
from sounding.view.terminal_lines import cut, put

FAINT = "bright_black"
WIDEST_NAME = 16  # columns
GAP = "  "


def show_comparison(console: Console, result: Comparison, headline: str) -> None:
    """The arms as a table, then the verdicts on every two of them."""
    put(console, Text(wording.protocol(result), style=FAINT))
    put(console)
    _arms(console, result)
    put(console)
    for pair in result.pairs:
        _pair(console, pair)
    if result.beside:
        put(console)
        put(console, Text("Not tuned for:", style="bold"))
    for pair in result.beside:
        _pair(console, pair, indent=2)
    put(console)
    put(console, Text(wording.HOLDS, style=FAINT))
    put(console, Text(headline, style="bold"))


def _arms(console: Console, result: Comparison) -> None:
    outcomes = [wording.outcome(arm, result.quantity) for arm in result.arms]
    names = [cut(arm.name, WIDEST_NAME) for arm in result.arms]
    first = max(len(name) for name in ("arm", *names))
    second = max(len(text) for text in (result.quantity, *outcomes))
    head = f"{'arm':<{first}}{GAP}{result.quantity:<{second}}{GAP}tuned to"
    put(console, Text(head, style="bold"))
    for arm, name, outcome in zip(result.arms, names, outcomes, strict=True):
        lead = Text(f"{name:<{first}}{GAP}{outcome:<{second}}{GAP}")
        put(console, Text(wording.settings(arm)), indent=len(lead), first=lead)
        if arm.note:
            put(console, Text(arm.note, style="yellow"), indent=first + len(GAP))


def _pair(console: Console, pair: Pair, *, indent: int = 0) -> None:
    style = "bold green" if pair.differ else "bold yellow"
    head, colon, numbers = wording.sentence(pair).partition(":")
    line = Text(head + colon, style=style).append(numbers, style="default")
    put(console, line, indent=indent)
    if pair.verdict.note and pair.verdict.note not in numbers:
        put(console, Text(pair.verdict.note, style=FAINT), indent=indent + 2)

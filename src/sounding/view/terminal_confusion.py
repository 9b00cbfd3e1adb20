"""The doctor's hits and false alarms in a terminal: the rates, then every miss."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from sounding.confusion import Confusion, Visit


def show_confusion(result: Confusion, console: Console) -> None:
    """Print the rates with their intervals, and a line for each visit that went wrong."""
    for name, rate in result.rates().items():
        low, high = rate.interval
        console.print(f"{name:<26} {rate.value:7.1%}   [{low:.1%}, {high:.1%}]")
    sick, healthy = len(result.sick), len(result.healthy)
    console.print(
        Text(f"{sick} visits to sick trainings, {healthy} to healthy ones; Wilson at 95 %", "dim")
    )
    missed = [visit for visit in result.visits if not visit.hit]
    if missed:
        console.print()
    for visit in missed:
        console.print(Text(_line(visit)), soft_wrap=True)


def _line(visit: Visit) -> str:
    found = ", ".join(visit.found) or "nothing"
    wanted = f"not {' or '.join(visit.expected)}" if visit.expected else "where nothing is wrong"
    note = f" ({visit.note})" if visit.note else ""
    return f"{visit.name}, seed {visit.seed}: {found} {wanted}{note}"

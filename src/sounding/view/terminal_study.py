"""Studies in a terminal: the verdict, its parts, and each chart as a few lines of text."""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.text import Text

from sounding.studies.chart import Chart, Line
from sounding.studies.claim import Studies, Study
from sounding.verdict import Verdict
from sounding.view import wording_study
from sounding.view.numbers import number
from sounding.view.svg_chart import colours_of
from sounding.view.terminal_lines import put, put_labelled

STYLES = {"supported": "green", "refuted": "red"}


def show_study(console: Console, result: Study) -> None:
    """The claim and its verdict, a line a part, the ends of each chart, and what it rests on."""
    put(console, Text(f"{result.name}: ", style="bold").append(result.claim))
    for place, verdict in enumerate(result.verdicts):
        _judged(console, verdict, indent=2 * (place > 0), said=place > 0)
    for chart in result.charts:
        for line in chart_lines(chart):
            put(console, line, indent=2)
    put_labelled(console, "source", result.source)
    put_labelled(console, "criterion", result.criterion)
    if result.changed:
        put_labelled(console, "changed", result.changed)
    put(console, Text(f"{result.scale} scale, {number(result.seconds)} s", style="bright_black"))


def _judged(console: Console, verdict: Verdict, *, indent: int, said: bool) -> None:
    line = Text(verdict.outcome, STYLES.get(verdict.outcome, "yellow"))
    if said:
        line.append(f": {verdict.statement}", "default")
    put(console, line.append(f"  {_effect(verdict)}", "bright_black"), indent=indent)
    if verdict.note:
        put(console, Text(verdict.note, style="bright_black"), indent=indent + 2)


def chart_lines(chart: Chart) -> list[Text]:
    """The title, and a row a measured line: its last value with its error and what theory says."""
    colours = colours_of(chart.lines)
    theory = {colours[k]: line for k, line in enumerate(chart.lines) if line.theory}
    rows = [(line, theory.get(colours[k])) for k, line in enumerate(chart.lines) if not line.theory]
    width = max((len(line.label) for line, _ in rows), default=0)
    said = [Text(f"{chart.title}: {chart.y_label}, at the ends of {chart.x_label}")]
    for line, predicted in rows:
        said.append(Text(f"  {line.label:<{width}}  {_end(line, 0)} -> {_end(line, -1)}"))
        if predicted is not None:
            at = np.interp(line.x[[0, -1]], predicted.x, predicted.y)
            said[-1].append(f"  (theory {number(at[0])} -> {number(at[1])})", "bright_black")
    return said


def show_studies(console: Console, result: Studies) -> None:
    """A row a claim, topic after topic, and what it comes to."""
    width = max((len(study.name) for study in result.studies), default=0)
    for topic, entries in wording_study.entries(result.studies).items():
        put(console, Text(topic, style="bold"))
        for entry in entries:
            for study in entry.scales.values():
                put(console, _row(study, width), indent=2)
    for name, why in result.failures.items():
        put(console, Text(f"{name} failed: {why}", style="red"))
    put(console, Text(str(result), style="bold"))


def _row(study: Study, width: int) -> Text:
    style = STYLES.get(study.outcome, "yellow")
    row = Text(f"{study.name:<{width}}  ").append(f"{study.outcome:<12}", style)
    row.append(f" {wording_study.spent(study):>6}  ", "bright_black")
    return row.append(_effect(study.verdicts[0]) if study.verdicts else "")


def _end(line: Line, place: int) -> str:
    error = None if line.error is None else float(line.error[place])
    beside = f" ± {number(error)}" if error else ""
    return f"{number(line.y[place])}{beside}"


def _effect(verdict: Verdict) -> str:
    return wording_study.effect(verdict).replace("−", "-")

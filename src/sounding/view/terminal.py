"""Results in a terminal: findings first, then the curves over depth, then one line that sums up.

Into a pipe it is plain text of 80 columns; without UTF-8 it is plain ASCII.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from sounding.compare import Comparison
from sounding.confusion import Confusion
from sounding.curvature.density import Density
from sounding.curvature.eigenpairs import Eigenpairs
from sounding.curvature.estimate import Estimate
from sounding.curvature.monitor import SharpnessSeries
from sounding.curvature.sharpness import Sharpness
from sounding.curvature.spectrum import Spectrum
from sounding.exam import Checkup
from sounding.landscape.atlas import Atlas
from sounding.landscape.escape import Escape
from sounding.landscape.paths import Path
from sounding.landscape.stationary_point import StationaryPoint
from sounding.landscape.surface import Surface
from sounding.measure.readings import Readings
from sounding.prove import Proof, Repair
from sounding.remedies import code
from sounding.result import Profile, Result
from sounding.rules.finding import Finding
from sounding.run import Run
from sounding.studies.claim import Studies, Study
from sounding.verdict import Verdict
from sounding.view import wording
from sounding.view.depth import caveats, depth
from sounding.view.excerpt import excerpt
from sounding.view.numbers import number, printable, span
from sounding.view.terminal_chart import depth_lines
from sounding.view.terminal_compare import show_comparison
from sounding.view.terminal_confusion import show_confusion
from sounding.view.terminal_curvature import (
    show_estimate,
    show_point,
    show_sharpness,
    show_spectrum,
)
from sounding.view.terminal_landscape import show_facts, show_path, show_surface
from sounding.view.terminal_lines import LABEL, cut, holds_utf8, put, put_code, put_labelled
from sounding.view.terminal_study import show_studies, show_study
from sounding.view.wording_points import escape_facts, point_facts

SEVERITY = {"problem": "bold red", "caution": "bold yellow"}
OUTCOME = {"supported": "bold green", "refuted": "bold red", "inconclusive": "bold yellow"}
MOST_ROWS = 12  # of a profile


def show(console: Console, result: Result) -> None:
    """Print `result` on `console`.

    Raises:
        TypeError: If this kind of result has no form in a terminal.
    """
    _show(result, console)


@contextlib.contextmanager
def progress(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for a long job, told by (what is done now, done, planned); gone when the job is.

    What is planned is printed as a line. Without a terminal there is that line and no bar.
    """
    columns = (
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left", style="bright_black"),
        TimeRemainingColumn(),
        TextColumn("{task.description}", style="bright_black", markup=False),
    )
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=None)
        planned = 0

        def tell(message: str, done: int, total: int) -> None:
            nonlocal planned
            if total > planned:
                put(console, Text(message, style="bright_black"))
            planned = total
            room = max(10, console.width - 62)
            said = printable(message)[:room]
            bar.update(task, description=said, completed=done, total=total)

        yield tell


@functools.singledispatch
def _show(result: Result, console: Console) -> None:
    kinds = ", ".join(sorted(k.__name__ for k in _show.registry if k is not object))
    raise TypeError(
        f"a {type(result).__name__} has no form in a terminal; there is one for {kinds}"
    )


@_show.register
def _(result: Checkup, console: Console) -> None:
    _examined(console, result)
    first = next((f for f in result.findings if f.remedies), None)
    if first is not None:
        remedy = first.remedies[0]
        said = f"To paste after the model is built, for {remedy}:"
        put(console)
        put(console, Text(said, style="bold"))
        put_code(console, code(remedy, result.readings))


def _examined(console: Console, result: Checkup) -> None:
    put(console, Text(wording.examined(result), style="bright_black"))
    _findings(console, result)
    _chart(console, result.readings)
    put(console)
    style = "bold" if result.findings else "bold green"
    put(console, Text(wording.summary(result), style=style))


@_show.register
def _(result: Readings, console: Console) -> None:
    _chart(console, result)


@_show.register
def _(result: Run, console: Console) -> None:
    if result.checkup is not None:
        _show(result.checkup, console)
    if result.note:
        put(console, Text(result.note))


@_show.register
def _(result: Verdict, console: Console) -> None:
    put(console, Text(result.statement))
    _judged(console, result)


@_show.register
def _(result: Proof, console: Console) -> None:
    put(console, Text(str(result.remedy), style="bold"))
    for verdict in wording.tested(result):
        _judged(console, verdict)
    put_code(console, result.code)


@_show.register
def _(result: Repair, console: Console) -> None:
    _examined(console, result.checkup)
    put(console)
    if result.proofs:
        put(console, Text("Tried with paired seeds:", style="bold"))
    for proof in result.proofs:
        put(console, Text(str(proof.remedy)), indent=2)
        for verdict in wording.tested(proof):
            _judged(console, verdict, indent=4)
    put(console)
    put(console, Text(wording.headline(result).replace("→", "->"), style="bold"))
    if result.after is not None:
        put(console, Text(f"After the repair: {wording.summary(result.after)}"))
    put_code(console, result.code)


@_show.register
def _(result: Study, console: Console) -> None:
    show_study(console, result)


@_show.register
def _(result: Studies, console: Console) -> None:
    show_studies(console, result)


@_show.register
def _(result: Confusion, console: Console) -> None:
    show_confusion(result, console)


@_show.register
def _(result: Comparison, console: Console) -> None:
    show_comparison(console, result, wording.headline(result))


@_show.register
def _(result: Profile, console: Console) -> None:
    _profile(console, result)


@_show.register(Spectrum | Eigenpairs | Density)
def _(result: Spectrum | Eigenpairs | Density, console: Console) -> None:
    show_spectrum(console, result, wording.headline(result))


@_show.register
def _(result: Estimate, console: Console) -> None:
    show_estimate(console, result, wording.headline(result))


@_show.register
def _(result: Sharpness, console: Console) -> None:
    show_point(console, result, wording.headline(result))


@_show.register
def _(result: SharpnessSeries, console: Console) -> None:
    show_sharpness(console, result, wording.headline(result))


@_show.register
def _(result: StationaryPoint, console: Console) -> None:
    show_facts(console, wording.headline(result), point_facts(result), result.notes)


@_show.register
def _(result: Escape, console: Console) -> None:
    show_facts(console, wording.headline(result), escape_facts(result), ())


@_show.register
def _(result: Atlas, console: Console) -> None:
    for part in result.parts:
        _show(part, console)
        put(console)


@_show.register
def _(result: Surface, console: Console) -> None:
    show_surface(console, result, wording.headline(result))


@_show.register
def _(result: Path, console: Console) -> None:
    show_path(console, result, wording.headline(result))


def _findings(console: Console, checkup: Checkup) -> None:
    for finding, consequences in wording.folded(checkup.findings):
        put(console)
        _head(console, finding)
        _excerpt(console, finding.source, checkup.subject)
        put(console, Text(finding.message), indent=2)
        put_labelled(console, "measured", _compared(finding))
        put_labelled(console, "where", span(finding.layers))
        for i, remedy in enumerate(finding.remedies):
            said = f"{remedy}  ({remedy.touches})"
            put_labelled(console, "" if i else "try", said)
        for i, other in enumerate(consequences):
            said = f"{other.code} {other.name} ({other.severity}): {other.message}"
            put_labelled(console, "" if i else "causes", cut(said, console.width - LABEL - 2))


def _head(console: Console, finding: Finding) -> None:
    """Severity, code and name on the left, the source line on the right where there is room."""
    line = Text(finding.severity, style=SEVERITY.get(finding.severity, "bold"))
    line.append(f"  {finding.code}  {finding.name}", style="bold")
    gap = console.width - len(line.plain) - len(finding.source)
    if finding.source and gap >= 2:
        line.append(" " * gap + finding.source, style="bright_black")
        put(console, line)
        return
    put(console, line)
    put_labelled(console, "built at", finding.source)


def _excerpt(console: Console, source: str, subject: str) -> None:
    found = excerpt(source, subject)
    if found is not None:
        text = cut(found.text.strip(), console.width - 10)
        line = Text(f"{found.line:>6} │ ", style="bright_black").append(text, style="default")
        put(console, line)


def _compared(finding: Finding) -> str:
    """'variance x fan_in 0.333 (expected 2)'."""
    said = [
        f"{name} {measured}".strip() + (f" (expected {expected})" if expected else "")
        for name, measured, expected in wording.compared(finding)
    ]
    return "; ".join(said)


def _chart(console: Console, readings: Readings) -> None:
    chart = depth(readings)
    if not chart.layers:
        return
    put(console)
    width = min(console.width, 110)
    for line in depth_lines(chart, width, ascii_only=not holds_utf8(console)):
        put(console, line, wrap=False)
    if caveats(chart):
        put(console, Text(caveats(chart).strip()), indent=2)


def _judged(console: Console, verdict: Verdict, *, indent: int = 0) -> None:
    said = wording.judged(verdict)
    line = Text(verdict.outcome, style=OUTCOME.get(verdict.outcome, "bold"))
    put(console, line.append(said.removeprefix(verdict.outcome), style="default"), indent=indent)
    if verdict.note and verdict.note not in said:
        put(console, Text(verdict.note, style="bright_black"), indent=indent + 2)


def _profile(console: Console, profile: Profile) -> None:
    """A row a layer, evenly thinned where there are many."""
    unit = f", {profile.unit}" if profile.unit else ""
    beside = "" if profile.expected is None else f"  (beside {profile.source or 'theory'})"
    put(console, Text(f"{profile.quantity}{unit}{beside}"), indent=2)
    n = len(profile.layers)
    shown = range(0, n, -(-n // MOST_ROWS)) if n else ()
    width = max((len(profile.layers[k]) for k in shown), default=0)
    for k in shown:
        said = f"{profile.layers[k]:<{width}}  {number(profile.values[k])}"
        if profile.error[k] == profile.error[k]:
            said += f" ± {number(profile.error[k])}"
        if profile.expected is not None:
            said += f"  (expected {number(profile.expected[k])})"
        put(console, Text(said), indent=4)

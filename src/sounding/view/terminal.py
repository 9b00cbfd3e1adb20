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

from sounding.checkup import Checkup
from sounding.measure.readings import Readings
from sounding.prove import Proof, Repair
from sounding.remedies import code
from sounding.result import Profile, Result
from sounding.rules.finding import Finding
from sounding.run import Run
from sounding.studies.study import Study
from sounding.verdict import Verdict
from sounding.view import wording
from sounding.view.depth import caveats, depth
from sounding.view.excerpt import excerpt
from sounding.view.numbers import number, printable, span
from sounding.view.terminal_chart import depth_lines

SEVERITY = {"problem": "bold red", "caution": "bold yellow"}
OUTCOME = {"supported": "bold green", "refuted": "bold red", "inconclusive": "bold yellow"}
LABEL = 11  # columns before what a label says
MOST_ROWS = 12  # of a profile
WITHOUT_UTF8 = str.maketrans(
    {"→": "->", "×": "x", "±": "+-", "…": "...", "–": "-", "−": "-", "∞": "inf", "│": "|",
     "✓": "+", "✗": "x", "·": ".", "’": "'", "“": '"', "”": '"'}
)  # fmt: skip


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
                _line(console, Text(message, style="bright_black"))
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
        _line(console)
        _line(console, Text(said, style="bold"))
        _code(console, code(remedy, result.readings))


def _examined(console: Console, result: Checkup) -> None:
    _line(console, Text(wording.examined(result), style="bright_black"))
    _findings(console, result)
    _chart(console, result.readings)
    _line(console)
    style = "bold" if result.findings else "bold green"
    _line(console, Text(wording.summary(result), style=style))


@_show.register
def _(result: Readings, console: Console) -> None:
    _chart(console, result)


@_show.register
def _(result: Run, console: Console) -> None:
    if result.checkup is not None:
        _show(result.checkup, console)
    if result.note:
        _line(console, Text(result.note))


@_show.register
def _(result: Verdict, console: Console) -> None:
    _line(console, Text(result.statement))
    _judged(console, result)


@_show.register
def _(result: Proof, console: Console) -> None:
    _line(console, Text(str(result.remedy), style="bold"))
    for verdict in wording.tested(result):
        _judged(console, verdict)
    _code(console, result.code)


@_show.register
def _(result: Repair, console: Console) -> None:
    _examined(console, result.checkup)
    _line(console)
    if result.proofs:
        _line(console, Text("Tried with paired seeds:", style="bold"))
    for proof in result.proofs:
        _line(console, Text(str(proof.remedy)), indent=2)
        for verdict in wording.tested(proof):
            _judged(console, verdict, indent=4)
    _line(console)
    _line(console, Text(wording.headline(result).replace("→", "->"), style="bold"))
    if result.after is not None:
        _line(console, Text(f"After the repair: {wording.summary(result.after)}"))
    _code(console, result.code)


@_show.register
def _(result: Study, console: Console) -> None:
    _line(console, Text(f"{result.name}: ", style="bold").append(result.claim))
    _labelled(console, "source", result.source)
    _labelled(console, "criterion", result.criterion)
    for profile in result.profiles:
        _profile(console, profile)
    for i, verdict in enumerate(result.verdicts):
        if i > 0:
            _line(console, Text(verdict.statement), indent=2)
        _judged(console, verdict, indent=4 if i > 0 else 0)
    said = f"{result.scale} scale, {number(result.seconds)} s"
    _line(console, Text(said, style="bright_black"))


def _findings(console: Console, checkup: Checkup) -> None:
    for finding, consequences in wording.folded(checkup.findings):
        _line(console)
        _head(console, finding)
        _excerpt(console, finding.source, checkup.subject)
        _line(console, Text(finding.message), indent=2)
        _labelled(console, "measured", _compared(finding))
        _labelled(console, "where", span(finding.layers))
        for i, remedy in enumerate(finding.remedies):
            said = f"{remedy}  ({remedy.touches})"
            _labelled(console, "" if i else "try", said)
        for i, other in enumerate(consequences):
            said = f"{other.code} {other.name} ({other.severity}): {other.message}"
            _labelled(console, "" if i else "causes", _cut(said, console.width - LABEL - 2))


def _head(console: Console, finding: Finding) -> None:
    """Severity, code and name on the left, the source line on the right where there is room."""
    line = Text(finding.severity, style=SEVERITY.get(finding.severity, "bold"))
    line.append(f"  {finding.code}  {finding.name}", style="bold")
    gap = console.width - len(line.plain) - len(finding.source)
    if finding.source and gap >= 2:
        line.append(" " * gap + finding.source, style="bright_black")
        _line(console, line)
        return
    _line(console, line)
    _labelled(console, "built at", finding.source)


def _excerpt(console: Console, source: str, subject: str) -> None:
    found = excerpt(source, subject)
    if found is not None:
        text = _cut(found.text.strip(), console.width - 10)
        line = Text(f"{found.line:>6} │ ", style="bright_black").append(text, style="default")
        _line(console, line)


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
    _line(console)
    width = min(console.width, 110)
    for line in depth_lines(chart, width, ascii_only=not _utf8(console)):
        _line(console, line, wrap=False)
    if caveats(chart):
        _line(console, Text(caveats(chart).strip()), indent=2)


def _judged(console: Console, verdict: Verdict, *, indent: int = 0) -> None:
    said = wording.judged(verdict)
    line = Text(verdict.outcome, style=OUTCOME.get(verdict.outcome, "bold"))
    _line(console, line.append(said.removeprefix(verdict.outcome), style="default"), indent=indent)
    if verdict.note and verdict.note not in said:
        _line(console, Text(verdict.note, style="bright_black"), indent=indent + 2)


def _profile(console: Console, profile: Profile) -> None:
    """A row a layer, evenly thinned where there are many."""
    unit = f", {profile.unit}" if profile.unit else ""
    beside = "" if profile.expected is None else f"  (beside {profile.source or 'theory'})"
    _line(console, Text(f"{profile.quantity}{unit}{beside}"), indent=2)
    n = len(profile.layers)
    shown = range(0, n, -(-n // MOST_ROWS)) if n else ()
    width = max((len(profile.layers[k]) for k in shown), default=0)
    for k in shown:
        said = f"{profile.layers[k]:<{width}}  {number(profile.values[k])}"
        if profile.error[k] == profile.error[k]:
            said += f" ± {number(profile.error[k])}"
        if profile.expected is not None:
            said += f"  (expected {number(profile.expected[k])})"
        _line(console, Text(said), indent=4)


def _code(console: Console, text: str) -> None:
    """Code to paste: never wrapped, nothing added to its lines but an indent."""
    if text:
        _line(console)
        for line in text.splitlines():
            _line(console, Text(line, style="cyan"), indent=4, wrap=False)


def _labelled(console: Console, label: str, said: str) -> None:
    """A label on the left, and what it says, wrapped into a column of its own."""
    if said:
        _line(console, Text(said), indent=LABEL + 2, first=Text(f"  {label:<{LABEL}}", "cyan"))


def _line(
    console: Console,
    text: Text | None = None,
    *,
    indent: int = 0,
    first: Text | None = None,
    wrap: bool = True,
) -> None:
    """Print `text` as what the console can show, wrapped behind `indent`; `first` fills it once."""
    text = _plain(console, text or Text())
    room = max(20, console.width - indent)
    lines = list(text.wrap(console, room, tab_size=4)) if wrap else [text]
    for i, line in enumerate(lines or [Text()]):
        line.rstrip()
        lead = first if first is not None and i == 0 else Text(" " * indent)
        whole = lead + line if line.plain or lead is first else line
        console.print(whole, no_wrap=True, overflow="ignore", crop=False, highlight=False)


def _plain(console: Console, text: Text) -> Text:
    """`text` without control characters, and without what the console's encoding lacks."""
    if text.plain.isprintable() and (_utf8(console) or text.plain.isascii()):
        return text
    out = Text(end=text.end)
    for part in text.render(console, end=""):
        said = printable(part.text)
        if not _utf8(console):
            encoding = console.encoding or "ascii"
            said = said.translate(WITHOUT_UTF8).encode(encoding, "replace").decode(encoding)
        out.append(said, style=part.style)
    return out


def _utf8(console: Console) -> bool:
    return "utf" in (console.encoding or "").lower()


def _cut(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: max(0, most - 1)] + "…"

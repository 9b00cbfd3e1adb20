"""Curvature in a terminal: the sentence, the eigenvalues, the chart, and what it means."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from sounding.curvature.density import Density
from sounding.curvature.eigenpairs import Eigenpairs
from sounding.curvature.estimate import Estimate
from sounding.curvature.monitor import SharpnessSeries
from sounding.curvature.sharpness import Sharpness
from sounding.curvature.spectrum import Spectrum
from sounding.view import wording_curvature as wording
from sounding.view.spectrum import spectrum_chart
from sounding.view.stability import largest, limit
from sounding.view.tables import Table
from sounding.view.tables_curvature import eigenvalues_table, sharpness_table
from sounding.view.terminal_lines import holds_utf8, put
from sounding.view.terminal_spectrum import spectrum_lines
from sounding.view.wording_sharpness import point_facts, series_meaning

MOST_ROWS = 16  # of a table
WIDEST = 110  # columns of a chart
BAR = 16  # columns of a bar that reaches the stable limit
LONGEST = 24  # columns of the longest bar
FAINT = "bright_black"


def show_spectrum(console: Console, result: Spectrum | Eigenpairs | Density, title: str) -> None:
    """A spectrum, one end of it, or a density."""
    chart = spectrum_chart(result)
    put(console, Text(wording.computed(result), style=FAINT))
    _headline(console, title, wording.trouble(result))
    if chart.ends:
        put(console)
        _table(console, eigenvalues_table(chart))
    lines = spectrum_lines(chart, min(console.width, WIDEST), ascii_only=_plain(console))
    if lines:
        put(console)
    for line in lines:
        put(console, line, wrap=False)
    said = wording.signs(result) if isinstance(result, Density) else wording.meaning(result)
    put(console)
    if isinstance(result, Spectrum) and result.trace is not None:
        said = [*said, f"{wording.estimate_headline(result.trace)} (one standard error)."]
    for sentence in [*said, *(result.notes if isinstance(result, Spectrum) else ())]:
        put(console, Text(sentence), indent=2, first=Text("- ", FAINT))


def show_estimate(console: Console, result: Estimate, title: str) -> None:
    """One number with its error."""
    put(console, Text(wording.computed(result), style=FAINT))
    _headline(console, title, wording.trouble(result))
    for _, said in wording.certainty(result):
        put(console, Text(said))


def show_point(console: Console, result: Sharpness, title: str) -> None:
    """Sharpness at one point: a line a fact."""
    _headline(console, title, wording.trouble(result))
    for name, said in point_facts(result):
        put(console, Text(said), indent=22, first=Text(f"  {name:<20}", FAINT))


def show_sharpness(console: Console, result: SharpnessSeries, title: str) -> None:
    """A row a measurement, evenly thinned where there are many, with a bar up to the limit."""
    _headline(console, title, [])
    table = sharpness_table(result)
    chosen = ("step", "sharpness", "residual", "limit", "ratio", "search")
    n = len(result.steps)
    if not n:
        return
    kept = sorted({*range(0, n, -(-n // MOST_ROWS)), n - 1})
    put(console)
    _table(console, table, chosen, kept, _bars(result, ascii_only=_plain(console)))
    put(console)
    put(console, Text(series_meaning(result)))


def _headline(console: Console, title: str, troubles: list[str]) -> None:
    """The sentence; what did not converge stands out, and below it what to do."""
    loud = title.startswith(wording.LOUD)
    line = Text(wording.LOUD if loud else "", style="bold yellow")
    put(console, line.append(title.removeprefix(wording.LOUD), style="bold"))
    for said in troubles:
        put(console, Text(said, style="yellow"), indent=2)


def _table(
    console: Console,
    table: Table,
    columns: tuple[str, ...] = (),
    rows: list[int] | None = None,
    beside: list[str] | None = None,
) -> None:
    """The chosen columns and rows, numbers to the right, and something beside each row."""
    chosen = [i for i, name in enumerate(table.columns) if not columns or name in columns]
    kept = range(len(table.rows)) if rows is None else rows
    cells = [[table.columns[i] for i in chosen]]
    cells += [[table.rows[r][i] for i in chosen] for r in kept]
    widths = [max(len(row[c]) for row in cells) for c in range(len(chosen))]
    for k, row in enumerate(cells):
        said = "  ".join(
            f"{cell:>{width}}" if table.numeric[i] else f"{cell:<{width}}"
            for cell, width, i in zip(row, widths, chosen, strict=True)
        )
        line = Text(said, style=FAINT if k == 0 else "")
        if beside is not None and k > 0:
            line.append("  " + beside[kept[k - 1]], style="blue")
        put(console, line, indent=2, wrap=False)


def _bars(result: SharpnessSeries, *, ascii_only: bool) -> list[str]:
    """'#######   |': as long as the part of the limit, which the line marks; '' where unknown."""
    full, mark = ("#", "|") if ascii_only else ("█", "│")
    bars = []
    for value, most in zip(largest(result), limit(result), strict=True):
        part = value / most
        if not 0 <= part < float("inf"):
            bars.append("")
            continue
        over = min(LONGEST - BAR, max(1, round(BAR * (part - 1)))) if part > 1 else 0
        bars.append((full * min(BAR, int(BAR * part))).ljust(BAR) + mark + full * over)
    return bars


def _plain(console: Console) -> bool:
    """Whether the chart is drawn in ASCII: into a pipe, and where the encoding has no blocks."""
    return not console.is_terminal or not holds_utf8(console)

"""Lines of text on a console: wrapped, without control characters, in what its encoding holds."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from sounding.view.numbers import printable

LABEL = 11  # columns before what a label says
WITHOUT_UTF8 = str.maketrans(
    {"→": "->", "×": "x", "±": "+-", "…": "...", "–": "-", "−": "-", "∞": "inf", "│": "|",
     "✓": "+", "✗": "x", "·": ".", "’": "'", "“": '"', "”": '"', "²": "^2"}
)  # fmt: skip


def put_code(console: Console, text: str) -> None:
    """Code to paste: never wrapped, nothing added to its lines but an indent."""
    if text:
        put(console)
        for line in text.splitlines():
            put(console, Text(line, style="cyan"), indent=4, wrap=False)


def put_labelled(console: Console, label: str, said: str) -> None:
    """A label on the left, and what it says, wrapped into a column of its own."""
    if said:
        put(console, Text(said), indent=LABEL + 2, first=Text(f"  {label:<{LABEL}}", "cyan"))


def put(
    console: Console,
    text: Text | None = None,
    *,
    indent: int = 0,
    first: Text | None = None,
    wrap: bool = True,
) -> None:
    """Print `text` as what the console can show, wrapped behind `indent`; `first` fills it once."""
    text = _plain(console, text or Text())
    first = None if first is None else _plain(console, first)
    room = max(20, console.width - indent)
    lines = list(text.wrap(console, room, tab_size=4)) if wrap else [text]
    for i, line in enumerate(lines or [Text()]):
        line.rstrip()
        lead = first if first is not None and i == 0 else Text(" " * indent)
        whole = lead + line if line.plain or lead is first else line
        console.print(whole, no_wrap=True, overflow="ignore", crop=False, highlight=False)


def _plain(console: Console, text: Text) -> Text:
    """`text` without control characters, and without what the console's encoding lacks."""
    if text.plain.isprintable() and (holds_utf8(console) or text.plain.isascii()):
        return text
    out = Text(end=text.end)
    for part in text.render(console, end=""):
        said = printable(part.text)
        if not holds_utf8(console):
            encoding = console.encoding or "ascii"
            said = said.translate(WITHOUT_UTF8).encode(encoding, "replace").decode(encoding)
        out.append(said, style=part.style)
    return out


def holds_utf8(console: Console) -> bool:
    """Whether the console can show more than ASCII."""
    return "utf" in (console.encoding or "").lower()


def cut(text: str, most: int) -> str:
    """`text` in one line of at most `most` letters."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: max(0, most - 1)] + "…"

"""The rules' pages: what each measures, why it matters, when it is wrong, what to do."""

from __future__ import annotations

import difflib
from pathlib import Path

HERE = Path(__file__).parent


def explain(code: str) -> str:
    """The page of a rule, as Markdown; `code` is one like 'SD201' or the rule's name.

    Raises:
        ValueError: If there is no such rule; offers the nearest.
    """
    pages = {path.stem: path for path in sorted(HERE.glob("SD*.md"))}
    names = {_name(path): key for key, path in pages.items()}
    key = code.upper() if code.upper() in pages else names.get(code.lower(), "")
    if not key:
        near = difflib.get_close_matches(code.upper(), [*pages, *(n.upper() for n in names)], n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(pages)}"
        raise ValueError(f"no rule is called {code!r}{hint}")
    return pages[key].read_text(encoding="utf-8")


def _name(path: Path) -> str:
    """The rule's name from the page's title, '# SD201 vanishing-gradient'."""
    with path.open(encoding="utf-8") as file:
        return file.readline().rsplit(" ", 1)[-1].strip().lower()

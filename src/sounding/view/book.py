"""The book of verdicts: a site of one page a claim, the same in one file, and a table for docs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from markupsafe import Markup

from sounding.result import write_text
from sounding.studies.claim import Studies, Study
from sounding.view import wording_study
from sounding.view.page import book_index, document, page, rendered
from sounding.view.wording import MARKS
from sounding.view.wording_study import TITLE, Entry, entries

INDEX = "index.html"


def write_book(
    studies: Sequence[Study], folder: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write the site into `folder`: `index.html` and a page a claim; returns the index.

    Raises:
        ValueError: If there are no studies.
        FileExistsError: If one of its pages exists and `overwrite` is not set.
    """
    pages = site(studies)
    folder = Path(folder)
    taken = [name for name in pages if (folder / name).exists()]
    if taken and not overwrite:
        raise FileExistsError(f"{folder / taken[0]} exists; choose another folder, or overwrite it")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        write_text(folder / name, text, overwrite=overwrite)
    return folder / INDEX


def site(studies: Iterable[Study]) -> dict[str, str]:
    """The pages of the site by their file names."""
    topics = _topics(studies)
    index = book_index(topics, "{}.html", 1, {})
    pages = {INDEX: document(TITLE, [("index", TITLE, index)])}
    for found in topics.values():
        for entry in found:
            back = Markup('<p class="note"><a href="{}">{}</a></p>').format(INDEX, TITLE)
            body = back + rendered("book_entry.html", entry=entry, key="s", level=1)
            pages[f"{entry.name}.html"] = document(entry.any.claim, [("s", entry.any.claim, body)])
    return pages


def one_page(studies: Iterable[Study]) -> str:
    """The whole book as one page that needs nothing but itself."""
    kept = tuple(studies)
    _topics(kept)
    return page(Studies(studies=kept, failures={}), title=TITLE)


def markdown(studies: Iterable[Study]) -> str:
    """The table of all verdicts, for a page of documentation."""
    lines = []
    for topic, found in _topics(studies).items():
        lines += [f"## {topic.capitalize()}", ""]
        lines += ["| claim | study | quick | full | effect | time |", "|---|---|---|---|---|---|"]
        lines += [_row(entry) for entry in found]
        lines += [""]
    return "\n".join(lines)


def _row(entry: Entry) -> str:
    one = entry.any
    marks = [
        f"{MARKS.get(found.outcome, '?')} {found.outcome}" if found else wording_study.NEVER
        for found in (entry.scales.get("quick"), entry.scales.get("full"))
    ]
    effect = wording_study.effect(one.verdicts[0]) if one.verdicts else ""
    cells = (f"{one.claim}. {one.source}", f"`{entry.name}`", *marks, effect)
    said = [cell.replace("|", "\\|") for cell in (*cells, wording_study.spent(one))]
    return f"| {' | '.join(said)} |"


def _topics(studies: Iterable[Study]) -> dict[str, list[Entry]]:
    topics = entries(studies)
    if not topics:
        raise ValueError("no study has been run yet; begin with: sounding study all")
    return topics

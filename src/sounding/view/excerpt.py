"""The line of the user's code that a finding points at."""

from __future__ import annotations

import dataclasses
from pathlib import Path

MOST = 1_000_000  # bytes; a longer file is not a script that someone wrote


@dataclasses.dataclass(frozen=True)
class Excerpt:
    """One line of a file."""

    line: int
    text: str


def excerpt(source: str, subject: str = "") -> Excerpt | None:
    """The line named by `source` ('train.py:18'), None where it cannot be read.

    The file is looked for as named, then beside `subject`. Only Python files are opened: a saved
    result may come from anywhere, and a page is made to be passed on.
    """
    name, _, line = source.rpartition(":")
    if not name.endswith(".py") or not line.isdecimal():
        return None
    for path in (Path(name), Path(subject).parent / name):
        try:
            if path.is_file() and path.stat().st_size <= MOST:
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
                if 1 <= int(line) <= len(lines):
                    return Excerpt(int(line), lines[int(line) - 1])
        except (OSError, ValueError):
            continue
    return None

"""Where a finding points at, as a code host names it: a path from the repository's root, a line."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sounding.rules import Finding


class Place(NamedTuple):
    """A line of a file; the path is absolute where the file lies outside of the repository."""

    path: str
    line: int


def place(finding: Finding, target: str = "") -> Place | None:
    """The line that `finding` names, else the first one of `target`; None where there is no file.

    A notebook's cell or what was typed in is no file.
    """
    name, _, line = finding.source.rpartition(":")
    for file, number in ((name, line), (target, "1")):
        if file.endswith(".py") and number.isdecimal() and int(number) > 0:
            return Place(_from_root(Path(file)), int(number))
    return None


def _from_root(file: Path) -> str:
    """Relative to the nearest folder upwards with a `.git`; without one to the current folder."""
    here = Path.cwd()
    root = next((p for p in (here, *here.parents) if (p / ".git").exists()), here)
    whole = (here / file).resolve()
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else whole.as_posix()

"""Which version of the code that matters a run was made with.

Beginning at a function, or at a whole module, every name that it uses is followed through this
package, and the pieces of source that make these names are hashed. So a stored run goes stale when
code that it may have run changes, not when a comment does, nor a neighbour that it never uses.

Not seen: names looked up by computed strings, data files, and the versions of torch and numpy.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from sounding.store.pieces import LOOSE, WHOLE, Source, Use, source

ROOT = Path(__file__).resolve().parents[1]
CARRIERS = ("cli", "engine", "store", "view")  # they carry or draw numbers, and make none
Name = tuple[str, str]  # (module, top-level name in it)


def code_version(
    subject: ModuleType | Callable[..., Any] | str, *, without: Collection[str] = ()
) -> str:
    """A hash, of 16 hexadecimal digits, of the code that `subject` may run.

    Args:
        subject: A function, of which only what it uses counts; or a module, itself or by its
            name, of which everything counts.
        without: Names of modules, with all below them, that do not count either, besides those
            of this package that carry or draw numbers.

    Raises:
        ValueError: If there is no source to read.

    Cost: the files are parsed once, 0.2 s for a study, 1 s for most of this package; later some
    milliseconds.
    """
    whole = hashlib.sha256()
    for line in code_that_matters(subject, without=without):
        whole.update(f"{line}\n".encode())
    return whole.hexdigest()[:16]


def code_that_matters(
    subject: ModuleType | Callable[..., Any] | str, *, without: Collection[str] = ()
) -> list[str]:
    """The lines that :func:`code_version` hashes: 'module:name digest', sorted.

    Two such lists show why a version has changed.

    Raises:
        ValueError: If there is no source to read.
    """
    start, file = _start(subject)
    closed = [*(f"{ROOT.name}.{name}" for name in CARRIERS), *without]
    walk = Walk(
        {start[0]: file} if file else {}, tuple(c for c in closed if not _below(start[0], c))
    )
    if walk.read(start[0]) is None:
        raise ValueError(f"there is no source of {start[0]} to read")
    return sorted(walk.closure(start))


@dataclasses.dataclass(frozen=True)
class Walk:
    """From name to name, through the files of this package and those named besides."""

    files: dict[str, Path]  # of modules outside the package
    closed: tuple[str, ...]  # modules that are not looked into
    known: dict[str, Source | None] = dataclasses.field(default_factory=dict)

    def closure(self, start: Name) -> Iterator[str]:
        """Every name that `start` may use, as a line."""
        left, seen = [start], set()
        while left:
            name = left.pop()
            if name not in seen:
                seen.add(name)
                line, further = self._look(*name)
                left += further
                if line:
                    yield line

    def read(self, module: str) -> Source | None:
        """The pieces of a module; None where it is not looked into."""
        if module not in self.known:
            self.known[module] = None if self._is_closed(module) else self._source(module)
        return self.known[module]

    def _source(self, module: str) -> Source | None:
        if module in self.files:
            return source(self.files[module], module.rpartition(".")[0])
        top, *rest = module.split(".")
        if top != ROOT.name:
            return None
        place = ROOT.joinpath(*rest)
        if (place / "__init__.py").is_file():
            return source(place / "__init__.py", module)
        file = place.with_name(f"{place.name}.py")
        return source(file, module.rpartition(".")[0]) if file.is_file() else None

    def _is_closed(self, module: str) -> bool:
        return any(_below(module, closed) for closed in self.closed)

    def _look(self, module: str, name: str) -> tuple[str, list[Name]]:
        """The line of a name, and the names that it uses."""
        read = self.read(module)
        if read is None:
            return f"{module}:{name}", []
        if name == WHOLE:
            return "", [*((module, piece) for piece in read.pieces), *read.gathered.values()]
        if name not in read.pieces:
            return "", [self._gathered(module, read, name)]
        piece = read.pieces[name]
        used = [self._used(module, read, use) for use in piece.uses]
        known = [name for name in used if name is not None]
        return f"{module}:{name} {piece.digest}", [*known, *piece.imports, (module, LOOSE)]

    def _gathered(self, module: str, read: Source, name: str) -> Name:
        """Where a name comes from that a module does not define: a package gathers names."""
        below = f"{module}.{name}"
        if read.imports.get(name, (module, name)) != (module, name):
            return read.imports[name]
        if self._is_closed(below) or self.read(below):
            return below, WHOLE
        return module, WHOLE  # it may be anything

    def _used(self, module: str, read: Source, use: Use) -> Name | None:
        """What a name stands for, of a module only the attribute that is taken from it."""
        name, attribute = use
        if name not in read.imports:
            return (module, name) if name in read.pieces else None  # None: local or built in
        home, taken = read.imports[name]
        if not attribute:
            return home, taken
        if taken == WHOLE:
            return home, attribute
        return (f"{home}.{taken}", attribute) if self.read(f"{home}.{taken}") else (home, taken)


def _start(subject: ModuleType | Callable[..., Any] | str) -> tuple[Name, Path | None]:
    """Where to begin, and the file of that module if it is known."""
    if isinstance(subject, str):
        return (subject, WHOLE), None
    module = subject if isinstance(subject, ModuleType) else inspect.getmodule(subject)
    file = None if module is None else getattr(module, "__file__", None)
    if module is None or file is None:
        raise ValueError(f"there is no source of {subject!r} to read; put it into a file")
    if isinstance(subject, ModuleType):
        return (module.__name__, WHOLE), Path(file)
    name = getattr(subject, "__qualname__", "<none>")
    if "<" in name:
        raise ValueError(f"{subject!r} is no top-level function of {module.__name__}; make it one")
    return (module.__name__, name.partition(".")[0]), Path(file)


def _below(module: str, other: str) -> bool:
    return module == other or module.startswith(f"{other}.")

"""What every run leaves behind: one file, from which an interrupted study goes on."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sounding.store.file import opened_file, spoken, transaction
from sounding.store.key import Key
from sounding.store.packed import pack, unpack

KEY = ("study", "scale", "function", "settings", "version")
RUN = (*KEY, "result", "arrays", "seconds", "written")
STUDY_KEY = ("name", "scale", "version")
STUDY = (*STUDY_KEY, "result", "arrays", "written")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One stored run."""

    key: Key
    values: dict[str, Any]
    seconds: float  # that the run took
    written: float  # when it was stored, in seconds since 1970


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FinishedStudy:
    """What came out of a whole study."""

    name: str
    scale: str
    version: str
    values: dict[str, Any]
    written: float  # seconds since 1970


@dataclasses.dataclass(frozen=True, kw_only=True)
class Merged:
    """How many rows another store had that were new, newer, or known."""

    added: int
    replaced: int
    kept: int


class Store:
    """Runs and finished studies in one SQLite file, which several processes may use at once.

    A value is on the disk when `put` returns: a kill, or a power cut, takes the run under way and
    no other. After `close` it is a single file that can be copied to another machine.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> key = Key.of(len, {"seed": 0}, study="s", scale="quick", version="1")
    >>> with Store(f"{folder.name}/studies.sounding") as store:
    ...     store.put(key, {"loss": 0.5}, seconds=1.2)
    ...     store.get(key)
    {'loss': 0.5}
    >>> folder.cleanup()
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        """Open the store at `path`; make it if there is none.

        Raises:
            FileNotFoundError: If its folder does not exist; with `read_only`, if it does not.
            PermissionError: If file or folder cannot be written.
            ValueError: If it is a file of another program, damaged, or of a later version.
        """
        self.path = Path(path)
        self._connection = opened_file(self.path, read_only=read_only)

    def get(self, key: Key) -> dict[str, Any] | None:
        """What the run with this key returned; None if it has not been stored."""
        where = " AND ".join(f"{name}=?" for name in KEY)
        found = self._rows(f"SELECT result, arrays FROM runs WHERE {where}", _columns(key))
        return next((self._unpacked(*row) for row in found), None)

    def put(self, key: Key, values: Mapping[str, Any], *, seconds: float) -> None:
        """Store what a run returned after `seconds`; it takes the place of what was there.

        Raises:
            TypeError: If `values` hold something else than numbers, strings, lists, dicts, arrays.
            OSError: If the disk is full; everything stored before is safe.
        """
        row = (*_columns(key), *pack(values), float(seconds), time.time())
        self._write("runs", RUN, KEY, row)

    def keys(self, study: str | None = None) -> list[Key]:
        """The keys of all stored runs, or of those of one study, oldest first."""
        return [_key(row) for row in self._runs(KEY, study)]

    def rows(self, study: str | None = None) -> Iterator[Row]:
        """All stored runs, or those of one study, oldest first, one at a time."""
        for *key, result, arrays, seconds, written in self._runs(RUN, study):
            yield Row(
                key=_key(key),
                values=self._unpacked(result, arrays),
                seconds=seconds,
                written=written,
            )

    def put_study(self, name: str, scale: str, version: str, values: Mapping[str, Any]) -> None:
        """Store what came out of a whole study, made with the code of `version`.

        Raises:
            As :meth:`put`.
        """
        row = (name, scale, version, *pack(values), time.time())
        self._write("studies", STUDY, STUDY_KEY, row)

    def studies(self) -> list[FinishedStudy]:
        """The newest result of every study at every scale, by name."""
        query = f"SELECT {', '.join(STUDY)} FROM studies ORDER BY name, scale, written"
        newest = {row[:2]: row for row in self._rows(query)}
        return [
            FinishedStudy(
                name=name,
                scale=scale,
                version=version,
                values=self._unpacked(result, arrays),
                written=written,
            )
            for name, scale, version, result, arrays, written in newest.values()
        ]

    def merge(self, other: str | os.PathLike[str]) -> Merged:
        """Take over what another store has; of two rows with one key the newer one stays.

        All or nothing; the other store is left as it is.

        Raises:
            FileNotFoundError: If there is no such store.
            ValueError: If it is no store, damaged, or of a later version.
            OSError: If the disk is full.
        """
        with (
            Store(other, read_only=True) as source,
            spoken(self.path),
            transaction(self._connection),
        ):
            runs = self._take("runs", RUN, KEY, source)
            studies = self._take("studies", STUDY, STUDY_KEY, source)
        added, replaced, kept = (a + b for a, b in zip(runs, studies, strict=True))
        return Merged(added=added, replaced=replaced, kept=kept)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with spoken(self.path):
            return self._connection.execute(query, parameters).fetchall()

    def _runs(self, names: Sequence[str], study: str | None) -> Iterator[tuple[Any, ...]]:
        return self._each("runs", names, "" if study is None else "WHERE study=?", study)

    def _each(
        self, table: str, names: Sequence[str], where: str = "", study: str | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """One row at a time, oldest first, by a query each.

        A single open one would show this connection a store that stands still, and keep it from
        writing as soon as somebody else has.
        """
        query = f"SELECT rowid FROM {table} {where} ORDER BY written, rowid"
        one = f"SELECT {', '.join(names)} FROM {table} WHERE rowid=?"
        for number in self._rows(query, () if study is None else (study,)):
            yield from self._rows(one, number)

    def _write(self, table: str, names: Sequence[str], key: Sequence[str], row: tuple) -> None:
        with spoken(self.path):
            self._connection.execute(_upsert(table, names, key), row)

    def _take(
        self, table: str, names: Sequence[str], key: Sequence[str], source: Store
    ) -> tuple[int, int, int]:
        """Rows of the other store that were added, that replaced one, and that were left."""
        count = f"SELECT count(*) FROM {table}"
        before = self._connection.execute(count).fetchone()[0]
        newer = f"{_upsert(table, names, key)} WHERE excluded.written > {table}.written"
        taken = total = 0
        for row in source._each(table, names):
            taken += self._connection.execute(newer, row).rowcount
            total += 1
        added = self._connection.execute(count).fetchone()[0] - before
        return added, taken - added, total - taken

    def _unpacked(self, result: str, arrays: bytes) -> dict[str, Any]:
        try:
            return unpack(result, arrays)
        except (ValueError, TypeError) as error:
            raise ValueError(f"a row of the store {self.path} is damaged: {error}") from error


def _key(values: Sequence[str]) -> Key:
    return Key(**dict(zip(KEY, values, strict=True)))


def _columns(key: Key) -> tuple[str, ...]:
    return tuple(getattr(key, name) for name in KEY)


def _upsert(table: str, names: Sequence[str], key: Sequence[str]) -> str:
    """Insert a row, or let it take the place of the one with its key."""
    places = ", ".join("?" * len(names))
    changes = ", ".join(f"{name}=excluded.{name}" for name in names if name not in key)
    return (
        f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places}) "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"
    )

"""The file of a watched run: lines of JSON, each behind its own checksum, added one at a time.

    1c291ca3 {"kind": "run", "version": 1, ...}
    7f83b165 {"kind": "steps", "training": 0, "at": 0, "loss": [2.31, 2.29], "lr": 0.001, ...}

A line is handed to the operating system in one write as soon as it is whole, so a process that is
killed at any byte loses at most its last line. A file that grows beyond LIMIT is thinned: its old
steps are merged two by two, and of its old examinations every second one goes (`thin.py`).
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sounding.watch.thin import thinned

VERSION = 1
LIMIT = 16 * 2**20  # bytes of a file before it is thinned
ROOM, PASSES = 0.75, 4  # share of it that thinning aims at, and how often it tries
LONGEST = 16 * 2**20  # bytes of a line; whatever is longer is not written
PATIENCE = 10.0  # seconds after which writing is tried again on a full disk
DIGITS = {np.dtype(np.float32): 4}  # of the numbers of an array; the others have
PRECISION = 6

Entry = dict[str, Any]  # one line: 'kind', and plain values; arrays where there are many numbers


def encoded(entry: Entry) -> bytes:
    """The line of one entry."""
    text = as_json(entry).encode("utf-8", "backslashreplace")
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decoded(line: bytes) -> Entry | None:
    """The entry of one line without its end; None where the line is damaged."""
    try:
        if len(line) > LONGEST or line[8:9] != b" " or int(line[:8], 16) != zlib.crc32(line[9:]):
            return None
        entry = json.loads(line[9:])
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("kind"), str) else None


class Writer:
    """Adds entries to a file that did not exist before; never raises once it is open.

    Where the disk is full, or the file cannot be written for another reason, that is said once on
    standard error; what cannot be written is lost, and from time to time it is tried again. A
    forked child of the process inherits the object, but writes nothing.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, overwrite: bool = False, limit: int = LIMIT
    ) -> None:
        """Open `path`.

        Raises:
            FileExistsError: If it exists and `overwrite` is not set.
            OSError: If it cannot be written.
        """
        self.path = Path(path)
        self.lost = 0  # entries that could not be written
        self._limit = self._next = limit
        self._pid = os.getpid()
        self._wait = 0.0  # no writing before this time
        self._said = False
        if self.path.exists() and not overwrite:
            raise FileExistsError(
                f"{self.path} exists; choose another name, or overwrite it on purpose"
            )
        self.path.unlink(missing_ok=True)  # and not emptied: somebody may be reading the old one
        self._file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o666)
        self._size = 0

    def add(self, entry: Entry) -> None:
        """Write one entry, whole or not at all."""
        if self._file < 0 or os.getpid() != self._pid:
            return
        if time.monotonic() < self._wait:
            self.lost += 1
            return
        line = encoded(entry)
        if len(line) > LONGEST:
            self.lost += 1
            return
        try:
            self._write(line)
            if self._size > self._next:
                for _ in range(PASSES):
                    if self._size > ROOM * self._limit:
                        self._thin()
                # What cannot be made smaller must not be tried at every entry.
                self._next = max(self._limit, self._size + self._limit // 8)
        except OSError as error:
            self._failed(error)

    def close(self) -> None:
        """Nothing is written any more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, line: bytes) -> None:
        done = 0
        try:
            while done < len(line):
                done += os.write(self._file, line[done:])
        except OSError:
            if done:
                os.ftruncate(self._file, self._size)  # no half line before those that follow
            raise
        self._size += len(line)

    def _failed(self, error: OSError) -> None:
        self.lost += 1
        self._wait = time.monotonic() + PATIENCE
        if not self._said and sys.stderr is not None:
            self._said = True
            why = error.strerror or str(error)
            sys.stderr.write(
                f"sounding: {self.path} cannot be written ({why}); the training goes on\n"
            )

    def _thin(self) -> None:
        """Put a thinned copy in the place of the file, in one step."""
        beside = self.path.with_name(f".{self.path.name}.{self._pid}")
        try:
            with beside.open("wb") as file:
                for entry in thinned(self._entries):
                    file.write(encoded(entry))
            new = os.open(beside, os.O_WRONLY | os.O_APPEND)
            beside.replace(self.path)
        except OSError:
            beside.unlink(missing_ok=True)
            self._next = self._size + self._limit // 8  # tried again later
            raise
        os.close(self._file)
        self._file, self._size = new, os.fstat(new).st_size

    def _entries(self) -> Iterator[Entry]:
        with self.path.open("rb") as file:
            for line in file:
                if (entry := decoded(line.rstrip(b"\n"))) is not None:
                    yield entry


def as_json(value: Any) -> str:
    """Plain values and arrays; nan becomes null, infinity 1e999, which readers take for it."""
    if isinstance(value, dict):
        items = (f"{json.dumps(str(k), ensure_ascii=False)}:{as_json(v)}" for k, v in value.items())
        return "{" + ",".join(items) + "}"
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        return json.dumps(value.tolist())
    if isinstance(value, np.ndarray):
        return _row(value.tolist(), DIGITS.get(value.dtype, PRECISION))
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(as_json, value)) + "]"
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value, ensure_ascii=False)


def _row(values: list[Any], digits: int) -> str:
    if values and isinstance(values[0], list):
        return "[" + ",".join(_row(row, digits) for row in values) + "]"
    text = ",".join([f"%.{digits}g"] * len(values)) % tuple(values)
    return "[" + text.replace("nan", "null").replace("inf", "1e999") + "]"


def _number(value: float) -> str:
    if math.isfinite(value):
        return f"{value:.{PRECISION}g}"
    return "null" if math.isnan(value) else "1e999" if value > 0 else "-1e999"

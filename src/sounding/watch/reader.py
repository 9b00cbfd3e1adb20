"""Read the file of a run, also while it is being written, also when it is damaged."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sounding.watch.file import LONGEST, VERSION, Entry, decoded

BEGIN = re.compile(rb'[0-9a-f]{8} \{"kind":"run"')
CHUNK = 2**20  # bytes that are read at once


class Reader:
    """Follows a file: every call of :meth:`new` gives the entries that came since the last one.

    A line that is not whole yet is waited for; a damaged one is left out and counted. Where the
    writer has put a thinned copy in the place of the file, `generation` is raised and everything
    is given again from the start.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is not the file of a run, or of a later version.
        """
        self.path = Path(path)
        self.generation = 0
        self.damaged = 0  # lines
        self._file = self._opened()

    def new(self) -> Iterator[Entry]:
        """The entries that are whole by now and were not given before."""
        yield from self._rest()
        if self._replaced():
            try:
                new = self._opened()
            except (OSError, ValueError):  # a new one whose first line is not there yet
                return
            self._file.close()
            self._file = new
            self.generation += 1
            self.damaged = 0
            yield from self._rest()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self) -> BinaryIO:
        file = self.path.open("rb")
        first = file.readline(LONGEST)
        head = decoded(first.rstrip(b"\n"))
        if not BEGIN.match(first):
            file.close()
            if not first:
                raise ValueError(f"{self.path} is empty; wait until its run has begun")
            raise ValueError(f"{self.path} is not the file of a watched run")
        if head is not None and head.get("version") != VERSION:
            file.close()
            raise ValueError(
                f"{self.path} was written in format {head.get('version')}, this version reads "
                f"{VERSION}; install the version of sounding that wrote it, or a newer one"
            )
        file.seek(0)
        return file

    def _rest(self) -> Iterator[Entry]:
        rest = b""
        while chunk := self._file.read(CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                entry = decoded(line)
                if entry is None:
                    self.damaged += 1
                else:
                    yield entry
            if len(rest) > LONGEST:  # no line of ours: foreign bytes without an end
                rest = b""
                self.damaged += 1
        self._file.seek(-len(rest), os.SEEK_CUR)

    def _replaced(self) -> bool:
        try:
            now, ours = self.path.stat(), os.fstat(self._file.fileno())
        except OSError:
            return False
        if (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino):
            return True
        return now.st_size < self._file.tell()  # emptied and begun again


def is_run(path: str | os.PathLike[str]) -> bool:
    """Whether the file begins like that of a watched run."""
    with Path(path).open("rb") as file:
        return BEGIN.match(file.read(32)) is not None

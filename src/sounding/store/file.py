"""Open the SQLite file of a store; say in a sentence what is wrong with it.

The file is in WAL mode: a writer adds to a second file beside it (``-wal``), which is merged into
the first one now and then, and when the last process closes it. Every write is on the disk before
it counts (``synchronous=FULL``), so neither a kill nor a power cut takes back what was stored.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

SCHEMA = 1  # of the tables; raised when an older version could no longer read them
MARK = 0x536F756E  # 'Soun', the application id in the file's header
PATIENCE = 60.0  # seconds that a process waits for another one that is writing

TABLES = """
CREATE TABLE runs (
    study TEXT NOT NULL,
    scale TEXT NOT NULL,
    function TEXT NOT NULL,
    settings TEXT NOT NULL,
    version TEXT NOT NULL,
    result TEXT NOT NULL,
    arrays BLOB NOT NULL,
    seconds REAL NOT NULL,
    written REAL NOT NULL,
    UNIQUE (study, scale, function, settings, version)
);
CREATE TABLE studies (
    name TEXT NOT NULL,
    scale TEXT NOT NULL,
    version TEXT NOT NULL,
    result TEXT NOT NULL,
    arrays BLOB NOT NULL,
    written REAL NOT NULL,
    UNIQUE (name, scale, version)
);
"""


def opened_file(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection to the store at `path`, which is made if it does not exist.

    Raises:
        FileNotFoundError: If its folder does not exist; with `read_only`, if it does not.
        PermissionError: If file or folder cannot be written.
        ValueError: If it is no store, or one of a later version.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} for the store {path.name}")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it as the store")
    if read_only and not path.exists():
        raise FileNotFoundError(f"there is no store {path}")
    with spoken(path):
        connection = sqlite3.connect(
            _address(path, read_only), uri=True, timeout=PATIENCE, isolation_level=None
        )
        try:
            _check(connection, path)
            if not read_only:
                _prepare(connection)
        except BaseException:
            connection.close()
            raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of it or nothing; other writers wait."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def spoken(path: Path) -> Iterator[None]:
    """SQLite's errors as built-in ones that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(error, path) from error


def _address(path: Path, read_only: bool) -> str:
    address = path.absolute().as_uri()
    if not read_only:
        return address
    beside = path.with_name(path.name + "-wal")
    # On a read-only medium WAL mode wants to be told that nobody else is writing.
    alone = not os.access(path.parent, os.W_OK) and not beside.exists()
    return f"{address}?mode=ro{'&immutable=1' * alone}"


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """That the file is a store of this version, or empty."""
    mark, version = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("application_id", "user_version")
    )
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if mark != MARK and tables:
        raise ValueError(
            f"{path} is a SQLite file of another program; name another file as the store"
        )
    if version > SCHEMA:
        raise ValueError(
            f"the store {path} was written by a newer version of Sounding (format {version}, this "
            f"one reads {SCHEMA}); update Sounding, or name another file"
        )


def _prepare(connection: sqlite3.Connection) -> None:
    _into_wal(connection)
    connection.execute("PRAGMA synchronous=FULL")
    with transaction(connection):  # says at once, and not after the first run, what is read-only
        if not connection.execute("PRAGMA application_id").fetchone()[0]:
            for statement in TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id={MARK}")
            connection.execute(f"PRAGMA user_version={SCHEMA}")


def _into_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL mode, for which SQLite itself does not wait until others are done."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > until:
                raise
        time.sleep(0.01)


def _translated(error: sqlite3.Error, path: Path) -> Exception:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return ValueError(
            f"{path} is no store, or a damaged one ({error}); move it away, or name another file"
        )
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return PermissionError(
            errno.EACCES,
            f"the store cannot be written ({error}); its file and its folder have to be writable",
            str(path),
        )
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return OSError(
            errno.ENOSPC if name == "SQLITE_FULL" else errno.EIO,
            f"the store could not be written ({error}), is the disk full? What was stored before "
            "is safe; make room and start again, it goes on where it stopped",
            str(path),
        )
    if name == "SQLITE_TOOBIG":
        return ValueError("a run's result is larger than the gigabyte that SQLite takes in a row")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return TimeoutError(
            f"another process has been writing to the store {path} for {PATIENCE:.0f} s"
        )
    return error

"""Which database keeps what runs leave behind: SQLite in WAL mode, or DuckDB?

Each row (settings, results, an array of 16 kB) is a durable transaction of its own, as the store
writes it. Then two processes write at once: DuckDB lets one process at a time open a file for
writing, so each opens it anew for every row, and tries again while the other has it.

                                 ms a row, median   95 %   kB a row   rows/s, two processes
    Store (SQLite, WAL)                     11.91  16.72       17.1                      97
    SQLite, rollback journal                33.49  51.33       16.7                      29
    DuckDB, held open                       28.43  58.04       19.5                 refused
    DuckDB, opened for each row            223.85 314.14       19.5                       3

Of 40 rows a process, three rounds, on two cores that others used too and a disk that takes some
10 ms to make a write durable; SQLite 3.40.1, DuckDB 2.0.0. It takes two to three minutes.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sounding.store import Key, Store

ROWS, ROUNDS = 40, 3
CURVE = np.random.default_rng(0).normal(size=2000)
SETTINGS = {"width": 128, "depth": 30, "lr": 0.001, "momentum": 0.9, "scheme": "He", "steps": 200}
Put = Callable[[int], None]


@contextmanager
def sounding(path: Path) -> Iterator[Put]:
    """The store of this package."""
    with Store(path) as store:

        def put(seed: int) -> None:
            settings = {**SETTINGS, "seed": seed}
            key = Key.of(main, settings, study="benchmark", scale="quick", version="1")
            store.put(key, {"loss": 0.1, "curve": CURVE}, seconds=1)

        yield put


@contextmanager
def sqlite(path: Path) -> Iterator[Put]:
    """The same row by hand, in the journal mode that SQLite has by default."""
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE IF NOT EXISTS runs (key TEXT PRIMARY KEY, arrays BLOB)")

        def put(seed: int) -> None:
            row = f"{SETTINGS}{seed}", CURVE.tobytes()
            connection.execute("INSERT OR REPLACE INTO runs VALUES (?, ?)", row)

        yield put


@contextmanager
def duckdb(path: Path) -> Iterator[Put]:
    """DuckDB, the file open all the time, so that nobody else can write."""
    with closing(_duckdb(path)) as connection:
        yield lambda seed: _insert(connection, seed)


@contextmanager
def duckdb_reopened(path: Path) -> Iterator[Put]:
    """DuckDB, opened for every row, so that others can write between."""

    def put(seed: int) -> None:
        with closing(_duckdb(path)) as connection:
            _insert(connection, seed)

    yield put


def _duckdb(path: Path) -> Any:
    import duckdb

    while True:
        try:
            connection = duckdb.connect(str(path))
            break
        except duckdb.IOException:
            time.sleep(0.001)
    connection.execute("CREATE TABLE IF NOT EXISTS runs (key TEXT PRIMARY KEY, arrays BLOB)")
    return connection


def _insert(connection: Any, seed: int) -> None:
    row = [f"{SETTINGS}{seed}", CURVE.tobytes()]
    connection.execute("INSERT OR REPLACE INTO runs VALUES (?, ?)", row)


WAYS = {
    "Store (SQLite, WAL)": sounding,
    "SQLite, rollback journal": sqlite,
    "DuckDB, held open": duckdb,
    "DuckDB, opened for each row": duckdb_reopened,
}


def writes(way: str, path: Path, first: int, rows: int = ROWS) -> list[float]:
    """Seconds of each of several writes, after one that is not counted."""
    taken = []
    with WAYS[way](path) as put:
        put(first)
        for seed in range(first + 1, first + 1 + rows):
            began = time.perf_counter()
            put(seed)
            taken.append(time.perf_counter() - began)
    return taken


def together(way: str, path: Path) -> float:
    """Rows a second of two processes that write into one file."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.starmap(writes, [(way, path.with_name(f"warm{i}"), 0, 0) for i in range(2)])
        began = time.perf_counter()
        pool.starmap(writes, [(way, path, first) for first in (0, 10_000)], chunksize=1)
        return 2 * (ROWS + 1) / (time.perf_counter() - began)


def main() -> None:
    """Print the table."""
    single: dict[str, list[float]] = {way: [] for way in WAYS}
    double: dict[str, list[float]] = {way: [] for way in WAYS}
    size: dict[str, int] = {}
    for _ in range(ROUNDS):
        for way in WAYS:
            with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
                path = Path(folder) / "runs"
                single[way] += writes(way, path, 0)
                size[way] = path.stat().st_size
                if way != "DuckDB, held open":
                    double[way].append(together(way, path.with_name("both")))
    print(f"{'':28} ms a row, median   95 %   kB a row   rows/s, two processes")
    for way, taken in single.items():
        middle, high = statistics.median(taken), float(np.quantile(taken, 0.95))
        rate = f"{statistics.median(double[way]):.0f}" if double[way] else "refused"
        kilobytes = size[way] / 1000 / (ROWS + 1)
        print(f"{way:28} {1e3 * middle:16.2f} {1e3 * high:6.2f} {kilobytes:10.1f} {rate:>23}")


if __name__ == "__main__":
    main()

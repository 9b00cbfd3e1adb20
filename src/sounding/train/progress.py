"""How long work says how far it has come."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]  # (what is done now, runs done, runs planned)


def silent(message: str, done: int, total: int) -> None:
    """Say nothing."""

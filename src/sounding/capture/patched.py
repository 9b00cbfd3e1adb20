"""Put something around a function of somebody else's, and take it away again."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def patched(owner: Any, name: str, wrapper: Callable) -> Iterator[None]:
    """`owner.name` goes through `wrapper(original, ...)` inside."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    setattr(owner, name, call)
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextlib.contextmanager
def replaced(owner: Any, name: str, wrapper: Callable) -> Iterator[None]:
    """The same for a function that is no method, with one call less."""
    original = getattr(owner, name)
    setattr(owner, name, functools.update_wrapper(functools.partial(wrapper, original), original))
    try:
        yield
    finally:
        setattr(owner, name, original)

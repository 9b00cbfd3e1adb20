"""Push and remove a torch function mode at places that are not nested like a with block."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch.overrides import (
    TorchFunctionMode,
    _get_current_function_mode_stack,
    _pop_mode,
    _push_mode,
)


@contextlib.contextmanager
def pushed(mode: TorchFunctionMode) -> Iterator[None]:
    """`mode` is at work inside, and at the end it is removed from wherever in the stack it is.

    A user's own mode (``with torch.device(...)``) may have been pushed before and be gone already,
    or be pushed later and still be there; torch itself would pop whichever is on top.
    """
    _push_mode(mode)
    try:
        yield
    finally:
        stack = _get_current_function_mode_stack()
        if mode in stack:
            above = [_pop_mode() for _ in range(len(stack) - stack.index(mode))][:-1]
            for other in reversed(above):
                _push_mode(other)

"""What looks on must not disturb: its failures are kept, its time is counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

FAILURES = 3  # of its own that a watcher forgives before it switches itself off


class Guard:
    """Runs functions of a watcher; what they raise never reaches the pass that is watched."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        self.seconds = 0.0  # that were spent inside
        self.busy = False  # inside at this moment: what is called is no part of the pass

    @property
    def broken(self) -> bool:
        """Whether it failed too often: nothing is run any more."""
        return len(self.failures) >= FAILURES

    def __call__(self, function: Callable, *args: Any) -> Any:
        """`function(*args)`, None where it fails."""
        if self.broken:
            return None
        outer, self.busy = self.busy, True
        began = time.perf_counter()
        try:
            with torch._C.DisableTorchFunction():  # no mode, ours or the user's, sees what is ours
                return function(*args)
        except Exception as error:
            self.failures.append(error)
            return None
        finally:
            self.busy = outer
            if not outer:
                self.seconds += time.perf_counter() - began

"""How long a training loop waits for its data loaders, by the host's clock alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data.dataloader import _BaseDataLoaderIter

from sounding.capture.patched import patched


class Waiting:
    """Adds up the seconds inside of `next` on data loaders, where gradients are on.

    A GPU works on while the host waits. So nothing counts there unless the last step's work was
    already done as the waiting began, which an event tells without waiting for it: what is counted
    is then a lower bound of the time that the device stood idle.
    """

    def __init__(self) -> None:
        self.workers = -1  # of the loader that was asked last; -1: none was
        self._seconds = 0.0
        self._event: Any = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Every data loader is heard inside."""
        with patched(_BaseDataLoaderIter, "__next__", self._next):
            yield

    def take(self, parameter: torch.Tensor | None) -> float:
        """The seconds since it was asked last; a step of `parameter` has just been begun."""
        seconds, self._seconds = self._seconds, 0.0
        if parameter is not None and parameter.is_cuda and self.workers >= 0:
            self._event = self._event or torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(parameter.device))
        return seconds

    def _next(self, original: Callable, loader: Any) -> Any:
        if not torch.is_grad_enabled():  # an evaluation
            return original(loader)
        busy = self._event is not None and not self._event.query()
        began = time.perf_counter()
        try:
            return original(loader)
        finally:
            self.workers = loader._num_workers
            if not busy:
                self._seconds += time.perf_counter() - began

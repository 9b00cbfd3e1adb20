"""Watch between two events of somebody else's training loop, whatever happens between them."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from sounding.exam import Checkup
from sounding.watch import Logger
from sounding.watch.around import Watch, check_cadence, watch
from sounding.watch.sending import senders


class Switch:
    """A watch that is switched on and off, and off in any case before the process ends."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        *,
        every: int | None,
        overhead: float | None,
        tests: bool,
        overwrite: bool,
        to: Logger | Iterable[Logger],
        quiet: bool,
    ) -> None:
        check_cadence(every, overhead)
        senders(to)  # a mistake is told here, and not when the training begins
        self._how: dict[str, Any] = {
            "every": every, "overhead": overhead, "tests": tests, "overwrite": overwrite,
        }  # fmt: skip
        self._path, self._to, self._quiet = path, to, quiet
        self.watch: Watch | None = None  # the latest one
        self._on = False

    def on(
        self,
        models: Iterable[nn.Module],
        optimizers: Iterable[Optimizer],
        *,
        rank: int = 0,
        also: Iterable[Logger] = (),
    ) -> None:
        """Begin; what was forgotten before is ended."""
        self.off(sys.exc_info()[1])
        to = list(self._to) if isinstance(self._to, Iterable) else [self._to]
        seen = watch(models, optimizers, self._file(rank), **self._how, to=[*to, *also])
        seen.__enter__()
        self.watch, self._on = seen, True
        atexit.register(self._at_exit)

    def off(self, error: BaseException | None = None) -> None:
        """End, and say what was found; a second call does nothing."""
        if not self._on or self.watch is None:
            return
        self._on = False
        atexit.unregister(self._at_exit)
        self.watch.__exit__(type(error) if error else None, error, None)
        if not self._quiet:
            _say(self.watch)

    @property
    def checkup(self) -> Checkup | None:
        """What was found, once the training has ended."""
        return None if self.watch is None else self.watch.checkup

    def _file(self, rank: int) -> Path | None:
        if self._path is None:
            return None
        path = Path(self._path)
        if rank == 0 or os.environ.get("RANK", "").isdigit():  # by which `watch` tells them apart
            return path
        return path.with_suffix(f".{rank}{path.suffix}")

    def _at_exit(self) -> None:
        with contextlib.suppress(Exception):  # the interpreter is going away
            self.off(getattr(sys, "last_value", None))


def _say(seen: Watch) -> None:
    """The findings, and where the rest is, on standard error."""
    from rich.console import Console

    from sounding.view.terminal import show

    console = Console(stderr=True, highlight=False)
    if seen.findings and seen.checkup is not None:
        show(console, seen.checkup)
    if seen.note:
        console.print(f"sounding: {seen.note}", markup=False)
    if seen.path is not None:
        said = "nothing found" if seen.checkup is not None and not seen.findings else "watched"
        line = f"sounding: {said} in {seen.steps} steps; look at it with: sounding live {seen.path}"
        console.print(line, markup=False, soft_wrap=True)

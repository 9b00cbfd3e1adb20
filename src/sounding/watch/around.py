"""`with sounding.watch(model, optimizer, "run.sounding"):` around a training loop."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from torch import nn
from torch.optim import Optimizer

from sounding.exam import Checkup
from sounding.log import listen, log
from sounding.rules import Finding
from sounding.watch.diagnosis import diagnose
from sounding.watch.file import Writer
from sounding.watch.journal import Journal, environment
from sounding.watch.observer import Observer
from sounding.watch.ranks import file_of
from sounding.watch.sending import Logger, Sender, Several, senders
from sounding.watch.watched import Watched, watched


def watch(
    model: nn.Module | Iterable[nn.Module],
    optimizer: Optimizer | Iterable[Optimizer] = (),
    path: str | os.PathLike[str] | None = "run.sounding",
    *,
    every: int | None = None,
    overhead: float | None = None,
    tests: bool = True,
    overwrite: bool = False,
    to: Logger | Iterable[Logger] = (),
) -> Watch:
    """Watch the training loop inside a ``with`` block, which stays as it is.

    Every step leaves its loss, learning rate, gradient norm and time in the file; once in a while
    the size of signal and gradient in each layer, how far each parameter moves, and what the
    optimiser remembers of its gradients. The training computes the same bits as without.

    Args:
        model: What is trained; several, for several nets.
        optimizer: What trains it; those that are made inside the block are found.
        path: The file to write while the loop runs, None for none.
        every: Steps from one examination to the next, whatever it costs.
        overhead: Fraction of the time that watching may take, which decides how often a step is
            examined: 0.01 where a step takes 10 ms or more and 0.03 below, if it is not given.
        tests: Decide suspicions by short tests on the trained model when the block ends. They
            take up to a minute and give everything back.
        overwrite: Whether a file that exists may be lost.
        to: Loggers that are told too, such as those of :mod:`sounding.integrations`.

    Raises:
        FileExistsError: If `path` exists and `overwrite` is not set.
        OSError: If it cannot be written.
        TypeError: If `to` is no logger.
        ValueError: If `every` or `overhead` make no sense.

    Example:
        >>> import torch
        >>> net = nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with watch(net, optimizer, None) as seen:
        ...     for _ in range(3):
        ...         optimizer.zero_grad()
        ...         net(torch.ones(8, 4)).square().mean().backward()
        ...         optimizer.step()
        >>> seen.steps
        3
    """
    check_cadence(every, overhead)
    models = [model] if isinstance(model, nn.Module) else list(model)
    optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer)
    return Watch(models, optimizers, path, every, overhead, tests, overwrite, senders(to))


class Watch:
    """What `watch` returns: a context, and after it what was found."""

    def __init__(
        self,
        models: list[nn.Module],
        optimizers: list[Optimizer],
        path: str | os.PathLike[str] | None,
        every: int | None,
        overhead: float | None,
        tests: bool,
        overwrite: bool,
        to: list[Sender],
    ) -> None:
        self.checkup: Checkup | None = None  # None where no step was examined, and before the end
        self.path = None if path is None else Path(path)
        self._subject = ", ".join(type(model).__name__ for model in models)
        self._models, self._optimizers, self._tests = models, optimizers, tests
        self._overwrite, self._to = overwrite, to
        self._observer = Observer(budget=overhead, every=every)
        self._stack = contextlib.ExitStack()

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong, most likely cause first; empty until the block has ended."""
        return () if self.checkup is None else self.checkup.findings

    @property
    def steps(self) -> int:
        """Optimiser steps seen so far."""
        return self._observer.steps

    @property
    def examined(self) -> tuple[int, ...]:
        """The steps that were examined."""
        return tuple(self._observer.examined)

    @property
    def overhead(self) -> float:
        """Fraction of the time that watching took."""
        return self._observer.overhead()

    @property
    def note(self) -> str:
        """Why the observer stopped looking, if it did."""
        return "; ".join(self._observer.failures)

    def log(self, **values: float) -> None:
        """Write numbers of your own beside the step."""
        log(**values)

    def result(self) -> Watched:
        """All that the file holds.

        Raises:
            ValueError: If no file is written.
        """
        if self.path is None:
            raise ValueError("nothing was written: name a file when you call sounding.watch")
        return watched(self.path)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            if self.path is not None or self._to:
                how = self._subject, self._overwrite, self._to
                stack.enter_context(journalled(self._observer, self.path, *how))
            stack.enter_context(self._observer.watching())
            self._observer.training.adopt(self._models, self._optimizers)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._observer.training.close()
        try:
            tests = self._tests and (error is None or isinstance(error, Exception))
            self._observer.ended(reason(error))
            self.checkup = diagnose(self._observer, self._subject, tests=tests)
            if self._observer.journal is not None:
                self._observer.journal.end(self.checkup)
        finally:
            self._stack.__exit__(kind, error, traceback)


def check_cadence(every: int | None, overhead: float | None) -> None:
    """Do these make sense?

    Raises:
        ValueError: If not.
    """
    if every is not None and every < 1:
        raise ValueError(f"every is {every}; give a number of steps, at least 1")
    if overhead is not None and not 0 < overhead <= 1:
        raise ValueError(f"overhead is {overhead}; give a fraction above 0, at most 1")
    if every is not None and overhead is not None:
        raise ValueError("every and overhead exclude each other: a fixed cadence has its own cost")


@contextlib.contextmanager
def journalled(
    observer: Observer,
    path: Path | None,
    subject: str,
    overwrite: bool = False,
    to: Sequence[Sender] = (),
) -> Iterator[None]:
    """`observer` writes into a new file inside, and tells `to`; the checkup after it is the end.

    Raises:
        FileExistsError, OSError: If the file cannot be made.
    """
    files = [] if path is None else [Writer(own_file(path), overwrite=overwrite)]
    writer = Several([*files, *to])
    observer.journal = Journal(
        writer, subject=subject, budget=observer.pace.fixed, every=observer.pace.every
    )
    observer.judge = functools.partial(diagnose, observer, subject, tests=False)
    with contextlib.ExitStack() as stack:
        stack.callback(listen(observer.metrics))
        stack.enter_context(_told_of_the_end(observer))
        yield


def reason(error: BaseException | None) -> str:
    """How a training ended, in a few words."""
    if error is None:
        return "finished"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted by Ctrl-C"
    if isinstance(error, SystemExit):
        return "finished" if error.code in (None, 0) else f"exit with {error.code}"
    return f"{type(error).__name__}: {error}"[:500]


def own_file(path: Path) -> Path:
    """Of several processes of one training each one has a file."""
    return file_of(path, environment("RANK", 0))


@contextlib.contextmanager
def _told_of_the_end(observer: Observer) -> Iterator[None]:
    """A SIGTERM that would end the process is noted in the file, and then ends it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    watcher = weakref.ref(observer)

    def end(number: int, frame: FrameType | None) -> None:
        if (seen := watcher()) is not None:
            seen.ended("ended by SIGTERM")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

"""Send many independent runs somewhere and hand over each result once, as it comes."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any

from sounding.engine.failures import attempt

Outcome = Any | BaseException  # what a run returned, or the exception that it raised


def results(
    function: Callable[..., Any],
    settings: Sequence[Mapping[str, Any]],
    *,
    executor: Executor | None = None,
    retries: int = 2,
) -> Iterator[tuple[int, Outcome]]:
    """Run ``function(**s)`` for every s of `settings`; yield (index, result) as they finish.

    Every index comes exactly once. An exception that `function` raises is a result: it is yielded
    in the place of what would have been returned, with settings and traceback in its notes, and the
    other runs go on. Only Ctrl-C ends them all: what has not begun is cancelled, as it is when the
    iteration is left early.

    Args:
        function: A function at the top of a module, so that other processes can import it.
        settings: The keywords of each run, its seed among them.
        executor: Where to run; None runs here, one after the other.
        retries: How many more times a run is begun whose worker died under it. If it dies every
            time, the :class:`WorkerDied` is its result.

    Raises:
        BrokenExecutor: If a worker died and `executor`, as Python's own process pool then, takes
            no more work; everything that had finished has been yielded before.
    """
    if executor is None:
        for index, keywords in enumerate(settings):
            yield index, attempt(function, keywords)
        return
    sent = _Sent(executor, function, settings)
    try:
        for index in range(len(settings)):
            sent.send(index)
        yield from sent.outcomes(retries)
    finally:
        sent.cancel()


class _Sent:
    """The runs that are under way."""

    def __init__(
        self,
        executor: Executor,
        function: Callable[..., Any],
        settings: Sequence[Mapping[str, Any]],
    ) -> None:
        self._executor, self._function, self._settings = executor, function, settings
        self._indices: dict[Future[Any], int] = {}
        self._ended: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()

    def send(self, index: int) -> None:
        future = self._executor.submit(attempt, self._function, self._settings[index])
        self._indices[future] = index
        future.add_done_callback(self._ended.put)

    def outcomes(self, retries: int) -> Iterator[tuple[int, Outcome]]:
        deaths = [0] * len(self._settings)
        while self._indices:
            future = self._ended.get()
            index = self._indices.pop(future)
            error = future.exception()
            if isinstance(error, BrokenExecutor) and deaths[index] < retries:
                deaths[index] += 1
                self._again(index)
            elif isinstance(error, KeyboardInterrupt):
                raise error
            else:
                yield index, future.result() if error is None else error

    def _again(self, index: int) -> None:
        try:
            self.send(index)
        except (BrokenExecutor, RuntimeError) as error:
            raise BrokenExecutor(
                f"a worker died, and its {type(self._executor).__name__} takes no more work; "
                "sounding.engine.opened('local', jobs=...) makes a new worker and goes on"
            ) from error

    def cancel(self) -> None:
        for future in self._indices:
            future.cancel()

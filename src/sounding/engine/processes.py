"""Processes of this machine as an executor in which the death of one harms no run but its own.

Python's own pool is lost as a whole when one of its processes dies. Here each process has a pipe
and a thread that waits at its end: it is known which run died, and a new process takes the place.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from sounding.engine.failures import WorkerDied

P = ParamSpec("P")
T = TypeVar("T")
SPAWN = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads, and hang
LAST = 5.0  # seconds that a process whose pipe has closed may take to end


class Processes(Executor):
    """`jobs` processes, made when they are first needed and again when they have died."""

    def __init__(self, jobs: int) -> None:
        self._threads = ThreadPoolExecutor(jobs, "sounding-run")
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._workers: set[Worker] = set()
        self._stopped = False
        self._free.put(self._made())  # at once: an error in how the script is written comes here

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run ``fn(*args, **kwargs)`` in a process that is free."""
        return self._threads.submit(self._call, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes, after what they are working on; see :class:`Executor`."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            self._end()

    def stop(self) -> None:
        """End the processes now, whatever they are working on."""
        self._stopped = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._end()
        self._threads.shutdown()

    def _call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            worker = self._free.get_nowait()
        except queue.Empty:
            worker = self._made()
        try:
            value = worker.call((fn, args, kwargs))
        except WorkerDied:
            self._workers.discard(worker)
            raise
        except BaseException:
            self._free.put(worker)
            raise
        self._free.put(worker)
        return value

    def _made(self) -> Worker:
        worker = Worker()
        self._workers.add(worker)
        if self._stopped:  # while it was being started
            worker.end()
        return worker

    def _end(self) -> None:
        for worker in list(self._workers):
            worker.end()
        self._workers.clear()


class Worker:
    """One process, and the pipe to it."""

    def __init__(self) -> None:
        self._pipe, there = SPAWN.Pipe()
        self._process = SPAWN.Process(target=serve, args=(there,), name="sounding-run")
        with _shielded():
            self._process.start()
        there.close()  # so that the pipe ends when the process does

    def call(self, task: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]) -> Any:
        """What the task returns or raises; WorkerDied if the process ends before it does."""
        data = pickle.dumps(task)
        try:
            self._pipe.send_bytes(data)
            reply = self._pipe.recv_bytes()
        except (EOFError, OSError) as error:
            self._process.join(LAST)
            cause = _cause(self._process.exitcode)
            self.end()
            self._pipe.close()
            raise WorkerDied(cause) from error
        returned, value = pickle.loads(reply)
        if not returned:
            raise value
        return value

    def end(self) -> None:
        """End the process now."""
        self._process.terminate()
        self._process.join()


def serve(pipe: Connection) -> None:
    """What a process does: one task after the other, while the process that began it lives."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process decides
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send_bytes(_reply(pipe.recv_bytes()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # in the middle of a run, which nobody waits for any more


def _reply(data: bytes) -> bytes:
    try:
        fn, args, kwargs = pickle.loads(data)  # fails where a module is missing here
        reply = True, fn(*args, **kwargs)
    except BaseException as error:
        reply = False, error
    try:
        return pickle.dumps(reply)
    except Exception as error:
        return pickle.dumps((False, TypeError(f"the result cannot be sent back: {error}")))


@contextlib.contextmanager
def _shielded() -> Iterator[None]:
    """Processes started inside are not reached by Ctrl-C, not even while they begin."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        likely = "; often that is for lack of memory" if name == "SIGKILL" else ""
        return f"the process of this run was ended by {name}{likely}"
    return (
        f"the process of this run ended with exit code {code}; if it could not even begin, "
        "the script needs `if __name__ == '__main__':` around what it does"
    )

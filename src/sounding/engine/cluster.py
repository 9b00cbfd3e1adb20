"""A Ray cluster as an executor: one task a run, with the cores and GPUs that a run takes declared.

Ray is an extra (``sounding[cluster]``) and imported when it is used. What Ray would do again by
itself is left to `results`, so that no run is begun twice for one death.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sounding.engine.failures import WorkerDied

P = ParamSpec("P")
T = TypeVar("T")
PACKAGE = Path(__file__).resolve().parents[1]
REACH, ANSWER = 3.0, 6.0  # seconds to be reached and to answer in, together under ten
DEATHS = (
    "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "ObjectLostError",
    "LocalRayletDiedError",
)  # fmt: skip


class Cluster(Executor):
    """Tasks of a Ray that is running; each takes one core and `gpus` GPUs."""

    def __init__(self, ray: Any, gpus: float = 0.0) -> None:
        self._ray = ray
        self._remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_pickled)
        self._deaths = tuple(getattr(ray.exceptions, name) for name in DEATHS)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run ``fn(*args, **kwargs)`` where the cluster has room."""
        task: Task[T] = Task()
        task.reference = self._remote.remote(fn, args, kwargs)
        task.stop = functools.partial(self._ray.cancel, task.reference, force=True)
        task.reference.future().add_done_callback(lambda done: self._hand_over(done, task))
        return task

    def _hand_over(self, done: Future[bytes], task: Task[Any]) -> None:
        if not task.set_running_or_notify_cancel():
            return
        try:
            value = pickle.loads(done.result())
        except self._deaths as error:
            died = WorkerDied(f"the process of this run died on the cluster: {error}")
            task.set_exception(died)
        except Exception as error:
            task.set_exception(getattr(error, "cause", None) or error)
        else:
            task.set_result(value)


class Task(Future[T]):
    """A future whose `cancel` reaches the cluster, also when the run has begun there."""

    reference: Any  # of Ray's, to what will come
    stop: Callable[[], None]

    def cancel(self) -> bool:
        """Whether it had not ended yet; nobody gets a result of it any more."""
        cancelled = super().cancel()
        if cancelled:
            with contextlib.suppress(Exception):  # the cluster may be gone
                self.stop()
        return cancelled


def _pickled(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    """As bytes: arrays would come back as read-only views of memory that ends with the cluster."""
    return pickle.dumps(fn(*args, **kwargs))


@contextlib.contextmanager
def cluster(*, jobs: int, address: str | None, gpus: float) -> Iterator[Cluster]:
    """The cluster at `address`, or one of `jobs` processes on this machine while it is open.

    A Ray that this process has started before is used as it is, and left running.

    Raises:
        ModuleNotFoundError: If Ray is not installed.
        ConnectionError: If no cluster answers at `address`, within ten seconds.
    """
    if address is not None:
        check_address(address)
    with _given_back():
        ray = _ray()
        if ray.is_initialized():
            yield Cluster(ray, gpus)
            return
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        if address is None:
            # Its processes find the modules that this one finds.
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
            ray.init("local", num_cpus=jobs, include_dashboard=False, **quiet)
        else:
            # The cluster runs the code whose version is stored, not the one installed there.
            ray.init(address, runtime_env={"py_modules": [str(PACKAGE)]}, **quiet)
        try:
            yield Cluster(ray, gpus)
        finally:
            ray.shutdown()


def check_address(address: str) -> None:
    """That a Ray cluster answers at 'host:port', or 'auto' finds one: Ray itself waits 80 s.

    Raises:
        ValueError: If `address` is not of that form.
        ConnectionError: If none answers; says what was tried.
    """
    host, _, port = address.rpartition(":")
    if address != "auto" and (not host or "/" in host or not port.isdigit()):
        raise ValueError(
            f"{address!r} is no address of a Ray cluster; give the host and port of its head, such "
            "as 192.0.2.1:6379, or auto for one on this machine"
        )
    _ray()
    where = "on this machine" if address == "auto" else f"at {address}"
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    try:
        if address != "auto":
            socket.create_connection((host.strip("[]"), int(port)), timeout=REACH).close()
            command += ["--address", address]
        subprocess.run(command, check=True, capture_output=True, timeout=ANSWER, text=True)
    except subprocess.CalledProcessError as error:
        *_, said = ["nothing", *error.stderr.strip().splitlines()]
        raise ConnectionError(f"no Ray cluster can be used {where}: {said}") from error
    except subprocess.TimeoutExpired as error:
        raise ConnectionError(
            f"no Ray cluster answers {where}; see that one of the same version runs there "
            "(ray start --head --port=6379)"
        ) from error
    except (OSError, OverflowError) as error:
        raise ConnectionError(
            f"nothing can be reached at {address} ({error}); start a Ray cluster there (ray start "
            "--head --port=6379), or leave out the address for one on this machine"
        ) from error


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "the engine 'ray' needs Ray: pip install 'sounding[cluster]'"
        ) from error


@contextlib.contextmanager
def _given_back() -> Iterator[None]:
    """Ray sets variables of the environment, and who is told of errors and of the end."""
    environment, hook = dict(os.environ), sys.excepthook
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        sys.excepthook = hook
        with contextlib.suppress(ValueError):  # of signals only the main thread may decide
            signal.signal(signal.SIGTERM, handler)

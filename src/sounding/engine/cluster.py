"""A Ray cluster as an executor: one task a run, with the cores and GPUs that a run takes declared.

Ray is an extra (``sounding[cluster]``) and imported when it is used. What Ray would do again by
itself is left to `results`, so that no run is begun twice for one death.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sounding.engine.failures import WorkerDied

P = ParamSpec("P")
T = TypeVar("T")
PACKAGE = Path(__file__).resolve().parents[1]
PATIENCE = 4.0  # seconds to be reached, and as many to answer: together under ten
SETTINGS = b"\x04"  # a type of frame (RFC 9113, section 6.5), and the greeting of section 3.4
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + b"\0\0\0\0\0"
DEATHS = (
    "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "ObjectLostError",
    "LocalRayletDiedError",
)  # fmt: skip


class Cluster(Executor):
    """Tasks of a Ray that is running; each takes one core and `gpus` GPUs.

    Raises:
        ValueError: If the cluster has not so many: its tasks would wait for ever.
    """

    def __init__(self, ray: Any, gpus: float = 0.0) -> None:
        there = ray.cluster_resources().get("GPU", 0.0)
        if gpus > there:
            raise ValueError(f"a run is to take {gpus:g} GPUs, and the cluster has {there:g}")
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
        ValueError: If it has not the GPUs for a single run.
    """
    if address is not None:
        check_address(address)
    _check_installed()
    with _given_back():
        ray = importlib.import_module("ray")
        if ray.is_initialized():
            yield Cluster(ray, gpus)
            return
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        if address is None:
            # Its processes find the modules that this one finds.
            os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
            ray.init("local", num_cpus=jobs, include_dashboard=False, **quiet)
        else:
            _joined(ray, address, quiet)
        try:
            yield Cluster(ray, gpus)
        finally:
            ray.shutdown()


def check_address(address: str) -> None:
    """That something like the head of a Ray cluster answers at 'host:port'.

    Ray itself would wait for 80 s and then end the process. With 'auto' it looks on this machine.

    Raises:
        ValueError: If `address` is not of that form.
        ConnectionError: If none answers, within seconds.
    """
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    if not host or "/" in host or not port.isdigit():
        raise ValueError(
            f"{address!r} is no address of a Ray cluster; give the host and port of its head, such "
            "as 192.0.2.1:6379, or auto for one on this machine"
        )
    try:
        answers, said = _greeted(host.strip("[]"), int(port)), "what answers there is none"
    except (OSError, OverflowError) as error:
        answers, said = False, str(error)
    if not answers:
        raise ConnectionError(
            f"no Ray cluster can be reached at {address} ({said}); start one there (ray start "
            "--head --port=6379), or leave out the address for one on this machine"
        )


def _greeted(host: str, port: int) -> bool:
    """Whether a server answers as those of gRPC do: to a greeting of HTTP/2 with its settings."""
    with socket.create_connection((host, port), timeout=PATIENCE) as connection:
        if os.environ.get("RAY_USE_TLS", "0") != "0":
            return True
        connection.sendall(GREETING)
        return connection.recv(9)[3:4] == SETTINGS


def _check_installed() -> None:
    if importlib.util.find_spec("ray") is None:
        raise ModuleNotFoundError("the engine 'ray' needs Ray: pip install 'sounding[cluster]'")


def _joined(ray: Any, address: str, quiet: Mapping[str, Any]) -> None:
    """Become a driver of the cluster, which is sent the code whose version is stored."""
    try:
        ray.init(address, runtime_env={"py_modules": [str(PACKAGE)]}, **quiet)
    except ConnectionError as error:
        raise ConnectionError(
            f"Ray cannot join the cluster at {address}: {error}. If it asks for a token, set "
            "RAY_AUTH_MODE=token here"
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

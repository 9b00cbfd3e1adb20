"""Open the engine that a user names, and give everything back when it is left."""

from __future__ import annotations

import contextlib
import difflib
import os
from collections.abc import Iterator
from concurrent.futures import Executor

from sounding.engine.cluster import cluster
from sounding.engine.processes import Processes

ENGINES = ("local", "ray")
THREADS = "OMP_NUM_THREADS"


@contextlib.contextmanager
def opened(
    name: str, *, jobs: int | None = None, address: str | None = None, gpus: float = 0.0
) -> Iterator[Executor | None]:
    """The executor called `name`; None means that runs follow one another in this process.

    Args:
        name: 'local', processes of this machine; 'ray', a Ray cluster (the extra `cluster`).
        jobs: How many runs at once; by default one a core. Each has its share of the cores as
            threads. On a cluster with an `address` that is the cluster's affair.
        address: Of a running cluster, 'host:port'; without it Ray starts on this machine.
        gpus: GPUs that a run takes on a cluster; 0.25 puts four runs on one.

    When it is left, runs still under way are ended: their results would reach nobody.

    Raises:
        ValueError: If there is no such engine, or an argument does not go with it.
        ModuleNotFoundError: If Ray is not installed.
        ConnectionError: If nothing answers at `address`.
    """
    _check(name, jobs, address, gpus)
    jobs = jobs or cores()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_threads(max(1, cores() // jobs)))
        if name == "ray":
            yield stack.enter_context(cluster(jobs=jobs, address=address, gpus=gpus))
        elif jobs == 1:
            yield None
        else:
            executor = Processes(jobs)
            stack.callback(executor.stop)
            yield executor


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check(name: str, jobs: int | None, address: str | None, gpus: float) -> None:
    if name not in ENGINES:
        near = difflib.get_close_matches(name, ENGINES, n=1)
        known = f"did you mean {near[0]}?" if near else f"there are {', '.join(ENGINES)}"
        raise ValueError(f"no engine is called {name!r}; {known}")
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs is {jobs}; it takes at least one")
    if name == "local" and (address is not None or gpus):
        raise ValueError("address and gpus are for a cluster; add --engine ray")
    if address is not None and jobs is not None:
        raise ValueError("a cluster with an address decides itself how many jobs run at once")


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """Processes started inside have this many threads, or fewer if the environment says so."""
    before = os.environ.get(THREADS)
    if before is not None and before.isdigit():
        number = min(number, int(before))
    os.environ[THREADS] = str(number)
    try:
        yield
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before

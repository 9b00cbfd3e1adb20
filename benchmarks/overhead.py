"""What watching a training costs: time with and without, beside what people use instead.

    python benchmarks/overhead.py [--seconds 60] [--only mlp] [--json FILE]

For each net the same loop runs plainly and under each watcher, each in a process of its own with
one thread, all on one core, in turns: some steps of the one, then of the next, in changing order,
so that whatever else the machine does meets all of them. `plain again` tells what such a comparison
is worth. What a watcher costs at its start (the first examinations, the calls that are kept for
later tests, the first 500 gradient norms, a quarter of a second that every run may lose) is paid
once, whatever the length of the run. So two numbers are given: that cost, in seconds of the
processor, and the ratio to the plain loop of what the steps take afterwards: `cpu` in time of the
processor, which a busy machine does not change, `wall` by the clock; medians over the turns, `+-`
half the width of the middle half of them over the root of their number. `mean` is the ratio of the
sums: the steps that are examined once in a while count in it. `said` is what the watcher says
itself, its start included, `memory` what it adds to the process at its peak.

Goals: at default at most 1.01 where a step takes 10 ms or more and 1.03 below, at --every 1 at most
1.3 for steps of 10 ms and 1.05 for steps over 200 ms; under 64 MB.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import math
import multiprocessing
import os
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import sounding as sd

Case = tuple[nn.Module, torch.Tensor]

TURN = 0.1  # seconds of a plain turn: the processor's own speed changes from second to second
HEAD = "net       step   watcher            cpu    +-    wall   mean  at start    said    memory"
LINE = (
    "{net:6} {step_ms:5.1f} ms  {watcher:16} {cpu:6.3f} {error:5.3f} {wall:6.3f} {mean:6.3f} "
    "{start_s:6.2f} s  {said:6.1%} {memory_mb:6.0f} MB"
)


def small() -> Case:
    """About a millisecond a step: here the budget is 3 %."""
    net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
    return nn.Sequential(net, nn.Linear(64, 10)), torch.randn(64, 32)


def mlp() -> Case:
    """Steps of about 10 ms on a quiet core."""
    layers = [m for _ in range(6) for m in (nn.Linear(256, 256), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(256, 10)), torch.randn(192, 256)


def wide() -> Case:
    """Few calls with much arithmetic each: over 100 ms."""
    return nn.Sequential(
        nn.Linear(1024, 2048), nn.ReLU(), nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, 10)
    ), torch.randn(256, 1024)


def conv() -> Case:
    """A small convolutional net on 32 x 32 pictures."""
    layers: list[nn.Module] = []
    for a, b, stride in ((3, 32, 1), (32, 32, 2), (32, 64, 2)):
        layers += [nn.Conv2d(a, b, 3, stride, 1), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 64, 10)), torch.randn(32, 3, 32, 32)


@contextlib.contextmanager
def recorder(net: nn.Module, _: Any):
    """The plain forward-hook recorder of many blog posts: mean and deviation of every output."""
    kept: list[tuple[float, float]] = []

    def keep(module: nn.Module, args: Any, output: torch.Tensor) -> None:
        kept.append((output.mean().item(), output.std().item()))

    hooks = [m.register_forward_hook(keep) for m in net.modules() if not list(m.children())]
    yield
    for hook in hooks:
        hook.remove()


def watchers(folder: Path) -> dict[str, Callable[..., Any]]:
    """Contexts of (net, optimizer)."""
    path = folder / "run.sounding"

    def ours(**how: Any) -> Callable[..., Any]:
        return lambda net, o: sd.watch(net, o, path, overwrite=True, tests=False, **how)

    return {
        "plain": lambda net, o: contextlib.nullcontext(),
        "plain again": lambda net, o: contextlib.nullcontext(),
        "watch": ours(),
        "watch, every 10": ours(every=10),
        "watch, every 1": ours(every=1),
        "forward hooks": recorder,
        "detect_anomaly": lambda net, o: torch.autograd.detect_anomaly(check_nan=True),
    }


def keep_memory() -> None:
    """Memory that is freed stays with the process, in this one and those that it begets.

    Else a convolutional net gives thousands of pages back at every step and is handed them again, a
    third of its time, more or less of it by chance of where things lie. glibc only.
    """
    with contextlib.suppress(OSError, AttributeError):
        for parameter in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            ctypes.CDLL(None).mallopt(parameter, 2**30)


class Clock:
    """Stands still while a process waits for its turn: a budget is a share of its own time."""

    def __init__(self) -> None:
        self._read, self._stood = time.perf_counter, 0.0

    def __call__(self) -> float:
        """Seconds since some moment."""
        return self._read() - self._stood

    def waiting(self, wait: Callable[[], Any]) -> Any:
        """What `wait` returns, in no time."""
        began = self._read()
        try:
            return wait()
        finally:
            self._stood += self._read() - began


def work(pipe: Any, build: Callable[[], Case], watcher: str) -> None:
    """In a process of its own: steps as they are asked for, answered by their two times."""
    time.perf_counter = clock = Clock()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Anomaly Detection has been enabled")
    torch.manual_seed(0)
    net, x = build()
    y = torch.randint(0, 10, (len(x),))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    with tempfile.TemporaryDirectory() as folder:
        with watchers(Path(folder))[watcher](net, optimizer) as seen:
            while steps := clock.waiting(pipe.recv):
                found = np.empty((steps, 2))
                for row in found:
                    row[:] = time.process_time(), time.perf_counter()
                    optimizer.zero_grad()
                    nn.functional.cross_entropy(net(x), y).backward()
                    optimizer.step()
                    row[:] = time.process_time() - row[0], time.perf_counter() - row[1]
                pipe.send(found)
        said = getattr(seen, "overhead", math.nan)
    pipe.send((said, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


class Worker:
    """One such process."""

    def __init__(self, build: Callable[[], Case], watcher: str) -> None:
        self._pipe, other = multiprocessing.Pipe()
        fork = multiprocessing.get_context("fork")
        self._process = fork.Process(target=work, args=(other, build, watcher), daemon=True)
        self._process.start()

    def make(self, steps: int) -> Any:
        """(steps, 2) seconds of the processor, and of the clock, of each step."""
        self._pipe.send(steps)
        return self._pipe.recv()

    def end(self) -> tuple[float, float]:
        """What it says of its own time, and its peak of memory in MB."""
        found = self.make(0)
        self._process.join()
        return found


def compare(build: Callable[[], Case], seconds: float) -> list[dict]:
    """One row for each watcher."""
    names = list(watchers(Path()))
    workers = {name: Worker(build, name) for name in names}
    first = {name: workers[name].make(12)[:, 0] for name in names}
    plain = float(np.median(first["plain"]))
    # after which what is paid once is paid, or most of it where a step is long
    settled = 5000 if plain < 0.003 else 1000 if plain < 0.05 else 24
    start = {name: first[name].sum() + workers[name].make(settled)[:, 0].sum() for name in names}
    steps = max(3, int(TURN / plain))
    turns: dict[str, list[np.ndarray]] = {name: [] for name in names}
    began = time.perf_counter()
    while time.perf_counter() - began < seconds or len(turns["plain"]) < 4:
        for name in names if len(turns["plain"]) % 2 else names[::-1]:
            turns[name].append(workers[name].make(steps))
    ended = {name: workers[name].end() for name in names}
    base = np.array(turns["plain"])  # (turns, steps, 2)
    rows = []
    for name in names:
        found = np.array(turns[name])
        ratios = np.median(found, axis=1) / np.median(base, axis=1)
        low, high = np.quantile(ratios[:, 0], (0.25, 0.75))
        cpu, wall = np.median(ratios, axis=0)
        rows.append(
            {
                "net": build.__name__, "step_ms": 1e3 * np.median(base[..., 0]),
                "steps": steps * len(found), "watcher": name, "cpu": cpu,
                "error": (high - low) / 2 / math.sqrt(len(found)), "wall": wall,
                "mean": found[..., 0].sum() / base[..., 0].sum(),
                "start_s": start[name] - start["plain"], "said": ended[name][0],
                "memory_mb": ended[name][1] - ended["plain"][1],
            }
        )  # fmt: skip
    return rows


def main() -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=50.0, help="for each net")
    parser.add_argument("--only", default="", help="nets with this text in their name")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    keep_memory()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rows = []
    print(HEAD)
    for build in (small, mlp, wide, conv):
        if arguments.only not in build.__name__:
            continue
        for row in compare(build, arguments.seconds):
            rows.append(row)
            print(LINE.format(**row), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

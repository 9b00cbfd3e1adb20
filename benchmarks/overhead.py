"""What watching a training costs: wall time with and without, beside what people use instead.

    python benchmarks/overhead.py [--seconds 4] [--rounds 3] [--only mlp] [--json FILE]

For each net the same loop runs plainly and under each watcher, in one process with one thread, in
turns, in changing order. What a watcher costs at its start (the first examination, the calls that
are kept for later tests, the first 500 gradient norms) is paid once, whatever the length of the
run; so two numbers are given: that cost in seconds, and the ratio of the median step afterwards,
with the budget of 1 % or 3 % that examinations may take counted in (`mean`: the mean step).

Goals: at default at most 1.01 where a step takes 10 ms or more and 1.03 below, at --every 1 at most
1.3 for steps of 10 ms and 1.05 for steps over 200 ms.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import sounding as sd

Case = tuple[nn.Module, torch.Tensor]


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
        "watch": ours(),
        "watch, every 10": ours(every=10),
        "watch, every 1": ours(every=1),
        "forward hooks": recorder,
        "detect_anomaly": lambda net, o: torch.autograd.detect_anomaly(check_nan=True),
    }


def times(build: Callable[[], Case], around: Callable[..., Any], steps: int) -> list[float]:
    """Seconds of each step."""
    torch.manual_seed(0)
    net, x = build()
    y = torch.randint(0, 10, (len(x),))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    found = []
    with around(net, optimizer):
        for _ in range(steps):
            begin = time.perf_counter()
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
            found.append(time.perf_counter() - begin)
    return found


def compare(build: Callable[[], Case], seconds: float, rounds: int, folder: Path) -> list[dict]:
    """One row for each watcher; ratios are medians over rounds of the ratio within a round."""
    every = watchers(folder)
    plain = statistics.median(times(build, every["plain"], 12)[2:])
    settled = 520 if plain < 0.005 else 66  # after which what is paid once is paid
    steps = settled + max(20, int(seconds / plain))
    rows: dict[str, list[tuple[float, float, float]]] = {name: [] for name in every}
    for at in range(rounds):
        names = list(every)[::-1] if at % 2 else list(every)
        seen = {name: times(build, every[name], steps) for name in names}
        base = seen["plain"]
        for name, found in seen.items():
            usual = statistics.median(base[settled:])
            rows[name].append(
                (
                    statistics.median(found[settled:]) / usual,
                    statistics.fmean(found[settled:]) / statistics.fmean(base[settled:]),
                    sum(found[:settled]) - sum(base[:settled]),
                )
            )
    return [
        {
            "net": build.__name__, "step_ms": 1e3 * plain, "steps": steps, "watcher": name,
            "median": statistics.median(r[0] for r in found),
            "mean": statistics.median(r[1] for r in found),
            "start_s": statistics.median(r[2] for r in found),
        }
        for name, found in rows.items()
    ]  # fmt: skip


def main() -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="of a plain run, the first 500 steps besides"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="nets with this text in their name")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="Anomaly Detection has been enabled")
    rows = []
    print(f"{'net':6} {'step':>8}  {'watcher':16} {'median':>7} {'mean':>7} {'at start':>9}")
    with tempfile.TemporaryDirectory() as folder:
        for build in (small, mlp, wide, conv):
            if arguments.only not in build.__name__:
                continue
            for row in compare(build, arguments.seconds, arguments.rounds, Path(folder)):
                rows.append(row)
                print(
                    f"{row['net']:6} {row['step_ms']:5.1f} ms  {row['watcher']:16} "
                    f"{row['median']:7.3f} {row['mean']:7.3f} {row['start_s']:7.2f} s",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

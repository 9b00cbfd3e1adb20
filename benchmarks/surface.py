"""Points of a surface: what they cost here, in a plain loop, and with loss-landscapes.

    python tools/get_peers.py
    python benchmarks/surface.py [--nets small,mlp,wide,transformer,resnet] [--points 25]
        [--rounds 5] [--threads 1] [--device cpu] [--json FILE] [--data FOLDER]

The plain loop is what a user writes: a copy of the model in evaluation mode, its parameters set to
the point, one forward pass over the batch without gradients. loss-landscapes 3.0.6 is called as its
manual says, on a plane through three points. All sides compute a row of the same points in one
process, taking turns in changing order; the ratio is the median over rounds of the ratio within a
round. CPU time is counted, which a shared machine changes least; on a GPU, wall time.

Sounding's time includes what it spends before the first point and after the last one (choosing a
way, checking itself): a whole call of 5 x 5 points less 25 points, spread over a surface of
`--points` x `--points`. The values are compared: the column says the largest relative difference.

The goal: 1.5 on the resnet. Measured on two shared cores of an AMD EPYC, one thread, CPU time, in
milliseconds a point:

    net           weights  loop ms  ours ms  loop/ours  peer/ours    apart  way
    small            8970    0.199    0.196       1.02       0.80    2e-07  16 points stacked
    mlp              8970    0.63     0.665       0.96       0.92    2e-07  a folded copy
    wide           669706    12.1      6.61       1.81       1.54    1e-07  a folded copy
    transformer    421184    32.6      32.9       0.97       0.98    9e-08  one call a point
    resnet         272378    1860       695       2.66       2.76    8e-08  folded, 64 samples

The resnet gains by folded norms, channels-last layout and a working set that stays in the cache;
the wide net by its first layer, which is computed once for the plane. The others gain nothing: the
transformer's time is sums that every point needs, and on the small nets what is spent on choosing
and checking a way, and on calls without writing into the model, eats up what the ways save.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkup import ResNet20
from checkup import mlp as wide_mlp
from curvature_parts import nets
from torch import nn
from torch.nn import functional as F

import sounding as sd
from sounding.data import cifar10
from sounding.landscape.directions import plane
from sounding.landscape.ground import Ground
from sounding.landscape.points import Points

PEERS = Path(__file__).resolve().parents[1] / ".venv" / "peers"
GOAL = 1.5
SAMPLES = 512
Net = tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]


def resnet(data: Path) -> Net:
    """ResNet-20 after a few steps on 512 images of CIFAR-10."""
    pixels, y = cifar10(data / "cifar10", limit=SAMPLES)
    model, x = ResNet20(), (pixels / 255 - 0.5) / 0.25
    return _trained(model, (x, y), steps=4)


def wide(_: Path) -> Net:
    """784-512-512-10 on noise."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(SAMPLES, 784, generator=generator)
    y = torch.randint(0, 10, (SAMPLES,), generator=generator)
    return _trained(wide_mlp(), (x, y), steps=10)


def _trained(model: nn.Module, batch: Any, steps: int) -> Net:
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for start in range(steps):
        rows = slice(start * 64 % SAMPLES, start * 64 % SAMPLES + 64)
        optimiser.zero_grad()
        F.cross_entropy(model(batch[0][rows]), batch[1][rows]).backward()
        optimiser.step()
    return model.eval(), batch


def small(data: Path) -> Net:
    """The MLP on 64 samples, where calls take the time and not sums."""
    model, (x, y) = _of_curvature("mlp")(data)
    return model, (x[:64], y[:64])


def _of_curvature(name: str) -> Callable[[Path], Net]:
    def make(data: Path) -> Net:
        problem = nets.problem(name, data)
        return problem.model, problem.batch

    return make


NETS: dict[str, tuple[Callable[[Path], Net], int]] = {  # and points in a row
    "small": (small, 64),
    "mlp": (_of_curvature("mlp"), 64),
    "wide": (wide, 16),
    "transformer": (_of_curvature("transformer"), 6),
    "resnet": (resnet, 3),
}


class Clock:
    """CPU time, or wall time of a device that works on its own."""

    def __init__(self, device: str) -> None:
        self.device = device

    def __call__(self, work: Callable[[], Any]) -> tuple[float, Any]:
        """Seconds of `work`, and what it returns."""
        if self.device == "cpu":
            start = time.process_time()
            return_value = work()
            return time.process_time() - start, return_value
        torch.cuda.synchronize()
        start = time.perf_counter()
        return_value = work()
        torch.cuda.synchronize()
        return time.perf_counter() - start, return_value


def loop(model: nn.Module, batch: Any, points: Points, rows: np.ndarray) -> list[float]:
    """What a user writes."""
    losses, parameters = [], list(model.parameters())
    shapes = [p.shape for p in parameters]
    with torch.no_grad():
        for a, b in rows.tolist():
            vector = points.centre + a * points.directions[0] + b * points.directions[1]
            parts = vector.split([s.numel() for s in shapes])
            for p, part in zip(parameters, parts, strict=True):
                p.copy_(part.view_as(p))
            losses.append(F.cross_entropy(model(batch[0]), batch[1]).item())
    return losses


def peer(model: nn.Module, batch: Any, points: Points, count: int) -> list[float] | None:
    """The row (0, 1/count), (0, 2/count), ... by loss-landscapes; None without it."""
    try:
        import loss_landscapes
        from loss_landscapes.metrics import Loss
    except ImportError:
        return None
    ends = [copy.deepcopy(model) for _ in range(2)]
    for end, direction in zip(ends, points.directions, strict=True):
        nn.utils.vector_to_parameters(points.centre + direction, end.parameters())
    nn.utils.vector_to_parameters(points.centre.clone(), model.parameters())
    end = ends[1]
    found = loss_landscapes.linear_interpolation(
        model, end, Loss(F.cross_entropy, *batch), steps=count
    )
    return found.tolist()


def measure(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """One net: seconds a point of each side, and the ratios."""
    torch.manual_seed(0)
    make, count = NETS[name]
    model, batch = make(given.data)
    model.to(given.device)
    batch = tuple(t.to(given.device) for t in batch)
    clock, copies = Clock(given.device), [copy.deepcopy(model) for _ in range(2)]
    whole, small = clock(lambda: sd.surface(model, F.cross_entropy, batch, points=5))
    ground = Ground(model, F.cross_entropy, batch)
    with ground.prepared():
        found = plane(ground, "filter", 2, 0.5)
        points = Points(ground, found.centre, found.directions)
        points.choose(np.array([[0.1, 0.2], [0.4, -0.3]]), given.points**2)
        rows = np.stack([np.zeros(count), np.arange(1, count + 1) / count], axis=1)
        sides = {
            "sounding": lambda: [v for _, part in points.losses(rows) for v in part],
            "loop": lambda: loop(copies[0], batch, points, rows),
            "loss-landscapes": lambda: peer(copies[1], batch, points, count),
        }
        times: dict[str, list[float]] = {side: [] for side in sides}
        values: dict[str, list[float] | None] = {}
        for i in range(given.rounds + 1):
            for side in list(sides) if i % 2 else list(sides)[::-1]:
                seconds, values[side] = clock(sides[side])
                times[side].append(seconds / count)
    times = {side: spent[1:] for side, spent in times.items()}  # the first one warms up
    return _row(name, given, small, whole, times, values, points.way.name)


def _row(
    name: str, given: argparse.Namespace, small: Any, whole: float,
    times: dict[str, list[float]], values: dict[str, Any], way: str,
) -> dict[str, Any]:  # fmt: skip
    ours = statistics.median(times["sounding"])
    before = max(whole - small.values.size * ours, 0.0) / given.points**2
    row: dict[str, Any] = {
        "net": name, "parameters": small.parameters, "way": way,
        "seconds": {side: statistics.median(spent) for side, spent in times.items()},
        "overhead": before, "points a second": 1 / (ours + before),
    }  # fmt: skip
    for side in ("loop", "loss-landscapes"):
        if values[side] is None:
            continue
        pairs = zip(times[side], times["sounding"], strict=True)
        row[f"{side} / ours"] = statistics.median(a / (b + before) for a, b in pairs)
        apart = np.abs(np.array(values[side]) / np.array(values["sounding"]) - 1)
        row[f"apart from {side}"] = float(apart.max())
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """One line a net."""
    lines = [f"{'net':<12}{'weights':>9}{'loop ms':>9}{'ours ms':>9}{'loop/ours':>11}"
             f"{'peer/ours':>11}{'apart':>9}  way"]  # fmt: skip
    for row in rows:
        seconds = row["seconds"]
        ours = seconds["sounding"] + row["overhead"]
        peers = row.get("loss-landscapes / ours", float("nan"))
        apart = max(v for key, v in row.items() if key.startswith("apart"))
        missed = "!" * (row["net"] == "resnet" and min(row["loop / ours"], peers) < GOAL)
        lines.append(
            f"{row['net']:<12}{row['parameters']:>9}{1e3 * seconds['loop']:>9.3g}{1e3 * ours:>9.3g}"
            f"{row['loop / ours']:>11.2f}{peers:>11.2f}{apart:>9.1g}  {row['way']}{missed}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and write the numbers if wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nets", default=",".join(NETS), help="of %(default)s")
    parser.add_argument("--points", type=int, default=25, help="along each axis")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data", type=Path, default=nets.SHARED, help="holds cifar10/ and text/")
    parser.add_argument("--json", metavar="FILE", help="write the numbers here")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    sys.path.append(str(PEERS))
    rows = [measure(name, given) for name in given.nets.split(",")]
    print(f"{given.threads} threads, {given.device}, median of {given.rounds} rounds")
    print(table(rows))
    if given.json:
        Path(given.json).write_text(json.dumps(rows, indent=1))
        print(f"Wrote {given.json}")


if __name__ == "__main__":
    main()

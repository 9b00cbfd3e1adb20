"""What a checkup costs beside a plain forward and backward pass: time, memory, and the first call.

    python benchmarks/checkup.py [--rounds 15] [--json FILE]

Time: one process, one thread, CPU time; plain pass and checkup take turns, in changing order, and
the ratio is the median over rounds of the ratio within a round, so that a busy machine hits both.

Memory: each in a child process of its own, as the high-water mark of resident memory (VmHWM, reset
through /proc/self/clear_refs) above what the process held before the net and its batch were built.
Another net of the same kind has been trained and examined before that, so that code which is paged
in does not count; freed memory is handed back (malloc_trim) before the mark is set, and tensors of
64 kB or more are mapped one by one, because how well a heap is packed differs by 30 % between runs
of the very same pass. Linux only; elsewhere the column stays empty.

First call: in a fresh child process, CPU time of the first checkup less the median of later ones,
after plain passes have warmed torch up. Garbage is collected beforehand: a full collection takes
70 ms with torch loaded, and would fall into one call or another by chance.

The goal is at most 3 plain passes and 1.15 times their memory on the first three nets. The fourth
is the hardest case there is: 59 calls of 50 microseconds each, as long as a look at one takes.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

PASSES, MEMORY, FIRST = 3.0, 1.15, 0.05  # the goals: plain passes, their memory, seconds


class Block(nn.Module):
    """Two convolutions with batch norm and an identity or projected skip (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.skip = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores or features of a batch."""
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(h)) + self.skip(x))


class ResNet20(nn.Module):
    """The CIFAR-10 net of He et al. 2016, 0.27 million weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16))
        sizes = [(16, 16, 1), (16, 16, 1), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 32, 1),
                 (32, 64, 2), (64, 64, 1), (64, 64, 1)]  # fmt: skip
        self.blocks = nn.Sequential(*(Block(*size) for size in sizes))
        self.head = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores or features of a batch."""
        return self.head(self.blocks(F.relu(self.stem(x))).mean((2, 3)))


class Transformer(nn.Module):
    """Six pre-norm layers of width 128 on 32 tokens, 1.2 million weights."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(128, 4, 512, 0.0, batch_first=True, norm_first=True)
        self.table, self.places = nn.Embedding(100, 128), nn.Parameter(torch.randn(32, 128) / 50)
        self.layers = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Linear(128, 100)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores of the next token, classes second."""
        return self.head(self.layers(self.table(tokens) + self.places)).transpose(1, 2)


def mlp() -> nn.Module:
    """784-512-512-10, 0.67 million weights."""
    sizes = (784, 512, 512, 10)
    layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def deep() -> nn.Module:
    """Thirty layers of width 128 on the digits, 0.47 million weights."""
    layers: list[nn.Module] = [nn.Linear(64, 128), nn.ReLU()]
    for _ in range(28):
        layers += [nn.Linear(128, 128), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(128, 10))


def _classes(batch: int) -> torch.Tensor:
    return torch.randint(0, 10, (batch,))


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[torch.Tensor, ...]]]] = {
    "resnet-20, batch 64": (ResNet20, lambda: (torch.randn(64, 3, 32, 32), _classes(64))),
    "transformer, batch 16": (
        Transformer,
        lambda: (torch.randint(0, 100, (16, 32)), torch.randint(0, 100, (16, 32))),
    ),
    "mlp, batch 128": (mlp, lambda: (torch.randn(128, 784), _classes(128))),
    "30 layers, batch 32": (deep, lambda: (torch.rand(32, 64), _classes(32))),
}
GOALS = dict.fromkeys(list(NETS)[:3], True)


def build(name: str):
    """A plain pass over the net, and a checkup of it, as functions without arguments."""
    from sounding.checkup import checkup

    torch.manual_seed(0)
    make, data = NETS[name]
    net, batch = make(), data()

    def plain() -> None:
        F.cross_entropy(net(batch[0]), batch[1]).backward()
        net.zero_grad(set_to_none=True)

    return plain, lambda: checkup(net, F.cross_entropy, batch)


# -- time -------------------------------------------------------------------------------------


def seconds(run: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def timed(name: str, rounds: int) -> dict[str, float]:
    """Medians of both, and of their ratio within a round."""
    plain, look = build(name)
    for run in (plain, look, plain):
        run()
    pairs = []
    for turn in range(rounds):
        order = (plain, look) if turn % 2 else (look, plain)
        first, second = seconds(order[0]), seconds(order[1])
        pairs.append((first, second) if turn % 2 else (second, first))
    return {
        "plain": statistics.median(p for p, _ in pairs),
        "checkup": statistics.median(c for _, c in pairs),
        "ratio": statistics.median(c / p for p, c in pairs),
    }


def first_call(name: str) -> float:
    """Seconds that the first checkup of a process takes above a later one."""
    plain, look = build(name)
    for _ in range(5):
        plain()
    gc.collect()
    first = seconds(look)
    return first - statistics.median(seconds(look) for _ in range(7))


# -- memory -----------------------------------------------------------------------------------


def resident(field: str) -> int:
    """Bytes of 'VmRSS' (now) or 'VmHWM' (at most) of this process."""
    found = re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def peak(name: str, arm: str) -> float:
    """Bytes at most in use during one plain pass or one checkup, the net and batch included."""
    for _ in range(2):  # torch's own code is paged in, and what is kept for the process is there
        for run in build(name):
            run()
    trim()
    before = resident("VmRSS")
    plain, look = build(name)
    plain()
    trim()
    Path("/proc/self/clear_refs").write_text("5")
    (plain if arm == "plain" else look)()
    return resident("VmHWM") - before


def trim() -> None:
    """Hand freed memory back to the system."""
    ctypes.CDLL(None).malloc_trim(0)


# -- children and the table -------------------------------------------------------------------


def child(*arguments: str) -> float | None:
    """The number that a fresh process of this file prints, None where it cannot."""
    command = [sys.executable, __file__, "--child", *arguments]
    mapped = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(64 * 1024)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=mapped)
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def middle(values: list[float | None]) -> float:
    """Their median, nan where there is none."""
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else float("nan")


def measure(name: str, rounds: int) -> dict[str, float]:
    """Everything about one net."""
    row = timed(name, rounds)
    row["plain_peak"] = middle([child("plain", name) for _ in range(5)])
    row["checkup_peak"] = middle([child("checkup", name) for _ in range(5)])
    row["memory"] = row["checkup_peak"] / row["plain_peak"]
    row["first"] = middle([child("first", name) for _ in range(5)])
    return row


def table(rows: dict[str, dict[str, float]]) -> str:
    """The rows as text, with a mark where a goal is missed."""
    head = f"{'':22} {'plain':>9} {'checkup':>9} {'passes':>8} {'memory':>14} {'first call':>12}"
    lines = [head]
    for name, row in rows.items():
        goal = name in GOALS
        passes = f"{row['ratio']:.2f}" + ("!" if goal and row["ratio"] > PASSES else "")
        memory = f"{row['memory']:.2f}" + ("!" if goal and row["memory"] > MEMORY else "")
        first = f"+{1e3 * row['first']:.0f} ms" + ("!" if row["first"] > FIRST else "")
        size = f"{row['checkup_peak'] / 2**20:.0f} MB"
        lines.append(
            f"{name:22} {1e3 * row['plain']:6.1f} ms {1e3 * row['checkup']:6.1f} ms {passes:>8} "
            f"{memory:>6} {size:>7} {first:>12}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and write the numbers if wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="pairs of passes that are timed")
    parser.add_argument("--json", metavar="FILE", help="write the numbers here ('-': print them)")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "NET"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.child:
        what, name = given.child
        print(first_call(name) if what == "first" else peak(name, what))
        return
    rows = {name: measure(name, given.rounds) for name in NETS}
    if given.json == "-":
        print(json.dumps(rows, indent=1))
        return
    print(table(rows))
    print(f"goals: {PASSES:g} plain passes, {MEMORY:g} x their memory (first three nets), "
          f"first call +{1e3 * FIRST:.0f} ms")  # fmt: skip
    if given.json:
        Path(given.json).write_text(json.dumps(rows, indent=1))
        print(f"Wrote {given.json}")


if __name__ == "__main__":
    main()

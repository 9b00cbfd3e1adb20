"""Many runs as one program against the same runs one by one: CPU time a run.

    python benchmarks/many.py [--only mlp] [--runs 16,64,256] [--steps 200] [--rounds 3]
                              [--threads 1] [--json FILE]

Both ways in one process, in turns, in changing order; each round gives a ratio of CPU seconds a
run, building and the first step's comparison counted in, and the median over the rounds is shown
with the smallest and the largest. One by one, a few runs are timed: the others cost the same. The
ratio is with `method="vectorised"`; `auto` says what `train_many` would have chosen by itself.

Goals: at least 4 for the networks of linear layers of width 64; never below 0.95 for `auto`.

The deep one is at the edge of its goal: 3.3 to 3.5 on a quiet machine, 4.4 to 5.0 beside other
work, which costs the many small calls of a run alone more. What is left is the products and their
memory. A step of 32 runs of 12 x 64 takes about 17 ms on a core that multiplies at 78 GFLOP/s:
36 batched products of 17 MFLOP, 9 ms at the 70 GFLOP/s that they reach out of the cache, and some
50 MB of weights, gradients, velocities and activations that pass through a cache of 0.5 MB a core;
the fused step of SGD is 1.5 ms of it. Tried without gain: bias and product
apart (baddbmm takes 0.1 ms more in the cache, nothing outside of it), gradients of the weights into
memory of their own and copied (1 to 3 %), programs of 8, 12, 16, 24 and 48 runs (none better).

The convolutions say why they gain little. A convolution with other weights in every run is
a grouped one for torch. On CPUs it takes as long as its parts one by one, or longer; unfolding into
a matrix product pays for a single channel only. What is gained is the time around the convolutions
(autograd, optimiser, batches): most of the step where batches and pictures are small, next to
nothing where they are not: on a busy machine 7.0 at 4 samples of 8 x 8 and 1.6 at 64.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from sounding.train import Case, Recipe, train
from sounding.train.many import train_many

ALONE = 3  # runs that are timed one by one in a round

X = torch.randn(1797, 64)
Y = torch.randint(0, 10, (1797,))


def mlp(width: int, depth: int) -> Callable[[], nn.Module]:
    """`depth` linear layers on the digits' 64 pixels."""

    def build() -> nn.Module:
        layers: list[nn.Module] = []
        for inputs in (64, *[width] * (depth - 2)):
            layers += [nn.Linear(inputs, width), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(width, 10))

    return build


def normalised() -> nn.Module:
    """Batch norm between linear layers."""
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(64, 10))


def conv() -> nn.Module:
    """Two small convolutions on pictures of 8 x 8."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


NETS: dict[str, tuple[Callable[[], nn.Module], int]] = {  # with their batch sizes
    "mlp 3 x 64": (mlp(64, 3), 64),
    "mlp 12 x 64": (mlp(64, 12), 64),
    "mlp 3 x 128": (mlp(128, 3), 64),
    "mlp 12 x 128": (mlp(128, 12), 64),
    "mlp 4 x 64, batch norm": (normalised, 64),
    "conv, batch 64": (conv, 64),
    "conv, batch 4": (conv, 4),
}


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def compare(name: str, runs: int, steps: int, rounds: int) -> dict:
    """One row of the table."""
    build, batch_size = NETS[name]
    recipe = Recipe(lr=0.01, momentum=0.9, batch_size=batch_size, steps=steps)
    case = Case(build, functional.cross_entropy, (X, Y), recipe)
    jobs = [(case, seed) for seed in range(runs)]
    ways = {
        "alone": lambda: seconds(lambda: [train(*job) for job in jobs[:ALONE]]) / ALONE,
        "together": lambda: seconds(lambda: train_many(jobs, method="vectorised")) / runs,
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in list(ways)[:: -1 if number % 2 else 1]:
            found[way].append(ways[way]())
    ratios = [a / b for a, b in zip(found["alone"], found["together"], strict=True)]
    said: list[str] = []
    train_many(jobs[:16], progress=lambda message, *_: said.append(message))
    together = not any("one by one" in message for message in said)
    return {
        "net": name, "runs": runs, "steps": steps,
        "alone_us": 1e6 * statistics.median(found["alone"]) / steps,
        "together_us": 1e6 * statistics.median(found["together"]) / steps,
        "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios),
        "auto": "together" if together else "one by one",
    }  # fmt: skip


def main() -> None:
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="nets with this text in their name")
    parser.add_argument("--runs", default="16,64,256")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    compare("mlp 3 x 64", 2, 20, 1)  # whatever is imported or made at first
    compare("conv, batch 4", 2, 20, 1)
    rows = []
    print(f"{'net':24} {'runs':>5} {'alone':>9} {'together':>9} {'ratio':>18}  auto")
    for name in NETS:
        for runs in map(int, arguments.runs.split(",")):
            if arguments.only not in name:
                continue
            row = compare(name, runs, arguments.steps, arguments.rounds)
            rows.append(row)
            print(
                f"{name:24} {runs:5} {row['alone_us']:6.0f} us {row['together_us']:6.0f} us "
                f"{row['ratio']:6.2f} ({row['least']:.1f} to {row['most']:.1f})  {row['auto']}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

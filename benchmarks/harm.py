"""Whether the sick programs are sick: each is run with its fault and without, on the same seeds.

    python benchmarks/harm.py [part of a name or code ...]

A fault does harm where it lowers the score on every seed, the best sick run stays below the worst
sound one, and the smallest difference of a seed is above two deviations of the sound runs.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch

from sounding.zoo.program import Program
from sounding.zoo.programs import PROGRAMS

SEEDS = (0, 1, 2)


def scores(program: Program, *, sick: bool) -> list[float]:
    """One score a seed."""
    found = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        found.append(program.run(sick))
    return found


def harmful(sick: list[float], sound: list[float]) -> bool:
    """Whether the fault lowers the score beyond doubt."""
    gaps = [b - a for a, b in zip(sick, sound, strict=True)]
    return max(sick) < min(sound) and min(gaps) > 2 * statistics.stdev(sound)


def row(program: Program) -> tuple[str, bool]:
    """One line of the table, and whether the fault does harm."""
    start = time.perf_counter()
    sick, sound = scores(program, sick=True), scores(program, sick=False)
    seconds = (time.perf_counter() - start) / (2 * len(SEEDS))
    harm = harmful(sick, sound)
    numbers = ["  ".join(f"{score:8.3f}" for score in part) for part in (sick, sound)]
    codes = ",".join(program.expected)
    mark = " " if harm else "*"
    return f"{mark} {codes:18} {program.name:44} {numbers[0]} | {numbers[1]}  {seconds:5.2f}", harm


def main() -> None:
    """Print the table, a star where there is no clear harm."""
    torch.set_num_threads(1)
    wanted = sys.argv[1:]
    harms = []
    print(f"  {'codes':18} {'program':44} {'with the fault (3 seeds)':28} | without; seconds a run")
    for program in PROGRAMS:
        text = f"{program.name} {program.expected}"
        if not wanted or any(word in text for word in wanted):
            line, harm = row(program)
            harms.append(harm)
            print(line, flush=True)
    print(f"{sum(harms)} of {len(harms)} faults do harm")


if __name__ == "__main__":
    main()

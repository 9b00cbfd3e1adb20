"""Run one training of the zoo as a script: python -m sounding.zoo.programs NAME [--cured]."""

from __future__ import annotations

import sys

import torch

from sounding.zoo.programs import PROGRAMS
from sounding.zoo.programs.healthy_all import HEALTHY_PROGRAMS


def main() -> None:
    """Train the program of this name from seed 0, and print its score."""
    name = " ".join(word for word in sys.argv[1:] if word != "--cured")
    known = {program.name: program for program in (*PROGRAMS, *HEALTHY_PROGRAMS)}
    if name not in known:
        sys.exit(f"there is no training called {name!r}; there are {', '.join(sorted(known))}")
    torch.manual_seed(0)
    score = known[name].run("--cured" not in sys.argv)
    sys.stdout.write(f"{score:.4g}\n")


if __name__ == "__main__":
    main()

"""What `import sounding`, and all of its public names, add to `import torch, numpy`.

Wall time of whole Python processes, interleaved, the median of several.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 9
PROGRAMS = {
    "torch, numpy": "import torch, numpy",
    "+ import sounding": "import torch, numpy, sounding",
    "+ every public name": (
        "import torch, numpy, sounding\nfor name in sounding.__all__: getattr(sounding, name)"
    ),
}


def seconds(program: str) -> float:
    """Wall time of a fresh process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(ROUNDS):
        for name, program in PROGRAMS.items():
            times[name].append(seconds(program))
    base = statistics.median(times["torch, numpy"])
    print(f"{'':22} median s   above")
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"{name:22} {middle:8.3f} {middle - base:+8.3f}")


if __name__ == "__main__":
    main()

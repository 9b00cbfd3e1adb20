"""The main job: diagnose a net that does not train, repair it, leave a healthy one alone.

Shows each command as a user types it, then runs it. Exit code 0 only when all three did their part.
"""

import subprocess
import sys
import time
from pathlib import Path

OUT = "demo-output"
STEPS = (
    (
        "A 30-layer net learns nothing. Run its training script, unchanged, and see why.",
        f"run --report {OUT}/digits_deep.html --force examples/digits_deep.py",
    ),
    (
        "Repair it, and prove the repair: the same seeds and batches with and without it.",
        f"repair --report {OUT}/repair.html --force examples/digits_deep.py",
    ),
    (
        "A healthy net: nothing to find, and exit code 0.",
        "run --check examples/digits_healthy.py",
    ),
)


def main() -> int:
    """Run the steps in order; 1 when any of them failed."""
    started = time.monotonic()
    root = Path(__file__).resolve().parent.parent
    (root / OUT).mkdir(exist_ok=True)
    failed = 0
    for number, (heading, arguments) in enumerate(STEPS, start=1):
        print(f"\n{number}. {heading}\n\n$ sounding {arguments}\n", flush=True)
        command = [sys.executable, "-m", "sounding", *arguments.split()]
        code = subprocess.run(command, cwd=root, check=False).returncode
        if code != 0:
            failed += 1
            print(f"\nThis step was expected to end with exit code 0 and ended with {code}.")
    print(f"\nDone in {time.monotonic() - started:.0f} s. The reports are in {OUT}/.", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

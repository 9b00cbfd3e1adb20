"""Install the libraries that benchmarks/curvature.py and surface.py compare with into .venv/peers.

A folder of their own, so that .venv stays what the tests see: the benchmark alone puts it on its
path, behind .venv, whose torch, numpy and scipy they use. Nothing else is fetched: of their
dependencies only those that are imported when they are, and never torchvision or CUDA. Hence
``--no-deps``, and every version is named here and not in constraints.txt.

Does nothing where these versions are there already.
"""

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".venv" / "peers"
PEERS = {
    "PyHessian": "0.1",
    "curvlinops-for-pytorch": "3.0.1",
    "hessian-eigenthings": "1.0.0a5",
    "loss-landscapes": "3.0.6",
}
NEEDED = {"einops": "0.8.2", "einconv": "0.1.0", "linear-operator": "0.6.1", "tqdm": "4.70.1"}


def installed(folder: Path) -> dict[str, str]:
    """Name and version of every package in a folder, names as pip compares them."""
    found = importlib.metadata.distributions(path=[str(folder)])
    return {one.name.lower().replace("_", "-"): one.version for one in found}


def main() -> int:
    """Install what is missing; 1 where pip could not."""
    wanted = PEERS | NEEDED
    there = installed(FOLDER)
    if all(there.get(name.lower()) == version for name, version in wanted.items()):
        return 0
    print(f"Installing the peers of the benchmarks into {FOLDER} ...", flush=True)
    shutil.rmtree(FOLDER, ignore_errors=True)  # pip --target does not replace what is there
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    pip += ["--no-input", "--no-deps", "--only-binary", ":all:", "--target", str(FOLDER)]
    done = subprocess.run([*pip, *(f"{n}=={v}" for n, v in wanted.items())], check=False)
    if done.returncode:
        print(
            "The peers could not be installed, so the benchmarks cannot compare; put "
            + ", ".join(f"{name} {version}" for name, version in wanted.items())
            + f" into {FOLDER} and run make bench again.",
            file=sys.stderr,
        )
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())

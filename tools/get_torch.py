"""Install PyTorch's CPU build into the Python that runs this file, never the CUDA packages.

Does nothing where a torch >= 2.6 is there already, whichever build that is. On Linux the plain
version brings gigabytes of CUDA; "+cpu" exists only as the small build, so asking for it by name
either gets that or fails in a second. Elsewhere the plain version is the CPU build.
"""

import importlib.metadata
import platform
import subprocess
import sys

VERSION = "2.13.0"
OLDEST = (2, 6)
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def installed() -> str | None:
    """The version of the torch that is there and new enough, else None."""
    try:
        version = importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None
    major, minor = version.split(".")[:2]
    return version if (int(major), int(minor)) >= OLDEST else None


def attempts(system: str) -> list[list[str]]:
    """What to ask pip for, in turn: where pip is configured to look, then PyTorch's own index."""
    if system != "Linux":
        return [[f"torch=={VERSION}"]]
    wanted = f"torch=={VERSION}+cpu"
    return [[wanted], [wanted, "--extra-index-url", CPU_INDEX, "--timeout", "15"]]


def main() -> int:
    """Install torch without its dependencies (the lock has those); 1 when there is no wheel."""
    if installed():
        return 0
    print(f"Installing torch {VERSION} (CPU build, about 190 MB) ...", flush=True)
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    pip += ["--no-input", "--no-deps", "--only-binary", ":all:", "--retries", "1"]
    reasons = []
    for wanted in attempts(platform.system()):
        done = subprocess.run([*pip, *wanted], stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode == 0:
            return 0
        reasons += done.stderr.strip().splitlines()[-1:]
    here = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    print(
        f"No CPU build of torch {VERSION} could be had for {here}, neither where pip is configured "
        f"to look nor from {CPU_INDEX}: put a torch >= 2.6 into .venv and run make again.",
        *(f"  pip: {reason}" for reason in dict.fromkeys(reasons)),
        sep="\n",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())

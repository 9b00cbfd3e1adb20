"""The house: what is installed, what an import costs, what make does on somebody else's machine.

No other test sees a drawing library slip into `import sounding`, a CUDA package slip into the lock,
or a version raised in one place only.
"""

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sounding

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = [
    line
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
TOO_HEAVY = {
    "PIL", "dask", "duckdb", "jinja2", "matplotlib", "optuna", "pandas", "plotly", "ray", "rich",
    "scipy", "sklearn", "starlette", "uvicorn",
}  # fmt: skip


def _modules_after(code: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded once `code` has run."""
    code += "\nimport sys; print('\\nLOADED', *{name.split('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("LOADED")[2].split())


def _package(requirement: str) -> str:
    return re.split(r"[\[<>=! ;]", requirement, maxsplit=1)[0].lower()


# --- imports -----------------------------------------------------------------


def test_importing_sounding_loads_no_drawing_library_server_or_engine():
    already = _modules_after("import torch, numpy")  # torch's own luggage is not ours
    assert not (_modules_after("import sounding") - already) & TOO_HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"]])
def test_help_does_not_import_torch(arguments):
    code = f"""
import runpy, sys
sys.argv = ["sounding", *{arguments!r}]
try:
    runpy.run_module("sounding", run_name="__main__")
except SystemExit as ended:
    assert not ended.code, ended.code
"""
    assert not _modules_after(code) & {"torch", "matplotlib"}


# --- versions and the lock ---------------------------------------------------


def test_version_is_the_same_everywhere():
    latest = re.search(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest is not None
    installed = importlib.metadata.version("sounding")
    assert sounding.__version__ == installed == PROJECT["version"] == latest[1]


def test_lock_pins_every_package_exactly():
    assert [line for line in LOCK if not re.match(r"[a-z0-9-]+==\d[\w.]*( ; .+)?$", line)] == []


def test_lock_holds_no_torch_no_cuda_and_no_address():
    heavy = ("torch=", "torchvision", "torchaudio", "triton", "nvidia", "cuda")
    assert [line for line in LOCK if line.startswith(heavy) or "://" in line or "@" in line] == []


def test_lock_knows_every_direct_dependency():
    extras = sum(PROJECT["optional-dependencies"].values(), PROJECT["dependencies"])
    locked = {_package(line) for line in LOCK} | {"torch", "sounding"}
    assert {_package(requirement) for requirement in extras} <= locked


def test_only_pytorchs_cpu_index_is_named():
    files = ["Makefile", "pyproject.toml", "constraints.txt", ".ci/run"]
    files += [str(path.relative_to(ROOT)) for path in (ROOT / "tools").iterdir() if path.is_file()]
    text = "\n".join((ROOT / name).read_text() for name in files)
    assert set(re.findall(r"\w+://[^\s\"')]+", text)) == {CPU_INDEX}


# --- torch -------------------------------------------------------------------


@pytest.fixture
def get_torch():
    spec = importlib.util.spec_from_file_location("get_torch", ROOT / "tools" / "get_torch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_linux_is_never_asked_for_the_build_with_cuda(get_torch):
    first, second = get_torch.attempts("Linux")
    assert first == ["torch==2.13.0+cpu"]  # from where pip is configured to look, and nowhere else
    assert second[0] == "torch==2.13.0+cpu"
    assert CPU_INDEX in second


@pytest.mark.parametrize("system", ["Darwin", "Windows"])
def test_elsewhere_the_plain_version_is_the_cpu_build(get_torch, system):
    assert get_torch.attempts(system) == [["torch==2.13.0"]]


def test_a_torch_that_is_there_is_left_alone(get_torch, monkeypatch):
    monkeypatch.setattr(get_torch.importlib.metadata, "version", lambda _: "2.7.1+cu128")
    monkeypatch.setattr(get_torch.subprocess, "run", lambda *_, **__: pytest.fail("called pip"))
    assert get_torch.main() == 0


def test_without_a_wheel_one_sentence_says_what_to_do(get_torch, monkeypatch, capsys):
    failed = subprocess.CompletedProcess([], 1, stderr="ERROR: No matching distribution\n")
    monkeypatch.setattr(get_torch, "installed", lambda: None)
    monkeypatch.setattr(get_torch.subprocess, "run", lambda *_, **__: failed)
    assert get_torch.main() == 1
    sentence = capsys.readouterr().err.splitlines()[0]
    assert sentence.startswith("No CPU build of torch 2.13.0 could be had")
    assert sentence.endswith("put a torch >= 2.6 into .venv and run make again.")


# --- make --------------------------------------------------------------------

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make")


@needs_make
def test_make_help_lists_every_target():
    text = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()) - {"moved"}
    assert phony == {"demo", "test", "test-hosts", "lint", "zoo", "bench", "docs", "clean", "help"}
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {line.split()[1] for line in done.stdout.splitlines()} == phony


@needs_make
def test_make_without_a_usable_python_says_so_in_a_folder_with_a_space(tmp_path):
    folder = tmp_path / "my project"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("constraints.txt", "pyproject.toml", "tools/get_torch.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    command = ["make", "demo", "PYTHON=no such python"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith("Sounding needs Python 3.11 or newer with venv and pip")
    assert not (folder / ".venv").exists()

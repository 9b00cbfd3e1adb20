"""Twenty-one scripts as strangers write them, of different shapes, unmodified.

The oracle is the same script under plain Python: its output and exit code must be the same to the
last digit. All of them are healthy, so a problem that is found is a false alarm.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FOLDER = HERE / "strangers"
DASHES = "--lr=2e-1 --json --offset=-1.5 -m 0.5 --every 20 -- --report -x"
ARGUMENTS = {"dashes": DASHES.split()}
CODES = {"exit_code": 85}  # what it ends with, else 0
NAMES = (*sorted(path.stem for path in FOLDER.glob("*.py")), "textclass")
# Of different shapes; the others run with -m slow.
DEFAULT = (
    "gan", "lbfgs", "loader_workers", "exit_code",
)  # fmt: skip


def target(name):
    file = ["-m", name] if (FOLDER / name).is_dir() else [str(FOLDER / f"{name}.py")]
    return [*file, *ARGUMENTS.get(name, [])]


def compare(names, folder, options, run):
    """Run every script plain and watched, with `run`, and compare what they leave."""
    failures = []
    for name in names:
        report = folder / f"{name}.json"
        plain = run(target(name))
        seen = run(["-m", "sounding", "run", *options, "--json", str(report), *target(name)])
        if plain.returncode != CODES.get(name, 0) or plain.returncode != seen.returncode:
            failures.append(f"{name}: exit code {plain.returncode}, watched {seen.returncode}")
        if not plain.stdout or plain.stdout != seen.stdout:
            failures.append(f"{name}: {plain.stdout!r}, watched {seen.stdout!r}")
        if "observer failed" in seen.stderr:
            failures.append(f"{name}: {seen.stderr}")
        failures += [f"{name}: false alarm {code}" for code in problems(report)]
    assert failures == []


def problems(path):
    """The codes of the problems in a saved checkup; none where nothing was examined."""
    if not path.exists():
        return []
    findings = json.loads(path.read_text())["result"]["findings"]
    return [f["code"] for f in findings if f["severity"] == "problem"]


@pytest.fixture
def forked(python):
    """Each in a fork of one process that has imported torch."""
    return lambda command: python.run(*command, cwd=FOLDER)


def called(command):
    """Each in a process of its own, as a user calls it."""
    return subprocess.run(
        [sys.executable, *command], cwd=FOLDER, capture_output=True, text=True, check=False
    )


def test_a_fifth_of_them_keep_their_output_and_code_and_raise_no_alarm(tmp_path, forked):
    compare(DEFAULT, tmp_path, ["--no-tests"], forked)


@pytest.mark.slow
def test_all_of_them_examined_at_every_step(tmp_path, forked):
    compare(NAMES, tmp_path, ["--no-tests", "--every", "1"], forked)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_called_as_a_user_calls_it_with_the_tests_that_decide(tmp_path, name):
    compare([name], tmp_path, [], called)


def test_the_scripts_know_nothing_of_us():
    for path in FOLDER.rglob("*.py"):
        assert "sounding" not in path.read_text()

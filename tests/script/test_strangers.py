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
    """Run every script plain and watched; `run` takes a list of jobs and returns exit codes."""
    jobs = []
    for name in names:
        watched = [*options, "--json", str(folder / f"{name}.json")]
        jobs.append({"argv": target(name), "watched": None, "out": str(folder / f"{name}-plain")})
        jobs.append({"argv": target(name), "watched": watched, "out": str(folder / f"{name}-seen")})
    codes = run(jobs)
    failures = []
    for name, plain, seen in zip(names, codes[::2], codes[1::2], strict=True):
        if plain != CODES.get(name, 0) or plain != seen:
            failures.append(f"{name}: exit code {plain}, watched {seen}")
        first, second = ((folder / f"{name}-{k}.out").read_text() for k in ("plain", "seen"))
        errors = (folder / f"{name}-seen.err").read_text()
        if not first or first != second:
            failures.append(f"{name}: {first!r}, watched {second!r}")
        if "observer failed" in errors:
            failures.append(f"{name}: {errors}")
        failures += [f"{name}: false alarm {code}" for code in problems(folder / f"{name}.json")]
    assert failures == []


def problems(path):
    """The codes of the problems in a saved checkup; none where nothing was examined."""
    if not path.exists():
        return []
    findings = json.loads(path.read_text())["result"]["findings"]
    return [f["code"] for f in findings if f["severity"] == "problem"]


def forked(jobs):
    """All in children of one process, which imports torch once."""
    command = [sys.executable, str(HERE / "strangers_forks.py")]
    done = subprocess.run(
        command, input=json.dumps(jobs), cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def called(jobs):
    """Each in a process of its own, as a user calls it."""
    codes = []
    for job in jobs:
        own = [] if job["watched"] is None else ["-m", "sounding", "run", *job["watched"]]
        done = subprocess.run(
            [sys.executable, *own, *job["argv"]], cwd=FOLDER, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        for kind, text in (("out", done.stdout), ("err", done.stderr)):
            Path(f"{job['out']}.{kind}").write_text(text)
        codes.append(done.returncode)
    return codes


def test_a_fifth_of_them_keep_their_output_and_code_and_raise_no_alarm(tmp_path):
    compare(DEFAULT, tmp_path, ["--no-tests"], forked)


@pytest.mark.slow
def test_all_of_them_examined_at_every_step(tmp_path):
    compare(NAMES, tmp_path, ["--no-tests", "--every", "1"], forked)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_called_as_a_user_calls_it_with_the_tests_that_decide(tmp_path, name):
    compare([name], tmp_path, [], called)


def test_the_scripts_know_nothing_of_us():
    for path in FOLDER.rglob("*.py"):
        assert "sounding" not in path.read_text()

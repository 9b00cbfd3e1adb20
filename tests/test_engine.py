"""Many runs: each result exactly once, whatever dies.

The oracle is a folder in which every run writes a line when it begins and when it ends: it knows
what really ran, whatever the engine says. The deaths are real (SIGKILL), but for one property test
over an executor that dies on demand.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sounding.engine import WorkerDied, opened, results
from sounding.engine.engines import cores

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # the processes that are started search where this one does
import engine_runs as runs  # noqa: E402


@pytest.fixture(scope="module")
def two():
    """Two processes of this machine."""
    with opened("local", jobs=2) as executor:
        yield executor


def counts(folder):
    """How often each run began and ended, as the runs themselves wrote it."""
    logs = {int(path.name): path.read_text().split() for path in folder.iterdir()}
    return {x: (log.count("begun"), log.count("ended")) for x, log in sorted(logs.items())}


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- here ----------------------------------------------------------------------------------------


def test_without_an_executor_runs_follow_one_another():
    assert [(i, r["y"]) for i, r in results(runs.square, [{"x": 3}, {"x": 4}])] == [(0, 9), (1, 16)]


def test_an_exception_is_a_result_that_says_where_it_came_from():
    outcomes = dict(results(runs.fails, [{"x": x} for x in range(3)]))
    assert outcomes[0], outcomes[2] == ({"x": 0}, {"x": 2})
    assert isinstance(outcomes[1], ValueError)
    assert str(outcomes[1]) == "x is one"
    (note,) = outcomes[1].__notes__
    assert "{'x': 1}" in note
    assert 'raise ValueError("x is one")' in note
    assert outcomes[1].__traceback__ is None  # it would keep alive what the run held


def test_the_end_of_a_run_by_sys_exit_does_not_end_the_others():
    outcomes = list(results(runs.leaves, [{"x": 0}, {"x": 1}]))
    assert [type(outcome) for _, outcome in outcomes] == [SystemExit, SystemExit]


def interrupted(x):
    if x == 1:
        raise KeyboardInterrupt
    return x


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor(1)], ids=["here", "threads"])
def test_ctrl_c_is_no_result(executor):
    several = results(interrupted, [{"x": x} for x in range(3)], executor=executor)
    assert next(several) == (0, 0)
    with pytest.raises(KeyboardInterrupt):
        next(several)
    assert list(several) == []


# --- any executor --------------------------------------------------------------------------------

first_may_end = threading.Event()


def first_waits(x):
    assert x or first_may_end.wait(10)
    return x


def test_results_come_as_they_finish():
    order = []
    with ThreadPoolExecutor(2) as executor:
        for index, _ in results(first_waits, [{"x": x} for x in range(4)], executor=executor):
            order.append(index)
            if len(order) == 3:
                first_may_end.set()
    assert order[-1] == 0
    assert sorted(order) == [0, 1, 2, 3]


def test_what_has_not_begun_is_cancelled_when_one_leaves_early(tmp_path):
    settings = [{"x": x, "folder": str(tmp_path)} for x in range(50)]
    with ThreadPoolExecutor(1) as executor:
        for _ in results(runs.counted, settings, executor=executor):
            break
    assert len(counts(tmp_path)) <= 3  # the one that was waited for, and what had begun meanwhile


class Mortal(Executor):
    """Runs at once, but dies under run x as often as `deaths[x]` says."""

    def __init__(self, deaths):
        self.deaths, self.begun = dict(enumerate(deaths)), Counter()

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        x = args[1]["x"]
        self.begun[x] += 1
        if self.begun[x] <= self.deaths[x]:
            future.set_exception(WorkerDied("killed"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


@given(st.lists(st.integers(0, 5), max_size=12), st.integers(0, 3))
def test_every_index_comes_once_and_is_begun_as_often_as_it_died_or_may(deaths, retries):
    executor = Mortal(deaths)
    settings = [{"x": x} for x in range(len(deaths))]
    outcomes = list(results(runs.square, settings, executor=executor, retries=retries))
    assert sorted(index for index, _ in outcomes) == list(range(len(deaths)))
    for index, outcome in outcomes:
        if deaths[index] <= retries:
            assert outcome["y"] == index**2
        else:
            assert isinstance(outcome, WorkerDied)
        assert executor.begun[index] == 1 + min(deaths[index], retries)


def test_pythons_own_pool_is_lost_with_a_worker_and_that_is_said(tmp_path):
    settings = [{"x": x, "folder": str(tmp_path), "deaths": [(1, 9)]} for x in range(3)]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        several = results(runs.counted, settings, executor=pool)
        assert next(several)[1]["x"] == 0  # what had finished is handed over
        with pytest.raises(BrokenExecutor, match=r"opened\('local'"):
            next(several)


# --- processes of this machine -------------------------------------------------------------------


def test_a_killed_worker_loses_nothing_and_nothing_counts_twice(two, tmp_path):
    deaths = [(3, 1), (7, 2)]
    settings = [{"x": x, "folder": str(tmp_path), "deaths": deaths} for x in range(12)]
    outcomes = list(results(runs.counted, settings, executor=two))
    assert sorted((index, outcome["x"]) for index, outcome in outcomes) == [
        (x, x) for x in range(12)
    ]
    assert counts(tmp_path) == {x: (1 + dict(deaths).get(x, 0), 1) for x in range(12)}
    np.testing.assert_array_equal(dict(outcomes)[7]["values"], np.full(3, 7.0))


def test_a_run_that_always_kills_its_worker_harms_no_other(two, tmp_path):
    settings = [{"x": x, "folder": str(tmp_path), "deaths": [(2, 99)]} for x in range(6)]
    outcomes = dict(results(runs.counted, settings, executor=two, retries=1))
    assert isinstance(outcomes[2], WorkerDied)
    assert "SIGKILL" in str(outcomes[2])
    assert counts(tmp_path) == {x: (2, 0) if x == 2 else (1, 1) for x in range(6)}


def test_two_processes_really_work_and_neither_is_this_one(two):
    pids = {r["pid"] for _, r in results(runs.square, [{"x": x} for x in range(20)], executor=two)}
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2


def test_an_exception_comes_back_from_a_process_with_its_note(two):
    ((_, outcome),) = results(runs.fails, [{"x": 1}], executor=two)
    assert isinstance(outcome, ValueError)
    assert 'raise ValueError("x is one")' in outcome.__notes__[0]


@pytest.mark.parametrize(
    ("function", "kind", "said"),
    [
        (runs.fails_awkwardly, RuntimeError, "Awkward: this and that"),
        (runs.returns_a_function, TypeError, "result cannot be sent back"),
        (lambda x: x, Exception, "lambda"),
    ],
)
def test_what_cannot_travel_between_processes_is_said_and_kills_no_worker(
    two, function, kind, said
):
    ((_, outcome),) = results(function, [{"x": 0}], executor=two)
    assert isinstance(outcome, kind)
    assert said in str(outcome)
    assert not isinstance(outcome, BrokenExecutor)


@pytest.mark.slow  # a process imports torch
def test_jobs_times_threads_is_at_most_the_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    with opened("local", jobs=2) as executor:
        ((_, outcome),) = results(runs.threads, [{"x": 0}], executor=executor)
    share = max(1, cores() // 2)
    assert outcome == {"environment": str(share), "torch": share}
    assert os.environ["OMP_NUM_THREADS"] == "64"


def test_fewer_threads_that_were_asked_for_before_stay(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("sounding.engine.engines.cores", lambda: 64)
    with opened("local", jobs=2):
        assert os.environ["OMP_NUM_THREADS"] == "1"
    monkeypatch.delenv("OMP_NUM_THREADS")
    with opened("local", jobs=2):
        assert os.environ["OMP_NUM_THREADS"] == "32"
    assert "OMP_NUM_THREADS" not in os.environ


def test_one_job_runs_here():
    with opened("local", jobs=1) as executor:
        assert executor is None


def test_leaving_ends_runs_under_way_at_once(tmp_path):
    begun = time.monotonic()
    with contextlib.suppress(LookupError), opened("local", jobs=2) as executor:
        several = results(
            runs.sleeps, [{"x": x, "folder": str(tmp_path)} for x in range(9)], executor=executor
        )
        first = threading.Thread(target=pytest.raises, args=(Exception, next, several))
        first.start()
        while len(pids := [p.read_text() for p in tmp_path.iterdir()]) < 2 or "" in pids:
            time.sleep(0.01)
        raise LookupError("something went wrong meanwhile")
    first.join()
    assert time.monotonic() - begun < 50  # each would sleep for 60 s
    assert not any(alive(pid) for pid in pids)


MANY = """
import sys
sys.path.insert(0, {here!r})
import engine_runs as runs
from sounding.engine import opened, results
if __name__ == "__main__":
    with opened("local", jobs=2) as executor:
        settings = [{{"x": x, "folder": {folder!r}}} for x in range(9)]
        for _ in results(runs.sleeps, settings, executor=executor):
            pass
"""


@pytest.fixture
def busy(tmp_path):
    """A script whose two processes are at work, and their numbers."""
    script, folder = tmp_path / "many.py", tmp_path / "runs"
    folder.mkdir()
    script.write_text(MANY.format(here=str(HERE), folder=str(folder)))
    process = subprocess.Popen(
        [sys.executable, str(script)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while len(pids := [path.read_text() for path in folder.iterdir()]) < 2 or "" in pids:
        assert process.poll() is None
        time.sleep(0.01)
    yield process, pids
    process.kill()
    process.wait()


def test_ctrl_c_ends_every_process_with_one_traceback(busy):
    process, pids = busy
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert stderr.count("Traceback") == 1
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert not any(map(alive, pids))


def test_a_kill_leaves_no_process_at_work(busy):
    process, pids = busy
    process.kill()
    process.communicate(timeout=30)
    until = time.monotonic() + 30
    while any(map(alive, pids)):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_script_without_the_main_guard_is_told_so(tmp_path):
    script = tmp_path / "bare.py"
    script.write_text(
        "from math import sqrt\nfrom sounding.engine import opened, results\n"
        "with opened('local', jobs=2) as executor:\n"
        "    print(*results(sqrt, [{}], executor=executor, retries=0))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=60
    )
    assert "if __name__ == '__main__':" in done.stdout


# --- wrong use -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "rai"}, "did you mean ray"),
        ({"name": "slurm"}, "there are local, ray"),
        ({"name": "local", "jobs": 0}, "jobs is 0"),
        ({"name": "local", "address": "a:1"}, "--engine ray"),
        ({"name": "local", "gpus": 0.5}, "--engine ray"),
        ({"name": "ray", "jobs": 2, "address": "a:1"}, "decides itself"),
        ({"name": "ray", "address": "ray://a:1"}, "no address of a Ray cluster"),
        ({"name": "ray", "address": "a"}, "no address of a Ray cluster"),
    ],
)
def test_wrong_arguments_are_named(arguments, said):
    with pytest.raises(ValueError, match=said), opened(**arguments):
        pass


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"sounding\[cluster\]"), opened("ray", jobs=2):
        pass

"""The engine on a real Ray of this machine, with two worker processes that are really killed.

As in `test_engine.py`, the runs themselves write down that they began and ended.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray")

from sounding.engine import WorkerDied, opened, results
from sounding.engine.cluster import PACKAGE
from sounding.engine.engines import cores

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # Ray's processes search where this one does
import engine_runs as runs  # noqa: E402

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.filterwarnings("default"),  # of Ray itself
]


def counts(folder):
    """How often each run began and ended, as the runs themselves wrote it."""
    logs = {int(path.name): path.read_text().split() for path in folder.iterdir()}
    return {x: (log.count("begun"), log.count("ended")) for x, log in sorted(logs.items())}


@pytest.fixture(scope="module")
def two():
    """Two worker processes, and what has to be given back afterwards."""
    before = dict(os.environ), sys.excepthook, signal.getsignal(signal.SIGTERM)
    with opened("ray", jobs=2) as executor:
        yield executor
    assert (dict(os.environ), sys.excepthook, signal.getsignal(signal.SIGTERM)) == before


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
    assert counts(tmp_path) == {x: (2, 0) if x == 2 else (1, 1) for x in range(6)}


def test_a_worker_killed_from_outside_is_replaced(two, tmp_path):
    outcomes = {}
    settings = [{"x": x, "folder": str(tmp_path)} for x in range(2)]
    reading = threading.Thread(
        target=lambda: outcomes.update(results(runs.waits, settings, executor=two))
    )
    reading.start()
    while not (begun := [text for file in tmp_path.iterdir() if (text := file.read_text())]):
        time.sleep(0.01)
    os.kill(int(begun[0]), signal.SIGKILL)
    (tmp_path / "go").touch()
    reading.join()
    assert sorted(outcomes) == [0, 1]
    assert int(begun[0]) not in {outcome["pid"] for outcome in outcomes.values()}


def test_runs_go_to_two_processes_with_a_core_each(two):
    outcomes = [r for _, r in results(runs.square, [{"x": x} for x in range(30)], executor=two)]
    pids = {outcome["pid"] for outcome in outcomes}
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= 2
    ((_, outcome),) = results(runs.threads, [{"x": 0}], executor=two)
    assert outcome["torch"] == max(1, min(cores() // 2, int(os.environ["OMP_NUM_THREADS"])))


def test_an_exception_comes_back_with_its_note(two):
    outcomes = dict(results(runs.fails, [{"x": x} for x in range(3)], executor=two))
    assert outcomes[0] == {"x": 0}
    assert isinstance(outcomes[1], ValueError)
    assert 'raise ValueError("x is one")' in outcomes[1].__notes__[0]


def test_large_arrays_come_back_as_our_own(two):
    ((_, outcome),) = results(runs.large, [{"x": 0}], executor=two)
    outcome["values"] += 1  # a view of Ray's memory could not be written to
    np.testing.assert_array_equal(outcome["values"], np.arange(100_000.0) + 1)


def test_leaving_early_gives_the_cluster_back(two, tmp_path):
    settings = [{"x": x, "folder": str(tmp_path)} for x in range(20)]
    several = results(runs.lingers, settings, executor=two)
    assert next(several)[0] == 0
    several.close()
    begun = time.monotonic()
    next(results(runs.square, [{"x": 1}], executor=two))
    assert time.monotonic() - begun < 15  # the others would sleep for 60 s each
    assert len(counts(tmp_path)) < 20


@pytest.fixture
def silent():
    """An address that takes a connection and never says a word: no cluster, yet reachable."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("address", ["127.0.0.1:9", "192.0.2.77:6379", "silent"])
def test_an_unreachable_address_is_said_within_ten_seconds(address, silent):
    begun = time.monotonic()
    with (
        pytest.raises(ConnectionError, match=r"at \d.*ray start"),
        opened("ray", address=silent if address == "silent" else address),
    ):
        pass
    assert time.monotonic() - begun < 10


DRIVER = """
import sys
sys.path.insert(0, {here!r})
import engine_runs as runs
from sounding.engine import opened, results
from sounding.engine.cluster import PACKAGE
if __name__ == "__main__":
    with opened("ray", address={address!r}) as executor:
        ((_, outcome),) = results(runs.where, [{{}}], executor=executor)
    assert outcome["text"] == (PACKAGE / "__init__.py").read_text()
    assert not outcome["file"].startswith(str(PACKAGE)), outcome["file"]
    print("the same code, from another place")
"""


def test_a_running_cluster_runs_the_code_of_here():
    """The cluster knows nothing of this package but what it is sent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    start += [f"--port={address.rpartition(':')[2]}", "--num-cpus=1", "--include-dashboard=false"]
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # a short name: it holds sockets
        start.append(f"--temp-dir={folder}")
        environment = os.environ | {"PYTHONPATH": str(HERE), "RAY_AUTH_MODE": "token"}
        head = subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL)
        try:
            wait_for(address, environment)
            driver = [sys.executable, "-c", DRIVER.format(here=str(HERE), address=address)]
            environment["PYTHONPATH"] = str(PACKAGE.parent)
            done = subprocess.run(
                driver, env=environment, capture_output=True, text=True, check=False, timeout=90
            )
        finally:
            head.terminate()
            head.wait(30)
    assert done.stdout.strip() == "the same code, from another place", done.stderr


def wait_for(address, environment):
    check = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    for _ in range(20):
        if not subprocess.run(check, env=environment, capture_output=True, check=False).returncode:
            return
        time.sleep(1)
    pytest.fail(f"no cluster came up at {address}")

"""What two processes measured together, for the tests of several files; run once."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
WORKER = HERE / "parallel_worker.py"
LONGEST = 300  # seconds; an idle machine takes fifteen
sys.path.insert(0, str(HERE))  # tests and the worker import what they share

import parallel_data  # noqa: E402 - by the line above


@pytest.fixture(scope="session")
def whole():
    """(57, 57) the Hessian on all data."""
    return parallel_data.dense(parallel_data.data())


@pytest.fixture(scope="session")
def ranks(tmp_path_factory):
    """What each scenario gave: {name: (on rank 0, on rank 1)}; run by whoever comes first."""
    if not torch.distributed.is_available():
        pytest.skip("torch was built without torch.distributed")
    folder = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent  # which all workers share
    folder = folder / "two processes"
    try:
        folder.mkdir()
    except FileExistsError:
        _wait_for(folder / "done.json")
    else:
        _run(folder)
    said = json.loads((folder / "done.json").read_text())
    assert said["codes"] == [0, 0], said["words"]
    both = [torch.load(folder / f"results {r}", weights_only=False) for r in range(2)]
    return {name: tuple(found[name] for found in both) for name in both[0]}


def _run(folder):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"  # a host name need not resolve
    running, words, codes = [], [], []
    for r in range(2):
        arguments = [str(r), str(folder / "store"), str(folder / f"results {r}")]
        log = (folder / f"log {r}").open("w+")
        running.append((subprocess.Popen(
            [sys.executable, str(WORKER), *arguments], env=environment, stdout=log, stderr=log,
        ), log))  # fmt: skip
    end = time.monotonic() + LONGEST
    for process, log in running:
        try:
            codes.append(process.wait(max(end - time.monotonic(), 1)))
        except subprocess.TimeoutExpired:
            process.kill()
            codes.append("timed out")
            process.wait()
        log.seek(0)
        words.append(log.read()[-3000:])
        log.close()
    part = folder / "part.json"
    part.write_text(json.dumps({"codes": codes, "words": words}))
    part.rename(folder / "done.json")


def _wait_for(path):
    end = time.monotonic() + LONGEST + 30
    while not path.exists():
        assert time.monotonic() < end, "the other worker's two processes have not ended"
        time.sleep(0.1)


@pytest.fixture
def result(ranks, request):
    """Of the scenario that has the name of the test."""
    found = ranks[request.node.name.removeprefix("test_")]
    for one in found:
        assert not isinstance(one, RuntimeError), str(one)
    return found

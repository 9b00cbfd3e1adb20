"""Two processes over gloo: each writes a file, and put together they say what one cannot know.

The oracle is DistributedDataParallel itself: it averages gradients, so both processes have one
norm, and a sharded net of the same weights has the same norm once its parts are put together.
"""

import numpy as np
import pytest

import sounding

SCRIPT = """
import os
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
import sounding

rank, meeting = int(os.environ["RANK"]), Path("meeting").resolve().as_uri()
dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
torch.set_num_threads(1)


def sharded(net):
    fully_shard(net[0])
    fully_shard(net[2])
    return fully_shard(net)


def train(name, wrap, own=True, inner=False, watched=True):
    torch.manual_seed(0)
    net = wrap(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(rank if own else 0)
    x = torch.randn(512, 8, generator=generator)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()

    def loop():
        for step in range(12):
            rows = torch.arange(32 * step, 32 * step + 32)
            optimizer.zero_grad()
            F.cross_entropy((net.module if inner else net)(x[rows]), y[rows]).backward()
            optimizer.step()

    if watched:
        path = Path(sys.argv[1]) / (name + ".sounding")
        with sounding.watch(net, optimizer, path, every=5, tests=False) as seen:
            loop()
        assert seen.note == "", seen.note
    else:
        loop()
    local = [p.to_local() if hasattr(p, "to_local") else p for p in net.parameters()]
    return [p.detach().clone() for p in local]


bits = train("copies", DistributedDataParallel)
assert all(map(torch.equal, bits, train("", DistributedDataParallel, watched=False)))
bits = train("shards", sharded)
assert all(map(torch.equal, bits, train("", sharded, watched=False)))
train("same", DistributedDataParallel, own=False)
train("apart", DistributedDataParallel, inner=True)
dist.destroy_process_group()
"""


LAUNCH = """
import os, runpy, sys
other = os.fork()
os.environ |= {"RANK": "0" if other else "1", "WORLD_SIZE": "2"}
if sys.platform == "linux":
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"  # a host name need not resolve
runpy.run_path("train.py", run_name="__main__")
if other:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]))
"""


@pytest.fixture(scope="module")
def folder(python, tmp_path_factory):
    here = tmp_path_factory.mktemp("ranks")
    (here / "train.py").write_text(SCRIPT)
    (here / "launch.py").write_text(LAUNCH)
    done = python.run("launch.py", here, cwd=here)
    assert done.returncode == 0, done.stderr[-3000:]
    return here


@pytest.mark.parametrize(
    ("name", "codes"), [("copies", ()), ("shards", ()), ("same", ("SD703",)), ("apart", ("SD702",))]
)
def test_what_the_processes_say_together(folder, name, codes):
    found = sounding.load(folder / f"{name}.sounding")
    assert (found.processes, found.others) == (2, (f"{name}.1.sounding",))
    assert found.trainings[0].steps.tolist() == list(range(12))
    assert tuple(f.code for f in found.checkup.findings) == codes
    saved = folder / f"{name}.json"
    found.save(saved, overwrite=True)
    assert [f.code for f in sounding.load(saved).checkup.findings] == list(codes)


def test_parts_of_a_gradient_make_up_the_whole(folder):
    copies, shards = (sounding.load(folder / f"{n}.sounding") for n in ("copies", "shards"))
    whole, parts = copies.trainings[0].gradient_norm, shards.trainings[0].gradient_norm
    np.testing.assert_allclose(parts, whole, rtol=1e-4)


def test_a_process_alone(folder):
    alone = sounding.load(folder / "same.1.sounding")
    assert alone.checkup.findings == ()
    assert alone.processes == 2


ALONE = """
import torch
net = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
for _ in range(3):
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(net(torch.randn(8, 4)), torch.randn(8, 1)).backward()
    optimizer.step()
"""
AS_SECOND = """
import os, runpy, sys
os.environ |= {"RANK": "1", "WORLD_SIZE": "2"}
sys.argv[1:] = "run --no-tests --record run.sounding --report run.html alone.py".split()
runpy.run_module("sounding", run_name="__main__")
"""


def test_a_second_process_says_who_it_is_and_has_files_of_its_own(python, tmp_path):
    """The first one's files are there already, and are not in its way."""
    for name, text in (("alone.py", ALONE), ("second.py", AS_SECOND), ("run.html", "the first's")):
        (tmp_path / name).write_text(text)
    (tmp_path / "run.sounding").write_text("the first's")
    done = python.run("second.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "process 1 of 2" in done.stderr
    assert (
        "Wrote run.1.sounding; look at all processes with: sounding live run.sounding"
        in " ".join(done.stderr.split())
    )
    assert (tmp_path / "run.1.html").read_text().startswith("<!doctype html>")
    assert (tmp_path / "run.html").read_text() == "the first's"

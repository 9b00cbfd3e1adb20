"""Two processes give the Hessian of one: data parallel, and sharded by FSDP2.

They run parallel_worker.py once for all tests here. Only this file sees a wrong weight of a rank,
a rank that waits for another in vain, and vectors that are not sharded as the parameters are.
"""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.curvature.eigenpairs import eigenpairs
from sounding.curvature.hessian import hessian

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available(), reason="torch was built without torch.distributed"
)

WORKER = Path(__file__).with_name("parallel_worker.py")
LONGEST = 120  # seconds; an idle machine takes ten
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each scenario gave: {name: (on rank 0, on rank 1)}; run once, whoever comes first."""
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


# -- what one process gives -----------------------------------------------------------------


def _data():
    g = torch.Generator().manual_seed(0)
    return torch.randn(24, 5, generator=g).double(), torch.randint(0, 3, (24,), generator=g)


def _net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def _dense(batch):
    """By torch.func on the flat vector of all parameters."""
    net = _net()
    names = dict(net.named_parameters())

    def of(flat):
        parts = flat.split([p.numel() for p in names.values()])
        values = {n: v.view(p.shape) for (n, p), v in zip(names.items(), parts, strict=True)}
        return F.cross_entropy(torch.func.functional_call(net, values, (batch[0],)), batch[1])

    here = torch.cat([p.detach().reshape(-1) for p in names.values()])
    return torch.func.jacrev(torch.func.jacrev(of))(here)


@pytest.fixture(scope="module")
def whole():
    return _dense(_data())


def _vectors():
    return torch.randn(57, 4, generator=torch.Generator().manual_seed(1)).double()


def _joined(rows):
    """(57, k) from both ranks' rows: each parameter is dealt out along its first dimension."""
    counts = [[15, 3, 12, 2], [15, 3, 6, 1]]  # of 6 x 5, 6, 3 x 6 and 3
    parts = [r.split(count) for r, count in zip(rows, counts, strict=True)]
    return torch.cat([torch.cat(both) for both in zip(*parts, strict=True)])


def _top(matrix, k):
    return torch.linalg.eigvalsh(matrix).flip(0)[:k].numpy()


# -- data parallel --------------------------------------------------------------------------


def test_data_parallel(result, whole):
    for one in result:
        assert torch.allclose(one["dense"], whole, rtol=1e-6, atol=1e-9)
        assert one["reduced"] == [57, 4 * 57]  # one all-reduce, for a vector and for a block
        assert np.allclose(one["values"], _top(whole, 3), rtol=1e-5)
        assert "kept graph" in one["method"]
    first, second = result
    for name in ("dense", "vectors", "start"):
        assert torch.equal(first[name], second[name])
    assert first["products"] == second["products"]


def test_sums(result, whole):
    for one in result:
        assert torch.allclose(one, 24 * whole, rtol=1e-6, atol=1e-8)


def test_in_micro_batches(result, whole):
    for one in result:
        assert torch.allclose(one, whole, rtol=1e-6, atol=1e-9)


def test_wrapped(result, whole):
    for one in result:
        exact, differences = one["products"]
        assert torch.allclose(exact, whole @ _vectors(), rtol=1e-6, atol=1e-9)
        assert torch.allclose(differences, whole @ _vectors(), rtol=1e-5, atol=1e-6)
        assert (one["called"], one["later"]) == (0, 1)  # its hook ran in the training's pass only


def test_alone(result):
    x, y = _data()
    assert torch.allclose(result[0], _dense((x[:14], y[:14])), rtol=1e-6, atol=1e-9)
    assert torch.allclose(result[1], _dense((x[14:], y[14:])), rtol=1e-6, atol=1e-9)


# -- one rank raises: all do ----------------------------------------------------------------


def test_bad_numbers(result):
    assert result[1].startswith("the input of the batch holds NaN in 1 of 50 numbers")
    assert result[0] == f"on rank 1 of 2: {result[1]}"


def test_wrong_derivative(result):
    assert result[1].startswith("no right second derivative of the loss")
    assert result[0] == f"on rank 1 of 2: {result[1]}"


def test_no_memory(result):
    assert "needs more than the 1 B of memory it may take" in result[0]
    assert result[1] == f"on rank 0 of 2: {result[0]}"


def test_other_parameters(result):
    assert result[0] == result[1]
    assert result[0].startswith("rank 1 holds other parameters than rank 0")


def test_waiting_layer(result):
    for one in result:
        assert one.startswith("SyncBatchNorm in training mode")


def test_other_method(result):
    first, second = result
    assert first["method"] == second["method"] == "central differences of the gradient"
    assert first["notes"] == second["notes"] != ()
    assert torch.equal(first["dense"], second["dense"])


# -- sharded --------------------------------------------------------------------------------


def test_sharded_exactly(result, whole):
    _check_sharded(result, whole, rtol=1e-9)
    for one in result:
        assert one["method"] == "double backward on a kept graph, on whole parameters"
        assert one["notes"] == ()


def test_sharded_by_differences(result, whole):
    _check_sharded(result, whole, rtol=1e-7)
    for one in result:
        assert one["method"] == "central differences of the gradient"
        assert 1e-10 < _stated(one) < 1e-7


def _check_sharded(result, whole, rtol):
    expected = whole @ _vectors()
    found = _joined([one["product"] for one in result])
    assert float((found - expected).norm() / expected.norm()) < rtol
    assert [(one["size"], one["width"]) for one in result] == [(57, 32), (57, 25)]
    vectors = _joined([one["vectors"].T for one in result])
    assert torch.allclose(vectors.T @ vectors, torch.eye(2).double(), atol=1e-6)
    for one in result:
        assert np.allclose(one["values"], _top(whole, 2), rtol=1e-5)
        assert one["given back"]
        assert "parameters have changed" in one["stale"]
    away = whole @ vectors - vectors * torch.from_numpy(result[0]["values"].copy())
    assert float(away.norm()) < 2e-3
    start = [one["start"][0] for one in result]
    assert not torch.isin(start[0], start[1]).any()  # other numbers on the other rank


def test_sharded_checkpointed(result, whole):
    assert torch.allclose(_joined(result), whole @ _vectors(), rtol=1e-9, atol=1e-12)


def test_sharded_searches(result, whole):
    layer = whole[:36, :36]
    for one, width in zip(result, (18, 18), strict=True):
        assert one["warm"] == 2
        assert np.allclose(one["restarted"], _top(whole, 2), rtol=1e-4)
        assert one["layer"] == (36, width, pytest.approx(_top(layer, 1)[0], rel=1e-4))


def test_sharded_without_memory(result, whole):
    found = _joined([one["product"] for one in result])
    assert torch.allclose(found, whole @ _vectors(), rtol=1e-5, atol=1e-6)
    for one in result:
        assert one["method"] == "central differences of the gradient"
        assert "needs whole parameters and vectors on each rank" in one["needs"]


def test_sharded_single(result, whole):
    for one in result:
        assert 1e-6 < _stated(one) < 1e-2
        assert np.allclose(one["values"], _top(whole, 2), rtol=_stated(one))


def _stated(one):
    (note,) = one["notes"]
    return float(re.search(r"relative error is about (\S+)$", note)[1])


def test_sharded_rectified(result):
    for one in result:
        assert np.allclose(one["values"], one["expected"], rtol=1e-4)


def test_sharded_refusals(result):
    said = {
        "group": "leave group out",
        "numbers": "holds NaN",
        "divided": "set_gradient_divide_factor",
        "coarse": "MixedPrecisionPolicy",
        "unsynced": "set_requires_gradient_sync",
        "half": "2.weight is not sharded",
        "dense": "to_dense needs whole vectors",
        "unaware": "several processes share the model",
    }
    for one in result:
        assert {name: words in (one[name] or "") for name, words in said.items()} == dict.fromkeys(
            said, True
        )


# -- one process ----------------------------------------------------------------------------


def test_a_group_that_this_process_is_not_in():
    with pytest.raises(TypeError, match="group is a int"):
        hessian(_net(), F.cross_entropy, _data(), group=-100)


def test_no_group_costs_nothing():
    H = hessian(_net(), F.cross_entropy, _data())
    assert not H.sharded
    assert H.agreed(0.1) == 0.1
    assert np.allclose(eigenpairs(H, 1).values, _top(_dense(_data()), 1), rtol=1e-5)

"""Weights & Biases without a network, read back from the file that it writes."""

import json

import pytest
import torch
from loops import fit, net

import sounding

pytestmark = pytest.mark.hosts


@pytest.fixture(autouse=True)
def _offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-own"))


def watched(to, folder, after=None):
    torch.manual_seed(0)
    model = net(sick=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with sounding.watch(model, optimizer, folder / "run", to=to, every=5, tests=False) as seen:
        fit(model, optimizer, 40, after)
    assert seen.note == ""
    return sounding.load(folder / "run").trainings[0]


def read(folder):
    """The rows of the history, and the summary as it ends."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    rows, summary = [], {}
    for data in records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("history"):
            rows.append({_key(i): json.loads(i.value_json) for i in record.history.item})
        if record.HasField("summary"):
            summary |= {_key(i): json.loads(i.value_json) for i in record.summary.update}
    return rows, summary


def records(data):
    """LevelDB's log format behind a header of 7 bytes: blocks of 32 kB of pieces of records."""
    at, whole = 7, b""
    while at < len(data):
        left = 2**15 - at % 2**15
        if left < 7:  # too little room for a piece: the rest of the block is empty
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole one, or the last piece of one
            yield whole
            whole = b""


def _key(item):
    return item.key or ".".join(item.nested_key)


def test_a_run_of_its_own_has_every_sending(tmp_path):
    from sounding.integrations.wandb import WandB

    training = watched(WandB(project="test", dir=tmp_path), tmp_path)
    rows, summary = read(tmp_path)
    layers = [row for row in rows if "sounding-layers/signal/2" in row]
    signal = {row["sounding-layers/step"]: row["sounding-layers/signal/2"] for row in layers}
    assert list(signal) == list(training.examined)
    assert list(signal.values()) == pytest.approx(list(training.signal[:, 1]), rel=1e-3)
    assert summary["sounding/findings"] == ["SD401"]
    assert summary["sounding/problems"] == 1
    assert (summary["sounding/table.nrows"], summary["sounding/table.ncols"]) == (1, 4)
    (page,) = tmp_path.glob("wandb/offline-run-*/files/media/html/sounding/checkup*.html")
    assert "SD401" in page.read_text()


def test_a_run_of_the_users_keeps_its_own_steps(tmp_path):
    """Were a row committed in between, W&B would drop the user's numbers for steps gone by."""
    import wandb

    from sounding.integrations.wandb import WandB

    with wandb.init(project="test", dir=tmp_path) as run:
        watched(WandB(run), tmp_path, lambda step: run.log({"mine": step}, step=step))
        assert run.step <= 40
    rows, summary = read(tmp_path)
    mine = {row["_step"]: row["mine"] for row in rows if "mine" in row}
    assert mine == {step: step for step in range(40)}
    layers = [row["sounding-layers/step"] for row in rows if "sounding-layers/step" in row]
    assert layers == [0, 5, 10, 15, 20, 25, 30, 35]
    assert summary["sounding/problems"] == 1

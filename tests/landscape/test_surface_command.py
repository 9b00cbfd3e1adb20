"""`sounding landscape` on a case file and checkpoints, as a user calls it."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn

import sounding as sd
from sounding.cli import main

CASE = """
import sounding
import torch
from torch import nn
torch.manual_seed(0)
x = torch.randn(96, 6)
case = sounding.Case(
    lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)),
    nn.functional.cross_entropy, (x, x[:, :3].argmax(1)), sounding.Recipe(lr=0.1),
)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "case.py").write_text(CASE)
    for seed in range(3):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
        net(torch.randn(64, 6))
        save_file(net.state_dict(), tmp_path / f"{seed}.safetensors")
    torch.save(net, tmp_path / "whole.pt")
    return tmp_path


def called(*arguments):
    return CliRunner().invoke(main, ["landscape", "case.py", *arguments])


def test_the_loss_at_the_centre_is_that_of_the_checkpoint(folder):
    done = called("--at", "1.safetensors", "--points", "5", "--json", "s.json", "--html", "s.html")
    assert done.exit_code == 0, done.output
    found = sd.load("s.json")
    torch.manual_seed(0)
    x = torch.randn(96, 6)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)).eval()
    from safetensors.torch import load_file

    net.load_state_dict(load_file("1.safetensors"))
    with torch.no_grad():
        want = float(nn.functional.cross_entropy(net(x), x[:, :3].argmax(1)))
    assert found.loss == pytest.approx(want, rel=1e-6)
    assert found.samples == 96
    assert "<canvas" in (folder / "s.html").read_text()
    assert "Loss" in done.output


def test_a_path_a_trajectory_and_fewer_samples(folder):
    ends = ("--at", "0.safetensors", "--to", "1.safetensors")
    done = called(*ends, "--along", "path", "--points", "5", "--json", "-")
    assert json.loads(done.stdout)["curve"] == "line"
    names = [f"{i}.safetensors" for i in range(3)]
    done = called("--along", "trajectory", *(w for n in names for w in ("--to", n)), "--dims", "1",
                  "--points", "5", "--samples", "40", "--json", "t.json")  # fmt: skip
    found = sd.load("t.json")
    assert done.exit_code == 0
    assert len(found.trajectory) == 3
    assert found.samples == 40


def test_a_fresh_net_is_recalibrated_and_an_interrupted_file_goes_on(folder):
    assert called("--points", "3", "--json", "whole.json").exit_code == 0
    whole = sd.load("whole.json")
    assert "anew at every point" in whole.batch_norm
    document = json.loads((folder / "whole.json").read_text())
    document["result"]["values"][0][0] = "nan"
    document["result"]["measured"][0][0] = False
    (folder / "part.json").write_text(json.dumps(document))
    assert not sd.load("part.json").complete
    done = called("--points", "3", "--resume", "part.json", "--json", "part.json")
    assert done.exit_code == 0, done.output
    assert np.array_equal(sd.load("part.json").values, whole.values)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--at", "whole.pt"), "pickle"),
        (("--at", "none.pt"), "no checkpoint none.pt"),
        (("--along", "sideways"), "there are filter"),
        (("--along", "path"), "one checkpoint"),
        (("--to", "1.safetensors"), "not for filter"),
        (("--along", "trajectory", "--to", "1.safetensors"), "in their order"),
        (("--samples", "0"), "at least 1"),
        (("--span", "-1"), "positive"),
        (("--along", "path", "--to", "1.safetensors", "--kind", "knot"), "there are line"),
        (("--json", "case.py"), "exists"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_two(folder, arguments, said):
    done = called("--points", "3", *arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output

"""A script as an arm: paired, treated before its first step, stopped in time, honest when it fails.

The oracle is the same training written out here, with the same seeds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sounding.remedies import Remedy
from sounding.result import NotApplicable
from sounding.script.arm import Script, ScriptError
from sounding.script.trial import STRIDE

KAIMING = Remedy(name="reinitialise", arguments={"scheme": "kaiming"}, touches="weights")
NORM = Remedy(name="insert_norm", arguments={"kind": "batch"}, touches="architecture")

TRAIN = """
import sys
import torch
from torch import nn
import sounding

torch.manual_seed(3)
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(64, 6)
y = torch.randint(0, 3, (64,))
for step in range(int(sys.argv[1])):
    rows = torch.randperm(64)[:32]
    loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    sounding.log(twice=2.0 * step)
"""


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arm") / "train.py"
    path.write_text(TRAIN)
    return path


@pytest.fixture(scope="module")
def script(train: Path) -> Script:
    return Script([str(train), "40"], steps=20, jobs=2)


def by_hand(seed: int, steps: int) -> list[float]:
    """The same training, step by step, from `seed`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = torch.randn(64, 6), torch.randint(0, 3, (64,))
        losses = []
        for _ in range(steps):
            rows = torch.randperm(64)[:32]
            loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_an_untreated_trial_is_the_script_itself_on_a_shifted_seed(
    script: Script, seed: int
) -> None:
    trial = script.train((), seed)
    np.testing.assert_allclose(trial.loss.values, by_hand(3 + seed * STRIDE, 20), rtol=1e-5)
    assert trial.seed == seed
    assert trial.metrics["twice"] == 2.0 * np.mean([17, 18])  # the last step ends the process
    assert 0 <= trial.metrics["accuracy"] <= 1


def test_both_arms_see_the_same_batches(script: Script, tmp_path: Path) -> None:
    spy = tmp_path / "spy.py"
    spy.write_text(TRAIN.replace("twice=2.0 * step", "rows=float(rows.sum())"))
    arm = Script([str(spy), "40"], steps=20)
    treated, plain = arm.train((KAIMING,), 2), arm.train((), 2)
    assert treated.metrics["rows"] == plain.metrics["rows"]
    assert treated.loss.values[0] != plain.loss.values[0]


def test_a_norm_inserted_into_the_running_script_is_trained(script: Script) -> None:
    treated = script.train((NORM,), 1)
    assert len(treated.loss.values) == 20
    exam = script.examine((NORM,))
    assert "batch_norm" in {call.operation for call in exam.readings.calls}
    trained = exam.readings.gradients
    assert trained is not None
    assert any("0.1.weight" in name for name in trained.parameters)


def test_examining_does_not_change_the_run(script: Script) -> None:
    script.examine(())  # its trial on seed 0 was examined at step 0
    np.testing.assert_allclose(script.train((), 0).loss.values, by_hand(3, 20), rtol=1e-5)


def failing(tmp_path: Path, text: str, *args: str, steps: int = 5) -> Script:
    path = tmp_path / "broken.py"
    path.write_text(text)
    return Script([str(path), *args], steps=steps)


def test_a_script_that_raises_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"raises ZeroDivisionError at broken.py:2"):
        failing(tmp_path, "import torch\n1 / 0\n").train((), 0)


def test_a_script_that_exits_early_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"exits with 'no data' before its first step"):
        failing(tmp_path, "import sys\nsys.exit('no data')\n").train((), 0)


def test_a_script_without_training_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match="no optimiser step was seen"):
        failing(tmp_path, "print('hello')\n").train((), 0)


def test_a_script_that_ends_before_the_steps_is_compared_as_far_as_it_came(train: Path) -> None:
    assert len(Script([str(train), "7"], steps=20).train((), 1).loss.values) == 7


def test_divergence_ends_a_trial_and_is_said(tmp_path: Path) -> None:
    arm = failing(tmp_path, TRAIN.replace("lr=0.1", "lr=1e18"), "200", steps=200)
    trial = arm.train((), 1)
    assert trial.diverged
    assert np.isnan(trial.metrics["accuracy"])
    assert len(trial.loss.values) < 200


def test_a_remedy_without_a_place_is_not_applicable(tmp_path: Path) -> None:
    functional = """
import torch
w = torch.nn.Embedding(8, 1)
o = torch.optim.SGD(w.parameters(), lr=0.1)
for _ in range(9):
    loss = w(torch.arange(8)).pow(2).mean()
    o.zero_grad(); loss.backward(); o.step()
"""
    with pytest.raises(NotApplicable, match="no linear layer or convolution"):
        failing(tmp_path, functional).train((KAIMING,), 0)


def test_a_missing_script_is_named_before_anything_runs() -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no script nowhere\.py"):
        Script(["nowhere.py"], steps=5)


KEYWORDS = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(*[m for _ in range(12) for m in (nn.Linear(8, 8), nn.ReLU())])
        self.head = nn.Linear(8, 2)
    def forward(self, *, inputs, labels):
        scores = self.head(self.body(inputs))
        return {"loss": nn.functional.cross_entropy(scores, labels), "scores": scores}
torch.manual_seed(0)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
x, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
for _ in range(9):
    loss = net(inputs=x, labels=y)["loss"]
    optimizer.zero_grad(); loss.backward(); optimizer.step()
"""


def test_a_model_called_with_keywords_is_examined_and_treated(tmp_path: Path) -> None:
    arm = failing(tmp_path, KEYWORDS)
    assert arm.examine().findings[0].code == "SD303"
    treated = arm.examine((KAIMING,))
    second = treated.readings.path_calls()[1]
    # 64 entries of variance 2/8: the standard error of the mean square is 18 %.
    assert second.weight_second_moment * 8 == pytest.approx(2.0, rel=0.6)

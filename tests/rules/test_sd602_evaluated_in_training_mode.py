"""SD602: evaluations in the wrong mode, where that makes a difference and is not what is wanted."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import watched

from sounding.measure.loop import Evaluations
from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.evaluation import evaluated_in_training_mode
from sounding.watch.diagnosis import diagnose
from sounding.watch.observer import Observer
from sounding.zoo.nets import mlp


def asked(count=10, training=10, *, blocks=5, again=0):
    return Evaluations(
        count=count, training=training, blocks=blocks, again=again, low=None, high=None,
        outside=0.0, expected=0.0,
    )  # fmt: skip


def repeat(gap, *, error=0.01, right=0.2):
    return {"repeat": {"eval_loss": right, "gap": gap, "gap_error": error}}


MODES = {"modes": ("2 (Dropout, p=0.5)",)}


@pytest.fixture
def readings(examine):
    return examine(mlp(64, 32, 10)).readings


def test_the_difference_decides(readings):
    facts = {"evaluations": asked(), **MODES}
    with pytest.raises(Untested, match="repeat"):
        evaluated_in_training_mode(watched(readings, **facts))
    finding = evaluated_in_training_mode(watched(readings, tests=repeat(0.16), **facts))
    assert (finding.code, finding.severity) == ("SD602", "problem")
    assert finding.message.startswith("10 of 10 evaluations ran in training mode, in which 2 (Drop")
    assert "0.36 so and 0.2 in evaluation mode" in finding.message
    assert finding.layers == ("2",)


def test_the_first_evaluation_may_be_in_the_right_mode(readings):
    """`train()` at the beginning of each epoch, `eval()` before the first one only."""
    facts = {"evaluations": asked(4, 3), **MODES}
    finding = evaluated_in_training_mode(watched(readings, tests=repeat(0.16), **facts))
    assert finding.message.startswith("3 of 4 evaluations ran in training mode")
    assert finding.measured["in_training_mode"] == 3


@pytest.mark.parametrize("tests", [repeat(0.01), repeat(0.16, error=0.1), repeat(-0.16)])
def test_no_difference(tests, readings):
    said = evaluated_in_training_mode(watched(readings, tests=tests, evaluations=asked(), **MODES))
    assert "it makes no difference" in said


@pytest.mark.parametrize(("gap", "found"), [(0.3, True), (0.01, False)])
def test_as_few_samples_as_the_evaluation_has(gap, found, readings):
    tests = repeat(-0.01)
    tests["repeat"] |= {"parts_gap": gap, "parts_error": 0.01}
    facts = {"evaluations": dataclasses.replace(asked(), each=4), **MODES}
    answer = evaluated_in_training_mode(watched(readings, tests=tests, **facts))
    assert isinstance(answer, str) != found
    if found:
        assert "on the same batches, 4 samples at a time, the loss is 0.5 so" in answer.message


@pytest.mark.parametrize(("size", "found"), [(64, False), (2, True)])
def test_a_batch_norm_in_a_loop(size, found):
    """Statistics of 64 samples are as good as those of training, of two they are none."""
    torch.manual_seed(0)
    y = torch.arange(512) % 4
    x = torch.randn(4, 8)[y] + torch.randn(512, 8)
    observer = Observer()
    with observer.watching():
        net = nn.Sequential(nn.Linear(8, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4))
        optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
        for _ in range(100):
            rows = torch.randint(0, 512, (64,))
            optimiser.zero_grad()
            functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
        with torch.no_grad():
            for part in x[:256].split(size):
                net(part)
    codes = [f.code for f in diagnose(observer, "loop").findings]
    assert ("SD602" in codes) == found


def test_the_spread_is_wanted(readings):
    """Many noisy predictions of the same inputs (Gal and Ghahramani 2016)."""
    many = asked(30, 30, again=29)
    said = evaluated_in_training_mode(watched(readings, evaluations=many, **MODES))
    assert "their spread is asked for" in said


@pytest.mark.parametrize(
    "facts",
    [
        {"evaluations": asked(10, 5), **MODES},
        {"evaluations": asked()},
        {"evaluations": asked(), **MODES, "training": False},
    ],
)
def test_healthy(facts, readings):
    assert evaluated_in_training_mode(watched(readings, **facts)) is None


@pytest.mark.parametrize("evaluations", [asked(0, 0, blocks=0), asked(200, 200, blocks=200)])
def test_not_applicable(evaluations, readings):
    """None, or one in every step: an action is chosen, a target computed."""
    with pytest.raises(NotApplicable):
        evaluated_in_training_mode(watched(readings, evaluations=evaluations, **MODES))


@pytest.mark.parametrize("mode", [True, False])
def test_in_a_loop(mode):
    torch.manual_seed(0)
    y = torch.arange(512) % 4
    x = torch.randn(4, 8)[y] + torch.randn(512, 8)
    observer = Observer()
    with observer.watching():
        net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Dropout(0.6), nn.Linear(64, 4))
        optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
        for step in range(100):
            rows = torch.randint(0, 512, (32,))
            optimiser.zero_grad()
            functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
            if step % 25 == 24:
                net.train(mode)
                with torch.no_grad():
                    net(x)
                net.train()
    found = [f.code for f in diagnose(observer, "loop").findings]
    assert ("SD602" in found) == mode

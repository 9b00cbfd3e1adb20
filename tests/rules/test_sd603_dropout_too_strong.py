"""SD603: a fork without dropout decides; a high loss in training alone is dropout's nature.

The noise of a dropped unit is compared with the scatter of units that torch drops.
"""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import constant, fork, watched

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.dropout import dropout_too_strong
from sounding.zoo.nets import mlp


def dropped(p):
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(p), nn.Linear(32, 10))


HARM = {
    "constant": constant(2.3, 2.3),
    "undropped": fork(2.4, 0.03),
    "repeat": {"eval_loss": 2.25},
}


def test_the_fork_decides(examine):
    readings = examine(dropped(0.95)).readings
    with pytest.raises(Untested, match="constant"):
        dropout_too_strong(watched(readings))
    finding = dropout_too_strong(watched(readings, tests=HARM))
    assert (finding.code, finding.severity) == ("SD603", "problem")
    assert finding.layers == ("2",)
    assert "the loss ends at 0.03 instead of 2.4" in finding.message
    assert "if 0.95 is the share to keep, give 0.05" in finding.message
    assert [r.name for r in finding.remedies] == ["set_dropout"]


@pytest.mark.parametrize("p", [0.5, 0.8, 0.95])
def test_the_noise_of_a_unit(p, examine):
    finding = dropout_too_strong(watched(examine(dropped(p)).readings, tests=HARM))
    variance = float(functional.dropout(torch.ones(1_000_000), p).var())
    assert finding.measured["noise"] == pytest.approx(variance, rel=0.02)


def test_a_function_counts_too(examine):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(64, 32, 10)

        def forward(self, x):
            return self.net(functional.dropout(x, 0.9, self.training))

    finding = dropout_too_strong(watched(examine(Net()).readings, tests=HARM))
    assert finding.layers == ("#dropout",)


@pytest.mark.parametrize(
    "changed",
    [
        {"repeat": {"eval_loss": 0.05}},  # it has learnt; the loss is high because much is dropped
        {"undropped": fork(0.4, 0.03)},
        {"undropped": fork(2.4, 2.2)},
        {"undropped": fork(2.4, 0.03, error=1.0)},
        {"undropped": fork(2.4, math.inf)},
    ],
)
def test_refuted(changed, examine):
    said = dropout_too_strong(watched(examine(dropped(0.5)).readings, tests=HARM | changed))
    assert said.startswith("2 drops 50% of the units, whose noise is 1 times the signal")


@pytest.mark.parametrize("net", [dropped(0.4), dropped(0.9).eval(), mlp(64, 32, 10)])
def test_healthy(net, examine):
    assert dropout_too_strong(watched(examine(net).readings)) is None


def test_not_applicable(examine):
    with pytest.raises(NotApplicable, match="no training was watched"):
        dropout_too_strong(examine(dropped(0.9)).readings)

"""SD609: batch norm with the statistics of the start; a fork in training mode decides."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import constant, fork, watched

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.evaluation_mode import trained_in_evaluation_mode
from sounding.zoo.nets import mlp


def net():
    parts = (nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))
    return nn.Sequential(*parts).eval()


FACTS = {"training": False, "modes": ("1 (BatchNorm1d)",)}
HARM = {"constant": constant(2.3, 2.2), "in_training": fork(2.2, 0.1)}


def test_the_fork_decides(examine):
    readings = examine(net()).readings
    with pytest.raises(Untested, match="constant"):
        trained_in_evaluation_mode(watched(readings, **FACTS))
    finding = trained_in_evaluation_mode(watched(readings, tests=HARM, **FACTS))
    assert (finding.code, finding.severity, finding.layers) == ("SD609", "problem", ("1",))
    assert "ends at 0.1 instead of 2.2" in finding.message
    refuted = HARM | {"in_training": fork(2.2, 1.9)}
    assert "in training mode the loss ends" in trained_in_evaluation_mode(
        watched(readings, tests=refuted, **FACTS)
    )


def test_training_mode_and_frozen_norms_are_no_business_of_this_rule(examine):
    readings = examine(net()).readings
    assert trained_in_evaluation_mode(watched(readings, **FACTS | {"training": True})) is None
    frozen = {"frozen": ("1.weight", "1.bias")}
    assert trained_in_evaluation_mode(watched(readings, tests=HARM, **FACTS | frozen)) is None


def test_not_applicable_without_batch_norm(examine):
    with pytest.raises(NotApplicable, match="no batch norm"):
        trained_in_evaluation_mode(watched(examine(mlp(64, 32, 10)).readings, training=False))


@pytest.mark.parametrize("mode", [True, False])
def test_a_training(watch, mode):
    def train():
        torch.manual_seed(0)
        x = 30 * torch.randn(512, 8)
        y = (x @ torch.randn(8, 3)).argmax(1)
        hidden = [m for _ in range(2) for m in (nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU())]
        model = nn.Sequential(nn.Linear(8, 16), *hidden, nn.Linear(16, 3)).train(mode)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        for step in range(80):
            rows = torch.arange(32 * step, 32 * step + 32) % 512
            optimiser.zero_grad()
            functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()

    assert (watch(train, "SD609")[0] is None) == mode

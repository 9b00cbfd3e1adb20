"""SD402: a sigmoid of a sigmoid; the floor against the loss of the best outputs there are."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.rules.loss_input import sigmoid_before_bce_with_logits
from sounding.zoo.nets import mlp

BEST = {nn.Sigmoid: (0.0, 1.0), nn.Hardsigmoid: (0.0, 1.0), nn.LogSigmoid: (-80.0, 0.0)}


def data(share=0.25):
    return torch.randn(64, 8), (torch.arange(64) < 64 * share).float()[:, None]


@pytest.mark.parametrize("last", BEST)
def test_the_floor_is_the_loss_of_the_best_outputs(last, examine):
    x, y = data()
    loss = functional.binary_cross_entropy_with_logits
    net = nn.Sequential(mlp(8, 16, 1), last())
    finding = sigmoid_before_bce_with_logits(examine(net, data=(x, y), loss=loss).readings)
    low, high = BEST[last]
    best = torch.where(y > 0, torch.tensor(high), torch.tensor(low))
    assert finding.measured["lowest_loss"] == pytest.approx(float(loss(best, y)), abs=1e-6)
    assert finding.measured["highest_probability"] == pytest.approx(float(best.max().sigmoid()))


def test_says_what_to_drop(examine):
    net = nn.Sequential(mlp(8, 16, 1), nn.Sigmoid())
    loss = functional.binary_cross_entropy_with_logits
    finding = sigmoid_before_bce_with_logits(examine(net, data=data(), loss=loss).readings)
    assert (finding.code, finding.severity) == ("SD402", "problem")
    assert "between 0.5 and 0.731" in finding.message
    assert finding.message.endswith("drop the sigmoid")
    assert [r.name for r in finding.remedies] == ["remove_output_activation"]


def test_no_floor_is_claimed_where_weights_change_it(examine):
    def weighted(output, target):
        weight = torch.tensor([3.0])
        return functional.binary_cross_entropy_with_logits(output, target, pos_weight=weight)

    net = nn.Sequential(mlp(8, 16, 1), nn.Sigmoid())
    finding = sigmoid_before_bce_with_logits(examine(net, data=data(), loss=weighted).readings)
    assert finding.measured["lowest_loss"] == 0
    assert "the loss above" not in finding.message


def test_silent_on_logits_and_on_the_loss_that_wants_probabilities(examine):
    with_logits = functional.binary_cross_entropy_with_logits
    readings = examine(mlp(8, 16, 1), data=data(), loss=with_logits).readings
    assert sigmoid_before_bce_with_logits(readings) is None
    net = nn.Sequential(mlp(8, 16, 1), nn.Sigmoid())
    readings = examine(net, data=data(), loss=functional.binary_cross_entropy).readings
    assert sigmoid_before_bce_with_logits(readings) is None


def test_silent_on_a_gate_before_the_last_layer(examine):
    net = nn.Sequential(nn.Linear(8, 16), nn.Sigmoid(), nn.Linear(16, 1))
    loss = functional.binary_cross_entropy_with_logits
    readings = examine(net, data=data(), loss=loss).readings
    assert sigmoid_before_bce_with_logits(readings) is None

"""SD403: a softmax over one unit; the gradients, which are exactly zero, say the same."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sounding.rules.loss_input import constant_output
from sounding.zoo.nets import mlp


def data():
    return torch.randn(32, 8), (torch.arange(32) % 2).float()[:, None]


def test_no_weight_gets_a_gradient(examine):
    net = nn.Sequential(mlp(8, 16, 1), nn.Softmax(1))
    readings = examine(net, data=data(), loss=functional.binary_cross_entropy).readings
    finding = constant_output(readings)
    assert (finding.code, finding.severity, finding.layers) == ("SD403", "problem", ("1",))
    assert "all 32 outputs are exactly 1" in finding.message
    assert np.all(readings.gradients.norm == 0)


def test_also_where_the_one_dimension_is_squeezed_away(examine):
    x, y = data()
    net = nn.Sequential(mlp(8, 16, 1), nn.Softmax(1), nn.Flatten(0))
    loss = functional.binary_cross_entropy
    assert constant_output(examine(net, data=(x, y[:, 0]), loss=loss).readings)


def test_cross_entropy_of_one_class_is_zero(examine):
    x, _ = data()
    readings = examine(mlp(8, 16, 1), data=(x, torch.zeros(32, dtype=torch.long))).readings
    assert readings.loss == 0
    assert "the loss is 0" in constant_output(readings).message
    soft = examine(mlp(8, 16, 1), data=data()).readings  # (N, 1) floats: soft labels of one class
    assert soft.loss == 0
    assert constant_output(soft)


def test_silent_on_one_unit_behind_a_sigmoid_and_on_two_behind_a_softmax(examine):
    x, y = data()
    for net, loss, target in (
        (nn.Sequential(mlp(8, 16, 1), nn.Sigmoid()), functional.binary_cross_entropy, y),
        (mlp(8, 16, 1), functional.binary_cross_entropy_with_logits, y),
        (nn.Sequential(mlp(8, 16, 2), nn.Softmax(1)), functional.mse_loss, torch.rand(32, 2)),
    ):
        assert constant_output(examine(net, data=(x, target), loss=loss).readings) is None


def test_silent_on_a_softmax_that_is_only_saturated(examine):
    class Sure(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp(8, 16, 2)

        def forward(self, x):
            return torch.softmax(1e6 * self.body(x), 1)

    readings = examine(Sure(), data=(data()[0], torch.rand(32, 2)), loss=functional.mse_loss)
    assert constant_output(readings.readings) is None


def test_silent_on_a_ranking_of_the_samples_of_a_batch(examine):
    net = nn.Sequential(mlp(8, 16, 1), nn.Softmax(0))
    target = functional.one_hot(torch.tensor(3), 32).float()[:, None]
    readings = examine(net, data=(data()[0], target), loss=functional.mse_loss).readings
    assert constant_output(readings) is None

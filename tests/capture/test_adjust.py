"""Weights adjusted in one forward pass: later layers see the output of the adjusted ones."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from sounding.capture.adjust import adjusting


def test_each_layer_is_settled_before_the_next_runs():
    torch.manual_seed(0)
    net = nn.Sequential(*(layer for _ in range(6) for layer in (nn.Linear(64, 64), nn.ReLU())))
    x, order = torch.randn(256, 64), []

    def to_unit_variance(weight, bias, output):
        order.append(id(weight))
        bias.zero_()
        weight /= math.sqrt(float(output.var()))
        return abs(float(output.var()) - 1) > 1e-3

    with adjusting(to_unit_variance), torch.no_grad():
        net(x)
    assert list(dict.fromkeys(order)) == [id(net[k].weight) for k in range(0, 12, 2)]
    with torch.no_grad():
        for layer in net:
            x = layer(x)
            if isinstance(layer, nn.Linear):
                assert abs(float(x.var()) - 1) < 0.01


def test_rounds_end_and_what_is_no_parameter_is_left_alone():
    weight, calls = torch.randn(4, 4), []
    layer, table = nn.Linear(4, 4), nn.Embedding(4, 4)

    def never_content(w, b, output):
        calls.append(w)
        return True

    with adjusting(never_content, rounds=7), torch.no_grad():
        F.linear(layer(table(torch.arange(4))), weight)
        layer(torch.randn(2, 4))  # a repeated layer was settled at its first call
    assert len(calls) == 7
    assert all(w is layer.weight for w in calls)


def test_nothing_is_adjusted_outside():
    layer = nn.Linear(4, 4)
    with adjusting(lambda *_: False):
        pass
    before = layer.weight.clone()
    layer(torch.randn(2, 4))
    assert torch.equal(before, layer.weight)
    assert torch._C._len_torch_function_stack() == 0

"""SD101 names the call that broke the numbers, forwards or backwards, and no other.

The nets break at a place known from their construction.
"""

import dataclasses
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.objective import Objective
from sounding.rules.finite import nonfinite
from sounding.zoo.nets import mlp
from sounding.zoo.sequences import LanguageModel


class Broken(nn.Module):
    """A function between two layers, and a third layer behind it."""

    def __init__(self, function):
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(64, 64) for _ in range(3))
        self.function = function

    def forward(self, x):
        return self.third(torch.relu(self.second(self.function(self.first(x)))))[:, :10]


@pytest.mark.parametrize(
    ("function", "culprit"),
    [
        (lambda x: torch.log(torch.relu(x)), "#log"),
        (lambda x: torch.exp(1000 * x.abs()), "#exp"),
        (lambda x: x / (x - x), "#div"),
        (torch.sqrt, "#sqrt"),
    ],
)
def test_names_the_first_call_that_breaks(find, function, culprit):
    finding, _ = find("SD101", Broken(function))
    assert finding.layers == (culprit,)
    assert finding.severity == "problem"
    assert finding.confidence == "exact"
    assert finding.message.startswith(f"{culprit} ({culprit[1:]}) is the first call to produce")
    assert finding.measured["calls_with_nan_or_inf"] >= 2  # it spreads


def test_a_slope_that_is_not_finite_is_found_on_the_way_back(find):
    x = torch.randn(64, 64)
    x[:8] = 0
    net = nn.Sequential(nn.Linear(64, 10, bias=False))
    distance = Objective(lambda model, batch: (model(batch[0]) ** 2).sum(1).sqrt().mean())
    finding, _ = find("SD101", net, loss=distance, data=(x, x))
    assert "the gradient that sqrt (sqrt) sends back to sum" in finding.message
    assert finding.layers == ("sum",)


@pytest.mark.parametrize(("parameter", "value"), [("2.weight", math.nan), ("2.bias", math.inf)])
def test_a_broken_parameter_is_named(find, parameter, value):
    net = mlp(64, 64, 64, 10)
    with torch.no_grad():
        net.get_parameter(parameter).view(-1)[3] = value
    finding, _ = find("SD101", net)
    assert finding.message.startswith(f"the parameter {parameter} holds NaN or Inf")
    assert finding.layers == ("2",)


def test_silent_on_the_mask_of_an_attention(find):
    """-inf before a softmax is meant, and becomes an exact zero."""
    net = LanguageModel(1)
    net.blocks[0]._attend = _masked_by_hand(net.blocks[0])
    tokens = torch.randint(0, 32, (16, 12))
    finding, outcome = find("SD101", net, data=(tokens, tokens))
    assert finding is None
    assert outcome.outcome == "passed"


def _masked_by_hand(block):
    def attend(x):
        query, key, value = block.qkv(x).chunk(3, -1)
        future = torch.ones(x.shape[1], x.shape[1]).triu(1).bool()
        scores = (query @ key.transpose(1, 2)).masked_fill(future, -math.inf)
        return block.out(scores.softmax(-1) @ value)

    return attend


def test_hides_every_other_rule_on_the_same_pass(examine):
    exam = examine(Broken(lambda x: torch.log(torch.relu(x))))
    assert exam.findings[0].code == "SD101"
    assert all(f.because == "SD101" for f in exam.findings[1:])


def test_applies_without_a_backward_pass(examine):
    readings = examine(mlp(64, 32, 10)).readings
    assert nonfinite(dataclasses.replace(readings, gradients=None)) is None


def test_half_precision_overflow(find):
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.head = nn.Linear(64, 64), nn.Linear(64, 10)

        def forward(self, x):
            x = functional.relu(self.first(3000 * x)).half()
            return self.head((x * x).float())

    finding, _ = find("SD101", Half())
    assert finding.layers == ("#mul.2",)  # the second product of the two

"""SD206 against the exact factors of a residual net and of a ReLU net with too large weights."""

import math

import pytest
import torch
from torch import nn

from sounding.zoo.nets import Plain, Residual, drawn, mlp, normal


def test_residual_blocks_add_half_of_the_variance(find):
    """Var(x + W2 relu(W1 relu(x))) = Var(x) (1 + 1/2) with gains sqrt 2 and 1."""
    blocks = 40
    finding, _ = find("SD206", Residual(blocks, width=256))
    # the inputs look more and more alike to the rectifiers, which takes a part of the spread
    assert finding.measured["log_gain"] == pytest.approx(blocks * 0.5 * math.log(1.5), abs=1.2)
    assert finding.severity == "problem"


def test_fixup_comes_first_where_sums_grow_and_nowhere_else(find):
    finding, _ = find("SD206", Residual(40, width=64))
    assert finding.remedies[0].arguments == {"scheme": "fixup"}
    finding, _ = find("SD206", drawn(Plain(64, *[64] * 11, 10), normal(4.0)))
    assert finding.remedies[0].arguments == {"scheme": "kaiming"}


class Sums(nn.Module):
    """Blocks without normalisation, all of He's variance."""

    def __init__(self, blocks=24):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(64, 64) for _ in range(blocks))
        self.last = nn.Linear(64, 10)
        for block in self.blocks:
            nn.init.kaiming_normal_(block.weight)

    def forward(self, x):
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return self.last(x)


def test_weights_that_have_he_s_variance_are_not_drawn_from_it_again(find):
    finding, _ = find("SD206", Sums())
    names = [str(remedy.arguments.get("scheme")) for remedy in finding.remedies]
    assert "fixup" in names
    assert "kaiming" not in names


@pytest.mark.parametrize("factor", [2.0, 4.0])
def test_a_factor_in_each_layer(find, factor):
    depth = 12
    net = drawn(Plain(64, *[256] * (depth - 1), 10), normal(factor * 2**0.5))
    finding, _ = find("SD206", net)
    assert finding.measured["factor_per_layer"] == pytest.approx(factor, rel=0.1)
    assert finding.severity == "problem"


def test_the_weights_are_the_cause_where_they_are(examine):
    first, *rest = examine(drawn(mlp(64, *[64] * 11, 10), normal(4.0))).findings
    assert first.code == "SD303"
    assert {f.code for f in rest} == {"SD202", "SD206"}
    assert {f.because for f in rest} == {"SD303"}


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_silent_with_he_weights(find, optimiser):
    net = drawn(mlp(64, *[128] * 29, 10), normal(2**0.5))
    finding, outcome = find("SD206", net, optimiser=optimiser)
    assert finding is None
    assert outcome.outcome == "passed"


def test_fixup_is_silent(find):
    assert find("SD206", Residual(40, last=0.0))[0] is None


def test_not_applicable(find, batch):
    assert find("SD206", mlp(64, 32, 10))[1].outcome == "not applicable"
    torch.manual_seed(1)
    assert find("SD206", mlp(64, 64, 64, 10), data=(batch[0][:1], batch[1][:1]))[1].reason

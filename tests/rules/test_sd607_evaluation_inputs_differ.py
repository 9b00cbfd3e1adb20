"""SD607: inputs of another kind, told from another choice of samples.

The share outside of the training range is compared with drawn numbers.
"""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional
from trainings import watched

from sounding.measure.loop import Evaluations
from sounding.result import NotApplicable
from sounding.rules.evaluation import evaluation_inputs_differ
from sounding.watch.diagnosis import diagnose
from sounding.watch.observer import Observer
from sounding.watch.turned import turned
from sounding.zoo.nets import mlp


def asked(mean=(0.0, 0.0), std=(1.0, 1.0), *, outside=0.001, rows=256, count=4, blocks=2):
    return Evaluations(
        count=count, training=0, blocks=blocks, again=0, rows=rows, low=None, high=None,
        outside=outside, expected=0.001, mean=mean, std=std,
    )  # fmt: skip


@pytest.fixture
def readings(examine):
    return examine(mlp(64, 32, 10)).readings


@pytest.mark.parametrize(
    "evaluations",
    [
        asked((0.0, 120.0), (1.0, 60.0), outside=0.99),  # not standardised
        asked((0.1, 25.8), (0.24, 61.0), outside=0.2),  # not divided by 255
        asked((0.0, 0.13), (1.0, 0.31), outside=0.0),  # in [0, 1], and standardised in training
        asked(outside=0.6),  # columns in another order
    ],
)
def test_another_kind(evaluations, readings):
    finding = evaluation_inputs_differ(watched(readings, evaluations=evaluations))
    assert (finding.code, finding.severity) == ("SD607", "problem")
    assert "apply the same transform" in finding.message
    assert finding.measured["outside"] == evaluations.outside


@pytest.mark.parametrize(
    "evaluations",
    [
        asked(),
        asked((0.0, 0.3), (1.0, 1.2), outside=0.02),  # other samples
        asked((0.0, 0.0), (1.4, 1.0), outside=0.0),  # noise was added in training
    ],
)
def test_healthy(evaluations, readings):
    assert evaluation_inputs_differ(watched(readings, evaluations=evaluations)) is None


@pytest.mark.parametrize(
    "evaluations",
    [
        asked((math.nan, math.nan), (math.nan, math.nan)),  # indices
        asked((0.0, 9.0), rows=8),
        asked((0.0, 9.0), count=0, blocks=0),
        asked((0.0, 9.0), blocks=200),  # in every step: states that are acted in
    ],
)
def test_not_applicable(evaluations, readings):
    with pytest.raises(NotApplicable):
        evaluation_inputs_differ(watched(readings, evaluations=evaluations))


def test_so_many_lie_outside_by_chance():
    """2 / (n + 1) of what is drawn alike, whatever the distribution is."""
    torch.manual_seed(0)
    drawn = torch.randn(99 + 200, 2000).exp()
    low, high = drawn[:99].min(0).values, drawn[:99].max(0).values
    outside = ((drawn[99:] < low) | (drawn[99:] > high)).double().mean()
    assert float(outside) == pytest.approx(2 / (99 + 1), rel=0.05)


TURNS = {
    "upside down": lambda x: x.flip(2),
    "left to right": lambda x: x.flip(3),
    "with rows and columns exchanged": lambda x: x.transpose(2, 3),
    "turned by 180 degrees": lambda x: x.flip(2, 3),
    "turned by 90 degrees": lambda x: x.flip(3).transpose(2, 3),
    "with its three channels in reverse": lambda x: x.flip(1),
}


@pytest.mark.parametrize("how", TURNS)
def test_images_that_are_turned(how):
    torch.manual_seed(0)
    x = 0.3 * torch.randn(3, 6, 6) + torch.randn(400, 3, 6, 6)
    over = TURNS[how](x)[300:]
    found = turned(x[:300].flatten(1), over.flatten(1), x.shape[1:])
    assert found.how == how
    assert found.turned == pytest.approx(1, abs=0.5)  # of 108 pixels, a mean of squares
    by_hand = (x[:300].mean(0) - over.mean(0)).square() / x[:300].var(0) / (1 / 300 + 1 / 100)
    assert found.as_is == pytest.approx(float(by_hand.mean()), rel=0.05)
    same = turned(x[:300].flatten(1), x[300:].flatten(1), x.shape[1:])
    assert same.as_is == pytest.approx(1, abs=0.5)


def test_no_images_are_not_turned():
    assert turned(torch.randn(9, 12), torch.randn(9, 12), torch.Size([3, 4])).how == ""
    flat = torch.ones(9, 36)
    assert turned(flat, flat, torch.Size([1, 6, 6])).how == ""


@pytest.mark.parametrize(
    ("apart", "found"), [((16.0, 1.0), True), ((16.0, 5.0), False), ((8.0, 1.0), False)]
)
def test_the_turn_must_explain_what_no_choice_of_samples_does(apart, found, readings):
    seen = dataclasses.replace(asked(), turned="upside down", apart=apart)
    finding = evaluation_inputs_differ(watched(readings, evaluations=seen))
    assert (finding is not None) == found
    if found:
        assert "is 4 times its error apart" in finding.message
        assert "1 times upside down" in finding.message


@pytest.mark.parametrize("scaled", [True, False])
def test_in_a_loop(scaled):
    torch.manual_seed(0)
    y = torch.arange(1024) % 4
    x = 120 + 60 * (torch.randn(4, 8)[y] + torch.randn(1024, 8))
    alike = (x - x.mean(0)) / x.std(0)
    observer = Observer()
    with observer.watching():
        net = mlp(8, 32, 4)
        optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
        for _ in range(100):
            rows = torch.randint(0, 768, (64,))
            optimiser.zero_grad()
            functional.cross_entropy(net(alike[rows]), y[rows]).backward()
            optimiser.step()
        net.eval()
        with torch.no_grad():
            net((alike if scaled else x)[768:])
    found = [f.code for f in diagnose(observer, "loop").findings]
    assert ("SD607" in found) == (not scaled)

"""SD501: a rate that is too high, by forks; and a bowl whose limit 2 / curvature is known.

A rule that only looked for a loss that rises would miss the oscillation, and would accuse a critic.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.learning_rate import learning_rate_too_high

FINE = {"slower": (0.1, 2.2), "much_slower": (0.1, 2.29), "far_slower": (0.1, 2.3)}


def bowl(rate):
    """100 steps of gradient descent on the mean of (x w - y)^2, of curvature 2 E x^2 = 8."""

    def train():
        x = torch.tensor([[2.0], [-2.0]]).repeat(8, 1)
        y = 3 * x
        net = nn.Linear(1, 1, bias=False)
        optimiser = torch.optim.SGD(net.parameters(), lr=rate)
        for _ in range(100):
            optimiser.zero_grad()
            functional.mse_loss(net(x), y).backward()
            optimiser.step()

    return train


@pytest.mark.parametrize(("times", "fires"), [(0.97, False), (1.03, True), (1.2, True)])
def test_the_limit_of_a_quadratic(watch, times, fires):
    """Beyond lr = 2 / 8 every step overshoots by more than it wins."""
    finding, outcome = watch(bowl(times * 2 / 8), "SD501")
    assert (finding is not None) == fires, outcome
    if fires:
        assert finding.measured["lr_x_sharpness"] == pytest.approx(times, rel=1e-3)
        assert finding.severity == "problem"


def test_the_mildest_rate_that_learns_is_proposed(ran):
    tests = {"slower": (2.4, 2.35), "much_slower": (2.4, 0.2), "stability": "no Hessian"}
    finding = learning_rate_too_high(ran(constant=(2.3, 2.4), tests=tests))
    assert finding.expected == {"loss": 0.2, "lr": pytest.approx(0.001)}
    assert str(finding.remedies[0]) == "scale_lr(factor=0.01)"
    assert "take lr=0.001" in finding.message


def test_divergence(ran):
    loss = np.r_[np.full(30, 2.3), np.full(170, math.nan)]
    tests = {"slower": (math.inf, 0.5), "stability": {"start": 51.0}}
    finding = learning_rate_too_high(ran(loss=loss, constant=(2.3, math.nan), tests=tests))
    assert "no number from step 30 on" in finding.message
    assert "51 times its limit" in finding.message


def test_asks_for_what_decides(ran):
    asked = []
    tests = {}
    for name, found in {
        "constant": None,
        "slower": (2.4, 2.39),
        "much_slower": (2.4, 0.2),
        "stability": {"start": math.nan},
    }.items():
        with pytest.raises(Untested) as reason:
            learning_rate_too_high(ran(tests=tests, constant=(2.3, 2.4) if asked else None))
        asked.append(reason.value.test)
        tests = tests if found is None else {**tests, name: found}
    assert asked == ["constant", "slower", "much_slower", "stability"]


@pytest.mark.parametrize(
    ("loss", "constant"),
    [
        (np.linspace(2.3, 0.1, 200), (2.3, 0.1)),  # learnt
        (np.linspace(3.4, 0.75, 200), (3.47, 0.75)),  # down to a floor above 0
        (np.linspace(2.3, 2.2, 10), (2.3, 2.2)),  # a look at the beginning
    ],
)
def test_silent_or_refuted_on_healthy_runs(ran, loss, constant):
    assert not hasattr(
        learning_rate_too_high(ran(loss=loss, constant=constant, tests=FINE)), "code"
    )


def test_a_floor_of_noise_is_no_harm(ran):
    """A regression whose targets are nine parts noise: lower rates know them no better."""
    forks = dict.fromkeys(FINE, (0.99, 0.985))
    assert "no lower" in learning_rate_too_high(ran(constant=(1.1, 0.99), tests=forks))


def test_not_begun_again_not_judged(ran):
    refused = dict.fromkeys(FINE, "several optimisers take turns")
    assert "no lower" in learning_rate_too_high(ran(constant=(0.69, 0.7), tests=refused))


def test_not_applicable(examine):
    with pytest.raises(NotApplicable, match="no training was watched"):
        learning_rate_too_high(examine(nn.Linear(64, 10)).readings)

"""SD502: a rate with which the run gets nowhere; and a bowl, in which rate times steps counts.

Healthy here: fine-tuning at a tiny rate, a critic, a look at the first steps.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.result import NotApplicable
from sounding.rules.learning_rate import LOOK, learning_rate_too_low
from sounding.zoo import samples

FASTER = {"faster": (2.29, 2.2), "much_faster": (2.29, 0.3)}


def descend(rate, steps=150, head=1.0):
    def train():
        x, y = samples.CLUSTERS
        net = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
        optimiser = torch.optim.SGD(net.parameters(), lr=rate)
        with torch.no_grad():
            net[2].weight *= head
        for step in range(steps):
            rows = torch.arange(64) + 64 * (step % 16)
            optimiser.zero_grad()
            functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()

    return train


@pytest.mark.parametrize(("rate", "fires"), [(1e-3, True), (0.1, False)])
def test_watched(watch, rate, fires):
    finding, outcome = watch(descend(rate), "SD502")
    assert (finding is not None) == fires, outcome
    if fires:
        assert finding.measured["lr"] == rate
        assert finding.expected["lr"] in (10 * rate, 100 * rate)


def test_rate_times_steps_is_what_counts(ran):
    """In a bowl each step leaves 1 - lr c: a hundredth of the rate needs a hundred times the steps.

    So does the rule: it is silent exactly where the run got as far as the fork.
    """
    left = lambda rate, steps: (1 - rate) ** (2 * steps)  # noqa: E731
    for steps in (100, 1_000, 10_000):
        now, best = left(1e-4, steps), left(1e-2, min(steps, 200))
        readings = ran(
            loss=np.full(steps, now),
            constant=(1.0, now, 1.0),
            tests={"faster": (now, left(1e-3, min(steps, 200))), "much_faster": (now, best)},
        )
        fired = hasattr(learning_rate_too_low(readings), "code")
        assert fired == (now > 0.75 and now > 2 * best)


def test_the_rate_is_zero_all_along(ran):
    finding = learning_rate_too_low(ran(lr=0.0))
    assert finding.confidence == "exact"
    assert "0 at all 200 steps" in finding.message
    assert not hasattr(
        learning_rate_too_low(ran(lr=np.r_[0, np.ones(199)], constant=(2, 0.1))), "code"
    )


@pytest.mark.parametrize(
    "run",
    [
        {"constant": (2.3, 0.03, 0.05)},  # a converged net, fine-tuned at a tiny rate
        {"constant": (0.69, 0.37, 0.69)},  # a critic on its way
        {"constant": (1.07, 0.98, 1.68)},  # from above the constant: a new head on an old net
        {"constant": (1.1, 0.99, 1.2)},  # noise
    ],
)
def test_silent_or_refuted_on_healthy_runs(ran, run):
    level, now, _ = run["constant"]
    floor = 0.9 * now if level == 1.1 else 0.1
    tests = {"faster": (now, 0.5 * (now + floor)), "much_faster": (now, floor)}
    tests["far_faster"] = (now, float("inf"))
    assert not hasattr(learning_rate_too_low(ran(**run, tests=tests)), "code")


def test_refuted_where_a_higher_rate_does_not_learn(ran):
    worse = (2.3, float("inf"))
    forks = {"faster": (2.3, 2.3), "much_faster": worse, "far_faster": worse}
    assert "no higher" in learning_rate_too_low(ran(constant=(2.3, 2.3), tests=forks))


def test_not_where_the_loss_rises(ran):
    rising = np.linspace(2.3, 4, 200)
    assert learning_rate_too_low(ran(loss=rising, constant=(2.3, 4), tests=FASTER)) is None


def test_the_beginning_of_a_training_is_not_judged(ran):
    early = ran(loss=np.full(LOOK - 1, 2.3), constant=(2.3, 2.29), tests=FASTER)
    with pytest.raises(NotApplicable, match="beginning"):
        learning_rate_too_low(early)
    full = ran(loss=np.full(LOOK, 2.3), constant=(2.3, 2.29), tests=FASTER)
    assert learning_rate_too_low(full).code == "SD502"

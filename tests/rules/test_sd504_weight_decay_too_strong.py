"""SD504: decay against the loss; and ridge regression, whose solution under decay is known.

Healthy: decay as it is usually taken, and a net that it merely holds back a little.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.decay import weight_decay_too_strong

DECAYED = (("0.weight",), {"lr": 0.1, "weight_decay": 0.3})


@pytest.mark.parametrize(("decay", "fires"), [(1e-4, False), (0.1, False), (20.0, True)])
def test_ridge(watch, decay, fires):
    """For y = x of variance 1 and the mean square error, w = 2 / (2 + decay).

    It leaves (decay / (2 + decay))^2 of the best constant's loss: 0.2 % at 0.1, 83 % at 20.
    """
    left = (decay / (2 + decay)) ** 2
    x = torch.randn(256, 1)
    x = (x - x.mean()) / x.std(correction=0)
    net = nn.Linear(1, 1)

    def train():
        optimiser = torch.optim.SGD(net.parameters(), lr=0.03, weight_decay=decay)
        for step in range(200):
            rows = torch.arange(64) + 64 * (step % 4)
            optimiser.zero_grad()
            functional.mse_loss(net(x[rows]), x[rows]).backward()
            optimiser.step()

    finding, outcome = watch(train, "SD504")
    with torch.no_grad():
        assert float((net(x) - x).square().mean()) == pytest.approx(left, abs=0.03)
    assert (finding is not None) == fires, outcome


def test_fires(ran):
    readings = ran(constant=(2.3, 2.3), groups=[DECAYED], tests={"undecayed": (2.3, 0.06)})
    finding = weight_decay_too_strong(readings)
    assert finding.severity == "problem"
    assert "every 23 steps" in finding.message
    left = (1 - 0.1 * 0.3) ** 23
    assert left == pytest.approx(0.5, abs=0.01)
    assert [r.name for r in finding.remedies] == ["set_weight_decay", "set_weight_decay"]


def test_silent_where_the_run_learns(ran):
    assert weight_decay_too_strong(ran(constant=(2.3, 0.5), groups=[DECAYED])) is None


@pytest.mark.parametrize(("fresh", "fires"), [((1.1, 0.1), True), ((1.1, 1.4), False)])
def test_beyond_half_samples_that_it_has_not_seen_decide(ran, fresh, fires):
    """Without decay a net may only learn its samples by heart."""
    how = {"constant": (2.3, 1.0), "groups": [DECAYED]}
    tests = {"undecayed": (1.0, 0.06)}
    with pytest.raises(Untested, match="undecayed_unseen"):
        weight_decay_too_strong(ran(**how, tests=tests))
    answer = weight_decay_too_strong(ran(**how, tests=tests | {"undecayed_unseen": fresh}))
    assert isinstance(answer, str) != fires
    assert fires or answer.endswith("not so on samples that it has not seen")


def test_refuted_where_it_is_not_the_decay(ran):
    forks = {"undecayed": (2.3, 2.29)}
    said = weight_decay_too_strong(ran(constant=(2.3, 2.3), groups=[DECAYED], tests=forks))
    assert said.startswith("without weight decay")


def test_not_applicable(ran):
    groups = [(("0.weight",), {"lr": 0.1, "weight_decay": 0.0})]
    with pytest.raises(NotApplicable, match="no parameter group"):
        weight_decay_too_strong(ran(groups=groups, loss=np.ones(20)))

"""SD704: units that fired at first and are dead at the end; whether that matters, forks decide.

The count is made again here with plain torch, on nets of which some units are killed by hand.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.measure.intervene import Interventions
from sounding.result import NotApplicable
from sounding.rules.dying import units_died
from sounding.watch.observer import Observer
from sounding.zoo.nets import mlp

WORSE, SAME = (2.0, 0.3), (2.0, 1.9)


@pytest.fixture
def rectified(examine):
    return examine(mlp(64, 16, 16, 10)).readings


def outcomes(died=10, *, die_slowly=0, **forks):
    counts = {"samples": 1024.0, "alive:1": 16.0, "died:1": float(died), "alive:3": 16.0}
    counts |= {"died:3": 1.0, "as_is": float(died), "slower": float(die_slowly), "steps": 64.0}
    usual = dict.fromkeys(("slower", "leaking", "leaking_on"), SAME)
    return {"deaths": counts | {"onset": 12.0}} | usual | forks


def test_what_is_found_and_what_is_advised(ran, rectified):
    found = units_died(
        ran(readings=rectified, constant=(2.3, 2.0), tests=outcomes(slower=WORSE, died=9))
    )
    assert (found.code, found.severity, found.layers) == ("SD704", "problem", ("1",))
    assert "9 of the 16 units of 1" in found.message
    assert "half of them by step 12" in found.message
    assert found.remedies[0].name == "scale_lr"
    found = units_died(ran(readings=rectified, constant=(2.3, 2.0), tests=outcomes(leaking=WORSE)))
    assert found.remedies[0].name == "change_activation"


@pytest.mark.parametrize(
    ("now", "made"),
    [
        (0.3, outcomes(leaking=WORSE)),  # it has learnt all the same
        (2.0, outcomes(died=4, leaking=WORSE)),  # a quarter of a layer
        (2.0, outcomes()),  # no fork is better
    ],
)
def test_silent(ran, rectified, now, made):
    said = units_died(ran(readings=rectified, constant=(2.3, now), tests=made))
    assert said is None or "does not end clearly lower" in said


def test_a_lower_rate_that_kills_as_many_is_no_evidence(ran, rectified):
    made = outcomes(slower=WORSE, die_slowly=9)
    assert isinstance(units_died(ran(readings=rectified, constant=(2.3, 2.0), tests=made)), str)


def test_not_applicable(ran, rectified, examine):
    smooth = examine(mlp(64, 16, 10, activation=nn.Tanh)).readings
    with pytest.raises(NotApplicable, match="rectifier"):
        units_died(ran(readings=smooth, constant=(2.3, 2.0), tests=outcomes()))
    with pytest.raises(NotApplicable, match="beginning"):
        units_died(ran(readings=rectified, loss=torch.ones(50), constant=(2.3, 2.0)))


def watched(kill, steps=20):
    """A net of 12 units behind batches that are all the same; `kill` units after `steps` steps."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 8), torch.randint(0, 3, (64,))
    observer = Observer()
    with observer.watching():
        net = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3))
        first = net(x).argmax(1), (net[1](net[0](x)) > 0).any(0)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
        for _ in range(steps):
            optimiser.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimiser.step()
        with torch.no_grad():
            net[0].bias[:kill] = -100.0
    (record,) = observer.records.values()
    last = (net[1](net[0](x)) > 0).any(0)
    return Interventions(record.scene()).make("deaths"), int((first[1] & ~last).sum())


@pytest.mark.parametrize("kill", [0, 5])
def test_the_count_is_exact(kill):
    test, died = watched(kill)
    assert not test.failed
    assert died >= kill
    assert test["died:1"] == died
    assert test["samples"] == 16 * 64
    assert test["as_is"] == 0  # the steps themselves kill none
    assert (test["onset"] != test["onset"]) == (kill > 0)  # nan: later than those


class Pulled(nn.Module):
    """Gives out the sum of its biases too."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.down(torch.relu(self.up(x))), self.up.bias.sum()


def test_what_kills_is_dated():
    """From step 30 on the loss pulls all biases down by a quarter a step, at a tenth of the rate
    by a fortieth; inputs of deviation 1 hold a unit up until about -3.
    """
    torch.manual_seed(0)
    x, y = torch.randn(256, 8), torch.randint(0, 3, (256,))
    observer = Observer()
    with observer.watching():
        net = Pulled()
        optimiser = torch.optim.SGD(net.parameters(), lr=0.05)
        for step in range(60):
            optimiser.zero_grad()
            rows = torch.arange(32 * step, 32 * step + 32) % 256
            scores, biases = net(x[rows])
            loss = F.cross_entropy(scores, y[rows]) + (5.0 if step >= 30 else 0.0) * biases
            loss.backward()
            optimiser.step()
    (record,) = observer.records.values()
    test = Interventions(record.scene()).make("deaths")
    assert (test["died:#relu"], test["slower"]) == (16, 0)
    assert 34 < test["onset"] < 45

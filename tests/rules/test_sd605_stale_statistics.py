"""SD605: statistics taken anew decide; the momentum is compared with an average by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import watched

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.batch_norm import SETTLED, stale_statistics
from sounding.watch.diagnosis import diagnose
from sounding.watch.observer import Observer
from sounding.zoo.nets import mlp


def normed(momentum=0.1):
    return nn.Sequential(
        *(nn.Linear(64, 32), nn.BatchNorm1d(32, momentum=momentum), nn.ReLU(), nn.Linear(32, 10))
    )


def anew(before, after, *, error=0.01, level=2.3):
    return {
        "recalibrated": {"before": before, "after": after, "error": error},
        "constant": {"constant_loss": level},
    }


def test_statistics_taken_anew_decide(examine):
    readings = examine(normed(0.001)).readings
    with pytest.raises(Untested, match="recalibrated"):
        stale_statistics(watched(readings))
    finding = stale_statistics(watched(readings, tests=anew(0.7, 0.05)))
    assert (finding.code, finding.severity) == ("SD605", "problem")
    assert "the loss is 0.7, and 0.05 with statistics taken anew" in finding.message
    assert [str(r) for r in finding.remedies] == ["recalibrate_statistics()"]


@pytest.mark.parametrize("momentum", [0.001, 0.01, 0.1])
def test_what_is_left_of_the_first_values(momentum, examine):
    """A running mean of ones that began at zero."""
    norm = nn.BatchNorm1d(1, momentum=momentum)
    for _ in range(100):
        norm(torch.ones(4, 1))
    left = 1 - float(norm.running_mean)
    readings = watched(examine(normed(momentum)).readings, steps=100, tests=anew(0.7, 0.05))
    message = stale_statistics(readings).message
    assert (f"keeps {left:.0%} of the first values" in message) == (momentum < 0.1)


def test_torchs_momentum_settles_in_so_many_steps():
    assert 0.9**SETTLED < 0.1 < 0.9 ** (SETTLED - 1)


@pytest.mark.parametrize(
    "tests",
    [
        anew(0.26, 0.05),  # less than a tenth of what a constant leaves
        anew(0.7, 0.4),  # something else is most of it
        anew(0.7, 0.05, error=0.3),
        anew(0.05, 0.05),
    ],
)
def test_refuted(tests, examine):
    found = stale_statistics(watched(examine(normed()).readings, tests=tests))
    assert found is None or "with statistics taken anew" in found


def test_only_just_begun(examine):
    readings = watched(examine(normed()).readings, steps=SETTLED - 1, tests=anew(0.7, 0.05))
    assert stale_statistics(readings) is None


def test_not_applicable(examine):
    with pytest.raises(NotApplicable, match="no batch norm"):
        stale_statistics(watched(examine(mlp(64, 32, 10)).readings))
    with pytest.raises(NotApplicable, match="no training was watched"):
        stale_statistics(examine(normed()).readings)


@pytest.mark.parametrize("momentum", [0.1, 0.001])
def test_in_a_loop(momentum):
    torch.manual_seed(0)
    y = torch.arange(512) % 4
    x = 3 * torch.randn(4, 8)[y] + torch.randn(512, 8) + 2
    observer = Observer()
    with observer.watching():
        net = nn.Sequential(
            *(nn.Linear(8, 32), nn.BatchNorm1d(32, momentum=momentum), nn.ReLU(), nn.Linear(32, 4))
        )
        optimiser = torch.optim.Adam(net.parameters(), lr=5e-3)
        for _ in range(100):
            rows = torch.randint(0, 512, (64,))
            optimiser.zero_grad()
            functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
        net.eval()
        with torch.no_grad():
            net(x)
    found = [f.code for f in diagnose(observer, "loop").findings]
    assert ("SD605" in found) == (momentum < 0.1)

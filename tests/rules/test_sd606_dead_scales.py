"""SD606: scales that block the main path; those at the end of a branch, or of a net that learns."""

import pytest
import torch
from torch import nn
from trainings import watched

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.norm_scales import DEAD, dead_scales
from sounding.zoo.nets import mlp


def constant(learned):
    return {"constant": {"constant_loss": 2.3, "now_loss": 2.0, "learned": learned}}


def normed():
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))


class Branches(nn.Module):
    """Residual blocks that end in a norm, whose scales begin at zero (Goyal et al. 2017)."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(64, 32), nn.Linear(32, 10)
        self.block = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32))
        self.norm = nn.LayerNorm(32)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x):
        x = self.first(x)
        return self.head(torch.relu(x + self.norm(self.block(x))))


def test_nothing_is_learnt(examine):
    readings = examine(normed()).readings
    scales = {"1.weight": 0.001}
    with pytest.raises(Untested, match="constant"):
        dead_scales(watched(readings, scales=scales))
    finding = dead_scales(watched(readings, scales=scales, tests=constant(0.5)))
    assert (finding.code, finding.severity, finding.layers) == ("SD606", "problem", ("1",))
    assert finding.message.startswith("no scale of 1 is larger than 0.001")


def test_refuted_by_learning(examine):
    said = dead_scales(
        watched(examine(normed()).readings, scales={"1.weight": 0.0}, tests=constant(20.0))
    )
    assert "yet 13% of the loss is explained" in said


def test_below_this_the_next_norm_does_not_make_it_larger_again():
    """A unit signal, scaled, through a second norm: halved in the square where eps is as large."""
    x = torch.randn(4096, 1, dtype=torch.float64)
    norm = nn.BatchNorm1d(1, dtype=torch.float64)
    x = (x - x.mean()) / x.std(correction=0)
    assert float(norm(DEAD * x).detach().square().mean()) == pytest.approx(0.5, rel=1e-3)
    assert float(norm(x).detach().square().mean()) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("size", [0.01, 1.0])
def test_healthy(size, examine):
    assert dead_scales(watched(examine(normed()).readings, scales={"1.weight": size})) is None


def test_a_branch_may_end_in_zeros(examine):
    assert dead_scales(watched(examine(Branches()).readings, scales={"norm.weight": 0.0})) is None


def test_not_applicable(examine):
    with pytest.raises(NotApplicable):
        dead_scales(examine(mlp(64, 32, 10)).readings)


def test_two_layers_of_dead_scales_learn_nothing():
    """Why it is a problem: with zeros in a row, only the last bias gets a gradient."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU()),
        *(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)),
    )
    for norm in (net[1], net[4]):
        nn.init.zeros_(norm.weight)
    nn.functional.cross_entropy(net(torch.randn(64, 8)), torch.arange(64) % 3).backward()
    moved = [name for name, p in net.named_parameters() if bool((p.grad != 0).any())]
    assert moved == ["6.bias"]

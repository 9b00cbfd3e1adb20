"""SD601: few samples behind a statistic raise the suspicion, a fork without batch norm decides.

The error of a deviation is compared with the scatter of deviations that are drawn.
"""

import math

import pytest
import torch
from torch import nn
from trainings import constant, fork, watched

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.batch_norm import batch_too_small
from sounding.zoo.nets import mlp


def normed():
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))


def small(examine, batch, rows=2, net=None):
    return examine(net or normed(), data=(batch[0][:rows], batch[1][:rows])).readings


HARM = {
    "constant": constant(2.3, 1.9),
    "unbatched": fork(2.0, 0.2),
    "repeat": {"eval_loss": 1.2},
}


def test_the_fork_decides(examine, batch):
    readings = small(examine, batch)
    with pytest.raises(Untested, match="constant"):
        batch_too_small(watched(readings))
    finding = batch_too_small(watched(readings, tests=HARM))
    assert (finding.code, finding.severity) == ("SD601", "problem")
    assert finding.layers == ("1",)
    assert "each sample leaves it as +1 or -1" in finding.message
    assert "the loss ends at 0.2 instead of 2 in 200 steps" in finding.message
    assert [str(r) for r in finding.remedies] == ["exchange_norm(to='layer')"]


def test_two_samples_leave_as_plus_and_minus_one():
    out = nn.BatchNorm1d(32)(torch.randn(2, 32))
    assert float(out.detach().abs().median()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("rows", [3, 5, 8])
def test_the_error_of_a_deviation(rows, examine, batch):
    """Of samples from a normal distribution, to first order in 1 / rows."""
    finding = batch_too_small(watched(small(examine, batch, rows), tests=HARM))
    draws = torch.randn(20_000, rows).std(1)
    scatter = float(draws.std() / draws.mean())
    assert finding.measured["relative_error"] == pytest.approx(scatter, rel=0.1)


def test_images_get_a_group_norm(examine, batch):
    net = nn.Sequential(
        *(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(144, 10)),
    )
    finding = batch_too_small(watched(small(examine, batch, net=net), tests=HARM))
    assert [str(r) for r in finding.remedies] == ["exchange_norm(to='group')"]


@pytest.mark.parametrize(
    "changed",
    [
        {"unbatched": fork(0.5, 0.2)},
        {"unbatched": fork(1.0, 1.1)},
        {"unbatched": fork(2.0, 0.2, error=0.9)},
        {"unbatched": fork(2.0, math.inf)},
        {"repeat": {"eval_loss": 0.3}},  # noisy in training only
    ],
)
def test_refuted(changed, examine, batch):
    readings = watched(small(examine, batch), tests=HARM | changed)
    assert "2 samples stand behind each statistic of 1" in batch_too_small(readings)


@pytest.mark.parametrize(
    ("rows", "evaluated", "found"), [(2, 0.45, True), (3, 0.45, False), (2, 0.3, False)]
)
def test_signs_are_another_function(rows, evaluated, found, examine, batch):
    """Half of what the evaluation leaves is enough where training sees signs only."""
    tests = HARM | {"repeat": {"eval_loss": evaluated}}
    answer = batch_too_small(watched(small(examine, batch, rows), tests=tests))
    assert isinstance(answer, str) != found


def test_a_quarter_of_the_constant_is_enough_for_signs_too(examine, batch):
    """What the evaluation leaves may be more than a constant leaves."""
    tests = HARM | {"repeat": {"eval_loss": 2.7}, "unbatched": fork(5.0, 2.0)}
    tests["constant"] = constant(2.3, 5.0)
    assert batch_too_small(watched(small(examine, batch), tests=tests)).code == "SD601"


def test_enough_samples(examine):
    assert batch_too_small(watched(examine(normed()).readings)) is None


def test_frozen_norms_are_the_business_of_another_rule(examine, batch):
    readings = watched(small(examine, batch), tests=HARM, frozen=("1.weight", "1.bias"))
    assert batch_too_small(readings) is None


@pytest.mark.parametrize("net", [mlp(64, 32, 10), normed().eval()])
def test_not_applicable(net, examine, batch):
    with pytest.raises(NotApplicable, match="no batch norm"):
        batch_too_small(watched(small(examine, batch, net=net)))

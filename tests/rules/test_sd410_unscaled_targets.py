"""SD410: the fork decides over the size of the targets."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import constant, fork, trained

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.targets import unscaled_targets
from sounding.zoo.nets import mlp


def regression(examine, target, loss=functional.mse_loss):
    return examine(mlp(4, 8, 1), data=(torch.randn(64, 4), target), loss=loss).readings


def test_the_fork_decides(examine):
    readings = regression(examine, 3000 + 2000 * torch.randn(64, 1))
    with pytest.raises(Untested, match="constant"):
        unscaled_targets(readings)
    level = constant(4e6, 1.2e7)
    finding = unscaled_targets(
        trained(readings, constant=level, scaled_targets=fork(1.2e7, 2e5, error=1e4))
    )
    assert (finding.code, finding.severity) == ("SD410", "problem")
    assert finding.measured["mean"] == pytest.approx(3000, rel=0.2)
    (remedy,) = finding.remedies
    assert remedy.name == "standardise_targets"
    assert remedy.arguments["std"] == pytest.approx(2000, rel=0.2)
    said = unscaled_targets(
        trained(readings, constant=level, scaled_targets=fork(5e5, 4e5, error=1e4))
    )
    assert said.endswith("the loss ends at 4e+05 instead of 5e+05 in 200 steps")


def test_written_by_hand(examine):
    def by_hand(output, target):
        return ((output - target) ** 2).mean()

    with pytest.raises(Untested):
        unscaled_targets(regression(examine, 100 * torch.randn(64, 1), by_hand))


def test_silent_on_targets_of_ordinary_size(examine):
    assert unscaled_targets(regression(examine, torch.randn(64, 1) + 1)) is None


def test_silent_on_constant_zeros(examine):
    """The residual of a differential equation is compared with 0."""
    assert unscaled_targets(regression(examine, torch.zeros(64, 1))) is None


def test_not_applicable_to_classes_and_to_other_losses(examine):
    with pytest.raises(NotApplicable, match="no distance"):
        unscaled_targets(examine(mlp(64, 8, 10)).readings)

    def policy(output, advantage):
        return -(output * advantage).mean()

    with pytest.raises(NotApplicable, match="no distance"):
        unscaled_targets(regression(examine, 50 * torch.randn(64, 1), policy))
    flags = nn.Sequential(mlp(4, 8, 1), nn.Sigmoid())
    data = torch.randn(64, 4), (torch.arange(64) < 3).float()[:, None]
    assert unscaled_targets(examine(flags, data=data, loss=functional.mse_loss).readings) is None

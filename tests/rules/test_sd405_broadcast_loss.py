"""SD405: (N, 1) against (N,); and comparisons of all pairs that are meant."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.result import NotApplicable
from sounding.rules.loss_output import broadcast_loss
from sounding.zoo.nets import mlp


def squared(output, target):
    return ((output - target) ** 2).mean()


def test_found_and_its_best_output_is_a_constant(examine):
    x, y = torch.randn(32, 4), torch.randn(32)
    finding = broadcast_loss(examine(mlp(4, 8, 1), data=(x, y), loss=squared).readings)
    assert (finding.code, finding.severity, finding.confidence) == ("SD405", "problem", "exact")
    assert finding.measured["elements"] == 32 * 32
    assert finding.expected["elements"] == 32
    assert "(32, 1) and the target (32,)" in finding.message
    assert finding.source.rpartition(":")[0].endswith("test_sd405_broadcast_loss.py")
    output = torch.zeros(32, 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([output])

    def closure():
        optimiser.zero_grad()
        loss = squared(output, y)
        loss.backward()
        return loss

    for _ in range(5):
        optimiser.step(closure)
    assert torch.allclose(output, y.mean().expand(32, 1), atol=1e-4)


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_torchs_own_loss_and_the_other_way_around(examine):
    x = torch.randn(32, 4)
    found = examine(mlp(4, 8, 1), data=(x, torch.randn(32)), loss=functional.l1_loss)
    assert broadcast_loss(found.readings)
    flat = nn.Sequential(mlp(4, 8, 1), nn.Flatten(0))
    assert broadcast_loss(examine(flat, data=(x, torch.randn(32, 1)), loss=squared).readings)


@pytest.mark.parametrize("shape", [(32, 1), (32, 5)])
def test_silent_on_shapes_that_are_meant(shape, examine):
    """The same shape; several targets for each output, as quantiles have."""
    data = torch.randn(32, 4), torch.randn(*shape)
    assert broadcast_loss(examine(mlp(4, 8, 1), data=data, loss=squared).readings) is None


def test_silent_on_pairs_that_are_meant(examine):
    def all_pairs(output, target):
        return squared(output[:, :, None], target[:, None, :])

    data = torch.randn(32, 4), torch.randn(32, 9)
    assert broadcast_loss(examine(mlp(4, 8, 9), data=data, loss=all_pairs).readings) is None


def test_not_applicable_without_a_target(examine):
    def spread(output, _):
        return functional.mse_loss(output[:16], output[16:])

    data = torch.randn(32, 4), torch.randn(32)
    with pytest.raises(NotApplicable, match="not a target"):
        broadcast_loss(examine(mlp(4, 8, 1), data=data, loss=spread).readings)

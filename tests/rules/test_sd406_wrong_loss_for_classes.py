"""SD406: the squared error of probabilities, only where a run hardly learnt.

The factor of the gradient is compared with autograd's, at the outputs that training starts from.
"""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import constant, trained

from sounding.measure.test import Untested
from sounding.rules.loss_output import wrong_loss_for_classes
from sounding.zoo.nets import mlp


def by_hand(output, target):
    return ((output - functional.one_hot(target, 10)) ** 2).mean()


def by_torch(output, target):
    return functional.mse_loss(output, functional.one_hot(target, 10).float())


def sizes_by_hand(output, target):
    return (output - functional.one_hot(target, 10)).abs().mean()


def sizes_by_torch(output, target):
    return functional.l1_loss(output, functional.one_hot(target, 10).float())


def softmaxed():
    return nn.Sequential(mlp(64, 16, 10), nn.Softmax(1))


@pytest.mark.parametrize("loss", [by_hand, by_torch, sizes_by_hand, sizes_by_torch])
@pytest.mark.parametrize("last", [nn.Softmax(1), nn.Sigmoid()])
def test_the_gradient_at_the_start_is_that_part_of_cross_entropys(loss, last, examine):
    net = nn.Sequential(mlp(64, 16, 10), last)
    readings = examine(net, loss=loss).readings
    finding = wrong_loss_for_classes(trained(readings, constant=constant(0.09, 0.085)))
    scores = torch.zeros(32, 10, requires_grad=True)
    target = torch.arange(32) % 10
    (small,) = torch.autograd.grad(loss(last(scores), target), scores)
    right = {
        nn.Softmax: lambda: functional.cross_entropy(scores, target),
        nn.Sigmoid: lambda: (
            functional.binary_cross_entropy_with_logits(
                scores, functional.one_hot(target, 10).float(), reduction="sum"
            )
            / 32
        ),
    }[type(last)]()
    (full,) = torch.autograd.grad(right, scores)
    assert torch.allclose(small, finding.measured["gradient_factor"] * full, atol=1e-7)


def test_fires_where_the_run_hardly_beat_a_constant(examine):
    readings = examine(softmaxed(), loss=by_hand).readings
    finding = wrong_loss_for_classes(trained(readings, constant=constant(0.09, 0.084)))
    assert (finding.code, finding.severity) == ("SD406", "problem")
    assert finding.measured["explained"] == pytest.approx(1 - 0.084 / 0.09)
    assert "0.02 times that of the cross-entropy" in finding.message
    assert finding.message.endswith("before the softmax to cross_entropy")


def test_adaptive_optimisers_divide_the_factor_out(examine):
    readings = examine(softmaxed(), loss=by_hand, optimiser="adam").readings
    finding = wrong_loss_for_classes(trained(readings, constant=constant(0.09, 0.084)))
    assert finding.severity == "caution"


def test_a_run_that_diverged_has_learnt_nothing(examine):
    readings = examine(softmaxed(), loss=by_hand).readings
    finding = wrong_loss_for_classes(trained(readings, constant=constant(0.09, math.nan)))
    assert finding.severity == "problem"


def test_refuted_where_it_learns(examine):
    readings = examine(softmaxed(), loss=by_hand).readings
    said = wrong_loss_for_classes(trained(readings, constant=constant(0.09, 0.01)))
    assert said.endswith("yet it fell to 0.01, where the best constant leaves 0.09")


def test_only_suspected_without_a_training(examine):
    with pytest.raises(Untested, match="constant"):
        wrong_loss_for_classes(examine(softmaxed(), loss=by_hand).readings)


def test_silent_on_an_overlap_and_on_a_cross_entropy_by_hand(examine):
    """Dice's loss multiplies the two, and a cross-entropy takes the logarithm."""

    def dice(output, target):
        target = functional.one_hot(target, 10)
        return 1 - 2 * (output * target).sum() / (output.sum() + target.sum())

    def entropy(output, target):
        return -(functional.one_hot(target, 10) * output.log()).sum(1).mean()

    for loss in (dice, entropy):
        assert wrong_loss_for_classes(examine(softmaxed(), loss=loss).readings) is None


def test_silent_on_pictures_and_on_scores(examine, batch):
    pixels = (batch[0], batch[0] / batch[0].max())
    net = nn.Sequential(mlp(64, 16, 64), nn.Sigmoid())
    readings = examine(net, data=pixels, loss=functional.mse_loss).readings
    assert wrong_loss_for_classes(readings) is None
    assert wrong_loss_for_classes(examine(mlp(64, 16, 10), loss=by_hand).readings) is None

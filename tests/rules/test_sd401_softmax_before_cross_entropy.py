"""SD401: a softmax of a softmax, by the sums of the scores and by the floor that follows.

The floor is compared with the best that gradient descent finds; a rule that went by the module's
name would miss a softmax written by hand, and one that went by the range a sparse row of scores.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.result import NotApplicable
from sounding.rules.loss_input import softmax_before_cross_entropy
from sounding.zoo.nets import mlp


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_the_floor_is_what_the_best_scores_reach(classes, examine):
    x, y = torch.randn(32, 8), torch.arange(32) % classes
    net = nn.Sequential(mlp(8, 16, classes), nn.Softmax(1))
    finding = softmax_before_cross_entropy(examine(net, data=(x, y)).readings)
    floor = finding.measured["lowest_loss"]
    best = functional.cross_entropy(functional.one_hot(y, classes).float(), y)
    assert floor == pytest.approx(float(best))
    for sharpness in (0.1, 1.0, 10.0, 100.0):  # none of many others comes below
        scores = torch.softmax(sharpness * torch.randn(200, 32, classes), 2)
        smoothed = [functional.cross_entropy(s, y, label_smoothing=0.1) for s in scores]
        assert min(float(functional.cross_entropy(s, y)) for s in scores) > floor
        assert float(min(smoothed)) > floor


def test_says_what_to_drop_and_where(examine):
    net = nn.Sequential(mlp(64, 16, 10), nn.Softmax(1))
    finding = softmax_before_cross_entropy(examine(net).readings)
    assert (finding.code, finding.severity, finding.confidence) == ("SD401", "problem", "exact")
    assert finding.message.endswith("= 1.46; drop the softmax")
    assert finding.layers == ("1",)
    assert [r.name for r in finding.remedies] == ["remove_output_activation"]


def test_a_softmax_by_hand_and_one_in_the_loss(examine):
    class ByHand(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp(64, 16, 10)

        def forward(self, x):
            e = self.body(x).exp()
            return e / e.sum(1, keepdim=True)

    assert softmax_before_cross_entropy(examine(ByHand()).readings)

    def loss(output, target):
        return functional.cross_entropy(functional.softmax(output, 1), target)

    finding = softmax_before_cross_entropy(examine(mlp(64, 16, 10), loss=loss).readings)
    assert finding.remedies == ()  # no module of the model to take away


def test_images_of_classes(examine):
    x, y = torch.randn(4, 1, 6, 6), torch.randint(0, 3, (4, 6, 6))
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Softmax(1))
    assert softmax_before_cross_entropy(examine(net, data=(x, y)).readings)


@pytest.mark.parametrize("last", [nn.Identity(), nn.LogSoftmax(1), nn.Sigmoid(), nn.ReLU()])
def test_silent_on_other_scores(last, examine):
    """A log-softmax twice is one; sums of sigmoids are no probabilities."""
    net = nn.Sequential(mlp(64, 16, 10), last)
    assert softmax_before_cross_entropy(examine(net).readings) is None


def test_silent_on_probabilities_that_are_meant(examine, batch):
    x, y = batch[0], torch.rand(64, 10).softmax(1)
    net = nn.Sequential(mlp(64, 16, 10), nn.Softmax(1))

    def by_hand(output, target):
        return -(target * output.log()).sum(1).mean()

    for loss in (by_hand, functional.mse_loss, functional.binary_cross_entropy):
        assert softmax_before_cross_entropy(examine(net, data=(x, y), loss=loss).readings) is None


def test_not_applicable_where_the_call_was_not_seen(examine):
    readings = examine(mlp(64, 16, 10), loss=lambda output, target: output.square().mean()).readings
    with pytest.raises(NotApplicable, match="was not seen"):
        softmax_before_cross_entropy(readings)

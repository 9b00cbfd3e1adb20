"""SD414: probabilities, or raw scores, where log-probabilities are expected."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.rules.loss_input import missing_log
from sounding.zoo.nets import mlp


def net(*last):
    return nn.Sequential(mlp(64, 16, 10), *last)


def test_probabilities_lose_the_gradient_where_the_net_is_wrong(examine, batch):
    finding = missing_log(examine(net(nn.Softmax(1)), loss=functional.nll_loss).readings)
    assert (finding.code, finding.severity, finding.layers) == ("SD414", "problem", ("1",))
    assert finding.message.endswith("put log_softmax for the softmax")
    scores = torch.tensor([[12.0, 0.0]], requires_grad=True)
    wrong = torch.tensor([1])
    (plain,) = torch.autograd.grad(functional.nll_loss(scores.softmax(1), wrong), scores)
    (logs,) = torch.autograd.grad(functional.nll_loss(scores.log_softmax(1), wrong), scores)
    assert plain.abs().max() < 1e-4
    assert logs.abs().max() > 0.99


def test_raw_scores_have_no_floor(examine):
    finding = missing_log(examine(net(), loss=functional.nll_loss).readings)
    assert "the loss has no lower bound" in finding.message
    assert finding.message.endswith("apply log_softmax before it")


def test_divergence_of_probabilities(examine, batch):
    target = torch.randn(64, 10).softmax(1)

    def divergence(output, target):
        return functional.kl_div(output, target, reduction="batchmean")

    data = batch[0], target
    assert missing_log(examine(net(nn.Softmax(1)), data=data, loss=divergence).readings)
    assert missing_log(examine(net(nn.LogSoftmax(1)), data=data, loss=divergence).readings) is None


def test_silent_on_the_divergence_the_other_way_around(examine, batch):
    """KL(student, teacher): the model's probabilities are the second argument."""

    def reverse(output, teacher):
        return functional.kl_div(teacher, output.softmax(1), reduction="batchmean")

    data = batch[0], torch.randn(64, 10).log_softmax(1)
    assert missing_log(examine(net(), data=data, loss=reverse).readings) is None


@pytest.mark.parametrize("offset", [0.0, 1e-8, 1e-3])
def test_silent_on_logarithms_with_an_offset(offset, examine):
    class Offset(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp(64, 16, 10)

        def forward(self, x):
            return torch.log(torch.softmax(100 * self.body(x), 1) + offset)

    assert missing_log(examine(Offset(), loss=functional.nll_loss).readings) is None


def test_silent_on_other_losses(examine):
    assert missing_log(examine(net()).readings) is None
    assert missing_log(examine(net(nn.Softmax(1))).readings) is None  # SD401

"""SD404: probabilities that sum to 1 over the samples; and what compares samples on purpose.

What is exchanged in the batch changes the output: seen here by exchanging it, independently.
"""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.measure.test import Test, Untested
from sounding.rules.loss_input import softmax_over_batch
from sounding.zoo.nets import mlp


def net(last):
    return nn.Sequential(mlp(64, 16, 10), last)


@pytest.mark.parametrize("last", [nn.LogSoftmax(0), nn.LogSoftmax(1)])
def test_found_where_an_output_depends_on_the_other_samples(last, examine, batch):
    model = net(last)
    x = batch[0]
    other = torch.cat([x[:1], x[40:]])
    depends = not torch.allclose(model(x)[:1], model(other)[:1])
    readings = examine(model, loss=functional.nll_loss).readings
    finding = softmax_over_batch(readings)
    assert bool(finding) == depends
    if depends:
        assert (finding.code, finding.severity) == ("SD404", "problem")
        assert finding.message.endswith("take dim=1")


def test_by_its_numbers_where_the_operation_is_another_one(examine):
    def loss(output, target):
        return functional.nll_loss(torch.log(functional.softmax(output, 0)), target)

    assert softmax_over_batch(examine(mlp(64, 16, 10), loss=loss).readings)


def test_plain_probabilities(examine, batch):
    target = functional.one_hot(batch[1], 10).float()
    data = (batch[0], target)
    found = examine(net(nn.Softmax(0)), data=data, loss=functional.binary_cross_entropy)
    assert softmax_over_batch(found.readings)
    found = examine(net(nn.Softmax(1)), data=data, loss=functional.binary_cross_entropy)
    assert softmax_over_batch(found.readings) is None


def test_another_dimension_than_the_classes(examine):
    x, y = torch.randn(4, 1, 6, 6), torch.randint(0, 3, (4, 6, 6))
    for dimension, wrong in ((1, False), (2, True), (3, True)):
        model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.LogSoftmax(dimension))
        readings = examine(model, data=(x, y), loss=functional.nll_loss).readings
        assert bool(softmax_over_batch(readings)) == wrong


def test_classes_put_in_place_by_view_and_by_permute(examine):
    class Sequence(nn.Module):
        def __init__(self, arrange):
            super().__init__()
            self.head, self.arrange = nn.Linear(4, 3), arrange

        def forward(self, x):
            return self.arrange(torch.log_softmax(self.head(x), -1))

    data = torch.randn(8, 5, 4), torch.randint(0, 3, (8, 5))
    for arrange, wrong in (
        (lambda p: p.permute(0, 2, 1), False),
        (lambda p: p.reshape(8, 3, 5), True),
    ):
        found = examine(Sequence(arrange), data=data, loss=functional.nll_loss)
        assert bool(softmax_over_batch(found.readings)) == wrong


class Pairs(nn.Module):
    """Scores of every text against every image of the batch."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 4), nn.Linear(8, 4)

    def forward(self, x):
        return self.first(x) @ self.second(x).T


def test_silent_where_each_sample_is_its_own_class(examine):
    def both(scores, target):
        over = [functional.nll_loss(scores.log_softmax(d), target) for d in (0, 1)]
        return sum(over)

    found = examine(Pairs(), data=(torch.randn(16, 8), torch.arange(16)), loss=both)
    assert softmax_over_batch(found.readings) is None


class Attending(nn.Module):
    """Attention of 5 tokens among one another, normalised along `dimension`."""

    def __init__(self, dimension):
        super().__init__()
        self.key, self.value, self.head = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.dimension = dimension

    def forward(self, x):
        weights = torch.softmax(x @ self.key(x).transpose(1, 2), self.dimension)
        return self.head((weights @ self.value(x)).mean(1))


def test_inside_the_model_the_test_decides(examine):
    data = torch.randn(16, 5, 8), torch.randint(0, 3, (16,))
    assert softmax_over_batch(examine(Attending(-1), data=data).readings) is None
    readings = examine(Attending(0), data=data).readings
    with pytest.raises(Untested, match="mixing"):
        softmax_over_batch(readings)

    def mixing(change):
        test = Test(name="mixing", values={"eval": change, "train": change})
        return softmax_over_batch(dataclasses.replace(readings, tests={"mixing": test}))

    assert mixing(0.02).severity == "problem"
    assert mixing(0.02).layers == ("#softmax",)
    assert mixing(1e-6).endswith("yet no sample changes another's output")

"""SD419: the classes of the loss are no dimension of the output."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.result import NotApplicable
from sounding.rules.pulls import reshaped_scores


def run(shape, *, weight=None, smoothing=0.0, ignored=-100):
    def train():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Embedding(9, 16), nn.Linear(16, 5))
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            ids = torch.randint(0, 9, (16, 6))
            optimiser.zero_grad()
            functional.cross_entropy(
                shape(net(ids)),
                ids % 5,
                weight=weight,
                label_smoothing=smoothing,
                ignore_index=ignored,
            ).backward()
            optimiser.step()

    return train


def viewed(scores):
    return scores.view(16, 5, 6)


def turned(scores):
    return scores.transpose(1, 2)


HOW = [
    {},
    {"weight": torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])},
    {"smoothing": 0.2},
    {"ignored": 0},
]


@pytest.mark.parametrize("how", HOW)
def test_a_view_is_found_and_a_transpose_is_not(watch, how):
    finding, _ = watch(run(viewed, **how), "SD419")
    assert finding.severity == "problem"
    assert finding.measured["sum_along_classes"] > 0.05
    assert watch(run(turned, **how), "SD419")[0] is None


def test_the_shapes_alone_do_not_tell():
    scores = torch.randn(16, 6, 5)
    assert viewed(scores).shape == turned(scores).shape
    assert not torch.equal(viewed(scores), turned(scores))


def test_not_applicable(ran):
    with pytest.raises(NotApplicable, match="several places"):
        reshaped_scores(ran())

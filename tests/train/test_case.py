"""Cases: what they refuse, and their first batch."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.train import Case, Recipe, first_batch, train

X = torch.randn(20, 3)
RECIPE = Recipe(lr=0.1, batch_size=4, steps=3)


def _net():
    return nn.Linear(3, 3)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"build": nn.Linear(2, 2)}, "pass a function that makes a new network"),
        ({"loss": "mse"}, "pass a function of"),
        ({"recipe": {"lr": 0.1}}, r"pass for example sounding\.Recipe"),
        ({"batches": None}, "pass a pair"),
    ],
)
def test_what_cannot_be_is_named(fields, words):
    case = Case(_net, functional.mse_loss, (X, X), RECIPE)
    with pytest.raises(TypeError, match=words):
        case.replace(**fields)


def test_the_first_batch_is_the_one_of_step_0():
    seen = []

    def loss(output, target):
        seen.append(target)
        return functional.mse_loss(output, target)

    case = Case(_net, loss, (X, X), RECIPE)
    train(case, 3)
    assert torch.equal(first_batch(case, 3)[1], seen[0])
    assert not torch.equal(first_batch(case, 4)[1], seen[0])

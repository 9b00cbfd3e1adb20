"""The scalar that is minimised: how a batch reaches the model, and what is no scalar."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.objective import Objective, as_objective, check_scalar


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x, scale=1.0):
        return self.layer(x) * scale


@pytest.fixture
def net():
    return Two()


def test_inputs_come_alone_in_a_tuple_or_by_name(net):
    x, y = torch.randn(4, 3), torch.randn(4, 1)
    objective = as_objective(F.mse_loss)
    expected = F.mse_loss(net(x, 2.0), y)
    assert torch.equal(objective(net, ((x, 2.0), y)), expected)
    assert torch.equal(objective(net, [[x, 2.0], y]), expected)
    assert torch.equal(objective(net, ({"x": x, "scale": 2.0}, y)), expected)
    assert torch.equal(objective(net, (x, y)), F.mse_loss(net(x), y))


def test_a_function_of_model_and_batch(net):
    objective = Objective(lambda model, batch: model(batch["x"]).square().mean())
    assert as_objective(objective) is objective
    batch = {"x": torch.randn(4, 3)}
    assert torch.equal(objective(net, batch), net(batch["x"]).square().mean())


@pytest.mark.parametrize("batch", [torch.zeros(3), (1,), (1, 2, 3), {"x": 1}, None])
def test_a_batch_that_is_no_pair(net, batch):
    with pytest.raises(ValueError, match=r"pair \(input, target\).*sounding\.Objective"):
        as_objective(F.mse_loss)(net, batch)


@pytest.mark.parametrize("loss", ["cross_entropy", None, 3])
def test_a_loss_that_cannot_be_called(loss):
    with pytest.raises(TypeError, match="pass a function of \\(output, target\\)"):
        as_objective(loss)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: 1.0, "is a float, but it must be a torch tensor"),
        (lambda p: p * 2, r"shape \(3,\).*reduction='mean'"),
        (lambda p: p.detach().sum(), "does not depend on any trainable parameter"),
    ],
)
def test_what_is_no_scalar_with_a_gradient(make, words):
    with pytest.raises(ValueError, match=words):
        check_scalar(make(nn.Parameter(torch.ones(3))))


def test_one_element_of_any_shape_is_a_scalar():
    for shape in ((), (1,), (1, 1)):
        loss = nn.Parameter(torch.ones(shape)) * 2
        assert check_scalar(loss) is loss

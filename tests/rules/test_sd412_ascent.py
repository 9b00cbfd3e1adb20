"""SD412: a step down what backward is called on, made by hand, raises the loss function."""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.rules.loss_output import ascent
from sounding.zoo.nets import mlp


def entropy(output, target):
    return functional.cross_entropy(output, target)


def rises(net, loss, batch):
    """Whether the cross-entropy is larger after one small step of gradient descent on `loss`."""
    net = copy.deepcopy(net)
    loss(net(batch[0]), batch[1]).backward()
    with torch.no_grad():
        before = entropy(net(batch[0]), batch[1])
        for p in net.parameters():
            p -= 1e-2 * p.grad
        return bool(entropy(net(batch[0]), batch[1]) > before)


LOSSES = {
    "as it is": entropy,
    "minus": lambda o, t: -entropy(o, t),
    "scaled": lambda o, t: 65536 * entropy(o, t) / 65536,
    "scaled minus": lambda o, t: -0.1 * entropy(o, t),
    "with decay": lambda o, t: entropy(o, t) - 1e-3 * o.square().mean(),
    "minus, by hand": lambda o, t: -functional.cross_entropy(o, t, reduction="none").mean(),
    "minus, summed": lambda o, t: -functional.cross_entropy(o, t, reduction="sum") / 64,
}


@pytest.mark.parametrize("name", LOSSES)
def test_found_where_a_step_raises_the_loss(name, examine, batch):
    net = mlp(64, 32, 10)
    finding = ascent(examine(net, loss=LOSSES[name]).readings)
    assert bool(finding) == rises(net, LOSSES[name], batch)
    assert bool(finding) == ("minus" in name)
    if finding:
        assert (finding.code, finding.severity) == ("SD412", "problem")
        assert finding.message.endswith("take away the minus")


def test_a_squared_error_by_hand(examine):
    data = torch.randn(32, 4), torch.randn(32, 1)
    for loss, wrong in (
        (lambda o, t: ((o - t) ** 2).mean(), False),
        (lambda o, t: -((o - t) ** 2).mean(), True),
        (lambda o, t: -(o - t).abs().sum() / 32, True),
        (lambda o, t: -(o * t).mean(), False),  # a policy's, or a similarity
        (lambda o, t: (o - t).square().mean() - 0.1 * o.std(), False),
    ):
        assert bool(ascent(examine(mlp(4, 8, 1), data=data, loss=loss).readings)) == wrong


def test_an_optimiser_that_maximises(examine):
    class Group:
        settings = {"lr": 0.1, "maximize": 1.0}  # noqa: RUF012

    class Loop:
        groups = (Group(),)

    readings = examine(mlp(64, 32, 10)).readings
    assert ascent(readings) is None
    finding = ascent(dataclasses.replace(readings, loop=Loop()))
    assert finding.message.endswith("take away the maximize")
    both = examine(mlp(64, 32, 10), loss=LOSSES["minus"]).readings
    assert ascent(dataclasses.replace(both, loop=Loop())) is None


def test_silent_on_weights_of_a_policy_gradient(examine):
    """All returns are negative, and so is every sample's factor."""

    def policy(output, action):
        returns = -1 - torch.rand(64)
        return (functional.cross_entropy(output, action, reduction="none") * returns).mean()

    readings = examine(mlp(64, 32, 10), loss=policy).readings
    assert readings.loss_call.factor < 0
    assert ascent(readings) is None


def test_silent_on_an_adversary(examine):
    def fooled(output, _):
        return -functional.binary_cross_entropy_with_logits(output, torch.zeros(64, 1))

    net = nn.Sequential(mlp(64, 32, 1))
    assert ascent(examine(net, loss=fooled).readings) is None


def test_a_likelihood_that_is_minimised(watch):
    def train(sign):
        torch.manual_seed(0)
        x = torch.randn(512, 4)
        y = x.sum(1, keepdim=True)
        net = mlp(4, 16, 1)
        optimiser = torch.optim.SGD(net.parameters(), lr=1e-3)
        for step in range(60):
            rows = torch.arange(32 * step, 32 * step + 32) % 512
            optimiser.zero_grad()
            normal = torch.distributions.Normal(net(x[rows]), 1.0)
            (sign * normal.log_prob(y[rows]).mean()).backward()
            optimiser.step()

    finding, _ = watch(lambda: train(1.0), "SD412")
    assert "put a minus before it" in finding.message
    assert watch(lambda: train(-1.0), "SD412")[0] is None

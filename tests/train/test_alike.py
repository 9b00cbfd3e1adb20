"""What counts as the same network: in doubt nothing does."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

from sounding.train.alike import alike, same


class Scaled(nn.Module):
    """A network with something that is neither parameter nor buffer."""

    def __init__(self, extra):
        super().__init__()
        self.layer, self.extra = nn.Linear(2, 2), extra


def _power(exponent):
    return lambda x: x**exponent


class Setting:
    def __init__(self, value):
        self.value = value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (3, 3),
        ("mean", "mean"),
        (torch.tanh, torch.tanh),
        (_power(2), _power(2)),
        (functools.partial(torch.clamp, min=0), functools.partial(torch.clamp, min=0)),
        ([1, (2, {"a": np.ones(2)})], [1, (2, {"a": np.ones(2)})]),
        (torch.ones(2), torch.ones(2)),
        (Setting([1]), Setting([1])),
        ([nn.Softplus(2.0)], [nn.Softplus(2.0)]),
    ],
)
def test_equal_attributes_make_networks_alike(one, other):
    assert same(one, other)
    assert alike(Scaled(one), Scaled(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (3, 3.0),
        (torch.tanh, torch.relu),
        (_power(2), _power(3)),
        (functools.partial(torch.clamp, min=0), functools.partial(torch.clamp, min=1)),
        ([1, 2], [1, 2, 3]),
        ({"a": 1}, {"b": 1}),
        (torch.ones(2), torch.ones(2).double()),
        (torch.ones(2), torch.zeros(2)),
        (np.ones(2), np.zeros(2)),
        (Setting([1]), Setting([2])),
        (nn.Softplus(2.0), nn.Softplus(3.0)),
        ([nn.Linear(2, 2)], [nn.Linear(2, 2)]),  # its numbers are in no state_dict
        (torch.Generator(), torch.Generator()),
        (iter([1]), iter([1])),
    ],
)
def test_what_differs_or_cannot_be_compared_makes_them_differ(one, other):
    assert not same(one, other)
    assert not alike(Scaled(one), Scaled(other))


def test_numbers_do_not_matter_but_shapes_types_modes_and_names_do():
    net = lambda width=3: nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))  # noqa: E731
    assert alike(net(), net())
    assert not alike(net(), net(4))
    assert not alike(net(), net().double())
    assert not alike(net(), net().eval())
    assert not alike(net(), nn.Sequential(*net(), nn.ReLU()))
    frozen = net()
    frozen[0].weight.requires_grad_(False)
    assert not alike(net(), frozen)
    hooked = net()
    hooked.register_forward_hook(lambda *_: None)
    assert not alike(net(), hooked)


def test_a_network_that_holds_itself_is_compared_to_the_end():
    def net():
        made = Scaled(None)
        made.extra = [made]
        return made

    assert not alike(net(), net())

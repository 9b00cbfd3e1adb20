"""A remedy applied to one net, on a batch of digits."""

import pytest
import torch
from torch import nn

from sounding.data import digits
from sounding.remedies import Remedy, treat


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def x():
    """64 digits, (64, 64)."""
    return digits().train.x[:64]


@pytest.fixture
def cure(x):
    """`cure(net, 'reinitialise', scheme='lecun')`: the net, treated in place."""

    def take(net: nn.Module, name: str, *, inputs=None, **arguments):
        given = x if inputs is None else inputs
        remedy = Remedy(name=name, arguments=arguments, touches="weights")
        treat(remedy, net, lambda: net(given))
        return net

    return take

"""A network's health and its training's success as tests: `pytest examples/test_with_pytest.py`."""

import torch
from torch import nn

import sounding as sd
from sounding.integrations.pytest import assert_healthy, assert_trains

generator = torch.Generator().manual_seed(0)
x = torch.randn(256, 16, generator=generator)
y = (x @ torch.randn(16, 4, generator=generator)).argmax(1)


def build():
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))


case = sd.Case(build, nn.functional.cross_entropy, (x, y), sd.Recipe(lr=0.5, steps=80))


def test_the_network_is_healthy():
    assert_healthy(build(), nn.functional.cross_entropy, (x, y))


def test_it_learns():
    assert_trains(case, above={"accuracy": 0.8})

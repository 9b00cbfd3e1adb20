"""A training that is healthy, and the same with a softmax too many."""

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import sounding


def samples(count=128):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 8, generator=generator)
    return x, (x @ torch.randn(8, 3, generator=generator)).argmax(1)


def net(sick=False):
    layers = [nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3)]
    return nn.Sequential(*layers, *([nn.Softmax(1)] if sick else []))


def loader():
    return DataLoader(TensorDataset(*samples()), batch_size=32)


def fit(model, optimizer, steps=20, after=None):
    x, y = samples()
    for step in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
        if after is not None:
            after(step)


def case(sick=False, lr=0.5, **recipe):
    recipe = {"steps": 60, "batch_size": 64} | recipe
    built = sounding.Recipe(lr=lr, **recipe)
    return sounding.Case(lambda: net(sick), cross_entropy, samples(), built, name="a test case")

"""A training that is healthy, one that is not, and where neither leaves a trace."""

import pytest
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


def _traces():
    """What a watch wraps or hooks in torch."""
    from torch.nn.modules import module
    from torch.optim import optimizer

    hooks = [
        getattr(module, name)
        for name in vars(module)
        if name.startswith("_global_") and isinstance(getattr(module, name), dict)
    ]
    hooks += [optimizer._global_optimizer_pre_hooks, optimizer._global_optimizer_post_hooks]
    wrapped = (
        torch.autograd.backward,
        nn.Module.__init__,
        torch.optim.Optimizer.__init__,
        nn.utils.clip_grad_norm_,
        torch.no_grad.__enter__,
    )
    return [len(one) for one in hooks], wrapped


@pytest.fixture(autouse=True)
def _nothing_is_left():
    """After each test torch is as it was before."""
    before = _traces()
    yield
    assert _traces() == before

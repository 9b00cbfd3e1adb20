"""Sharpness along a training: the same numbers as from scratch, for two or three products each."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.curvature.eigenpairs import eigenpairs
from sounding.curvature.hessian import hessian
from sounding.curvature.monitor import SharpnessMonitor


def _training():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(200, 8, generator=g)
    y = x[:, :3].argmax(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))
    return net, (x, y), torch.optim.SGD(net.parameters(), lr=0.2)


def test_followed_eigenvalues_equal_those_from_scratch_for_few_products():
    net, batch, optimizer = _training()
    monitor = SharpnessMonitor(net, F.cross_entropy, batch, momentum=0.9, certify=4)
    fresh = []
    for step in range(8):
        monitor.measure(step, lr=0.2)
        matrix = hessian(net, F.cross_entropy, batch, check=False)
        fresh.append(eigenpairs(matrix, tol=1e-5).values[0])
        optimizer.zero_grad()
        F.cross_entropy(net(batch[0]), batch[1]).backward()
        optimizer.step()
    series = monitor.series()
    assert np.allclose(series.values[:, 0], fresh, rtol=1e-3)
    assert list(series.certified) == [True, False, False, False] * 2
    followed = series.products[~series.certified]
    assert followed.mean() <= series.products[series.certified].mean() / 2
    assert list(series.steps) == list(range(8))
    assert np.all(series.lr == 0.2)


def test_nothing_of_the_training_is_touched():
    net, batch, _ = _training()
    F.cross_entropy(net(batch[0]), batch[1]).backward()
    before = [(p.detach().clone(), p.grad.clone()) for p in net.parameters()]
    state = torch.get_rng_state()
    SharpnessMonitor(net, F.cross_entropy, batch, k=2).measure(0)
    assert torch.equal(state, torch.get_rng_state())
    for p, (value, gradient) in zip(net.parameters(), before, strict=True):
        assert torch.equal(p, value)
        assert torch.equal(p.grad, gradient)


def test_an_empty_series_is_empty():
    net, batch, _ = _training()
    series = SharpnessMonitor(net, F.cross_entropy, batch, k=2).series()
    assert series.values.shape == (0, 2)
    assert series.steps.shape == (0,)


def test_several_eigenvalues_are_followed_together():
    net, batch, optimizer = _training()
    monitor = SharpnessMonitor(net, F.cross_entropy, batch, k=3)
    monitor.measure(0)
    F.cross_entropy(net(batch[0]), batch[1]).backward()
    optimizer.step()
    monitor.measure(1)
    exact = np.linalg.eigvalsh(hessian(net, F.cross_entropy, batch).to_dense().double().numpy())
    assert monitor.series().values[1] == pytest.approx(exact[::-1][:3], rel=2e-3)

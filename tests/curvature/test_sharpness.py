"""Sharpness measures against dense Hessians and closed forms; optimisers' own view of them."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.curvature.hessian import hessian
from sounding.curvature.setting import Subject
from sounding.curvature.sharpness import by_layer, preconditioner, sharpness, threshold
from sounding.objective import as_objective
from sounding.result import NotApplicable


def _net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    g = torch.Generator().manual_seed(0)
    x = torch.randn(40, 5, generator=g).double()
    return net, (x, torch.randint(0, 3, (40,), generator=g))


def test_all_measures_of_a_quadratic():
    # L = w'Aw/2 with A = diag(4, 1): lambda 4, trace 5, and along g the ascent is
    # rho |g| + rho^2 g'Ag / (2 g'g).
    class Quadratic(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))

        def forward(self, a):
            return 0.5 * (a * self.w**2).sum()

    model, a = Quadratic(), torch.tensor([4.0, 1.0], dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
    batch = (a, torch.zeros(2))
    found = sharpness(model, lambda z, _: z, batch, optimizer=optimizer, rho=0.1)
    g = a * model.w.detach()
    ascent = 0.1 * g.norm() + 0.01 * (a * g * g).sum() / (2 * g.square().sum())
    assert found.largest.values[0] == pytest.approx(4)
    assert found.trace.value == pytest.approx(5)
    assert found.ascent == pytest.approx(float(ascent), rel=1e-9)
    assert found.threshold == pytest.approx(2 * 1.5 / 0.1)
    assert found.ratio == pytest.approx(4 / 30)
    assert found.preconditioned is None
    assert torch.equal(model.w.detach(), torch.tensor([1.0, 2.0], dtype=torch.float64))


def test_adam_sees_the_hessian_between_its_divisors():
    net, batch = _net()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, eps=1e-6)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(net(batch[0]), batch[1]).backward()
        optimizer.step()
    found = sharpness(net, F.cross_entropy, batch, optimizer=optimizer, with_trace=False)
    dense = hessian(net, F.cross_entropy, batch).to_dense()
    moments = torch.cat([optimizer.state[p]["exp_avg_sq"].flatten() for p in net.parameters()])
    divisor = (moments / (1 - 0.999**3)).sqrt() + 1e-6
    scaled = dense / (divisor.sqrt()[:, None] * divisor.sqrt())
    assert found.preconditioned.values[0] == pytest.approx(
        np.linalg.eigvalsh(scaled.numpy())[-1], rel=1e-3
    )
    assert found.threshold == pytest.approx(38 / 1e-3)  # 2 (1 + 0.9) / (1 - 0.9)
    assert found.trace is None


def test_thresholds():
    parameters = [nn.Parameter(torch.zeros(1))]
    assert threshold(torch.optim.SGD(parameters, lr=0.1)) == pytest.approx(20)
    assert threshold(torch.optim.RMSprop(parameters, lr=0.1)) == pytest.approx(20)
    assert threshold(torch.optim.SGD(parameters, lr=0.0)) == math.inf


def test_an_optimiser_without_a_step_has_no_divisor_yet():
    net, batch = _net()
    optimizer = torch.optim.Adam(net.parameters())
    with pytest.raises(NotApplicable, match=r"0\.weight has no second moment yet; take a step"):
        preconditioner(optimizer, Subject(net, as_objective(F.cross_entropy)))
    found = sharpness(net, F.cross_entropy, batch, optimizer=optimizer, with_trace=False)
    assert found.preconditioned is None


def test_each_parameters_own_block():
    net, batch = _net()
    matrix = hessian(net, F.cross_entropy, batch)
    profile, dense = by_layer(matrix), matrix.to_dense().numpy()
    assert profile.layers == ("0.weight", "0.bias", "2.weight", "2.bias")
    for name, value in zip(profile.layers, profile.values, strict=True):
        part = matrix.layout.slices()[name]
        assert value == pytest.approx(np.linalg.eigvalsh(dense[part, part])[-1], rel=1e-3)

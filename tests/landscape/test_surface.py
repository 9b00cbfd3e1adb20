"""Surfaces of losses whose values are known in closed form, and of nets against a plain loop."""

import numpy as np
import pytest
import torch
from torch import nn

import sounding as sd


class Bowl(nn.Module):
    """A quadratic loss with known curvature in every direction."""

    def __init__(self, curvature, at):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(at, dtype=torch.float64))
        self.register_buffer("h", torch.tensor(curvature, dtype=torch.float64))

    def forward(self, x):
        return 0.5 * (self.h * self.w**2).sum() + 0 * x.sum()


def quadratic(model, batch):
    return model(batch[0])


BATCH = (torch.zeros(1, dtype=torch.float64), torch.zeros(1))


def test_eigenvector_surface_is_the_parabola_of_the_eigenvalues():
    model = Bowl([4.0, 1.0, -2.0], [0.0, 0.0, 0.0])
    found = sd.surface(model, sd.Objective(quadratic), BATCH, along="eigen", points=5, span=2.0)
    a, b = np.meshgrid(*found.axes, indexing="ij")
    assert np.allclose(found.values, 0.5 * (4 * a**2 - 2 * b**2), atol=1e-6)
    assert np.allclose(found.norms, 1)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


@pytest.fixture
def batch():
    torch.manual_seed(1)
    x = torch.randn(64, 6)
    return x, x[:, :3].argmax(1)


@pytest.mark.parametrize("along", ["filter", "layer", "random", "gradient", "eigen"])
def test_values_are_those_of_a_plain_loop(net, batch, along):
    found = sd.surface(net, nn.functional.cross_entropy, batch, along=along, points=5)
    assert found.values.shape == (5, 5)
    assert found.values[2, 2] == pytest.approx(found.loss, rel=1e-6)
    assert found.deviation < 1e-5
    assert found.complete
    assert found.holes == 0

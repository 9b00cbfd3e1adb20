"""The largest stable step, against the Gauss-Newton matrix and against descent itself."""

import math

import pytest
import torch
from torch import nn

from sounding.curvature.eigenpairs import eigenpairs
from sounding.curvature.gauss_newton import gauss_newton
from sounding.studies.claims import stable_step_depth as stable
from sounding.studies.lab import Lab


def test_the_step_is_two_over_the_largest_eigenvalue(monkeypatch):
    monkeypatch.setattr(stable, "SAMPLES", 6)
    width, depth, scale = 7, 3, 1.7
    generator = torch.Generator().manual_seed(5)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, layers = normal(6, width), []
    for outputs in (width,) * depth + (1,):
        layer = nn.Linear(width, outputs, bias=False).double()
        layer.weight.data = normal(outputs, width) * math.sqrt(scale / width)
        layers += [layer, nn.ReLU()]
    net = nn.Sequential(*layers[:-1])
    matrix = gauss_newton(net, nn.functional.mse_loss, (x, torch.zeros(6, 1).double()))
    largest = eigenpairs(matrix, tol=1e-8).values[0]
    assert stable.stable_step(scale, depth, width, 5)["step"] == pytest.approx(2 / largest)


def test_verdicts_at_a_small_size():
    verdicts, charts = stable.quick(Lab(), width=40, seeds=(0, 1))
    assert verdicts[2].outcome == verdicts[3].outcome == "supported"  # decades at s = 4 and 1
    assert charts[0].lines[-1].theory

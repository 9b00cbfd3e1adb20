"""Singular values of random Jacobians, against autograd's Jacobian and known spectra."""

import math

import numpy as np
import pytest
import torch

from sounding.studies import study
from sounding.studies.claims import pennington_2017_isometry as isometry
from sounding.studies.lab import Lab


def test_one_gaussian_layer_has_the_spectrum_of_marchenko_and_pastur():
    """Squared singular values of a square Gaussian matrix: variance 1 x mean^2, largest 4."""
    found = isometry.scatter("identity", False, 400, [1], seed=0)
    assert found["defect"][0] == pytest.approx(1.0, abs=0.05)
    assert found["largest"][0] == pytest.approx(4.0, abs=0.2)


def test_orthogonal_linear_layers_are_isometric_and_relu_ones_halve():
    found = isometry.scatter("identity", True, 50, [1, 6], seed=1)
    np.testing.assert_allclose(found["defect"], 0, atol=1e-12)
    # one ReLU layer: half the values 2, half 0, so variance / mean^2 = 1
    relu = isometry.scatter("relu", True, 2000, [1], seed=1)
    assert relu["defect"][0] == pytest.approx(1.0, abs=0.1)


def test_tanhs_critical_point_keeps_gradients():
    weight, bias, q = isometry.critical("tanh")
    z = torch.randn(400_000, generator=torch.Generator().manual_seed(0)) * math.sqrt(q)
    assert weight * (1 - z.tanh() ** 2).square().mean().item() == pytest.approx(1, abs=1e-3)
    assert weight * z.tanh().square().mean().item() + bias == pytest.approx(q, rel=0.01)


def test_the_wrong_depth_is_refuted(monkeypatch):
    monkeypatch.setattr(isometry, "expected", lambda net, depth: 3.0 * depth)
    verdicts, _ = isometry.quick(Lab(), width=40, depths=(16,), seeds=(0, 1, 2))
    assert verdicts[0].outcome == verdicts[1].outcome == "refuted"
    assert verdicts[5].outcome == "supported"  # linear orthogonal: zero at every depth


def test_deep_nets_are_as_deep_and_orthogonal_as_they_say():
    net = isometry.deep_net(True, 12, 5, "cpu")
    linear = [m for m in net if isinstance(m, torch.nn.Linear)]
    assert len(linear) == 5
    variance, _, _ = isometry.critical("tanh")
    gram = linear[1].weight @ linear[1].weight.T
    torch.testing.assert_close(gram, variance * torch.eye(12), atol=1e-5, rtol=0)


def test_the_full_scale_runs_small():
    verdicts, _ = isometry.full(Lab(), device="cpu", width=8, layers=3, steps=25, lrs=(0.01,),
                                seeds=(0, 1))  # fmt: skip
    assert "orthogonal weights need fewer steps" in verdicts[-1].statement
    assert verdicts[-1].outcome == "refuted"  # neither reaches 99 %


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    result = study("pennington-2017-isometry")
    assert [v.outcome for v in result.verdicts] == ["supported"] * 6

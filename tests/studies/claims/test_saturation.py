"""Facts about slopes by finite differences, and the training arm at a size for tests."""

import numpy as np
import pytest
import torch
from torch import nn

from sounding.studies import study
from sounding.studies.claims import saturation
from sounding.studies.lab import Lab


def test_every_fact_holds():
    for errors, bound in saturation.facts().values():
        assert all(error < bound for error in errors.values()), errors


def test_slopes_are_those_of_finite_differences():
    z = torch.linspace(-3, 3, 13, dtype=torch.float64)
    found = saturation.slope_of(torch.sigmoid, z)
    expected = (torch.sigmoid(z + 1e-6) - torch.sigmoid(z - 1e-6)) / 2e-6
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-6)


def test_a_wrong_published_number_is_seen(monkeypatch):
    monkeypatch.setattr(saturation.functional, "silu", lambda z: z * torch.sigmoid(1.1 * z))
    errors = saturation._published(torch.linspace(-8, 8, 4001, dtype=torch.float64))
    assert errors["SiLU minimum"] > 1


def test_nets_are_deep_and_normalised_only_as_the_control():
    for kind in (*saturation.KINDS, saturation.CONTROL):
        net = saturation.plain_net(kind, 8, 12)
        assert sum(isinstance(m, nn.Linear) for m in net) == 12
        norms = sum(isinstance(m, nn.BatchNorm1d) for m in net)
        assert norms == (11 if kind == saturation.CONTROL else 0)


def test_flat_units_are_counted():
    net = nn.Sequential(nn.Identity(), nn.Sigmoid())
    assert saturation._share_flat(net, torch.tensor([[0.0, 10.0, -10.0, 1.0]])) == 0.5


@pytest.mark.parametrize(
    ("sigmoid", "outcome"), [([90, 95, 300], "refuted"), ([200, 300, 300], "supported")]
)
def test_the_factor_between_medians_decides(sigmoid, outcome):
    needed = {"sigmoid": np.array(sigmoid, float), "relu": np.array([40.0, 50.0, 60.0])}
    assert saturation._slower(needed, 300, (0, 1, 2)).outcome == outcome


def test_a_run_at_a_small_size():
    run = saturation.learning("relu", 16, 3, 60, 0.05, 0)
    assert 20 <= run["steps"] <= 60
    assert 0 <= run["flat"] <= 1
    verdicts, charts = saturation.quick(
        Lab(), width=6, layers=3, steps=22, lrs=(0.01,), seeds=(0, 1)
    )
    assert len(verdicts) == 1 + 3 + 2 + 1
    assert verdicts[5].outcome == "refuted"  # 22 steps teach nothing
    assert len(charts) == 2


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    result = study("saturation")
    assert result.outcome == "supported"

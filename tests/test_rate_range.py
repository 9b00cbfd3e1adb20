"""The rate-range test on a quadratic, where gradient descent turns at 2 over the curvature."""

import numpy as np
import pytest
import torch
from torch import nn

import sounding as sd
from sounding.rate_range import rate_range


def quadratic(curvature):
    """Mean squared error of a linear fit to noise, whose Hessian is `curvature` times one."""
    generator = torch.Generator().manual_seed(0)
    x = (curvature / 2) ** 0.5 * torch.randn(4096, 3, generator=generator)
    y = torch.randn(4096, 1, generator=generator) + 3 * x @ torch.ones(3, 1) / curvature**0.5
    build = lambda: nn.Linear(3, 1, bias=False)  # noqa: E731
    return sd.Case(build, nn.functional.mse_loss, (x, y), sd.Recipe(lr=1.0, batch_size=512))


@pytest.mark.parametrize("curvature", [1.0, 50.0])
def test_the_loss_turns_at_two_over_the_curvature(curvature):
    found = rate_range(quadratic(curvature), steps=1400)
    assert found.turns_at == pytest.approx(2 / curvature, rel=0.3)
    assert found.falls_from < found.turns_at / 3
    assert f"turns at {found.turns_at:.2g}" in str(found)
    assert found.lr[0] == pytest.approx(1e-6)


def test_a_loss_that_never_falls():
    x = torch.randn(64, 3)
    loss = sd.Objective(lambda model, batch: 1.0 + 0.0 * model.weight.sum())
    case = sd.Case(lambda: nn.Linear(3, 1), loss, (x, x), sd.Recipe(lr=1.0))
    found = rate_range(case, steps=100)
    assert np.isnan(found.turns_at)
    assert "does not fall" in str(found)


def test_a_range_that_ends_too_low_says_so():
    found = rate_range(quadratic(1.0), highest=0.2, steps=700)
    assert np.isnan(found.turns_at)
    assert "does not turn up to 0.2" in str(found)


def test_the_case_and_its_schedule_stay():
    case = quadratic(1.0)
    before = torch.get_rng_state()
    rate_range(case, steps=80)
    assert case.recipe.lr == 1.0
    assert torch.equal(torch.get_rng_state(), before)


def test_wrong_numbers():
    with pytest.raises(ValueError, match="positive"):
        rate_range(quadratic(1.0), highest=0.0)
    with pytest.raises(ValueError, match="too few"):
        rate_range(quadratic(1.0), steps=10)

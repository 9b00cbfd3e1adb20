"""Arms are tuned on a seed of their own, each on its own grid, and keep their runs apart."""

import functools

import pytest
import torch
from torch import nn

from sounding.studies.lab import Lab
from sounding.studies.learning_rates import TUNING_SEED, tuned
from sounding.train import Case, Recipe, final_loss

X = torch.linspace(-1, 1, 16)[:, None]


def line(slope: float, lr: float) -> Case:
    """Least squares on y = slope x from w = 0; the loss is (1 - 2 lr m)^2t with m = mean x^2."""
    build = functools.partial(_zero)
    recipe = Recipe(lr=lr, batch_size=None, steps=20)
    return Case(build, nn.functional.mse_loss, (X, slope * X), recipe)


def _zero() -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


def test_each_arm_takes_the_best_rate_of_its_grid():
    best = 1 / (2 * X.square().mean().item())  # reaches the solution in one step
    lrs = {"steep": (best / 10, best, 1.5 * best), "flat": (best / 100, best / 20, best / 10)}
    arms = tuned(Lab(), line, {"steep": {"slope": 3.0}, "flat": {"slope": 0.5}}, lrs, (4, 5))
    assert arms["steep"].lr == best
    assert arms["steep"].inside
    assert arms["flat"].lr == lrs["flat"][-1]
    assert "edge" in arms["flat"].note
    assert [trial.seed for trial in arms["flat"].search] == [TUNING_SEED] * 3
    assert [trial.seed for trial in arms["steep"].trials] == [4, 5]
    starts = {name: arm.trials[0].loss.values[0] for name, arm in arms.items()}
    assert starts["steep"] / starts["flat"] == pytest.approx(36.0, rel=1e-5)
    assert final_loss(arms["steep"].trials[1]) < 1e-10

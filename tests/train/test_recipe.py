"""Recipes: schedules against torch's own, optimisers by name, sentences for what cannot be."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from sounding.train.recipe import OPTIMISERS, Recipe, lr_factor, make_optimiser

STEPS, WARMUP = 40, 7


def _by_torch(make):
    """The factors that a scheduler of torch gives at every step."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, factors = make(optimiser), []
    for _ in range(STEPS):
        factors.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return factors


def _by_us(**recipe):
    return [lr_factor(Recipe(lr=1.0, **recipe), step, STEPS) for step in range(STEPS)]


def test_cosine_is_torchs():
    expected = _by_torch(lambda o: CosineAnnealingLR(o, T_max=STEPS))
    np.testing.assert_allclose(_by_us(schedule="cosine"), expected, atol=1e-12)


def test_linear_is_torchs():
    make = lambda o: LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=STEPS)  # noqa: E731
    np.testing.assert_allclose(_by_us(schedule="linear"), _by_torch(make), atol=1e-12)


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # torch's own, inside SequentialLR
def test_warmup_is_torchs():
    def make(optimiser):
        rise = LinearLR(optimiser, start_factor=1 / WARMUP, total_iters=WARMUP - 1)
        fall = CosineAnnealingLR(optimiser, T_max=STEPS - WARMUP)
        return SequentialLR(optimiser, [rise, fall], milestones=[WARMUP])

    ours = _by_us(schedule="cosine", warmup=WARMUP)
    np.testing.assert_allclose(ours, _by_torch(make), atol=1e-12)


def test_constant_and_function():
    assert _by_us() == [1.0] * STEPS
    halved = _by_us(schedule=lambda step, steps: 0.5 if step >= steps // 2 else 1.0)
    assert halved == [1.0] * 20 + [0.5] * 20


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_name_makes_its_optimiser(name):
    frozen = nn.Parameter(torch.zeros(2), requires_grad=False)
    optimiser = make_optimiser(
        Recipe(optimiser=name, lr=0.02, weight_decay=0.1), [nn.Parameter(torch.ones(3)), frozen]
    )
    (group,) = optimiser.param_groups
    assert type(optimiser).__name__.lower() == name
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (0.02, 0.1, 1)


def test_momentum_reaches_the_optimiser():
    recipe = Recipe(lr=0.1, momentum=0.8)
    assert make_optimiser(recipe, [nn.Parameter(torch.ones(1))]).defaults["momentum"] == 0.8


def test_a_function_makes_the_optimiser_and_lr_overrides():
    make = lambda p: torch.optim.Adam(p, lr=0.5, betas=(0.5, 0.9))  # noqa: E731
    parameter = nn.Parameter(torch.ones(1))
    plain = make_optimiser(Recipe(optimiser=make), [parameter]).param_groups[0]
    assert (plain["lr"], plain["betas"]) == (0.5, (0.5, 0.9))
    assert make_optimiser(Recipe(optimiser=make, lr=0.1), [parameter]).param_groups[0]["lr"] == 0.1


def test_options_reach_the_optimiser_and_the_rest_keeps_torchs_defaults():
    recipe = Recipe(optimiser="adam", lr=0.1, options={"betas": (0.5, 0.9), "eps": 1e-3})
    made = make_optimiser(recipe, [nn.Parameter(torch.ones(1))]).defaults
    assert (made["betas"], made["eps"], made["amsgrad"]) == ((0.5, 0.9), 1e-3, False)
    assert hash(recipe) == hash(recipe.replace(lr=0.1))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "lr is missing"),
        ({"lr": 0.1, "options": {"betas": (0.9, 0.99)}}, "'betas', which 'sgd' does not take"),
        ({"lr": 0.1, "options": {"lr": 0.2}}, "'lr', which 'sgd' does not take here"),
        ({"optimiser": torch.optim.SGD, "options": {"nesterov": True}}, "a function sets its own"),
        ({"lr": 0.0}, "must be positive and finite"),
        ({"lr": float("nan")}, "must be positive and finite"),
        ({"lr": 0.1, "optimiser": "adan"}, "did you mean 'adam'"),
        ({"lr": 0.1, "schedule": "cos"}, "use one of 'constant', 'cosine', 'linear'"),
        ({"lr": 0.1, "momentum": 1.0}, "at least 0 and below 1"),
        ({"lr": 0.1, "momentum": 0.9, "optimiser": "adam"}, "betas"),
        ({"lr": 0.1, "weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"lr": 0.1, "clip": 0.0}, "None to clip nothing"),
        ({"lr": 0.1, "steps": 0}, "whole number of at least 1"),
        ({"lr": 0.1, "batch_size": 2.5}, "whole number of at least 1"),
        ({"lr": 0.1, "warmup": True}, "whole number of at least 0"),
    ],
)
def test_what_cannot_be_is_named(fields, words):
    with pytest.raises(ValueError, match=words):
        Recipe(**fields)


def test_replace_checks_again():
    with pytest.raises(ValueError, match="lr is -1"):
        Recipe(lr=0.1).replace(lr=-1.0)


def test_lbfgs_is_refused():
    recipe = Recipe(optimiser=lambda p: torch.optim.LBFGS(p), lr=0.1)
    with pytest.raises(ValueError, match="several losses a step"):
        make_optimiser(recipe, [nn.Parameter(torch.ones(1))])

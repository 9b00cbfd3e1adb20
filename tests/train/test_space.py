"""Search spaces: what they hold, and that what is written in them reaches the optimiser."""

import pytest
import torch
from torch import nn

from sounding.train.recipe import OPTIMISERS, Recipe, make_optimiser
from sounding.train.space import (
    LRS,
    check_space,
    readable,
    recipe_at,
    search_space,
    settings_of,
    textbook,
)

CASE = Recipe(lr=7.0, momentum=0.3, schedule="cosine", clip=2.0, batch_size=16, steps=100)


def group(recipe):
    return make_optimiser(recipe, [nn.Parameter(torch.ones(2))]).param_groups[0]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_has_a_space_whose_middle_is_its_textbook_rate(name):
    recipe = textbook(name, CASE)
    space = search_space(recipe)
    low, high = space["lr"]
    assert (low * high) ** 0.5 == pytest.approx(LRS[name])
    assert high / low == pytest.approx(1e4)
    assert space["warmup"] == (1, 25)
    assert (recipe.schedule, recipe.clip, recipe.batch_size, recipe.steps) == ("cosine", 2, 16, 100)
    check_space(space, recipe, name)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_setting_reaches_the_optimiser(name):
    recipe = textbook(name, CASE)
    wanted = {"lr": 0.02, "momentum": 0.7, "beta1": 0.6, "eps": 1e-3, "weight_decay": 0.005}
    space = search_space(recipe)
    settings = {key: value for key, value in wanted.items() if key in space} | {"warmup": 9.0}
    assert set(settings) == set(space)
    found = recipe_at(recipe, settings)
    made = group(found)
    made = {**made, "beta1": made.get("betas", (None,))[0]}
    assert {key: made[key] for key in settings if key != "warmup"} == {
        key: value for key, value in settings.items() if key != "warmup"
    }
    assert found.warmup == 9
    assert settings_of(found, space) == settings
    others = group(recipe).keys() - {*settings, "params", "betas"}
    assert {k: made[k] for k in others} == {k: group(recipe)[k] for k in others}


def test_the_space_of_sgd_holds_gradient_descent_and_that_of_adam_rmsprop():
    assert search_space(textbook("sgd", CASE))["momentum"][0] == 0
    assert search_space(textbook("adam", CASE))["beta1"][0] == 0


def test_with_a_large_epsilon_adam_becomes_momentum():
    """Choi et al. 2019. The rate is eps times momentum's; what is left falls as 1 / eps."""

    def slope(w):
        return w * torch.tensor([1.0, 5.0], dtype=torch.float64)

    start = torch.tensor([1.0, -2.0], dtype=torch.float64)
    w, velocity = start.clone(), torch.zeros_like(start)
    for _ in range(20):
        velocity = 0.9 * velocity + 0.1 * slope(w)
        w = w - 0.01 * velocity
    distances = []
    for eps in (1e3, 1e5):
        parameter = nn.Parameter(start.clone())
        optimiser = torch.optim.Adam([parameter], eps=eps)
        for step in range(1, 21):
            parameter.grad = slope(parameter.detach())
            optimiser.param_groups[0]["lr"] = 0.01 * eps * (1 - 0.9**step)  # bias correction undone
            optimiser.step()
        distances.append(float((parameter.detach() - w).norm()))
    assert distances[0] / distances[1] == pytest.approx(100, rel=0.1)


def test_a_function_has_a_learning_rate_and_a_warm_up():
    recipe = Recipe(optimiser=lambda p: torch.optim.SGD(p, lr=0.5, nesterov=True, momentum=0.9))
    space = search_space(recipe)
    assert space == {"lr": pytest.approx((0.005, 50)), "warmup": (1, 75)}
    assert group(recipe_at(recipe, {"lr": 0.2, "warmup": 3.0}))["lr"] == 0.2


def test_settings_outside_the_space_are_moved_to_its_edge():
    recipe = Recipe(lr=0.1, momentum=0.0, weight_decay=0.0)
    settings = settings_of(recipe, search_space(recipe))
    assert settings == {"lr": 0.1, "momentum": 0.0, "weight_decay": 1e-6, "warmup": 1.0}


def test_readable_settings_have_at_most_three_digits():
    settings = {"lr": 0.0123456, "momentum": 0.98765, "weight_decay": 1.2345e-6, "warmup": 3.4}
    assert readable(settings) == {
        "lr": 0.0123,
        "momentum": 0.988,
        "weight_decay": 1.23e-6,
        "warmup": 3.0,
    }


def test_a_name_that_is_none_is_named():
    with pytest.raises(ValueError, match="did you mean 'rmsprop'"):
        textbook("rmsprob", CASE)

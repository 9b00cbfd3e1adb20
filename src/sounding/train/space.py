"""Search spaces: which settings of a recipe are tuned, between which bounds, on which scale."""

from __future__ import annotations

import difflib
import inspect
import math

import torch

from sounding.train.recipe import OPTIMISERS, Recipe, make_optimiser

Space = dict[str, tuple[float, float]]  # (lowest, highest) by setting
Settings = dict[str, float]

SETTINGS = ("lr", "momentum", "beta1", "eps", "weight_decay", "warmup")
TOWARDS_ONE = ("momentum", "beta1")  # what counts is 1 / (1 - value), the steps remembered
LRS = {
    "sgd": 0.1,
    "adam": 1e-3,
    "adamw": 1e-3,
    "nadam": 1e-3,
    "radam": 1e-3,
    "rmsprop": 1e-3,
    "adagrad": 1e-2,
}
MOMENTUM = (0.0, 0.99)
EPS = (1e-8, 0.1)
DECAY, DECOUPLED_DECAY = (1e-6, 1e-2), (1e-3, 1.0)


def textbook(optimiser: str, recipe: Recipe) -> Recipe:
    """`recipe` with another optimiser, at the settings that one begins with where none are known.

    The learning rate is the power of ten nearest to the middle of the grid of Wilson et al. 2017
    (for SGD 0.01 to 2, AdaGrad 0.005 to 0.1, RMSProp 1e-4 to 5e-3, Adam 5e-5 to 5e-3); SGD has
    momentum 0.9. Everything else is torch's default. What does not belong to the optimiser
    (schedule, clipping, batch size, steps) stays.

    Raises:
        ValueError: If no optimiser has this name.
    """
    if optimiser not in OPTIMISERS:
        near = difflib.get_close_matches(optimiser, OPTIMISERS, n=1)
        raise ValueError(
            f"no optimiser is called {optimiser!r}; "
            + (f"did you mean {near[0]!r}? " if near else "")
            + f"there are {', '.join(OPTIMISERS)}"
        )
    return recipe.replace(
        optimiser=optimiser,
        lr=LRS[optimiser],
        momentum=0.9 if optimiser == "sgd" else 0.0,
        weight_decay=0.0,
        warmup=0,
        options={},
    )


def search_space(recipe: Recipe) -> Space:
    """What is tuned of `recipe`, as far as its optimiser has it. All scales are logarithmic.

    - Learning rate: four decades, around the recipe's own. Wilson et al. 2017 and Choi et al. 2019
      find that a narrower space decides a comparison beforehand.
    - Momentum of SGD and RMSProp, first beta of the Adam family: 0 to 0.99, even in the logarithm
      of 1 - value. Zero is in it so that every method holds its special case, as gradient descent
      is one of momentum (Choi et al. 2019): a comparison of the two would otherwise depend on
      which of them was left out.
    - Epsilon of the adaptive ones: 1e-8 to 0.1. Large, it makes Adam momentum and RMSProp gradient
      descent, so that the adaptive space holds the non-adaptive one (the same).
    - Weight decay: 1e-6 to 1e-2 as an L2 term, around the customary 1e-4; decoupled, 1e-3 to 1,
      the customary 0.01 among them (Loshchilov and Hutter 2019). At the lower end and the usual
      learning rate a thousand steps shrink a weight by no more than a thousandth.
    - Warm-up: 1 step, which is none, to a quarter of the run.

    An optimiser made by a function has only a learning rate and a warm-up that are known of it.
    """
    lr, name = _own_lr(recipe), recipe.optimiser
    space = {"lr": (lr / 100, lr * 100)}
    if not callable(name):
        taken = inspect.signature(OPTIMISERS[name]).parameters
        has = {
            "momentum": ("momentum" in taken, MOMENTUM),
            "beta1": ("betas" in taken, MOMENTUM),
            "eps": ("eps" in taken, EPS),
            "weight_decay": (True, DECOUPLED_DECAY if name == "adamw" else DECAY),
        }
        space |= {setting: bounds for setting, (there, bounds) in has.items() if there}
    return space | {"warmup": (1.0, max(1.0, recipe.steps / 4))}


def check_space(space: Space, recipe: Recipe, whose: str) -> None:
    """Say what is wrong with a search space that somebody wrote down.

    Raises:
        ValueError: If a setting is unknown to the optimiser, or its bounds are none.
    """
    known = search_space(recipe)
    for setting, bounds in space.items():
        if setting not in known:
            raise ValueError(
                f"{whose} has no setting {setting!r} to search; there are {', '.join(known)}"
            )
        low, high = bounds if len(bounds) == 2 else (math.nan, math.nan)
        lowest = 0 if setting in TOWARDS_ONE else math.ulp(0)
        highest = math.nextafter(1, 0) if setting in TOWARDS_ONE else math.inf
        if not lowest <= low <= high <= highest or math.isinf(high):
            raise ValueError(
                f"the space of {setting} for {whose} is {bounds!r}; give (lowest, highest), "
                + ("from 0 to below 1" if setting in TOWARDS_ONE else "both positive")
            )


def settings_of(recipe: Recipe, space: Space) -> Settings:
    """The settings that `recipe` has, the nearest ones that `space` holds."""
    betas = recipe.options.get("betas", (0.9, 0.999))
    own = {
        "lr": _own_lr(recipe),
        "momentum": recipe.momentum,
        "beta1": betas[0],
        "eps": recipe.options.get("eps", 1e-8),
        "weight_decay": recipe.weight_decay,
        "warmup": float(recipe.warmup),
    }
    return {name: min(max(own[name], low), high) for name, (low, high) in space.items()}


def recipe_at(recipe: Recipe, settings: Settings) -> Recipe:
    """`recipe` with these settings."""
    changes = {k: v for k, v in settings.items() if k in ("lr", "momentum", "weight_decay")}
    if "warmup" in settings:
        changes["warmup"] = round(settings["warmup"])
    options = dict(recipe.options)
    if "beta1" in settings:
        options["betas"] = (settings["beta1"], options.get("betas", (0.9, 0.999))[1])
    if "eps" in settings:
        options["eps"] = settings["eps"]
    return recipe.replace(**changes, options=options)


def readable(settings: Settings) -> Settings:
    """`settings` in at most three digits, so that what is printed is what was run."""
    return {name: _rounded(name, value) for name, value in settings.items()}


def _rounded(setting: str, value: float) -> float:
    if setting == "warmup":
        return float(round(value))
    if setting in TOWARDS_ONE:
        return round(1 - float(f"{1 - value:.2g}"), 6)
    return float(f"{value:.3g}")


def _own_lr(recipe: Recipe) -> float:
    if recipe.lr is not None:
        return recipe.lr
    optimiser = make_optimiser(recipe, [torch.nn.Parameter(torch.zeros(1))])
    return float(optimiser.param_groups[0]["lr"])

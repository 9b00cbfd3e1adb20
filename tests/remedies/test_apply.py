"""A remedy applied to a case is a new case: the given one still builds what it built before."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.remedies import REMEDIES, apply, prescribe
from sounding.remedies.registry import needs
from sounding.result import NotApplicable
from sounding.train import Case, Recipe, seeded, train
from sounding.zoo import samples
from sounding.zoo.nets import mlp


class Text(nn.Module):
    """For what is about embeddings: pixels as tokens."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.EmbeddingBag(32, 16), nn.Linear(16, 10)

    def forward(self, x):
        return self.head(torch.relu(self.table((x.clamp(0, 1) * 31).long())))


def normed():
    return nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10))


NETS = {  # where the usual net has nothing to be treated
    "scale_embeddings": Text,
    "exchange_norm": normed,
    "recalibrate_statistics": normed,
    "freeze_norm": normed,
    "fold_batch_norm": normed,
    "add_activations": lambda: nn.Sequential(nn.Linear(64, 32), nn.Linear(32, 10)),
    "remove_output_activation": lambda: nn.Sequential(*mlp(64, 32, 10), nn.Sigmoid()),
    "set_dropout": lambda: nn.Sequential(nn.Linear(64, 32), nn.Dropout(0.5), nn.Linear(32, 10)),
}
ARGUMENTS = {
    "change_activation": {"to": "leaky_relu"},
    "scale_output": {"std": 0.5},
    "standardise_targets": {"std": 2.0},
    "scale_last_layer": {"factor": 0.5},
    "scale_embeddings": {"std": 2.0},
    "set_momentum": {"value": 0.5},
    "change_optimiser": {"to": "adam", "lr": 1e-3},
    "warm_up": {"steps": 10},
    "linear_probe_then_finetune": {"steps": 10},
    "gradual_unfreezing": {"steps": 10},
    "clip_norm": {"bound": 0.1},
    "clip_value": {"bound": 0.001},
}
DECAY = ("decouple_decay", "no_decay_on", "set_weight_decay")


def a_case(name=""):
    decay = {"weight_decay": 0.1} if name in DECAY else {}
    recipe = Recipe(lr=0.05, batch_size=64, steps=30, **decay)
    if name in ("decouple_decay", "set_epsilon"):
        recipe = recipe.replace(optimiser="adam", lr=1e-3)
    if name == "hold_lr":
        recipe = recipe.replace(schedule="linear")
    build = NETS.get(name, lambda: mlp(64, 32, 32, 10))
    return Case(build, functional.cross_entropy, samples.flat_digits(), recipe)


def remedy(name):
    arguments = {"kinds": "biases"} if name == "no_decay_on" else ARGUMENTS.get(name, {})
    return prescribe(name, **({"value": 1e-2} if name == "set_epsilon" else arguments))


def built(case):
    with seeded(0):
        net = case.build()
    return str(net), [p.detach().clone() for p in net.parameters()]


@pytest.mark.parametrize("name", REMEDIES)
def test_the_given_case_is_left_alone(name):
    case = a_case(name)
    fields, before = vars(case).copy(), built(case)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    treated = apply(remedy(name), case)
    assert torch.equal(torch.get_rng_state(), state)
    assert vars(case) == fields
    after = built(case)
    assert after[0] == before[0]
    assert all(map(torch.equal, after[1], before[1]))
    assert (treated.loss, treated.batches) == (case.loss, case.batches)
    of_optimiser = "optimizer" in needs(remedy(name))
    assert (treated.recipe == case.recipe) == (not of_optimiser)
    assert treated.recipe.schedule == case.recipe.schedule


# The loop zeroes; only evaluation asks; nobody stands at a saddle here.
UNCHANGED = ("zero_gradients", "recalibrate_statistics", "escape")


@pytest.mark.parametrize("name", REMEDIES)
def test_the_treated_case_trains_otherwise_and_repeatably(name):
    case = a_case(name)
    treated = apply(remedy(name), case)
    first, second = train(treated, 0), train(treated, 0)
    assert first.loss.values == pytest.approx(second.loss.values, rel=1e-6, abs=0)
    assert first.loss.values[-5:].mean() < first.loss.values[0]
    untreated = train(case, 0)
    changed = not np.allclose(first.loss.values, untreated.loss.values, rtol=1e-6)
    assert changed == (name not in UNCHANGED)


def test_both_arms_draw_the_same_noise_and_batches():
    """The treatment of an optimiser runs the net, dropout and all, in the middle of a run."""
    case = a_case("set_dropout")
    nothing = prescribe("clip_units", factor=1e9)
    plain, treated = train(case, 3), train(apply(nothing, case), 3)
    assert treated.loss.values == pytest.approx(plain.loss.values, rel=1e-6, abs=0)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_recipes_schedule_goes_on(schedule):
    recipe = Recipe(lr=0.1, schedule=schedule, warmup=5, steps=30, clip=0.5, momentum=0.5)
    case = a_case().replace(recipe=recipe)
    treated = apply(prescribe("scale_lr", factor=0.5), case)
    by_hand = case.replace(recipe=recipe.replace(lr=0.05))
    assert train(treated, 0).loss.values == pytest.approx(
        train(by_hand, 0).loss.values, rel=1e-5, abs=0
    )


RECIPES = [
    (("clip_norm", {"bound": 0.1}), {"clip": 0.1}),
    (("warm_up", {"steps": 9}), {"warmup": 9}),
    (("hold_lr", {}), {"schedule": "constant"}),
    (("set_momentum", {"value": 0.9}), {"momentum": 0.9}),
    (("set_weight_decay", {"value": 0.1}), {"weight_decay": 0.1}),
    (("change_optimiser", {"to": "adamw", "lr": 0.01}), {"optimiser": "adamw", "lr": 0.01}),
]


@pytest.mark.parametrize(("given", "changes"), RECIPES)
def test_a_remedy_of_the_recipe_is_another_recipe(given, changes):
    schedule = {"schedule": "cosine"} if "schedule" in changes else {}
    case = a_case().replace(recipe=Recipe(lr=0.05, batch_size=64, steps=30, **schedule))
    treated = apply(prescribe(given[0], **given[1]), case)
    by_hand = case.replace(recipe=case.recipe.replace(**changes))
    assert train(treated, 0).loss.values == pytest.approx(
        train(by_hand, 0).loss.values, rel=1e-5, abs=0
    )


def test_an_optimiser_that_is_a_function_is_treated_too():
    recipe = Recipe(optimiser=lambda p: torch.optim.SGD(p, lr=0.4), steps=30)
    case = a_case().replace(recipe=recipe)
    both = prescribe("scale_lr", factor=0.5), prescribe("scale_lr", factor=0.5)
    by_hand = case.replace(recipe=Recipe(lr=0.1, steps=30))
    assert train(apply(both, case), 0).loss.values == pytest.approx(
        train(by_hand, 0).loss.values, rel=1e-5, abs=0
    )


def test_remedies_of_model_and_optimiser_together():
    chosen = (prescribe("scale_lr", factor=2.0), prescribe("insert_norm"), prescribe("freeze"))
    treated = apply(chosen, a_case())
    nets = []
    kept = treated.replace(build=lambda: nets.append(treated.build()) or nets[-1])
    train(kept, 0)
    assert [p.requires_grad for p in nets[0].parameters()] == [False] * 8 + [True] * 2


def test_inserted_parameters_are_trained():
    nets = []
    treated = apply(remedy("insert_norm"), a_case())
    kept = treated.replace(build=lambda: nets.append(treated.build()) or nets[-1])
    train(kept, 0)
    norms = [m for m in nets[0].modules() if isinstance(m, nn.BatchNorm1d)]
    assert norms
    assert all((norm.weight != 1).any() for norm in norms)


def test_several_remedies_are_applied_in_turn():
    both = apply((remedy("insert_norm"), remedy("reinitialise")), a_case())
    with seeded(0):
        net = both.build()
    assert sum(isinstance(m, nn.BatchNorm1d) for m in net.modules()) == 2
    variance = float(net[2][0].weight.detach().square().mean())
    assert variance == pytest.approx(2 / 32, rel=0.2)


def test_a_remedy_that_does_not_fit_says_so_at_once():
    case = a_case().replace(build=lambda: nn.Sequential(nn.Linear(64, 10)))
    with pytest.raises(NotApplicable):
        apply(remedy("insert_norm"), case)

"""A remedy applied to a case is a new case: the given one still builds what it built before."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.remedies import REMEDIES, Remedy, apply
from sounding.result import NotApplicable
from sounding.train import Case, Recipe, seeded, train
from sounding.zoo import samples
from sounding.zoo.nets import mlp

ARGUMENTS = {"change_activation": {"to": "leaky_relu"}}


def a_case():
    recipe = Recipe(lr=0.05, batch_size=64, steps=30)
    return Case(
        lambda: mlp(64, 32, 32, 10), functional.cross_entropy, samples.flat_digits(), recipe
    )


def remedy(name):
    return Remedy(name=name, arguments=ARGUMENTS.get(name, {}), touches="weights")


def built(case):
    with seeded(0):
        net = case.build()
    return str(net), [p.detach().clone() for p in net.parameters()]


@pytest.mark.parametrize("name", REMEDIES)
def test_the_given_case_is_left_alone(name):
    case = a_case()
    fields, before = vars(case).copy(), built(case)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    treated = apply(remedy(name), case)
    assert torch.equal(torch.get_rng_state(), state)
    assert vars(case) == fields
    after = built(case)
    assert after[0] == before[0]
    assert all(map(torch.equal, after[1], before[1]))
    assert (treated.loss, treated.batches, treated.recipe) == (case.loss, case.batches, case.recipe)


@pytest.mark.parametrize("name", REMEDIES)
def test_the_treated_case_builds_treated_nets_that_train(name):
    treated = apply(remedy(name), a_case())
    first, second = built(treated), built(treated)
    assert all(map(torch.equal, first[1], second[1]))  # a function of the seed
    plain = built(a_case())
    assert first[0] != plain[0] or not all(map(torch.equal, first[1], plain[1]))
    trial = train(treated, 0)
    assert trial.loss.values[-1] < trial.loss.values[0]


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


def test_the_dict_of_remedies_is_what_code_and_rules_know():
    assert set(REMEDIES) == {
        "reinitialise", "data_driven_init", "change_activation", "insert_norm",
    }  # fmt: skip

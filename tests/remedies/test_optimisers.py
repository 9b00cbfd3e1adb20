"""Settings and kinds of optimisers: against fresh ones of torch's with these settings."""

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from sounding.remedies import prescribe, treat
from sounding.remedies.live import as_stepped
from sounding.result import NotApplicable
from sounding.train.recipe import OPTIMISERS
from sounding.zoo.sequences import LanguageModel


def making(kind, **settings):
    return lambda net: kind(net.parameters(), **settings)


def test_momentum_of_sgd(run, sgd, same):
    treated = run(sgd(lr=0.05, momentum=0.5, nesterov=True), [("set_momentum", {"value": 0.9})])
    same(treated, run(sgd(lr=0.05, momentum=0.9, nesterov=True)))
    none = run(sgd(lr=0.05, momentum=0.5, nesterov=True), [("set_momentum", {"value": 0.0})])
    same(none, run(sgd(lr=0.05)))


def test_momentum_of_adam_is_its_first_beta(run, same):
    treated = run(making(torch.optim.Adam, lr=0.01), [("set_momentum", {"value": 0.5})])
    same(treated, run(making(torch.optim.Adam, lr=0.01, betas=(0.5, 0.999))))


def test_weight_decay_but_not_where_it_is_spared(run, sgd, same):
    treated = run(sgd(lr=0.05, weight_decay=0.5), [("set_weight_decay", {"value": 0.01})])
    same(treated, run(sgd(lr=0.05, weight_decay=0.01)))
    same(
        run(sgd(lr=0.05), [("set_weight_decay", {"value": 0.1})]),
        run(sgd(lr=0.05, weight_decay=0.1)),
    )
    net = nn.Linear(3, 1)
    groups = [{"params": [net.weight], "weight_decay": 0.5}, {"params": [net.bias]}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    treat(prescribe("set_weight_decay", value=0.1), net, lambda: None, optimizer)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0]


def test_epsilon(run, same):
    treated = run(making(torch.optim.Adam, lr=0.01, eps=1.0), [("set_epsilon", {"value": 1e-8})])
    same(treated, run(making(torch.optim.Adam, lr=0.01)))


def test_decoupled_adam_is_adamw(run, same):
    treated = run(making(torch.optim.Adam, lr=0.01, weight_decay=0.3), [("decouple_decay", {})])
    same(treated, run(making(torch.optim.AdamW, lr=0.01, weight_decay=0.3)))
    assert type(treated.optimizer) is torch.optim.AdamW
    settings = {"lr": 0.01, "weight_decay": 0.3}
    treated = run(making(torch.optim.RAdam, **settings), [("decouple_decay", {})])
    same(treated, run(making(torch.optim.RAdam, **settings, decoupled_weight_decay=True)))


def test_decoupling_in_the_middle_keeps_the_moments(run, same):
    def switching(one, step):
        if step == 10:
            one.optimizer = torch.optim.AdamW(one.net.parameters(), lr=0.01, weight_decay=0.3)
            one.optimizer.state.update(one.old.state)
        one.old = one.optimizer
        one.step()

    def treating(one, step):
        if step == 10:
            one.treat("decouple_decay")
        one.step()

    make = making(torch.optim.Adam, lr=0.01, weight_decay=0.3)
    same(run(make, loop=treating), run(make, loop=switching))


FIRST = {
    "sgd": lambda net: torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01),
    "adagrad": lambda net: torch.optim.Adagrad(net.parameters(), lr=0.1, weight_decay=0.01),
    "adam": lambda net: torch.optim.Adam(net.parameters(), lr=0.1, weight_decay=0.01),
}


@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("to", OPTIMISERS)
def test_a_changed_optimiser_is_a_fresh_one(run, same, first, to):
    treated = run(FIRST[first], [("change_optimiser", {"to": to, "lr": 0.01})])
    same(treated, run(making(OPTIMISERS[to], lr=0.01, weight_decay=0.01)))
    assert type(treated.optimizer) is OPTIMISERS[to]


@pytest.mark.parametrize("before", [True, False])
def test_a_changed_optimiser_keeps_its_schedule(run, same, before):
    def schedule(o):
        return lr_scheduler.StepLR(o, 5, 0.3)

    changes = [("change_optimiser", {"to": "adamw", "lr": 0.01})]
    treated = run(FIRST["sgd"], changes, schedule, before=before)
    plain = run(making(torch.optim.AdamW, lr=0.01, weight_decay=0.01), [], schedule)
    same(treated, plain, rtol=1e-6)


def test_gradients_are_forgotten_by_the_changed_optimiser_too(run, sgd, same):
    remedies = [("zero_gradients", {}), ("change_optimiser", {"to": "adam", "lr": 0.01})]

    def without_zeroing(one, _):
        loss = one.loss()
        loss.backward()
        one.optimizer.step()
        one.losses.append(float(loss.detach()))

    treated = run(sgd(lr=0.1), remedies, lambda o: lr_scheduler.StepLR(o, 99), loop=without_zeroing)
    same(treated, run(making(torch.optim.Adam, lr=0.01)))


# -- no decay --------------------------------------------------------------------------------------


def test_no_decay_is_a_group_of_its_own(run, same):
    def by_hand(net):
        named = dict(net.named_parameters())
        biases = [p for name, p in named.items() if "bias" in name]
        weights = [p for name, p in named.items() if "weight" in name]
        groups = [{"params": weights}, {"params": biases, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=0.01, weight_decay=2.0)

    make = making(torch.optim.AdamW, lr=0.01, weight_decay=2.0)
    same(run(make, [("no_decay_on", {"kinds": "biases"})]), run(by_hand))


@pytest.mark.parametrize("kinds", ["norms", "biases", "embeddings", "norms, biases, embeddings"])
def test_kinds_of_a_transformer(kinds):
    net, tokens = LanguageModel(1), torch.zeros(2, 5, dtype=torch.long)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.1)
    treat(prescribe("no_decay_on", kinds=kinds), net, lambda: net(tokens), optimizer)
    names = {id(p): name for name, p in net.named_parameters()}
    spared = {
        names[id(p)]
        for group in as_stepped(optimizer)
        if group["weight_decay"] == 0
        for p in group["params"]
    }
    known = {
        "embeddings": {"table.weight", "places.weight"},
        "biases": {name for name in names.values() if name.endswith(".bias")},
        "norms": {name for name in names.values() if "norm" in name and "weight" in name},
    }
    assert spared == set.union(*(known[kind] for kind in kinds.split(", ")))


# -- what does not fit -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "remedy", "says"),
    [
        (FIRST["adagrad"], ("set_momentum", {}), "Adagrad has no momentum"),
        (FIRST["sgd"], ("set_epsilon", {}), "SGD has no epsilon"),
        (FIRST["sgd"], ("decouple_decay", {}), "SGD has no decoupled form"),
        (making(torch.optim.AdamW), ("decouple_decay", {}), "decoupled already"),
        (making(torch.optim.Adam), ("decouple_decay", {}), "no weight decay to decouple"),
        (making(torch.optim.Adam), ("no_decay_on", {}), "no weight decay acts on norms or biases"),
        (FIRST["sgd"], ("no_decay_on", {"kinds": "embeddings"}), "acts on embeddings"),
        (making(torch.optim.SGD, lr=0.0), ("change_optimiser", {}), "no learning rate"),
    ],
)
def test_what_has_no_meaning_is_not_applicable(run, make, remedy, says):
    with pytest.raises(NotApplicable, match=says):
        run(make, [remedy])


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("set_momentum", {"value": 1.0}, "value is 1.0; a momentum is"),
        ("set_weight_decay", {"value": -0.1}, "cannot be negative"),
        ("set_epsilon", {"value": 0.0}, "epsilon must be positive"),
        ("change_optimiser", {"to": "lion"}, "no optimiser is called 'lion'; there are sgd"),
        ("change_optimiser", {"lr": 0.0}, "lr is 0.0"),
        (
            "no_decay_on",
            {"kinds": "norms, weights"},
            "no kind is called 'weights'; there are norms",
        ),
    ],
)
def test_senseless_arguments_are_named(run, name, arguments, says):
    with pytest.raises(ValueError, match=says):
        run(FIRST["adam"], [(name, arguments)])

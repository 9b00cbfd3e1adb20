"""Many runs as one program against the same runs one by one.

No other test would see runs that share batches, momentum or learning rates, one that carries
another away when it diverges, or an optimiser that treats stacked parameters as one tensor.
"""

import functools
import gc
import itertools
import math
import random
import weakref

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.objective import Objective
from sounding.train import Case, Recipe, first_steps, many, together, train
from sounding.train.many import run_many, train_many
from sounding.train.stack import Stack
from sounding.train.stacked_steps import StackedOptimisers

STEPS = 50


def _data():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(90, 6, generator=generator, dtype=torch.float64)
    return x, (x[:, :3] + x[:, 3:]).argmax(1)


X, Y = _data()


def _net():
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 3)).double()


def _case(build=_net, loss=functional.cross_entropy, batches=(X, Y), metric=None, **recipe):
    given = {"lr": 0.05, "batch_size": 16, "steps": STEPS, **recipe}
    return Case(build, loss, batches, Recipe(**given), metric=metric)


def _agree(jobs, rtol=1e-10, **how):
    """One program gives what each run gives alone; returns what was said."""
    said = []
    together = train_many(
        jobs, progress=lambda *a: said.append(a), **{"method": "vectorised", **how}
    )
    for (case, seed), one in zip(jobs, together, strict=True):
        alone = train(case, seed)
        assert (one.seed, one.diverged) == (alone.seed, alone.diverged)
        np.testing.assert_allclose(one.loss.values, alone.loss.values, rtol=rtol)
        assert one.metrics == pytest.approx(alone.metrics, rel=rtol, nan_ok=True)
    return said


RECIPES = {
    "plain": {},
    "momentum": {"momentum": 0.9, "weight_decay": 0.01},
    "nesterov": {"momentum": 0.8, "options": {"nesterov": True}},
    "damped": {"momentum": 0.8, "options": {"dampening": 0.5, "foreach": False}},
    "schedule": {"schedule": "cosine", "warmup": 7, "lr": 0.2},
    "own schedule": {"schedule": lambda step, steps: 0.5 ** (3 * step / steps), "lr": 0.1},
    "clip": {"clip": 0.1, "lr": 0.5},
    "adam": {"optimiser": "adam", "lr": 0.01, "options": {"betas": (0.5, 0.9), "amsgrad": True}},
    "adamw": {"optimiser": "adamw", "lr": 0.01, "weight_decay": 0.1, "clip": 1.0},
    "nadam": {"optimiser": "nadam", "lr": 0.01},
    "radam": {"optimiser": "radam", "lr": 0.01},
    "rmsprop": {"optimiser": "rmsprop", "lr": 0.003, "momentum": 0.5},
    "centred": {"optimiser": "rmsprop", "lr": 0.003, "options": {"centered": True}},
    "adagrad": {"optimiser": "adagrad", "lr": 0.05},
}


# --- one program is what the runs are alone -------------------------------------------------------


def test_every_optimiser_schedule_and_clip():
    jobs = [(_case(**recipe), 4) for recipe in RECIPES.values()]
    said = _agree([*jobs, (jobs[1][0], 5)])  # and one with the recipe of another
    assert said[0] == ("trying 15 runs as one program", 0, 15)


@pytest.mark.parametrize("name", ["momentum", "adamw", "nadam", "radam", "rmsprop", "adagrad"])
def test_runs_that_differ_in_the_learning_rate_share_an_optimiser(name):
    given = {"weight_decay": 0.01, **RECIPES[name]}
    jobs = [(_case(**{**given, "lr": lr, "warmup": warmup}), 1) for lr, warmup in
            ((1e-4, 0), (0.01, 9), (1e-12, 5), (0.03, 0))]  # fmt: skip
    blocks = StackedOptimisers(Stack([_net() for _ in jobs]), [j.recipe for j, _ in jobs], 3).blocks
    assert len(blocks) == 1
    _agree(jobs)


def _layers(*layers):
    return lambda: nn.Sequential(*(layer() for layer in layers)).double()


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.last = nn.Linear(6, 6), nn.Linear(6, 3)
        self.act = torch.tanh

    def forward(self, x):
        return self.last(x + self.act(self.inner(x)))


def _linear(*widths):
    return [functools.partial(nn.Linear, a, b) for a, b in itertools.pairwise(widths)]


def _frozen():
    net = _net()
    net[0].requires_grad_(False)
    net[2].bias.requires_grad_(False)
    return net


def _shared():
    net = nn.Sequential(*_layers(*_linear(6, 6, 6), nn.ReLU, *_linear(6, 3))())
    net[1] = net[0]
    return net


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.other.weight = self.one.weight

    def forward(self, x):
        return self.last(self.other(torch.relu(self.one(x))))


FIRST, LAST = _linear(6, 8), _linear(8, 3)
NETS = {
    "relu, inside": _layers(_layers(*FIRST, nn.ReLU), nn.Identity, *LAST),
    "leaky": _layers(*FIRST, functools.partial(nn.LeakyReLU, 0.2), *LAST),
    "sigmoid": _layers(functools.partial(nn.Linear, 6, 8, bias=False), nn.Sigmoid, *LAST),
    "gelu": _layers(*FIRST, nn.GELU, *LAST),
    "in place": _layers(*FIRST, functools.partial(nn.ELU, inplace=True), *LAST),
    "batch norm": _layers(nn.Flatten, *FIRST, functools.partial(nn.BatchNorm1d, 8), nn.ReLU, *LAST),
    "layer norm": _layers(*FIRST, functools.partial(nn.LayerNorm, 8), nn.Tanh, *LAST),
    "convolution": _layers(
        functools.partial(nn.Unflatten, 1, (1, 2, 3)),
        functools.partial(nn.Conv2d, 1, 4, 3, padding=1),
        functools.partial(nn.GroupNorm, 2, 4),
        functools.partial(nn.ReLU, inplace=True),
        nn.Flatten,
        *_linear(24, 3),
    ),
    "residual": lambda: Residual().double(),
    "frozen": _frozen,
    "shared": _shared,
    "tied": lambda: Tied().double(),
}


@pytest.mark.parametrize("name", NETS)
def test_every_kind_of_network(name):
    metric = lambda net: {"loss on all": float(functional.cross_entropy(net(X), Y))}  # noqa: E731
    case = _case(NETS[name], metric=metric, momentum=0.5)
    said = _agree([(case, seed) for seed in (0, 1, 7)])
    assert sum("one program" in words for words, *_ in said) == 1


def _penalised(model, batch):
    x, y = batch
    return functional.cross_entropy(model(x), y) + 0.01 * sum(
        p.square().sum() for p in model.parameters()
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": None},
        {"batches": [(X[:30], Y[:30]), (X[30:75], Y[30:75])]},
        {"loss": nn.CrossEntropyLoss()},
        {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)},
        {
            "loss": lambda output, target: functional.mse_loss(
                output, functional.one_hot(target, 3).double()
            )
        },
        {"loss": lambda output, target: output.square().mean()},
        {"loss": Objective(_penalised)},
        {"batches": (X, Y.where(Y != 1, -100))},
    ],
    ids=[
        "whole set",
        "list",
        "module",
        "smoothed",
        "squares",
        "no target",
        "objective",
        "left out",
    ],
)
def test_every_kind_of_data_and_loss(changes):
    _agree([(_case(**changes), seed) for seed in range(3)])


def test_a_run_that_diverges_in_the_middle_ends_there_and_holds_nobody_up():
    loss = lambda output, target: (output[:, 0] - target).square().mean()  # noqa: E731
    lrs = [0.01, 1e6, 0.02, 1e12, 0.03]
    recipes = [{"lr": lr, "momentum": 0.9, "steps": 60, "batch_size": 8} for lr in lrs]
    recipes += [{"optimiser": "nadam", "lr": 0.01, "steps": 60, "batch_size": 8}]
    build = lambda: nn.Linear(6, 1).double()  # noqa: E731
    jobs = [(_case(build, loss, **recipe), 2) for recipe in recipes]
    assert sum(train(*job).diverged for job in jobs) == 2
    _agree(jobs)


def test_all_may_diverge():
    case = _case(lambda: nn.Linear(6, 1).double(), lambda o, t: o.square().mean(), lr=1e9, steps=90)
    assert all(trial.diverged for trial in train_many([(case, 0), (case, 1)], method="vectorised"))
    _agree([(case, 0), (case, 1)])


@pytest.mark.parametrize("steps", [1, 7, 19, 20, 21])
def test_accuracy_counts_the_last_tenth_of_any_number_of_steps(steps):
    _agree([(_case(steps=steps), seed) for seed in range(3)])
    assert (
        train_many([(_case(), 0)] * 2, steps=steps)[0].metrics
        == train(_case(), 0, steps=steps).metrics
    )


# --- what cannot be one program -------------------------------------------------------------------


def _noisy():
    return nn.Sequential(nn.Linear(6, 9), nn.Dropout(0.5), nn.Linear(9, 3)).double()


class Drawing(nn.Module):
    """Draws where torch cannot see it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3).double()

    def forward(self, x):
        return self.layer(x) * random.random()


class Unused(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(6, 3).double())
        self.idle = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def forward(self, x):
        return self[0](x)


class Branching(Unused):
    def forward(self, x):
        out = self[0](x) + self.idle.sum()
        return out if out.sum() > 0 else 2 * out


class Counting:
    """A loss that is another one at every call."""

    def __init__(self):
        self.calls = 0

    def __call__(self, output, target):
        self.calls += 1
        return functional.cross_entropy(output, target) * self.calls


LOADER = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(X, Y), batch_size=16, shuffle=True
)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"build": _noisy}, "draws random numbers"),
        ({"build": Drawing}, "draws random numbers"),
        ({"build": Unused}, "have no gradient"),
        ({"build": Branching}, "data-dependent control flow"),
        ({"optimiser": lambda p: torch.optim.SGD(p, lr=0.1)}, "made by a function"),
        ({"batches": LOADER}, "a DataLoader come one run at a time"),
    ],
)
def test_what_cannot_be_one_program_is_refused(changes, why):
    jobs = [(_case(**{"steps": 3, **changes}), seed) for seed in (0, 1)]
    with pytest.raises(ValueError, match=f"cannot be one program.*{why}"):
        train_many(jobs, method="vectorised")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"build": _noisy, "steps": 120}, "draws random numbers"),
        ({"build": NETS["convolution"], "steps": 9}, "too few to find out"),
        ({"batches": LOADER, "steps": 9}, "a DataLoader come one run at a time"),
    ],
)
def test_what_is_run_one_by_one_is_said_and_is_exactly_that(changes, why):
    jobs = [(_case(**changes), seed) for seed in (0, 1)]
    said = [words for words, *_ in _agree(jobs, method="auto", rtol=0)]
    assert any(why in words and "2 of 2 runs one by one" in words for words in said)


def test_what_is_slower_together_is_run_one_by_one(monkeypatch):
    """A clock that runs ten times as fast while the runs go together."""
    ticks = iter(range(10_000))
    monkeypatch.setattr(first_steps, "now", lambda device: next(ticks))
    monkeypatch.setattr(together, "now", lambda device: 10 * next(ticks))
    jobs = [(_case(NETS["residual"], steps=120), seed) for seed in (0, 1)]
    said = [words for words, *_ in _agree(jobs, method="auto", rtol=0)]
    assert any("a step takes 1e+04 ms together, 4e+03 ms so" in words for words in said)


def test_a_loss_with_a_memory_is_noticed():
    jobs = [(_case(loss=Counting()), seed) for seed in (0, 1)]
    with pytest.raises(ValueError, match="computes something else when stacked"):
        train_many(jobs, method="vectorised")


def test_different_networks_share_no_program():
    said = []
    jobs = [(_case(NETS[name]), seed) for name in ("leaky", "sigmoid", "leaky") for seed in (0, 1)]
    jobs += [(_case(NETS["gelu"]), 0)]
    train_many(jobs, progress=lambda *a: said.append(a[0]))
    tried = [words for words in said if "one program" in words]
    assert tried == ["trying 4 runs as one program", "trying 2 runs as one program"]
    assert "1 of 7 runs one by one: no other run has such a network and such data" in said


def test_networks_are_built_in_lots_that_memory_holds(monkeypatch):
    """220 nets of 300 layers, as one study has, would be gigabytes before the first step."""
    alive = weakref.WeakSet()
    most = 0

    def build():
        nonlocal most
        net = _net()
        alive.add(net)
        gc.collect()
        most = max(most, len(alive))
        return net

    jobs = [(_case(build, steps=2), seed) for seed in range(12)]
    whole = train_many(jobs)
    assert most >= 12
    monkeypatch.setattr(many, "LOT_BYTES", 3 * 8 * (9 * 6 + 9 + 3 * 9 + 3))  # more than 3 nets
    alive.clear()
    most = 0
    parts = train_many(jobs)
    assert most <= 10  # of one lot of 4 while it is compared, and of the last program
    for one, other in zip(whole, parts, strict=True):
        assert one.seed == other.seed
        np.testing.assert_allclose(one.loss.values, other.loss.values, rtol=1e-10)


def test_one_by_one_can_be_asked_for():
    said = []
    jobs = [(_case(), seed) for seed in (0, 1)]
    trials = train_many(jobs, progress=lambda *a: said.append(a[0]), method="one by one")
    np.testing.assert_array_equal(trials[1].loss.values, train(*jobs[1]).loss.values)
    assert len(said) == 2


# --- the rest of the contract ---------------------------------------------------------------------


def test_each_trial_is_told_of_once_and_a_caller_may_stop():
    heard = {}
    jobs = [(_case(lr=lr), 0) for lr in (0.1, 0.2, 0.3)]
    trials = train_many(jobs, on_trial=lambda number, trial: heard.update({number: trial}))
    assert [heard[number] for number in range(3)] == list(trials)

    class Decided(Exception):
        pass

    def stop(number, trial):
        calls.append(number)
        raise Decided

    calls = []
    with pytest.raises(Decided):
        train_many(jobs, on_trial=stop)
    assert calls == [0]


def test_random_state_and_gradient_mode_are_given_back():
    torch.manual_seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    with torch.no_grad():
        jobs = [(_case(build, metric=lambda net: {"a": torch.rand(()).item()}), s)
                for build in (_net, _noisy, Drawing) for s in (0, 1)]  # fmt: skip
        train_many(jobs)
        assert not torch.is_grad_enabled()
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_a_metric_that_draws_draws_what_it_draws_alone():
    def metric(net):
        return {"t": torch.rand(()).item(), "n": np.random.rand(), "p": random.random()}  # noqa: NPY002

    def build():
        np.random.rand()  # noqa: NPY002 - as a build may
        return _net()

    _agree([(_case(build, metric=metric), seed) for seed in (0, 1)])


def test_errors_are_those_of_one_run():
    wrong = _case(batches=(X, Y + 5))
    with pytest.raises(ValueError, match="is out of range for the network's outputs"):
        train_many([(wrong, 0), (wrong, 1)])
    net = _net()
    with pytest.raises(ValueError, match="it must make a new network each time"):
        train_many([(_case(lambda: net), 0)] * 2)
    with pytest.raises(ValueError, match="method is 'fast'; use one of 'auto'"):
        train_many([(_case(), 0)], method="fast")
    assert train_many([]) == ()


def test_one_run_that_fails_is_told_of_and_the_others_go_on():
    """Binary cross-entropy refuses what a network says after it has diverged."""
    build = lambda: nn.Sequential(nn.Linear(6, 1), nn.Sigmoid()).double()  # noqa: E731
    loss = lambda o, t: functional.binary_cross_entropy(o[:, 0], (t > 0).double())  # noqa: E731
    jobs = [(_case(build, loss, lr=lr, optimiser="adam"), 0) for lr in (0.01, 1e308, 0.02)]
    told = {}
    run_many(jobs, told.__setitem__, lambda message: None)
    assert isinstance(told[1], ValueError)
    for number in (0, 2):
        alone = train(*jobs[number])
        np.testing.assert_array_equal(told[number].loss.values, alone.loss.values)
    assert math.isfinite(told[0].loss.values[-1])

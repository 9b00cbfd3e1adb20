"""Rules that know which line of a loop is missing or misplaced, on loops of a few steps each."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.watch.diagnosis import diagnose
from sounding.watch.observer import Observer
from sounding.zoo.nets import mlp


def loop(*, steps=12, each=None, before_step=None, after_step=None, step=True, make=None, net=None):
    """Train a little; what is given is called with (net, optimiser) in its place."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)) if net is None else net
    make = make or (lambda: torch.optim.SGD(net.parameters(), lr=0.1))
    optimiser = make()
    for _ in range(steps):
        if each is not None:
            optimiser = each(make)
        x = torch.randn(16, 8)
        optimiser.zero_grad()
        functional.cross_entropy(net(x), (x.sum(1) > 0).long()).backward()
        if before_step is not None:
            before_step(net, optimiser)
        if step:
            optimiser.step()
        if after_step is not None:
            after_step(net, optimiser)
    return net


def test_a_loop_without_a_step(watch):
    finding, _ = watch(lambda: loop(step=False), "SD208")
    assert finding.measured == {"steps": 0.0, "backwards": 12.0}
    assert watch(loop, "SD208")[0] is None


def test_steps_by_hand_are_steps():
    """Weights that move are trained by somebody, optimiser or not."""

    def by_hand(net, _):
        with torch.no_grad():
            for p in net.parameters():
                p -= 0.1 * p.grad

    observer = Observer()
    with observer.watching():
        loop(step=False, before_step=by_hand)
    assert diagnose(observer, "test") is None


@pytest.mark.parametrize("none", [True, False])
def test_gradients_zeroed_before_the_step(watch, none):
    def zeroed(_, optimiser):
        optimiser.zero_grad(set_to_none=none)

    finding, _ = watch(lambda: loop(before_step=zeroed), "SD207")
    if none:
        assert "zero_grad() stands between backward() and step()" in finding.message
    else:
        assert finding is None  # zeros are gradients, which SD213's replay judges


def clip(net, _):
    nn.utils.clip_grad_norm_(net.parameters(), 0.5)


def test_clipping_behind_the_step(watch):
    finding, _ = watch(lambda: loop(after_step=clip), "SD507")
    assert finding.measured == {"clipped_behind_the_step": 12.0}
    assert watch(lambda: loop(before_step=clip), "SD507")[0] is None


@pytest.mark.parametrize("often", [True, False])
def test_an_optimiser_made_anew_at_every_step(often):
    observer = Observer()
    made = []

    def each(make):
        if often or not made:
            made.append(make())
        return made[-1]

    with observer.watching():
        loop(each=each)
    (record,) = [r for r in observer.records.values() if r.count]
    assert record.count == 12
    loop_facts = diagnose(observer, "test").readings.loop
    assert loop_facts.remade == (11 if often else 0)


def test_groups_far_apart(ran):
    from sounding.rules.learning_rate import learning_rate_too_low

    groups = [(("0.weight",), {"lr": 1e-8}), (("1.weight",), {"lr": 0.1})]
    for end, found in ((0.2, True), (1.9, False)):
        tests = {"evened": (2.0, end), "faster": (2.0, 2.0), "much_faster": (2.0, 2.0)}
        tests["far_faster"] = (2.0, 2.0)
        given = learning_rate_too_low(ran(constant=(2.3, 2.0), groups=groups, tests=tests))
        assert (getattr(given, "layers", None) == ("0.weight",)) == found


def test_a_norm_over_one_feature_leaves_nothing(find):
    def net(*last):
        return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 1), *last)

    data = torch.randn(32, 64), torch.randn(32, 1)
    how = {"data": data, "loss": functional.mse_loss}
    finding, _ = find("SD403", net(nn.LayerNorm(1)), **how)
    assert finding.layers == ("3",)
    assert find("SD403", net(), **how)[0] is None
    zero = net()
    nn.init.zeros_(zero[2].weight)  # a head that starts at 0 says the same of all samples, too
    assert find("SD403", zero, **how)[0] is None


def test_dropped_predictions(ran, examine):
    from sounding.rules.dropout import dropout_too_strong

    def readings(*parts):
        net = nn.Sequential(nn.Linear(64, 16), *parts)
        data = torch.randn(32, 64), torch.randn(32, 1)
        return examine(net, data=data, loss=functional.mse_loss).readings

    tests = {"undropped": (0.6, 0.01), "repeat": {"eval_loss": 0.1}}
    last = readings(nn.Linear(16, 1), nn.Dropout(0.5))
    finding = dropout_too_strong(ran(readings=last, constant=(1.0, 0.6), tests=tests))
    assert "predictions themselves" in finding.message
    before = readings(nn.Dropout(0.5), nn.Linear(16, 1))
    assert isinstance(
        dropout_too_strong(ran(readings=before, constant=(1.0, 0.6), tests=tests)), str
    )


@pytest.mark.parametrize("factor", [8.0, 1 / 8])
def test_the_weight_farthest_from_torchs_own(examine, factor):
    from sounding.rules.redrawing import oddest

    torch.manual_seed(0)
    net = mlp(64, 64, 64, 10)
    net[2].weight.data *= factor
    odd = oddest(examine(net).readings)
    assert odd.name == "2.weight"
    assert odd.ratio == pytest.approx(factor, rel=0.05)


def test_no_rule_fails_on_a_run_without_a_step():
    observer = Observer()
    with observer.watching():
        loop(step=False)
    outcomes = diagnose(observer, "test").outcomes
    assert not [o.reason for o in outcomes if o.outcome == "skipped"]


def test_a_rectifier_that_is_dead_on_all_samples_compares_no_numbers(find):
    net = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 1), nn.ReLU())
    nn.init.constant_(net[2].bias, -100.0)
    data = torch.rand(32, 64), torch.rand(32, 1)
    assert find("SD403", net, data=data, loss=functional.mse_loss)[0] is None

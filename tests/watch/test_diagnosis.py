"""From a loop to its diagnosis: the fault first; nothing where nothing is wrong or changed."""

import importlib

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.confusion import Confusion, Visit, examine_programs
from sounding.rules import RULES, Finding, Rule
from sounding.watch.diagnosis import diagnose
from sounding.watch.observer import Observer
from sounding.zoo.program import Program


def data():
    generator = torch.Generator().manual_seed(1)
    y = torch.randint(0, 4, (512,), generator=generator)
    return 2 * torch.randn(4, 8, generator=generator)[y] + torch.randn(
        512, 8, generator=generator
    ), y


def loop(model, optimizer, *, loss=F.cross_entropy, steps=120, scheduler=None, zero=True):
    x, y = data()
    for step in range(steps):
        rows = torch.arange(32 * step, 32 * step + 32) % 512
        if zero:
            optimizer.zero_grad()
        loss(model(x[rows]), y[rows]).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return model


def net(last=None):
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4), *([last] if last else []))


def sgd(model, lr=0.1, **how):
    return torch.optim.SGD(model.parameters(), lr=lr, **how)


def softmax_twice():
    model = net(nn.Softmax(1))
    loop(model, torch.optim.Adam(model.parameters(), lr=1e-3))


def gradients_that_add_up():
    model = net()
    loop(model, sgd(model), zero=False, steps=200)


def optimiser_of_other_layers():
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    model[0], model[2] = nn.Linear(8, 32), nn.Linear(32, 4)
    loop(model, optimizer)


def schedule_of_epochs_stepped_per_batch():
    model = net()
    optimizer = sgd(model)
    loop(model, optimizer, scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.1))


def evaluation_with_dropout():
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Dropout(0.7), nn.Linear(64, 4))
    loop(model, torch.optim.Adam(model.parameters(), lr=1e-2))
    with torch.no_grad():
        model(data()[0])


def second_training_at_a_ruinous_rate():
    model = net()
    loop(model, torch.optim.Adam(model.parameters(), lr=1e-2))
    loop(model, sgd(model, lr=50.0, momentum=0.9))


SICK = {
    softmax_twice: "SD401",
    gradients_that_add_up: "SD210",
    optimiser_of_other_layers: "SD208",
    schedule_of_epochs_stepped_per_batch: "SD503",
    evaluation_with_dropout: "SD602",
    second_training_at_a_ruinous_rate: "SD508",
}


def watched(train, seed=0):
    torch.manual_seed(seed)
    observer = Observer()
    with observer.watching():
        result = train()
    assert not observer.failures
    return observer, result


@pytest.mark.parametrize("train", SICK, ids=lambda train: train.__name__)
def test_the_fault_is_named_first(train):
    observer, _ = watched(train)
    exam = diagnose(observer, "test")
    assert exam.findings[0].code == SICK[train]
    assert exam.findings[0].severity == "problem"


def test_without_tests_suspicions_stay_suspicions():
    observer, _ = watched(second_training_at_a_ruinous_rate)
    exam = diagnose(observer, "test", tests=False)
    assert "SD501" not in [finding.code for finding in exam.findings]
    assert "untested" in [outcome.outcome for outcome in exam.outcomes]


def healthy():
    model = net()
    return loop(model, torch.optim.Adam(model.parameters(), lr=1e-2))


def taking_turns():
    """Two nets, two optimisers, alternately."""
    one, other = net(), net()
    first, second = (torch.optim.Adam(m.parameters(), lr=1e-2) for m in (one, other))
    x, y = data()
    for step in range(100):
        rows = torch.arange(32 * step, 32 * step + 32) % 512
        for model, optimizer in ((one, first), (other, second)):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()


@pytest.mark.parametrize("train", [healthy, taking_turns])
def test_nothing_is_found_where_nothing_is_wrong(train):
    observer, _ = watched(train)
    exam = diagnose(observer, "test")
    assert exam.findings == ()
    assert not [o for o in exam.outcomes if o.outcome == "skipped"]


def test_the_training_keeps_its_bits():
    torch.manual_seed(3)
    plain = healthy()
    _, seen = watched(healthy, seed=3)
    assert all(map(torch.equal, plain.state_dict().values(), seen.state_dict().values()))


def test_the_diagnosis_changes_nothing():
    observer, model = watched(healthy)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    drawn = torch.get_rng_state()
    diagnose(observer, "test")
    assert torch.equal(drawn, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_rates_of_the_zoo_count_first_causes_and_false_alarms():
    def visit(name, expected, found):
        return Visit(name=name, seed=0, expected=expected, found=found, problems=0, seconds=1.0)

    result = Confusion(
        visits=(
            visit("a", ("SD401",), ("SD401", "SD502")),
            visit("b", ("SD502",), ("SD401", "SD502")),
            visit("c", ("SD503",), ()),
            visit("d", (), ()),
            visit("e", (), ("SD401",)),
        )
    )
    rates = {name: rate.value for name, rate in result.rates().items()}
    assert rates["right cause first"] == pytest.approx(1 / 3)
    assert rates["right cause among three"] == pytest.approx(2 / 3)
    assert rates["faults with an alarm"] == pytest.approx(2 / 3)
    assert rates["healthy with an alarm"] == pytest.approx(1 / 2)
    assert result.of_rule("SD401") == ((1, 1), (1, 2))


def test_a_program_that_raises_is_still_diagnosed():
    def run(sick):
        softmax_twice()
        raise RuntimeError("at the end")

    program = Program("raises", run, ("SD401",), "")
    (visit,) = examine_programs([program], seeds=[0]).visits
    assert visit.hit
    assert "at the end" in visit.note


def test_each_of_two_optimisers_is_asked_what_its_own_gradients_were():
    """By hand: the second one is never zeroed, so it begins with the norm that it stepped with."""
    observer = Observer()
    with observer.watching():
        torch.manual_seed(0)
        first, second = nn.Linear(4, 8), nn.Linear(8, 1)
        net = nn.Sequential(first, second)
        one = torch.optim.SGD(first.parameters(), lr=0.01)
        other = torch.optim.SGD(second.parameters(), lr=0.01)
        norms = []
        for _ in range(12):
            one.zero_grad()
            nn.functional.mse_loss(net(torch.randn(16, 4)), torch.randn(16, 1)).backward()
            norms.append(float(nn.utils.get_total_norm([p.grad for p in second.parameters()])))
            one.step()
            other.step()
    courses = [record.course() for record in observer.records.values()]
    assert not courses[0].carried.any()
    np.testing.assert_allclose(courses[1].gradient_norm, norms, rtol=1e-5)
    np.testing.assert_allclose(courses[1].carried[1:], norms[:-1], rtol=1e-5)
    np.testing.assert_array_equal(courses[0].loss, courses[1].loss)
    found = diagnose(observer, "two optimisers", tests=False)
    assert found is not None
    assert next(o.outcome for o in found.outcomes if o.code == "SD210") != "passed"


@pytest.mark.parametrize("zeroed", [True, False])
def test_of_two_nets_in_turns_the_one_that_is_never_zeroed_is_found(zeroed):
    observer = Observer()
    with observer.watching():
        torch.manual_seed(0)
        maker, judge = nn.Linear(2, 4), nn.Linear(4, 1)
        making = torch.optim.SGD(maker.parameters(), lr=0.01)
        judging = torch.optim.SGD(judge.parameters(), lr=0.01)
        for _ in range(12):
            judging.zero_grad()
            made = maker(torch.randn(16, 2)).detach()
            (judge(made).square() + (judge(torch.randn(16, 4)) - 1).square()).mean().backward()
            judging.step()
            if zeroed:
                making.zero_grad()
            (judge(maker(torch.randn(16, 2))) - 1).square().mean().backward()
            making.step()
    found = {id(r.optimizer): r.course() for r in observer.records.values()}
    assert not np.nan_to_num(found[id(judging)].carried).any()
    carried, norm = found[id(making)].carried[2:], found[id(making)].gradient_norm[1:-1]
    np.testing.assert_allclose(carried, 0 * norm if zeroed else norm, rtol=1e-5)


def of_the_mean(output, y):
    return F.mse_loss(output.mean(1), y.float())


def shrunk(until, every=20):
    """From step 40 on weights lose a tenth a step: over five layers 20 steps make 0.9^100."""
    observer = Observer(every=every)
    torch.manual_seed(0)
    with observer.watching():
        model = nn.Sequential(*(m for _ in range(6) for m in (nn.Linear(8, 8), nn.Tanh())))
        for layer in model[::2]:
            nn.init.orthogonal_(layer.weight)
        optimizer = sgd(model, lr=1e-3)
        for step in range(until):
            loop(model, optimizer, loss=of_the_mean, steps=1)
            for layer in model[::2] if 40 <= step < 100 else ():
                layer.weight.data.mul_(0.9)
            if step == 120:
                for layer in model[::2]:
                    nn.init.orthogonal_(layer.weight)
    rules = tuple(rule for rule in RULES if rule.code == "SD201")
    return diagnose(observer, "test", rules=rules, tests=False)


def test_what_goes_wrong_later_is_dated():
    (finding,) = shrunk(until=100).findings
    assert finding.since == 80
    assert finding.measured["log_gain"] < 100 * np.log(0.9) + 1e-6
    assert finding.message.endswith("not so as the training began, first seen after 80 steps")


def test_what_went_wrong_on_the_way_and_came_right_again_has_passed():
    exam = shrunk(until=170)
    assert not exam.findings
    assert [o.outcome for o in exam.outcomes] == ["passed"]


def test_what_came_on_the_way_is_no_news_after_three_quarters_of_the_run(monkeypatch):
    monkeypatch.setattr(importlib.import_module("sounding.watch.record"), "OFTEN", 1000.0)
    assert [f.since for f in shrunk(until=300, every=80).findings] == [80]
    assert not shrunk(until=400, every=80).findings


def test_the_first_step_of_a_second_training_is_examined_whatever_was_expected():
    """Every step of the first one is due, and looked at layer by layer where it was seen before."""
    observer = Observer(budget=1.0)
    torch.manual_seed(0)
    with observer.watching():
        model = net()
        loop(model, sgd(model), steps=6)
        loop(model, sgd(model), steps=6)
    first, second = observer.records.values()
    assert first.readings[0].step == second.readings[0].step == 0


def test_how_a_run_could_go_on_is_not_asked_where_a_problem_is_known():
    def known(_):
        return Finding(
            code="SD501", name="known", severity="problem", message="", layers=(), source="",
            measured={}, expected={}, confidence="exact",
        )  # fmt: skip

    def unsure(readings):
        return readings.test("constant")["now_loss"] and None

    observer = Observer()
    with observer.watching():
        loop(model := net(), sgd(model))
    rules = (Rule("SD501", "known", known), Rule("SD705", "unsure", unsure, last=True))
    exam = diagnose(observer, "test", rules=rules)
    assert [o.outcome for o in exam.outcomes] == ["problem", "untested"]
    exam = diagnose(observer, "test", rules=rules[1:])
    assert [o.outcome for o in exam.outcomes] == ["passed"]

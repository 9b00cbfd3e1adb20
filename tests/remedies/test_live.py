"""A live optimiser is changed behind its driver's back, and the driver never notices.

Every comparison is with a run of torch alone in which the change was written into the code. No
other test sees a scheduler that was made before the treatment lose its marks, or count its groups.
"""

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from sounding.remedies import prescribe, treat
from sounding.remedies.live import as_stepped, hand_over, held
from sounding.result import NotApplicable

SCHEDULES = {
    "step": lambda o: lr_scheduler.StepLR(o, 4, 0.5),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 25),
    "cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.2, total_steps=30, cycle_momentum=False),
    "sequence": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o, 0.3, 5), lr_scheduler.ExponentialLR(o, 0.9)], [5]
    ),
}
TENTH = [("scale_lr", {"factor": 0.1})]


def a_tenth(schedule):
    """The schedule, whose every learning rate is a tenth for the time of a step."""

    def make(optimizer):
        optimizer.register_step_pre_hook(lambda o, *_: _times(o, 0.1))
        optimizer.register_step_post_hook(lambda o, *_: _times(o, 10))
        return schedule(optimizer)

    return make


def _times(optimizer, factor):
    for group in optimizer.param_groups:
        group["lr"] *= factor


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_goes_on_below_the_treatment(run, sgd, same, name, before):
    make = sgd(lr=0.1, momentum=0.5)
    treated = run(make, TENTH, SCHEDULES[name], before=before)
    plain = run(make, [], a_tenth(SCHEDULES[name]))
    same(treated, plain, rtol=1e-5)
    untreated = run(make, [], SCHEDULES[name])
    seen, meant = (r.optimizer.param_groups[0]["lr"] for r in (treated, untreated))
    assert seen == meant  # the scheduler's own


@pytest.mark.parametrize("before", [True, False])
def test_plateau_schedules_too(run, sgd, same, before):
    def loop(one, _):
        one.step()
        one.plateau.step(one.losses[-1])

    def plateau(one):
        one.plateau = lr_scheduler.ReduceLROnPlateau(one.optimizer, factor=0.5, patience=0)

    runs = [run(sgd(lr=lr), steps=0) for lr in (2.0, 0.2)]
    if before:
        plateau(runs[0])
    runs[0].treat("scale_lr", factor=0.1)
    if not before:
        plateau(runs[0])
    plateau(runs[1])
    for _ in range(25):
        for one in runs:
            loop(one, _)
    same(*runs, rtol=1e-5)


def test_a_schedule_written_by_hand_sets_absolute_rates(run, sgd, same):
    def loop(factor):
        def go(one, step):
            for group in one.optimizer.param_groups:
                group["lr"] = factor / (1 + step)
            one.step()

        return go

    treated = run(sgd(lr=1.0), TENTH, loop=loop(1.0))
    same(treated, run(sgd(lr=1.0), loop=loop(0.1)), rtol=1e-5)


def test_a_closure_is_evaluated_before_the_gradients_are_changed(run, sgd, same):
    def closing(one, _):
        def closure():
            one.optimizer.zero_grad()
            loss = one.loss()
            loss.backward()
            return loss

        one.losses.append(float(one.optimizer.step(closure).detach()))

    clip = [("clip_norm", {"bound": 0.1})]
    same(run(sgd(lr=0.1), clip, loop=closing), run(sgd(lr=0.1), clip))


def test_treatments_add_up_in_their_order(run, sgd, same):
    def clipped_then_halved(one, _):
        one.optimizer.zero_grad()
        loss = one.loss()
        loss.backward()
        nn.utils.clip_grad_norm_(one.net.parameters(), 0.1)
        for p in one.net.parameters():
            p.grad /= 2
        one.optimizer.step()
        one.losses.append(float(loss.detach()))

    remedies = [("clip_norm", {"bound": 0.1}), ("divide_gradients", {"by": 2.0})]
    remedies += [("scale_lr", {"factor": 0.5}), ("scale_lr", {"factor": 0.5})]
    same(run(sgd(lr=0.4), remedies), run(sgd(lr=0.1), loop=clipped_then_halved), rtol=1e-6)


def test_what_the_optimiser_writes_into_its_group_stays(run, sgd, same):
    class Counting(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                group["k"] = group.get("k", 0) + 1
            super().step(closure)

    remedies = [*TENTH, ("divide_gradients", {"by": 2.0})]
    taken = run(lambda net: Counting(net.parameters(), lr=0.1), remedies, steps=7)
    assert taken.optimizer.param_groups[0]["k"] == 7
    same(taken, run(sgd(lr=0.005), steps=7), rtol=1e-5)  # though the parent's step is one too


def test_a_step_that_raises_leaves_the_groups_as_they_were(run, sgd):
    one = run(sgd(lr=0.1), TENTH, steps=1)
    groups = one.optimizer.param_groups
    with pytest.raises(ZeroDivisionError):
        one.optimizer.step(lambda: 1 / 0)
    assert one.optimizer.param_groups is groups
    one.step()
    assert one.optimizer.param_groups is groups
    assert groups[0]["lr"] == 0.1


def test_the_next_updates_groups_can_be_asked_for(run, sgd):
    one = run(sgd(lr=0.1, weight_decay=0.1), steps=0)
    assert as_stepped(one.optimizer) is one.optimizer.param_groups
    one.treat("scale_lr", factor=0.5)
    one.treat("no_decay_on", kinds="biases")
    groups = as_stepped(one.optimizer)
    assert [(g["lr"], g["weight_decay"], len(g["params"])) for g in groups] == [
        (0.05, 0.1, 3), (0.05, 0.0, 3),
    ]  # fmt: skip
    assert len(one.optimizer.param_groups) == 1


def test_a_saved_and_loaded_optimiser_goes_on_counting(run, sgd, same):
    warm = [("warm_up", {"steps": 10})]
    whole = run(sgd(lr=0.1, momentum=0.9), warm, steps=12)
    half = run(sgd(lr=0.1, momentum=0.9), warm, steps=6)
    saved = half.optimizer.state_dict()
    half.optimizer.load_state_dict(saved)
    for _ in range(6):
        half.step()
    same(half, whole)


def test_l_bfgs_is_left_alone(run):
    with pytest.raises(NotApplicable, match="L-BFGS searches for its steps itself"):
        run(lambda net: torch.optim.LBFGS(net.parameters()), TENTH)


def test_a_treated_optimiser_is_let_go(run, sgd):
    taken = run(sgd(lr=0.1), TENTH, SCHEDULES["step"])
    known = weakref.ref(taken.optimizer)
    del taken
    gc.collect()
    assert known() is None


def test_new_parameters_join_and_lost_ones_leave_without_a_new_group():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    groups = [{"params": net[0].parameters()}, {"params": [net[1].weight], "lr": 0.2}]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    scheduler = lr_scheduler.StepLR(optimizer, 1, 0.5)
    before, lost, new = list(net.parameters()), net[1].weight, nn.Linear(3, 3)
    net[1] = new
    hand_over([optimizer], before, list(net.parameters()))
    assert held(optimizer) == [*net[0].parameters(), *new.parameters()]
    assert not any(p is lost for p in held(optimizer))
    net[0](torch.ones(1, 4)).sum().backward()
    optimizer.step()
    scheduler.step()  # counts two groups, as when it was made
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.1]


def test_a_remedy_of_the_recipe_needs_an_optimiser():
    net = nn.Linear(3, 1)
    with pytest.raises(NotApplicable, match="no optimiser yet"):
        treat(prescribe("scale_lr"), net, lambda: net(torch.ones(2, 3)))

"""Gradients between backward and update: against loops with torch's clipping written in."""

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from sounding.remedies import prescribe, treat
from sounding.zoo.nets import mlp

ZEROED = [("zero_gradients", {})]


def with_line(line, *, zero=True, backwards=1):
    """A loop in which `line(net)` runs right before the step."""

    def loop(one, _):
        if zero:
            one.optimizer.zero_grad()
        for _ in range(backwards):
            loss = one.loss()
            loss.backward()
        line(one.net)
        one.optimizer.step()
        one.losses.append(float(loss.detach()))

    return loop


def nothing(_):
    pass


@pytest.mark.parametrize("bound", [0.05, 100.0])
def test_norm_clipping_is_torchs(run, sgd, same, bound):
    line = with_line(lambda net: nn.utils.clip_grad_norm_(net.parameters(), bound))
    same(run(sgd(lr=0.1), [("clip_norm", {"bound": bound})]), run(sgd(lr=0.1), loop=line))


def test_clipped_norm_is_the_bound(run, sgd):
    one = run(sgd(lr=1.0), [("clip_norm", {"bound": 0.01})], steps=0)
    before = [p.detach().clone() for p in one.net.parameters()]
    one.step()
    pairs = zip(one.net.parameters(), before, strict=True)
    moved = torch.cat([(p - q).flatten() for p, q in pairs])
    assert float(moved.detach().norm()) == pytest.approx(0.01, rel=1e-3)


def test_value_clipping_is_torchs(run, sgd, same):
    line = with_line(lambda net: nn.utils.clip_grad_value_(net.parameters(), 0.01))
    same(run(sgd(lr=0.1), [("clip_value", {"bound": 0.01})]), run(sgd(lr=0.1), loop=line))


def test_units_move_by_a_share_of_their_weights(run, sgd):
    """Claims K4: after clipping, the ratio of norms is at most the factor."""
    one = run(sgd(lr=1.0), [("clip_units", {"factor": 0.01})], steps=0)
    before = [p.detach().clone() for p in one.net.parameters()]
    for p in one.net.parameters():
        p.grad = torch.randn_like(p)
        p.grad[:1] *= 1e-6  # a unit that is not clipped
    given = [p.grad.clone() for p in one.net.parameters()]
    one.optimizer.step()
    *hidden, weight, bias = zip(one.net.parameters(), before, given, strict=True)
    for p, old, gradient in hidden:
        rows = 1 if p.dim() == 1 else len(p)  # a vector is one unit
        move, size = (t.detach().reshape(rows, -1).norm(dim=1) for t in (old - p, old))
        ratio = move / size
        assert ratio[1:] == pytest.approx(0.01, rel=1e-4)
        assert rows == 1 or torch.allclose((old - p)[0], gradient[0], atol=1e-7)
    for p, old, gradient in (weight, bias):  # the last layer is free
        torch.testing.assert_close(p.detach(), old - gradient)


def test_units_of_convolutions_and_zeros():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(3, 1))
    nn.init.zeros_(net[0].bias)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    x = torch.randn(4, 2, 3, 3)
    treat(prescribe("clip_units", factor=0.1), net, lambda: net(x), optimizer)
    before = net[0].weight.detach().clone()
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    moved = (net[0].weight.detach() - before).flatten(1).norm(dim=1)
    torch.testing.assert_close(moved, 0.1 * before.flatten(1).norm(dim=1))
    assert float(net[0].bias.detach().norm()) == pytest.approx(0.1 * 1e-3)


def test_divided_is_the_mean_of_the_passes(run, sgd, same):
    treated = run(
        sgd(lr=0.1), [("divide_gradients", {"by": 4})], loop=with_line(nothing, backwards=4)
    )
    same(treated, run(sgd(lr=0.1)), rtol=1e-5)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam])
def test_forgotten_gradients_do_not_add_up(run, same, make):
    def made(net):
        return make(net.parameters(), lr=0.05)

    treated = run(made, ZEROED, loop=with_line(nothing, zero=False))
    same(treated, run(made))
    untreated = run(made, loop=with_line(nothing, zero=False))
    assert untreated.losses[-1] != treated.losses[-1]


def test_forgotten_where_zero_grad_itself_does_nothing(run, sgd, same):
    class Hoarding(torch.optim.SGD):
        def zero_grad(self, set_to_none=True):
            pass

    same(run(lambda net: Hoarding(net.parameters(), lr=0.05), ZEROED), run(sgd(lr=0.05)))


def test_others_still_see_the_gradients_of_the_step(run, sgd):
    """Whoever listens to steps from outside reads them afterwards."""
    seen = []
    handle = register_optimizer_step_post_hook(
        lambda o, *_: seen.append(o.param_groups[0]["params"][0].grad is not None)
    )
    try:
        run(sgd(lr=0.1), ZEROED, steps=3)
    finally:
        handle.remove()
    assert seen == [True] * 3


def test_parameters_without_a_gradient_are_left_alone():
    net = mlp(4, 4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for name in ("clip_norm", "clip_value", "clip_units", "divide_gradients", "zero_gradients"):
        treat(prescribe(name), net, lambda: net(torch.ones(2, 4)), optimizer)
    optimizer.step()
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("name", ["clip_norm", "clip_value", "clip_units", "divide_gradients"])
def test_senseless_arguments_are_named(run, sgd, name):
    argument = {"clip_units": "factor", "divide_gradients": "by"}.get(name, "bound")
    with pytest.raises(ValueError, match=f"{argument} is 0.0; it must be positive"):
        run(sgd(lr=0.1), [(name, {argument: 0.0})])

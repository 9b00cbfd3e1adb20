"""A number that stops being one late in a run: which step, which call, which line made it.

The oracle is the loop itself: it knows at which step it put a zero under a fraction, and that the
run without an observer has the same bits. The steps made again must be those of the run: where they
are not, the weights are others and the step of an overflow, which depends on them, is missed.
"""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.rules import RULES
from sounding.watch import replay
from sounding.watch import ring as rings
from sounding.watch.diagnosis import diagnose
from sounding.watch.observer import Observer
from sounding.watch.replay import backward, forward

STEPS, BAD, SURE = 90, 71, 4
CODES = ("SD101", "SD103")


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """A machine that is busy takes longer, and finds the same."""
    monkeypatch.setattr(replay, "SECONDS", math.inf)


class Net(nn.Module):
    """Divides by an input that is never 0 but where a test makes it so; draws random numbers."""

    def __init__(self):
        super().__init__()
        self.up, self.drop, self.down = nn.Linear(8, 16), nn.Dropout(0.2), nn.Linear(16, 4)
        self.norm = nn.BatchNorm1d(16)

    def forward(self, x):
        return self.down(self.drop(torch.relu(self.norm(self.up(x)))) / x[:, :1])


def loop(
    loss,
    *,
    make=torch.optim.Adam,
    lr=1e-2,
    net=None,
    schedule=False,
    clip=None,
    zero=None,
    mend=False,
):
    """`loss(output, target, step)`; row `zero[1]` of step `zero[0]` is 0; gradients are mended."""
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(256, 8, generator=generator) + 0.5
    y = torch.randn(256, 4, generator=generator)
    net = Net() if net is None else net
    optimizer = make(net.parameters(), lr=lr)
    for step in range(STEPS):
        rows = torch.randint(0, 256, (16,))
        inputs, target = x[rows].clone(), y[rows]
        if zero is not None and step == zero[0]:
            inputs[zero[1], 0] = 0
        optimizer.zero_grad()
        loss(net(inputs), target, step).backward()
        for p in net.parameters() if mend else ():
            p.grad.nan_to_num_()
        if clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        if schedule:
            optimizer.param_groups[0]["lr"] *= 0.97
    return net


def watched(train, *, every=1000):
    torch.manual_seed(0)
    observer = Observer(every=every)
    with observer.watching():
        net = train()
    assert not observer.failures
    assert "__call__" not in Net.__dict__
    exam = diagnose(observer, "test", rules=tuple(r for r in RULES if r.code in CODES))
    assert observer.examined == [0]
    return observer, net, {finding.code: finding for finding in exam.findings}


def mse(output, target, step):
    return F.mse_loss(output, target)


@pytest.mark.parametrize("full", [256, 20])  # one generation of steps, and the fourth of them
def test_the_call_that_divides_by_zero(monkeypatch, full):
    monkeypatch.setattr(rings, "STEPS", full)
    _, _, found = watched(lambda: loop(mse, zero=(BAD, 3)))
    finding = found["SD101"]
    assert finding.message.startswith(f"at step {BAD}, #div (div) is the first call")
    assert finding.layers == ("#div",)
    assert found["SD103"].because == "SD101"


def root(output, target, step):
    """A distance of exactly 0 has no slope: the loss is finite, its gradient is not."""
    gap = (output - target) * (step != BAD)
    return gap.square().sum(1).sqrt().mean()


def test_a_gradient_without_a_slope_in_the_loss():
    _, _, found = watched(lambda: loop(root))
    message = found["SD101"].message
    assert message.startswith(f"at step {BAD}, the forward pass is finite, but the gradient")
    assert "that the loss sends back to down" in message


def certain(output, target, step):
    """A probability written out, which is rounded to 1 once the net is sure enough."""
    p = torch.sigmoid(SURE * output)
    return -(1 * torch.log(p) + 0 * torch.log(1 - p)).mean()


def test_the_call_of_the_loss_where_kept_batches_show_it():
    seen = []

    def loss(output, target, step):
        seen.append(certain(output, target, step))
        return seen[-1]

    _, _, found = watched(lambda: loop(loss, lr=1e-2))
    first = [value.isfinite().item() for value in seen].index(False)
    message = found["SD101"].message
    assert message.startswith(f"at step {first}, ")
    assert "(log) is the first call to produce NaN" in message


class Growing(nn.Module):
    """Its exponent grows with every step: when it overflows depends on all of them."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return (x[:, :4] * self.scale).exp()


@pytest.mark.parametrize(
    ("make", "how"),
    [
        (torch.optim.SGD, {"lr": 4.0}),
        (torch.optim.SGD, {"lr": 24.0, "schedule": True}),
        (torch.optim.SGD, {"lr": 9.0, "clip": 0.25}),
        (torch.optim.Adam, {"lr": 1.5}),
    ],
)
def test_an_overflow_at_the_step_of_the_run(make, how):
    seen = []

    def ascent(output, target, step):
        seen.append(output.isfinite().all().item())
        return -output.log().mean()

    _, _, found = watched(lambda: loop(ascent, make=make, net=Growing(), **how))
    assert found["SD101"].message.startswith(f"at step {seen.index(False)}, #exp (exp)")


class Narrow(nn.Linear):
    """Weights in half precision, of which the largest number is 65,504."""

    def forward(self, x):
        return F.linear(1e-2 * x.half(), self.weight, self.bias).float()


@pytest.mark.parametrize(("make", "lr"), [(torch.optim.SGD, 1e4), (torch.optim.Adam, 1e-2)])
def test_a_step_of_the_optimiser_itself(make, lr):
    """Weights that outgrow their format; and Adam's epsilon, which is 0 in it, at the first one."""
    seen = []

    def ascent(output, target, step):
        seen.append(output.isfinite().all().item())
        return -output.sum() if make is torch.optim.SGD else 0 * output.sum()

    net = Narrow(8, 4, bias=False).half()
    _, _, found = watched(lambda: loop(ascent, make=make, lr=lr, net=net))
    made = f"at step {seen.index(False)}, the optimiser's own step before made weight NaN or Inf"
    assert found["SD101"].message.startswith(made)


def test_the_steps_made_again_are_those_of_the_run():
    """From the snapshot with its own random numbers, to the bit: weights, buffers, moments."""
    observer, net, _ = watched(lambda: loop(mse, schedule=True, clip=0.1))
    (record,) = observer.records.values()
    generation = record.ring.generations[0]
    after = [t.clone() for t in (*net.parameters(), *net.buffers())]
    with record.scene().kept():
        generation.begin.restore()
        for past in generation.steps:
            record.optimizer.zero_grad()
            for call in past.calls:
                assert call.whole
                backward(forward(net, call), call)
            nn.utils.clip_grad_norm_(net.parameters(), past.clip)
            record.optimizer.param_groups[0]["lr"] = past.rates[0]
            record.optimizer.step()
        assert len(generation.steps) == STEPS - 1
        assert all(map(torch.equal, after, (*net.parameters(), *net.buffers())))
    assert all(map(torch.equal, after, (*net.parameters(), *net.buffers())))


def test_the_run_keeps_its_bits():
    torch.manual_seed(0)
    plain = loop(mse, zero=(BAD, 3))
    drawn = torch.get_rng_state()
    torch.manual_seed(0)
    observer = Observer(every=1000)
    with observer.watching():
        seen = loop(mse, zero=(BAD, 3))
    assert torch.equal(drawn, torch.get_rng_state())
    for one, other in zip(plain.state_dict().values(), seen.state_dict().values(), strict=True):
        assert torch.equal(one.isnan(), other.isnan())
        assert torch.equal(one.nan_to_num(), other.nan_to_num())


def test_memory_is_bounded_and_a_changed_batch_is_no_evidence(monkeypatch):
    monkeypatch.setattr(rings, "BYTES", 80_000)
    observer, _, _ = watched(lambda: loop(mse))
    (record,) = observer.records.values()
    ring = record.ring
    held = sum(call.bytes for g in ring.generations for past in g.steps for call in past.calls)
    assert held <= 80_000
    assert 1 <= len(ring.generations) <= 2
    call = ring.generations[-1].steps[-1].calls[0]
    assert call.whole
    call.args[0].add_(1)
    assert not call.whole


def test_nothing_is_replayed_where_the_loss_came_back():
    def skipped(output, target, step):
        return F.mse_loss(output, target) * (float("nan") if step == 30 else 1.0)

    observer, _, found = watched(lambda: loop(skipped, mend=True))
    (record,) = observer.records.values()
    assert found == {}
    assert not record.ring.stopped
    assert record.ring.generations[0].steps[0].number == 32

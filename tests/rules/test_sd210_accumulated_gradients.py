"""SD210: gradients that nobody zeroes, on watched loops with and without.

What looks like it and is not: accumulation over several batches, zeros that stay, a momentum by
hand, and what the generator's backward leaves in the critic.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.accumulation import accumulated_gradients
from sounding.zoo import samples

X, Y = samples.CLUSTERS


def loop(before=None, after=None, *, calls=1, lr=0.05, steps=60):
    """SGD with what is done `before` backward and `after` the step."""

    def train():
        net = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
        optimiser = torch.optim.SGD(net.parameters(), lr=lr)
        for step in range(steps):
            if before:
                before(optimiser)
            for call in range(calls):
                rows = torch.arange(32) + 32 * ((step * calls + call) % 32)
                functional.cross_entropy(net(X[rows]), Y[rows]).div(calls).backward()
            optimiser.step()
            if after:
                after(optimiser)

    return train


def by_hand(optimiser):
    for group in optimiser.param_groups:
        for p in group["params"]:
            p.grad.mul_(0.9)


def adversaries():
    generator, critic = nn.Linear(4, 2), nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    g = torch.optim.Adam(generator.parameters(), lr=1e-3)
    c = torch.optim.Adam(critic.parameters(), lr=1e-3)
    for _ in range(20):
        c.zero_grad()
        made = generator(torch.randn(16, 4))
        (critic(made.detach()).mean() - critic(torch.randn(16, 2)).mean()).backward()
        c.step()
        g.zero_grad()
        (-critic(generator(torch.randn(16, 4))).mean()).backward()
        g.step()


def test_never_zeroed(watch):
    finding, _ = watch(loop(lr=0.5), "SD210")
    assert (finding.severity, finding.confidence) == ("problem", "exact")
    assert finding.measured["steps_with_old_gradients"] == 1
    assert str(finding.remedies[0]) == "zero_gradients()"


@pytest.mark.parametrize(
    "train",
    [
        loop(lambda o: o.zero_grad()),
        loop(after=lambda o: o.zero_grad()),
        loop(lambda o: o.zero_grad(set_to_none=False)),
        loop(lambda o: o.zero_grad(), calls=4),
        loop(after=by_hand),
        adversaries,
    ],
)
def test_silent_on_healthy_loops(watch, train):
    finding, outcome = watch(train, "SD210")
    assert finding is None
    assert outcome.outcome in ("passed", "not applicable"), outcome.reason


NORMS = np.linspace(1, 50, 200)


def summed(ran, **how):
    return ran(gradient_norm=NORMS, carried=np.r_[0, NORMS[:-1]], constant=(2.3, 2.8), **how)


def test_the_fork_tells_how_bad_it_is(ran):
    found = accumulated_gradients(summed(ran, tests={"fresh_gradients": (2.8, 0.3)}))
    assert found.severity == "problem"
    assert "with it the loss ends at 0.3" in found.message
    found = accumulated_gradients(summed(ran, tests={"fresh_gradients": (2.8, 2.9)}))
    assert found.severity == "caution"
    found = accumulated_gradients(summed(ran, tests={"fresh_gradients": "takes turns"}))
    assert found.severity == "problem"
    with pytest.raises(Untested, match="fresh_gradients"):
        accumulated_gradients(summed(ran))


@pytest.mark.parametrize("other", [0.9, 1.1])
def test_another_gradient_is_not_the_last_one(ran, other):
    readings = ran(gradient_norm=NORMS, carried=other * np.r_[0, NORMS[:-1]])
    assert accumulated_gradients(readings) is None


def test_not_applicable(ran):
    with pytest.raises(NotApplicable, match="fewer than two steps"):
        accumulated_gradients(ran(loss=np.ones(1)))
    with pytest.raises(NotApplicable, match="fewer than two steps"):
        accumulated_gradients(ran(carried=np.nan))

"""SD705, SD708: a run that stands still, and gets on with longer or with shorter steps.

Courses are drawn around lines of which the slope is known; the forks are made again here by hand.
"""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.measure.intervene import Interventions
from sounding.result import NotApplicable
from sounding.rules.plateau import flat, oscillation, plateau
from sounding.watch.observer import Observer

STILL, LOWER, HIGHER = (1.4, 1.35), (1.4, 0.2), (1.4, 2.0)


def course(start, end, noise=0.1, seed=0, steps=300):
    """A fall to `start` at half of the run, and then a line to `end`."""
    level = np.interp(np.arange(steps), [0, steps // 2, steps - 1], [2.3, start, end])
    return level + np.random.default_rng(seed).normal(0, noise, steps)


@pytest.mark.parametrize("noise", [0.01, 0.1, 0.5])
def test_flat_tells_lines_from_slopes(noise):
    """Level 2.3: a fall of 0.115 over the half counts as none."""
    count = sum(flat(course(1.4, 1.4, noise, seed), 2.3) for seed in range(100))
    assert count >= 90  # two standard errors on one side, with eight degrees of freedom: 96
    falling = sum(flat(course(1.6, 1.0, noise, seed), 2.3) for seed in range(100))
    assert falling <= (5 if noise < 0.5 else 30)
    assert flat(course(1.4, 1.35, 0.01), 2.3)
    assert not flat(np.append(course(1.4, 1.4), math.nan), 2.3)


def outcomes(**forks):
    usual = dict.fromkeys(("heated", "reheated", "cooled", "escaped"), STILL)
    return usual | {"stability": {"start": 0.1, "end": 0.5}} | forks


def test_what_gets_it_on(ran):
    lr = np.where(np.arange(300) < 20, 0.1, 1e-3)
    rates = {"loss": course(1.4, 1.4), "constant": (2.3, 1.4)}
    found = plateau(ran(**rates, lr=lr, tests=outcomes(reheated=LOWER)))
    assert (found.code, found.severity, found.remedies[0].name) == ("SD705", "problem", "hold_lr")
    found = plateau(ran(**rates, tests=outcomes(heated=LOWER)))
    assert found.remedies[0].arguments == {"factor": 10.0}
    found = plateau(ran(**rates, tests=outcomes(escaped=LOWER)))
    assert found.remedies[0].name == "escape"
    assert isinstance(plateau(ran(**rates, tests=outcomes(cooled=LOWER))), str)


@pytest.mark.parametrize(("end", "said"), [(0.5, "noise throws"), (1.1, "across its valley")])
def test_shorter_steps(ran, end, said):
    made = outcomes(cooled=LOWER, stability={"start": 0.1, "end": end})
    found = oscillation(ran(loss=course(1.4, 1.4), constant=(2.3, 1.4), tests=made))
    assert (found.code, found.severity) == ("SD708", "problem")
    assert found.remedies[0].arguments == {"factor": 0.1}
    assert said in found.message


@pytest.mark.parametrize("rule", [plateau, oscillation])
def test_silent(ran, rule):
    made = outcomes(heated=LOWER, cooled=LOWER)
    assert rule(ran(loss=course(0.4, 0.4), constant=(2.3, 0.4), tests=made)) is None
    assert rule(ran(loss=course(1.9, 1.2), constant=(2.3, 1.2), tests=made)) is None
    said = rule(ran(loss=course(1.4, 1.4), constant=(2.3, 1.4), tests=outcomes()))
    assert "get it on" in said
    with pytest.raises(NotApplicable, match="beginning"):
        rule(ran(loss=np.ones(50), constant=(2.3, 1.4)))


@pytest.mark.parametrize(("name", "rate"), [("cooled", 0.02), ("heated", 2.0), ("reheated", 1.0)])
def test_a_fork_is_the_training_gone_on_with(name, rate):
    """Momentum goes along; the loss is that of the last quarter of the batches, unseen by both."""
    torch.manual_seed(0)
    x, y = torch.randn(512, 8), torch.randint(0, 3, (512,))
    rows = [torch.arange(16 * k, 16 * k + 16) % 512 for k in range(64)]
    observer = Observer()
    with observer.watching():
        net = nn.Linear(8, 3)
        optimiser = torch.optim.SGD(net.parameters(), lr=1.0, momentum=0.5)
        for step in range(120):
            optimiser.param_groups[0]["lr"] = 1.0 if step < 60 else 0.2
            optimiser.zero_grad()
            F.cross_entropy(net(x[rows[step % 64]]), y[rows[step % 64]]).backward()
            optimiser.step()
    (record,) = observer.records.values()
    fork = Interventions(record.scene()).make(name)
    assert not fork.failed
    for arm, lr in (("as_is", 0.2), ("changed", rate)):
        other, moved = copy.deepcopy((net, optimiser))
        moved.param_groups[0]["lr"] = lr
        for step in range(int(fork["steps"])):
            moved.zero_grad()
            F.cross_entropy(other(x[rows[step % 48]]), y[rows[step % 48]]).backward()
            moved.step()
        left = [F.cross_entropy(other(x[r]), y[r]).item() for r in rows[48:]]
        assert fork[arm] == pytest.approx(np.mean(left), rel=1e-4)

"""SD701: what was learnt is lost again; with the step that did it, and whose fault it was.

Courses are drawn at random to count how often chance makes one; the cause is known to the loops,
which break one batch, one rate or the data at a step of their own.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sounding.result import NotApplicable
from sounding.rules.relapse import learning_lost, lost
from sounding.watch import relapse

STEPS, AT = 300, 200


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """A machine that is busy takes longer, and finds the same."""
    monkeypatch.setattr(relapse, "SECONDS", math.inf)


def course(*levels, noise=0.2, seed=0):
    """Lognormal losses around a level for each equal part of the run."""
    level = np.repeat(levels, math.ceil(STEPS / len(levels)))[:STEPS]
    return level * np.exp(np.random.default_rng(seed).normal(0, noise, STEPS))


@pytest.mark.parametrize("noise", [0.05, 0.3, 1.0])
def test_chance(noise):
    """Of runs that only fall and stay, fewer than one in a hundred looks lost."""
    hits = 0
    for seed in range(200):
        hits += lost(course(2.3, 1.0, 0.5, 0.5, noise=noise, seed=seed)) is not None
    assert hits <= 6  # of 200; P(7 or more) < 0.005 at one in a hundred


def test_lost_again(ran):
    finding = learning_lost(ran(loss=course(2.3, 0.2, 0.2, 2.0), constant=(2.3, 1.9)))
    assert (finding.code, finding.severity) == ("SD701", "problem")
    assert finding.measured["loss"] == pytest.approx(2.0, rel=0.2)
    assert finding.expected["loss"] == pytest.approx(0.2, rel=0.2)
    assert "from about step 22" in finding.message


@pytest.mark.parametrize("end", [math.nan, math.inf, 1e30])
def test_an_explosion_counts(end):
    loss = course(2.3, 0.2, 0.2, 0.2)
    loss[250:] = end
    assert lost(loss).onset == pytest.approx(250, abs=5)


def test_harder_batches_are_no_loss(ran):
    said = learning_lost(ran(loss=course(2.3, 0.2, 0.2, 2.0), constant=(2.3, 0.1)))
    assert "the later ones are harder" in said


def test_a_little_is_no_harm(ran):
    said = learning_lost(ran(loss=course(2.3, 0.2, 0.2, 0.5), constant=(2.3, 0.5)))
    assert "most is still learnt" in said


def test_not_applicable(ran):
    with pytest.raises(NotApplicable, match="beginning"):
        learning_lost(ran(loss=np.ones(50)))
    with pytest.raises(NotApplicable, match="floor"):
        learning_lost(ran(loss=course(2.3, 0.2, 0.2, 2.0) - 1))


def train(*, batch=False, rate=False, data=False):
    """What breaks at step AT: one batch, the rate from there on, or all targets from there on."""

    def run():
        generator = torch.Generator().manual_seed(1)
        x = 2 * torch.rand(512, 1, generator=generator) - 1
        y = torch.sin(3 * x)
        net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.ReLU())
        net.append(nn.Linear(32, 1))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        for step in range(STEPS):
            rows = torch.randperm(512)[:64]
            target = y[rows.flip(0)] if data and step >= AT else y[rows]
            if rate and step == AT:
                optimizer.param_groups[0]["lr"] = 3.0
            optimizer.zero_grad()
            F.mse_loss(net(x[rows]), 1e3 * target if batch and step == AT else target).backward()
            optimizer.step()

    return run


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"batch": True}, "the batch of that step did it"),
        ({"data": True}, "the data did it: batches had a loss of"),
    ],
)
def test_the_cause_is_named(watch, broken, said):
    finding, _ = watch(train(**broken), "SD701")
    assert said in finding.message
    assert finding.measured["step"] == pytest.approx(AT, abs=0 if "batch" in broken else 20)
    assert (finding.remedies[0].name if finding.remedies else "") == (
        "clip_norm" if "batch" in broken else ""
    )


def test_the_rate_is_not_blamed_on_a_batch(watch):
    finding, _ = watch(train(rate=True), "SD701")
    assert f"at step {AT}; that step was too long" in finding.message
    assert "learning rate of 3, where 0.05 was usual" in finding.message
    assert finding.remedies[0].name == "scale_lr"


def test_silent_on_the_same_run_unbroken(watch):
    finding, outcome = watch(train(), "SD701")
    assert finding is None
    assert outcome.outcome == "passed"

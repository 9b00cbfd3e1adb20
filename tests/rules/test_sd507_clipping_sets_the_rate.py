"""SD507: what clipping leaves, beside what the optimiser gets; on watched loops.

Clipping that is always active is no fault of its own: an adaptive optimiser does not feel it, and
gradient descent may be meant to take steps of one length.
"""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.measure.readings import Optimiser
from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.clipping import clipping_sets_the_rate
from sounding.zoo import samples

SGD = Optimiser(name="SGD", lr=0.1, adaptive=False, eps=math.nan)
ADAM = Optimiser(name="Adam", lr=0.1, adaptive=True, eps=1e-8)
STUCK, LEARNT = (2.3, 2.29), (2.3, 0.1)


@pytest.mark.parametrize("scale", [65536.0, 1024.0])
@pytest.mark.parametrize("first", ["clip", "unscale"])
def test_watched(watch, scale, first):
    def train():
        x, y = samples.CLUSTERS
        net = nn.Linear(32, 10)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        for step in range(40):
            rows = torch.arange(64) + 64 * (step % 16)
            optimiser.zero_grad()
            (scale * functional.cross_entropy(net(x[rows]), y[rows])).backward()
            if first == "clip":
                nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            for p in net.parameters():
                p.grad /= scale
            if first == "unscale":
                nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            optimiser.step()

    finding, outcome = watch(train, "SD507")
    assert (finding is not None) == (first == "clip"), outcome
    if finding:
        assert finding.measured["norm_at_step"] == pytest.approx(0.5 / scale, rel=1e-4)
        assert finding.confidence == "exact"


def test_no_harm_no_finding(ran):
    """Adam's steps do not depend on the scale of the gradient."""
    readings = ran(clipped_from=5e4, bound=1.0, gradient_norm=1 / 65536, constant=LEARNT)
    assert "but the run learns" in clipping_sets_the_rate(readings)


def bounded(ran, *, share=1.0, optimiser=SGD, constant=STUCK, **tests):
    active = np.arange(200) < share * 200
    return ran(
        clipped_from=np.where(active, 0.8, 1e-4),
        bound=1e-3,
        gradient_norm=np.where(active, 1e-3, 1e-4),
        optimiser=optimiser,
        constant=constant,
        tests=tests,
    )


def test_a_bound_that_stops_the_training(ran):
    finding = clipping_sets_the_rate(bounded(ran, unclipped=(2.29, 0.07)))
    assert (finding.severity, finding.confidence) == ("problem", "measured")
    assert finding.measured["norm_over_bound"] == pytest.approx(800)
    assert "is 0.0001 long" in finding.message  # lr x bound
    assert finding.remedies[0].arguments["factor"] == pytest.approx(800)


def test_asks_for_what_decides(ran):
    with pytest.raises(Untested, match="unclipped"):
        clipping_sets_the_rate(bounded(ran))


@pytest.mark.parametrize(
    "how",
    [
        {"constant": LEARNT},  # steps of one length, and it learns
        {"optimiser": ADAM},
        {"share": 0.6},
        {"share": 0.05},
        {"unclipped": (2.29, math.inf)},  # what is clipped keeps it from diverging
    ],
)
def test_silent_or_refuted_on_healthy_runs(ran, how):
    assert not hasattr(clipping_sets_the_rate(bounded(ran, **how)), "code")


def test_not_applicable(ran):
    with pytest.raises(NotApplicable, match="nothing is clipped"):
        clipping_sets_the_rate(ran())
    with pytest.raises(NotApplicable, match="nothing is clipped"):
        clipping_sets_the_rate(ran(clipped_from=np.nan, bound=np.nan))  # by value


@pytest.mark.parametrize(("bound", "harmful"), [(1e-5, True), (1.0, False)])
def test_clipping_by_value(watch, bound, harmful):
    def train():
        x, y = samples.CLUSTERS
        net = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, int(y.max()) + 1))
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        for step in range(120):
            rows = torch.arange(32 * step, 32 * step + 32) % len(x)
            optimiser.zero_grad()
            functional.cross_entropy(net(x[rows]), y[rows]).backward()
            nn.utils.clip_grad_value_(net.parameters(), bound)
            optimiser.step()

    finding, _ = watch(train, "SD507")
    assert (finding is not None) == harmful
    if finding is not None:
        assert "clipping by value takes gradients of norm" in finding.message
        assert finding.expected["loss"] < finding.measured["loss"] / 2

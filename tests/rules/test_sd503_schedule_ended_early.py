"""SD503: a rate that falls to nothing; usual schedules, whose second half has a known share.

The suspicion counts rates alone, so a run that has learnt by then must be told by its loss.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.result import NotApplicable
from sounding.rules.schedule import SPENT, schedule_ended_early
from sounding.zoo import samples

STEPS = 400
T = np.arange(STEPS) / STEPS
USUAL = {  # and the share of the second half, in closed form
    "constant": (np.ones(STEPS), 0.5),
    "cosine": (0.5 * (1 + np.cos(np.pi * T)), 0.5 - 1 / np.pi),
    "linear": (1 - T, 0.25),
    "step to a tenth": (np.where(T < 0.5, 1, 0.1), 1 / 11),
    "warm-up and cosine": (np.minimum(10 * T, 1) * 0.5 * (1 + np.cos(np.pi * T)), 0.2),
}
EARLY = 0.1 ** (np.arange(STEPS) // 5)  # a scheduler meant for epochs, stepped once a batch


@pytest.mark.parametrize("name", USUAL)
def test_usual_schedules_leave_much_more(ran, name):
    lr, share = USUAL[name]
    assert lr[STEPS // 2 :].sum() / lr.sum() == pytest.approx(share, abs=0.02)
    assert share > 5 * SPENT
    loss = np.full(STEPS, 2.3)
    assert schedule_ended_early(ran(loss=loss, lr=lr, constant=(2.3, 2.3))) is None


def test_stepped_once_a_batch(ran):
    readings = ran(
        loss=np.full(STEPS, 2.1),
        lr=0.1 * EARLY,
        constant=(2.3, 2.1),
        tests={"steady": (2.1, 0.2)},
    )
    finding = schedule_ended_early(readings)
    assert (finding.code, finding.severity) == ("SD503", "problem")
    assert "after step 10 of 400" in finding.message  # 5 / (5 / 0.9) = 90 % by step 5, 99 % by 10
    assert str(finding.remedies[0]) == "hold_lr()"


def test_refuted(ran):
    learnt = ran(loss=np.full(STEPS, 0.1), lr=EARLY, constant=(2.3, 0.1))
    assert "learnt most" in schedule_ended_early(learnt)
    floor = ran(loss=np.ones(STEPS), lr=EARLY, constant=(1.1, 1.0), tests={"steady": (1.0, 0.99)})
    assert "going on" in schedule_ended_early(floor)


@pytest.mark.parametrize(("every", "fires"), [(1, True), (40, False)])
def test_watched(watch, every, fires):
    def train():
        x, y = samples.CLUSTERS
        net = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(optimiser, 5, 0.1)
        for step in range(160):
            rows = torch.arange(64) + 64 * (step % 16)
            optimiser.zero_grad()
            functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
            if (step + 1) % every == 0:
                schedule.step()

    finding, outcome = watch(train, "SD503")
    assert (finding is not None) == fires, outcome


def test_not_applicable(ran):
    with pytest.raises(NotApplicable, match="fewer than 16"):
        schedule_ended_early(ran(loss=np.ones(10), constant=(2.3, 1.0)))
    with pytest.raises(NotApplicable):
        schedule_ended_early(ran(lr=0.0))

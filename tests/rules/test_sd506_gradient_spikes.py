"""SD506: a gradient out of the usual that ruins the loss; and how often chance makes one.

The limit is derived for lognormal norms, so it is tried on these, on norms that drift, and on a
watched run with one target far outside.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.measure.test import Test, Untested
from sounding.rules.clipping import gradient_spikes
from sounding.rules.finding import Finding

STEPS = 300
ALONE = {"constant": "no target", "clipped": "takes turns"}  # the course has to do


def norms(seed, *, spread=0.5, drift=0.0):
    draw = np.random.default_rng(seed).normal(0, spread, STEPS)
    return np.exp(draw - drift * np.arange(STEPS) / STEPS)


def ruined(at, to=5.0):
    return np.r_[np.full(at + 1, 0.3), np.full(STEPS - at - 1, to)]


@pytest.mark.parametrize("drift", [0.0, 3.0])
def test_chance(ran, drift):
    """Fewer than one in a hundred runs of usual steps holds a spike, whatever the loss does."""
    level = np.r_[np.full(8, 0.3), np.full(STEPS - 8, 5.0)]
    hits = 0
    run = ran(loss=level, constant=(2.3, 0.1), tests={"clipped": "not made here"})
    for seed in range(300):
        for spread in (0.2, 0.5, 1.0):
            made = norms(seed, spread=spread, drift=drift)
            course = dataclasses.replace(run.course, gradient_norm=made)
            found = gradient_spikes(dataclasses.replace(run, course=course))
            hits += isinstance(found, Finding)
    assert hits <= 15  # of 900; P(16 or more) < 0.03 at one in a hundred


def test_one_step_destroys_the_net(ran):
    made = norms(0)
    made[120] = 1000.0
    finding = gradient_spikes(ran(loss=ruined(120), gradient_norm=made, tests=ALONE))
    assert (finding.code, finding.severity) == ("SD506", "problem")
    assert finding.measured["norm_over_median"] == pytest.approx(1000 / np.median(made[:120]))
    bound = finding.remedies[0].arguments["bound"]
    assert (made[:120] <= bound).mean() == pytest.approx(0.9, abs=0.01)


def test_no_number_behind_it(ran):
    made = norms(1)
    made[40:] = math.nan
    made[40] = 1e8
    loss = ruined(40, to=math.nan)
    finding = gradient_spikes(ran(loss=loss, gradient_norm=made, tests=ALONE))
    assert "the loss behind it is no number" in finding.message


def forked(as_is, changed):
    """A fork by its curves: rare batches have a huge loss in both arms."""
    outliers = np.where(np.arange(200) % 40 == 7, 1e5, 0.0)
    curves = {"as_is": as_is + outliers, "changed": changed + outliers}
    values = {"as_is": np.nan, "changed": np.nan, "difference": np.nan, "error": 1e4}
    return {"clipped": Test(name="clipped", values=values, curves=curves)}


def spiked(ran, *, at, loss=0.6, constant=(0.69, 0.66), **tests):
    made = norms(0)
    made[at] = 1000.0
    readings = ran(loss=np.full(STEPS, loss), gradient_norm=made, constant=constant)
    readings.tests.update(tests)
    return readings


@pytest.mark.parametrize("at", [3, 120])
def test_the_fork_decides_where_the_course_does_not(ran, at):
    """Nothing is usual before step 3; and behind step 120 the loss is as flat as it was."""
    with pytest.raises(Untested, match="clipped"):
        gradient_spikes(spiked(ran, at=at))
    finding = gradient_spikes(spiked(ran, at=at, **forked(0.66, 0.3)))
    assert finding.expected["loss"] == pytest.approx(0.3)
    assert f"at step {at} " in finding.message
    said = gradient_spikes(spiked(ran, at=at, **forked(0.66, 0.65)))
    assert said.startswith(f"the gradient jumped at step {at}")


def test_harmless(ran):
    said = gradient_spikes(spiked(ran, at=120, loss=0.1, constant=(0.69, 0.1)))
    assert said == "the gradient jumped at step 120, but the run learns"


def test_not_for_want_of_clipping(ran):
    """A step that is too long ruins the fork as well."""
    made = norms(0)
    made[120] = 1000.0
    readings = ran(loss=ruined(120), gradient_norm=made, constant=(0.69, 5.0))
    readings.tests.update(forked(5.0, 4.0))
    assert "with clipping the loss does so too" in gradient_spikes(readings)
    readings.tests.update(forked(5.0, 0.1))
    assert gradient_spikes(readings).code == "SD506"
    readings.tests["clipped"] = Test(name="clipped", values={}, failed="takes turns")
    assert gradient_spikes(readings).code == "SD506"


@pytest.mark.parametrize("factor", [1.1, 1.3, 2.0, 3.0])
def test_growth_over_several_steps_is_no_spike(ran, factor):
    """What is unstable multiplies the gradient by about the same factor in every step."""
    made = norms(0, spread=0.2)
    made[100:160] = np.minimum(factor ** np.arange(60.0), 1e30)
    assert gradient_spikes(ran(loss=ruined(110, to=1e6), gradient_norm=made)) is None


@pytest.mark.parametrize(("outlier", "fires"), [(3000.0, True), (1.0, False)])
def test_watched(watch, outlier, fires):
    x = torch.linspace(-1, 1, 1024)[:, None]
    y = torch.sin(3 * x)
    y[::256] = outlier
    order = torch.randperm(1024, generator=torch.Generator().manual_seed(3))
    order = torch.cat([order[order % 256 != 0][:480], order])  # 30 batches without

    def train():
        net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 1))
        optimiser = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
        for rows in order.split(16):
            optimiser.zero_grad()
            functional.mse_loss(net(x[rows]), y[rows]).backward()
            optimiser.step()

    finding, outcome = watch(train, "SD506")
    assert (finding is not None) == fires, outcome


def test_norms_that_were_not_measured(ran):
    made = norms(2)
    made[100:] = math.nan  # a long run is looked at in part only
    assert gradient_spikes(ran(loss=np.full(STEPS, 0.3), gradient_norm=made)) is None

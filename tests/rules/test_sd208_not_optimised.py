"""SD208: who holds what; a part left out on purpose and an optimised image are left alone."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from trainings import constant, fork, watched

from sounding.measure.loop import Group
from sounding.measure.test import Untested
from sounding.rules.ownership import not_optimised
from sounding.watch.diagnosis import diagnose
from sounding.watch.observer import Observer
from sounding.zoo.nets import mlp

BODY = ("0.bias", "0.weight")
HELD = (Group(parameters=("2.weight", "2.bias"), settings={}),)


def test_layers_that_the_model_no_longer_has(examine):
    readings = watched(
        examine(mlp(64, 32, 10)).readings, missing=BODY, foreign=2, stale=2, groups=HELD * 2
    )
    finding = not_optimised(readings)
    assert (finding.severity, finding.confidence) == ("problem", "exact")
    assert finding.message.startswith("2 of the 4 tensors that the optimiser holds never get")
    assert finding.layers == BODY


def test_nothing_that_is_held_gets_a_gradient(examine):
    readings = watched(examine(mlp(64, 32, 10)).readings, missing=BODY, foreign=2, groups=HELD)
    course = dataclasses.replace(readings.course, gradient_norm=np.zeros(200))
    finding = not_optimised(dataclasses.replace(readings, course=course))
    assert finding.message.startswith("all 2 tensors that the optimiser holds never get a gradient")


def test_a_part_left_out_is_decided_by_taking_it_in(examine):
    readings = examine(mlp(64, 32, 10)).readings
    with pytest.raises(Untested, match="constant"):
        not_optimised(watched(readings, missing=BODY))
    tests = {"constant": constant(2.3, 2.2), "adopted": fork(2.2, 0.1)}
    finding = not_optimised(watched(readings, missing=BODY, tests=tests))
    assert (finding.severity, finding.confidence) == ("problem", "measured")
    assert "the loss ends at 0.1 instead of 2.2 in 200 steps" in finding.message


@pytest.mark.parametrize(
    "made",
    [
        fork(0.4, 0.1),  # random features are enough
        fork(2.2, 1.9),
        fork(2.2, 1.2, error=0.5),
        fork(2.2, math.inf),
    ],
)
def test_refuted(made, examine):
    tests = {"constant": constant(2.3, 2.2), "adopted": made}
    readings = watched(examine(mlp(64, 32, 10)).readings, missing=BODY, tests=tests)
    assert "with them in it the loss ends at" in not_optimised(readings)


def test_a_probe_on_trained_features(examine):
    net = mlp(64, 32, 10)
    with torch.no_grad():
        net[0].weight *= 1.25
    assert "no random ones" in not_optimised(watched(examine(net).readings, missing=BODY))


def test_an_optimised_image(examine):
    """The optimiser holds a tensor of no model, which gets gradients; so does the whole net."""
    readings = watched(examine(mlp(64, 32, 10)).readings, missing=BODY, foreign=1)
    assert "belong to no model" in not_optimised(readings)


def test_healthy(examine):
    assert not_optimised(watched(examine(mlp(64, 32, 10)).readings)) is None


def test_in_a_loop():
    """An optimiser that was built before the head was exchanged."""
    torch.manual_seed(0)
    observer = Observer()
    with observer.watching():
        net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 10))
        optimiser = torch.optim.Adam(net.parameters())
        net[2] = nn.Linear(32, 3)
        x = torch.randn(64, 8)
        for _ in range(30):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x), torch.arange(64) % 3).backward()
            optimiser.step()
    findings = {f.code: f for f in diagnose(observer, "loop", tests=False).findings}
    assert findings["SD208"].layers == ("2.bias", "2.weight")
    assert "test_sd208" in findings["SD208"].source

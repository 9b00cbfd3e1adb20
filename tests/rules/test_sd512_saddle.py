"""SD512: a plateau at negative curvature; on two weights whose Hessian is known.

The loss (a b - 1)^2 has the saddle a = b = 0, where the Hessian is [[0, -2], [-2, 0]]. Every net
begins near directions that curve downwards, with a gradient that leads on: these must be silent.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.measure.intervene import Interventions
from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.saddle import saddle
from sounding.watch.observer import Observer

FLAT = {"signal": 1e-7, "variance": 1e-3}
DOWN = {"gradient_norm": 3e-4, "smallest": -0.07, "residual": 1e-6, "largest": 0.5}
MOVED = (0.693, 0.5)


def at_the_saddle(start, steps=60):
    """The tests that a run from a = b = `start` gives."""
    ones = torch.ones(16, 1)
    observer = Observer()
    with observer.watching():
        net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
        with torch.no_grad():
            for p in net.parameters():
                p.fill_(start)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01)
        for _ in range(steps):
            optimiser.zero_grad()
            functional.mse_loss(net(ones), ones).backward()
            optimiser.step()
    (record,) = observer.records.values()
    made = Interventions(record.scene())
    return {name: made.make(name).values for name in ("noise", "saddle")}


def test_two_weights(ran):
    """a = b grows by 1 + 2 lr a step: in 60 steps from 1e-4 to 3e-4, with a gradient as small."""
    tests = at_the_saddle(1e-4)
    assert tests["saddle"]["smallest"] == pytest.approx(-2, abs=1e-3)
    assert tests["saddle"]["largest"] == pytest.approx(2, abs=1e-3)
    end = 1e-4 * 1.02**60
    assert tests["noise"]["signal"] == pytest.approx(2 * (2 * end) ** 2, rel=0.01)
    readings = ran(
        loss=np.ones(60), constant=(1.05, 1.0, 1.0), tests={**tests, "escaped": (1.0, 1e-6)}
    )
    with_learnt = {"learned": 0.0, "start_loss": 1.0}
    readings.tests["constant"].values.update(with_learnt)
    finding = saddle(readings)
    assert (finding.code, finding.severity) == ("SD512", "problem")
    assert finding.measured["smallest_eigenvalue"] == pytest.approx(-2, abs=1e-3)


def test_on_its_way_from_there(ran):
    """From a = b = 0.3 the same steps win more than half, and the gradient is no small one."""
    tests = at_the_saddle(0.3)
    readings = ran(loss=np.ones(60), constant=(1.0, 1.0, 1.0), tests=tests)
    assert "the gradient leads on" in saddle(readings)


def stuck(ran, **tests):
    given = {"noise": FLAT, "saddle": DOWN, "escaped": MOVED, **tests}
    return ran(constant=(0.693, 0.693, 0.694), tests=given)


def test_fires(ran):
    finding = saddle(stuck(ran))
    assert "after one move along it the loss is 0.193 lower" in finding.message
    assert [r.name for r in finding.remedies] == ["reinitialise", "escape", "change_optimiser"]


@pytest.mark.parametrize(
    "tests",
    [
        {"noise": {"signal": 0.08, "variance": 0.08}},  # a net at its beginning, a tiny rate
        {"saddle": {**DOWN, "smallest": -1e-7}},  # a minimum, or a flat place
        {"saddle": {**DOWN, "smallest": -0.07, "residual": 0.05}},  # not surely negative
        {"escaped": (0.693, 0.6928)},  # wins less than the run did
        {"escaped": (0.693, 0.8)},
    ],
)
def test_refuted(ran, tests):
    assert isinstance(saddle(stuck(ran, **tests)), str)


def test_silent_where_something_was_learnt(ran):
    assert saddle(ran(constant=(1.1, 0.99))) is None  # down to its noise
    assert saddle(ran(constant=(2.3, 0.01))) is None


def test_asks_for_what_decides(ran):
    asked, tests = [], {}
    for name, values in {"noise": FLAT, "saddle": DOWN, "escaped": MOVED}.items():
        with pytest.raises(Untested) as reason:
            saddle(ran(constant=(0.693, 0.693, 0.694), tests=tests))
        asked.append(reason.value.test)
        tests = {**tests, name: values}
    assert asked == ["noise", "saddle", "escaped"]


def test_not_applicable(examine):
    with pytest.raises(NotApplicable, match="watched"):
        saddle(examine(nn.Linear(64, 10)).readings)

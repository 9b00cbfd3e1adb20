"""SD408: targets that have nothing to do with the inputs, by what a fit to them is worth elsewhere.

Counting errors and memorising nets are told apart by numbers of samples; the limits are those of a
normal deviate.
"""

import dataclasses
import statistics

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from trainings import constant, fork, trained

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.finding import Finding
from sounding.rules.targets import EXPECTED, FRESH, uninformative_labels
from sounding.zoo.nets import mlp


def labels(fit, fresh, samples=512, fitted=1536):
    return {"z_fit": fit, "z_fresh": fresh, "n_fresh": float(samples), "n_fit": float(fitted)}


def suspected(examine):
    return examine(mlp(64, 32, 10)).readings


SOMETHING = {"explained": 0.5, "error": 0.01}


def test_a_true_relation_is_missed_once_in_44():
    assert statistics.NormalDist(EXPECTED, 1).cdf(FRESH) == pytest.approx(1 / 44, rel=0.01)


def test_learnt_by_heart(examine):
    level = constant(2.30, 2.22)
    finding = uninformative_labels(
        trained(suspected(examine), constant=level, labels=labels(36, -0.4))
    )
    assert (finding.code, finding.severity) == ("SD408", "problem")
    assert (
        "on 512 samples that a net was not fitted to, the true targets do -0.4" in finding.message
    )
    assert finding.expected["z_fresh"] == pytest.approx(36 / 2 * (512 / 1536) ** 0.5)


@pytest.mark.parametrize(
    "test",
    [
        labels(36, 8.0),  # the relation holds elsewhere
        labels(5, 0.3),  # not even learnt by heart: nothing can be said
        labels(25, 1.5, samples=103, fitted=6144),  # noise, and few samples to see through it
        labels(90, 1.0, samples=20),
        labels(float("nan"), float("nan")),
    ],
)
def test_refuted_or_not_enough_evidence(test, examine):
    made = {"constant": constant(2.30, 2.22), "labels": test, "baseline": SOMETHING}
    readings = trained(suspected(examine), **made)
    assert "on those that it was fitted to" in uninformative_labels(readings)


NOTHING = {"explained": -0.01, "error": 0.01}


@pytest.mark.parametrize(
    ("made", "found"),
    [
        ({}, True),
        ({"baseline": {"explained": 0.04, "error": 0.01}}, False),
        ({"baseline": {"explained": 0.0, "error": 0.05}}, False),
        ({"faster": fork(2.2, 1.6)}, False),  # a changed training finds something
        ({"faster": fork(2.2, 2.1)}, True),
        ({"constant": constant(2.30, 1.6)}, False),  # the net does
        ({"labels": labels(5, 3.0)}, False),
    ],
)
def test_found_by_no_learner(made, found, examine):
    given = {"constant": constant(2.30, 2.22), "labels": labels(5, 0.3), "baseline": NOTHING}
    finding = uninformative_labels(trained(suspected(examine), **(given | made)))
    assert isinstance(finding, Finding) == found
    if found:
        assert "a regression on the inputs explains -1% ± 1%" in finding.message


def test_suspected_where_little_was_learnt_or_late(examine):
    early = suspected(examine)
    with pytest.raises(Untested, match="labels"):
        uninformative_labels(trained(early, constant=constant(2.3, 2.2)))
    learnt = trained(early, constant=constant(2.3, 0.1))  # its course has losses of 1
    assert uninformative_labels(learnt) is None
    slow = dataclasses.replace(learnt.course, loss=np.linspace(2.4, 0.1, 200))
    with pytest.raises(Untested, match="labels"):
        uninformative_labels(dataclasses.replace(learnt, course=slow))


def test_one_label_for_all(examine, batch):
    same = examine(mlp(64, 32, 10), data=(batch[0], torch.full((64,), 3))).readings
    finding = uninformative_labels(trained(same, constant=constant(1e-7, 1e-3)))
    assert finding.message.startswith("the label is 3 for all stored samples")
    # this batch alone has one label
    assert uninformative_labels(trained(same, constant=constant(1.2, 0.3))) is None


def test_silent_where_the_first_score_is_the_right_one_by_design(examine, batch):
    """One positive and many negatives: the label is always 0, and says so much."""

    class Contrast(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp(64, 32, 8)

        def forward(self, x):
            z = functional.normalize(self.body(x), dim=1)
            near = (z * z.roll(1, 0)).sum(1, keepdim=True)
            return torch.cat([near, z @ z.detach()[:16].T], 1) / 0.1

    data = batch[0], torch.zeros(64, dtype=torch.long)
    readings = examine(Contrast(), data=data).readings
    nothing = labels(float("nan"), float("nan"))  # exchanging zeros changes nothing
    made = {"constant": constant(1e-7, 0.0), "labels": nothing}
    assert isinstance(uninformative_labels(trained(readings, **made)), str)


class Pairs(nn.Module):
    """Scores of every sample against every other one: its label is its place in the batch."""

    def forward(self, z):
        return z @ z.roll(1, 1).T


def test_not_applicable(examine, batch):
    readings = suspected(examine)
    with pytest.raises(NotApplicable, match="no training was watched"):
        uninformative_labels(readings)

    def policy(output, action):
        each = functional.cross_entropy(output, action, reduction="none")
        return (each * torch.randn(64)).mean()

    weighed = trained(examine(mlp(64, 32, 10), loss=policy).readings, constant=constant(1, 1))
    with pytest.raises(NotApplicable, match="no plain comparison"):
        uninformative_labels(weighed)
    pairs = nn.Sequential(mlp(64, 32, 8), Pairs())
    data = batch[0], torch.arange(64)
    with pytest.raises(NotApplicable, match="no plain comparison"):
        uninformative_labels(trained(examine(pairs, data=data).readings))
    words = nn.Sequential(nn.EmbeddingBag(50, 8), nn.Linear(8, 10))
    data = torch.randint(0, 50, (64, 5)), batch[1]
    with pytest.raises(NotApplicable, match="rare index"):
        uninformative_labels(trained(examine(words, data=data).readings))

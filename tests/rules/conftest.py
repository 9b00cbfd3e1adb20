"""A checkup on digits, and the finding of one rule out of it; trainings, made up and watched."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sounding.checkup import checkup
from sounding.data import digits
from sounding.measure.course import Course
from sounding.measure.loop import Evaluations, Group, Loop
from sounding.measure.test import Test
from sounding.rules import RULES
from sounding.watch.diagnosis import diagnose
from sounding.watch.observer import Observer

sys.path.insert(0, str(Path(__file__).parent))  # tests import what they share, from trainings.py


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def batch():
    """64 digits, (64, 64) and (64,)."""
    x, y = digits().train
    return x[:64], y[:64]


@pytest.fixture
def examine(batch):
    """`examine(net)`: a checkup on the batch; `optimiser` is 'sgd', 'adam' or None."""

    def take(net, *, loss=functional.cross_entropy, data=batch, optimiser="sgd", **options):
        made = None
        if optimiser is not None:
            kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimiser]
            made = kind(net.parameters(), lr=0.01)
        return checkup(net, loss, data, optimizer=made, **options)

    return take


@pytest.fixture
def find(examine):
    """`find(code, net)`: the finding of that code, None without; and the rule's outcome."""

    def take(code, net, **options):
        exam = examine(net, **options)
        found = [f for f in exam.findings if f.code == code]
        outcome = next(o for o in exam.outcomes if o.code == code)
        assert outcome.outcome != "skipped", outcome.reason
        return (found[0] if found else None), outcome

    return take


LOOP = Loop(
    groups=(),
    decoupled=False,
    foreign=0,
    missing=(),
    cut=(),
    frozen=(),
    unregistered=(),
    fresh=False,
    cut_source="",
    evaluations=Evaluations(
        count=0, training=0, low=None, high=None, outside=float("nan"), expected=float("nan")
    ),
    modes=(),
    training=True,
)
USUAL = {
    "gradient_norm": 1.0,
    "lr": 0.1,
    "backwards": 1.0,
    "carried": 0.0,
    "clipped_from": float("nan"),
    "bound": float("nan"),
    "seconds": 0.01,
    "waited": 0.0,
}


@pytest.fixture
def ran(examine):
    """`ran(loss=..., constant=(level, now), tests={...})`: readings of a training made up here.

    Tests are given as their values, as (as it is, changed) of a fork, or as why they failed. What
    else has a name of `Course` is a series or the same number at every step; `readings` is the pass
    that it goes with.
    """

    def take(
        *, readings=None, loss=None, constant=None, tests=None, groups=(), decoupled=False, **series
    ):
        loss = np.full(200, 2.3) if loss is None else np.asarray(loss, dtype=float)
        shown = {
            name: np.broadcast_to(np.asarray(series.pop(name, usual), float), loss.shape).copy()
            for name, usual in USUAL.items()
        }
        made = {name: _made(name, given) for name, given in (tests or {}).items()}
        if constant is not None:
            made["constant"] = _constant(*constant)
        taken = examine(nn.Sequential(nn.Linear(64, 10))).readings if readings is None else readings
        groups = tuple(Group(parameters=tuple(n), settings=s) for n, s in groups)
        return dataclasses.replace(
            taken,
            course=Course(loss=loss, **shown),
            loop=dataclasses.replace(LOOP, groups=groups, decoupled=decoupled),
            tests=made,
            **series,
        )

    return take


@pytest.fixture
def watch():
    """`watch(train, code)`: the finding of that code on the training `train()`, and its outcome."""

    def take(train, code):
        observer = Observer()
        with observer.watching():
            train()
        rules = tuple(rule for rule in RULES if rule.code == code)
        exam = diagnose(observer, "test", rules=rules)
        assert exam is not None
        return (exam.findings or (None,))[0], exam.outcomes[0]

    return take


def _made(name, given):
    if isinstance(given, str):
        return Test(name=name, values={}, failed=given)
    if isinstance(given, tuple):
        as_is, changed = given
        values = {"as_is": as_is, "changed": changed, "difference": as_is - changed}
        given = values | {"error": 0.001, "start": 2.3, "steps": 200.0}
    return Test(name=name, values=given)


def _constant(level, now, start=None):
    """The best constant's loss, and the net's as the run ended and began; errors of 0.001."""
    values = {"constant_loss": level, "constant_error": 0.001, "now_loss": now, "now_error": 0.001}
    learned = (level - now) / 0.0014
    return Test(
        name="constant",
        values=values | {"start_loss": level if start is None else start, "learned": learned},
    )

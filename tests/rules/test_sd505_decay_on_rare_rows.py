"""SD505: how much decay leaves of a row that is not looked up, beside AdamW itself.

The mean loss hardly shows it, because the rows are rare: a rule that asked for a share of it would
be blind.
"""

import dataclasses

import pytest
import torch
from torch import nn

from sounding.measure.test import Untested
from sounding.result import NotApplicable
from sounding.rules.rare_rows import decay_on_rare_rows


@pytest.fixture
def table(examine):
    """Readings of a net that looks something up."""
    net = nn.Sequential(nn.Embedding(250, 16), nn.Flatten(), nn.Linear(128, 10))
    data = torch.randint(0, 250, (64, 8)), torch.randint(0, 10, (64,))
    return examine(net, data=data).readings


def settings(lr, decay, **more):
    return [(("0.weight",), {"lr": lr, "weight_decay": decay, **more}), (("2.weight",), {"lr": lr})]


def harm(wait, **how):
    return {"visits": {"wait": wait}, "undecayed": (0.057, 0.008), **how}


@pytest.mark.parametrize(("lr", "decay"), [(1e-2, 5.0), (1e-3, 20.0)])
def test_what_is_left_is_what_adamw_leaves(ran, table, lr, decay):
    wait = 64
    row = nn.Parameter(torch.ones(4))
    optimiser = torch.optim.AdamW([row], lr=lr, weight_decay=decay)
    for _ in range(wait):
        row.grad = torch.zeros(4)  # no batch looks it up
        optimiser.step()
    readings = ran(readings=table, groups=settings(lr, decay), lr=lr, tests=harm(wait))
    finding = decay_on_rare_rows(readings)
    assert (finding.code, finding.severity) == ("SD505", "problem")
    half_life = finding.measured["half_life"]
    # (1 - lr decay)^n against exp(-n lr decay): alike up to n (lr decay)^2 / 2
    assert 2 ** (-wait / half_life) == pytest.approx(
        float(row.detach()[0]), rel=wait * (lr * decay) ** 2
    )
    assert finding.layers == ("0.weight",)


def test_the_schedule_and_momentum_count(ran, table):
    """Settings are read at the end, where a cosine has ended at almost nothing."""
    falling = torch.linspace(0.02, 0.0, 201)[:-1].numpy()  # its mean is 0.01
    last = float(falling[-1])
    readings = ran(readings=table, groups=settings(last, 5.0), lr=falling, tests=harm(64))
    steady = ran(readings=table, groups=settings(0.01, 5.0), lr=0.01, tests=harm(64))
    expected = decay_on_rare_rows(steady).measured["half_life"]
    assert decay_on_rare_rows(readings).measured["half_life"] == pytest.approx(expected, rel=0.01)
    heavy = settings(0.01, 0.5, momentum=0.9)
    found = decay_on_rare_rows(ran(readings=table, groups=heavy, lr=0.01, tests=harm(64)))
    assert found.measured["half_life"] == pytest.approx(expected, rel=0.01)


def test_silent_on_usual_settings(ran, table):
    for lr, decay in ((1e-3, 0.01), (1e-2, 0.01), (1e-3, 0.1), (0.1, 5e-4)):
        assert decay_on_rare_rows(ran(readings=table, groups=settings(lr, decay), lr=lr)) is None


def test_refuted_where_rows_are_visited_often_or_nothing_is_lost(ran, table):
    groups = settings(0.01, 5.0)
    often = ran(readings=table, groups=groups, lr=0.01, tests=harm(4))
    assert "waits 4 steps" in decay_on_rare_rows(often)
    harmless = harm(64, undecayed=(0.05, 0.049))
    said = decay_on_rare_rows(ran(readings=table, groups=groups, lr=0.01, tests=harmless))
    assert said.endswith("does not show it")


def test_asks_for_what_decides(ran, table):
    with pytest.raises(Untested, match="visits"):
        decay_on_rare_rows(ran(readings=table, groups=settings(0.01, 5.0), lr=0.01))


def test_not_applicable(ran, table):
    with pytest.raises(NotApplicable, match="no table"):
        decay_on_rare_rows(ran(readings=table, groups=settings(0.01, 0.0)))
    with pytest.raises(NotApplicable, match="no table"):
        decay_on_rare_rows(ran(groups=[(("0.weight",), {"lr": 0.01, "weight_decay": 5.0})]))
    with pytest.raises(NotApplicable, match="watched"):
        decay_on_rare_rows(dataclasses.replace(table, course=None))

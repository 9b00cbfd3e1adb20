"""The coordinate study: nets and rates by the table, and a wrong table refuted."""

import pytest
from torch import nn

from sounding.studies import study
from sounding.studies.claims import yang_2022_coordinates as yang
from sounding.studies.lab import Lab

SMALL = {"widths": (64, 128, 256), "steps": 1, "seeds": (0, 1)}


def test_rates_and_variances_are_those_of_the_table():
    net = yang.dense_net(yang.MUP, 256)
    adam = yang.scaled_adam(list(net.parameters()), parametrisation=yang.MUP, width=256, lr=1.0)
    weights, biases = adam.param_groups[::2], adam.param_groups[1::2]
    assert [group["lr"] for group in weights] == [1.0, 0.25, 0.25, 0.25]
    assert [group["lr"] for group in biases] == [1.0] * 4
    layers = [m for m in net if isinstance(m, nn.Linear)]
    assert layers[1].weight.var().item() == pytest.approx(1 / 256, rel=0.05)
    assert layers[3].weight.var().item() == pytest.approx(1 / 256 / 4, rel=0.15)


def test_both_are_the_same_at_the_base_width():
    narrow = [yang.ratio(name, yang.BASE) for name in (yang.MUP, yang.STANDARD)]
    assert narrow == [1.0, 1.0]


def test_growth_is_seen_after_one_step():
    verdicts, charts = yang.quick(Lab(), **SMALL)
    standard = [v for v in verdicts if v.statement.startswith("standard: after 1 step")]
    assert [v.outcome for v in standard] == ["supported"] * 2
    assert len(charts[0].lines) == 4


def test_the_standard_parametrisation_under_the_other_name_is_refuted(monkeypatch):
    monkeypatch.setattr(yang, "ratio", lambda name, width: 1.0)
    verdicts, _ = yang.quick(Lab(), **SMALL)
    assert verdicts[0].outcome == "refuted"


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert {v.outcome for v in study("yang-2022-coordinates").verdicts} == {"supported"}

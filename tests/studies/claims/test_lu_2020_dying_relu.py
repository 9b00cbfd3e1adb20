"""Nets born dead, by brute force over signs; units that training kills."""

import itertools

import pytest
import torch
from torch import nn

from sounding.studies import study
from sounding.studies.claims import lu_2020_dying_relu as dying
from sounding.studies.lab import Lab
from sounding.theory import born_dead


def test_counts_are_the_probability_of_all_signs_negative():
    """Layer 1 with N units: dead at +1 iff all weights are negative, 2^-N; never at both."""
    counts = dying.count_dead(2, 1, 4000, 0.0, seed=0)
    assert counts["at one"] / 4000 == pytest.approx(0.25, abs=4 * (0.1875 / 4000) ** 0.5)
    # dead at -1 as well needs all positive, too: impossible together
    assert counts["at both"] == 0
    assert dying.count_dead(2, 5, 1000, 0.1, seed=0)["at one"] == 0
    one_unit = sum(
        1 for signs in itertools.product((-1, 1), repeat=3) if any(s < 0 for s in signs)
    )
    assert born_dead([1] * 3) == pytest.approx(one_unit / 8)


def test_a_wrong_formula_is_refuted(monkeypatch):
    monkeypatch.setattr(dying, "born_dead", lambda widths: 0.5)
    verdict = dying._agrees(2, 5, 760, 600, 1000)
    assert verdict.outcome == "refuted"
    monkeypatch.undo()
    assert dying._agrees(2, 5, 760, 600, 1000).outcome == "supported"  # theory: 0.7627


def test_dead_units_are_those_that_are_zero_on_every_sample():
    net = nn.Sequential(nn.Linear(2, 4), nn.LeakyReLU(0.0), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0], [-1, 0], [0, 0], [0, 0]]))
        net[0].bias.copy_(torch.tensor([0.0, 0, -1, 1]))
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    assert dying._share_dead(x, net) == {"dead units": 0.5}  # the second and the third


def test_the_parts_at_a_small_size():
    lab = Lab()
    verdicts, charts = dying.quick(lab, pairs=((1, 3),), nets=2000, steps=2, width=4)
    assert lab.done == lab.total == 2 + 2 * 2 * 30
    statements = [v.statement for v in verdicts]
    assert len(verdicts) == 1 + 1 + 1 + 2 + 1
    assert verdicts[1].outcome == verdicts[2].outcome == "supported"
    assert any("leaky ReLU: no unit dies" in s for s in statements)
    assert [line.label for line in charts[0].lines][-1] == "the formula"


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    result = study("lu-2020-dying-relu")
    assert [v.outcome for v in result.verdicts] == ["supported"] * 10

"""Clipping by norm against the formula by hand; clipping by value is told apart from it."""

import numpy as np
import pytest
import torch
from torch import nn

from sounding.studies import study
from sounding.studies.claims import pascanu_2013_clipping as clipping
from sounding.studies.lab import Lab

SMALL = {"thresholds": (0.1, 10.0), "norms": (1.0, 5.0), "seeds": (0,)}


def test_gradients_have_the_norm_that_is_asked_for():
    flat = torch.cat([g.flatten() for g in clipping.gradients(5.0, 0)])
    assert flat.norm().item() == pytest.approx(5.0)
    assert len(flat) == 785


def test_torch_differs_from_the_paper_by_a_millionth_of_the_inverse_norm():
    run = clipping.clipped(0.5, 5.0, 0)
    assert run["excess"] == pytest.approx(1e-6 / 5, rel=1e-3)
    assert run["formula"] < 1e-14


def test_the_claim_holds_and_the_chart_turns_at_one():
    verdicts, charts = clipping.quick(Lab(), **SMALL)
    assert [v.outcome for v in verdicts] == ["supported"] * 6
    by_norm, _, theory = charts[0].lines
    np.testing.assert_allclose(by_norm.y, theory.y, rtol=1e-5)


def test_clipping_by_value_is_not_taken_for_clipping_by_norm(monkeypatch):
    monkeypatch.setattr(
        clipping.nn.utils, "clip_grad_norm_", lambda ps, c: nn.utils.clip_grad_value_(ps, c / 10)
    )
    verdicts, _ = clipping.quick(Lab(), **SMALL)
    assert verdicts[0].outcome != "supported"


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert {v.outcome for v in study("pascanu-2013-clipping").verdicts} == {"supported"}

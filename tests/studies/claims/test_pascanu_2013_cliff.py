"""The cliff against its closed form; a threshold that clips nothing does not help."""

import math

import numpy as np
import pytest

from sounding.studies import study
from sounding.studies.claims import pascanu_2013_cliff as cliff
from sounding.studies.lab import Lab


def test_the_valley_ends_where_the_loss_is_half_of_the_plateaus():
    problem = cliff.Recurrence(50)
    ends = [(0.7 * (1 + s / math.sqrt(2)) / 0.2) ** (1 / 50) for s in (-1, 1)]
    np.testing.assert_allclose(problem.losses(np.array(ends)[:, None]).detach(), 0.5 * 0.7**2)
    assert cliff.valley_width(50) == pytest.approx(ends[1] - ends[0])


def test_a_clipped_step_has_the_length_of_the_threshold():
    run = cliff.descend(50, starts=3, lr=5e-4, steps=10, threshold=1.0, seed=0)
    np.testing.assert_allclose(np.diff(run["course"]), -5e-4)
    np.testing.assert_allclose(run["jump"], 5e-4)


def test_one_free_step_overflows():
    """The gradient at 1.18 is 2 (h - 0.7) h 50 / w, about 5e7."""
    run = cliff.descend(50, starts=1, lr=5e-4, steps=1, threshold=0.0, seed=0)
    w = run["course"][0]
    h = 0.2 * w**50
    assert run["jump"][0] == pytest.approx(5e-4 * 2 * (h - 0.7) * h * 50 / w)


def test_the_claim_holds_from_fewer_starts(monkeypatch):
    monkeypatch.setattr(cliff, "LRS", (1e-9, 1e-4))
    verdicts, charts = cliff.quick(Lab(), starts=5, steps=600)
    assert [v.outcome for v in verdicts[:3]] == ["supported"] * 3
    assert len(charts) == 2


def test_a_threshold_above_all_gradients_is_refuted(monkeypatch):
    monkeypatch.setattr(cliff, "THRESHOLD", 1e12)
    monkeypatch.setattr(cliff, "LRS", (1e-9,))
    assert cliff.quick(Lab(), starts=5, steps=50)[0][0].outcome == "refuted"


@pytest.mark.slow
def test_the_claim_is_supported_at_both_scales():
    assert {v.outcome for v in study("pascanu-2013-cliff").verdicts} == {"supported"}
    assert study("pascanu-2013-cliff", scale="full").outcome == "supported"

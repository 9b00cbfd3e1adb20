"""Lee et al. 2016: ends against brute descent, shares against the normal distribution.

No other test would see a run that sits at the saddle counted as one at a minimum.
"""

import math

import numpy as np
import pytest
import torch

from sounding.problems import Pitchfork
from sounding.studies import study
from sounding.studies.claims import lee_2016_saddles_avoided as lee
from sounding.studies.lab import Lab


@pytest.fixture(scope="module")
def ends():
    return lee.random_starts(4000, seed=1)


def test_shares_are_those_of_the_truncated_normal_distribution(ends):
    """|x_1| < 0.1 at step t is |x_1| < 0.1 / 1.1^t at the start, but for the fourth power."""
    kept = math.erf(math.sqrt(5.5 / 3) / 0.7 / math.sqrt(2))
    for step in (0, 10):
        expected = math.erf(0.1 / 1.1**step / 0.7 / math.sqrt(2)) / kept
        error = math.sqrt(expected / 4000)
        assert ends["near"][step] == pytest.approx(expected, abs=4 * error)
    assert ends["starts"] == ends["at_minimum"] == 4000
    assert ends["at_saddle"] == 0


def test_starts_at_which_the_step_is_too_long_are_left_out():
    problem = Pitchfork(lee.SIZE, gamma=lee.GAMMA)
    x = lee.where_the_step_is_short(problem.starts(500, seed=0))
    assert 400 < len(x) < 500
    assert float(torch.linalg.eigvalsh(problem.hessians(x)).max()) < 1 / lee.LR


def test_a_run_at_the_saddle_refutes_the_claim(ends):
    for found in (dict(ends, at_saddle=1), dict(ends, at_minimum=3999)):
        assert "refuted" in {verdict.outcome for verdict in lee.avoided(found)}
    assert {verdict.outcome for verdict in lee.avoided(ends)} == {"supported"}


def test_another_rate_refutes_the_decay(ends):
    assert lee.decay(ends).effect == pytest.approx(1, abs=0.1)
    assert lee.decay(dict(ends, near=0.11 * 1.1 ** -np.arange(101.0))).outcome == "supported"
    slow = dict(ends, near=0.11 * 1.05 ** -np.arange(101.0))
    assert lee.decay(slow).outcome == "refuted"
    assert lee.decay(dict(ends, near=np.full(101, 0.11))).outcome == "refuted"


def test_the_manifold_is_left_by_rounding_alone():
    exact, turned = (lee.on_the_manifold(20, t, seed=3)["distance"] for t in (0, 1))
    assert exact.max() < 1e-12
    assert turned == pytest.approx(0.5**0.5, abs=1e-9)


def test_a_small_run_has_every_part():
    lab = Lab()
    verdicts, charts = lee.quick(lab, starts=2000)
    assert [v.outcome for v in verdicts[1:3]] == ["supported"] * 2
    assert (len(verdicts), lab.done, len(charts)) == (1 + 5 + 1, 4, 1)


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    """Ten seconds."""
    result = study("lee-2016-saddles-avoided")
    assert {verdict.outcome for verdict in result.verdicts} == {"supported"}

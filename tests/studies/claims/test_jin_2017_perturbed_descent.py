"""Jin et al. 2017: the expected escape time against samples, and times that would refute it.

No other test would see a rate taken for another step or curvature.
"""

import math

import numpy as np
import pytest
import torch

from sounding.problems.descent import ball
from sounding.studies import study
from sounding.studies.claims import jin_2017_perturbed_descent as jin
from sounding.studies.lab import Lab


@pytest.mark.parametrize("d", [2, 10, 100])
def test_the_expected_part_along_the_way_down_is_that_of_samples(d):
    drawn = ball(20_000, d, torch.Generator().manual_seed(1))[:, 0].abs().log()
    error = float(drawn.std()) / 20_000**0.5
    share = math.log(0.5 * 0.5**0.5) - jin.expected_steps(d, 1.0) * math.log1p(0.2 * 0.5)
    assert share == pytest.approx(float(drawn.mean()), abs=5 * error)


def test_a_run_takes_the_steps_that_its_push_needs():
    """From a push of the size a the k-th step is at a 1.1^k, until the fourth power counts."""
    runs = jin.escapes(10, 1e-8, runs=4, seed=5)
    pushes = 1e-8 * ball(4, 10, torch.Generator().manual_seed(5))[:, 0].abs().numpy()
    linear = np.log(0.5 * 0.5**0.5 / pushes) / math.log(1.1)
    assert runs["left"].all()
    assert ((runs["steps"] - linear > 0) & (runs["steps"] - linear < 4)).all()


def _runs(rule, over):
    return [{"d": d, "radius": r, "steps": np.full(4, rule(d, r))} for d, r in over]


def test_a_time_that_is_no_logarithm_is_refuted():
    radii = [(10, r) for r in jin.RADII]
    right = _runs(lambda d, r: math.log(1 / r) / math.log(1.1), radii)
    assert jin.radius_verdict(right).outcome == "supported"
    slow = _runs(lambda d, r: 1.2 * math.log(1 / r) / math.log(1.1), radii)
    assert jin.radius_verdict(slow).outcome == "refuted"
    root = _runs(lambda d, r: r**-0.5, radii)
    assert jin.radius_verdict(root).outcome != "supported"


def test_a_time_that_grows_with_the_dimension_is_refuted():
    sizes = [(d, 1e-3) for d in jin.DIMENSIONS]
    assert jin.dimension_verdict(_runs(lambda d, r: 60 * math.log(d), sizes)).outcome == "refuted"
    assert jin.dimension_verdict(_runs(lambda d, r: 90 + math.log(d), sizes)).outcome == "supported"


def test_the_algorithm_of_the_theorem_says_that_it_is_done():
    end = jin.theorem_run(seed=0)
    assert end["finished"]
    assert 0 <= end["gap"] < 1e-6
    assert 160 < end["steps"] < 1000  # it waits for one interval of 160 steps at least


def test_a_small_run_has_every_part():
    lab = Lab()
    verdicts, charts = jin.quick(lab, runs=3, theorem=2, dimensions=(10, 20))
    assert len(verdicts) == 1 + 7
    assert lab.done == 6 + 2 + 2 + 2 + 1
    for chart in charts:  # a few steps beside theory: three runs scatter by a dozen
        measured, theory = chart.lines
        assert np.abs(measured.y - theory.y).max() < 40


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    """Ten seconds."""
    result = study("jin-2017-perturbed-descent")
    assert {verdict.outcome for verdict in result.verdicts} == {"supported"}

"""The two equivalent runs, through the package's own training loop."""

import numpy as np
import pytest

from sounding.studies import study
from sounding.studies.claims import li_2020_exponential_rate as li
from sounding.studies.lab import Lab
from sounding.train import train

SIZE = {"steps": 12, "width": 8}
STRONG = {"rate": 0.1, "decay": 0.02, "momentum": 0.9}


@pytest.mark.parametrize("way", [li.GROWING, li.EXACT])
def test_the_runs_make_the_same_losses_with_weights_of_another_size(way):
    decayed = train(li.run_case(**STRONG, way=li.DECAY, **SIZE), 3)
    grown = train(li.run_case(**STRONG, way=way, **SIZE), 3)
    np.testing.assert_allclose(grown.loss.values, decayed.loss.values, rtol=1e-12)
    assert grown.metrics["weight norm"] > 1.01 * decayed.metrics["weight norm"]


def test_a_run_without_the_first_velocity_is_told_apart():
    decayed = train(li.run_case(**STRONG, way=li.DECAY, **SIZE), 3)
    late = train(li.run_case(**STRONG, way=li.LATE, **SIZE), 3)
    assert li._apart([decayed], [late]).max() > 1e-5


def test_gradients_of_invariant_weights_are_orthogonal_and_shrink():
    errors = li.invariance(0)
    assert max(errors.values()) < 1e-13


def test_a_growth_that_is_wrong_by_a_factor_of_two_is_refuted(monkeypatch):
    right = li.shrinkage
    monkeypatch.setattr(li, "shrinkage", lambda *setting: 1 - 2 * (1 - right(*setting)))
    verdicts, charts = li.quick(Lab(), **SIZE, seeds=(0,), settings=((0.1, 0.05, 0.0),) * 2)
    assert verdicts[0].outcome == "refuted"
    assert verdicts[1].outcome == "refuted"
    assert len(charts) == 2


def test_the_full_scales_code_runs_on_a_few_images(sixteen_images):
    sixteen_images(li)
    verdicts, charts = li.full(Lab(), device="cpu", steps=4, depth=8, seeds=(0, 1))
    assert verdicts[0].outcome in ("supported", "refuted", "inconclusive")
    first = [line.y[0] for line in charts[0].lines]
    assert first[0] == pytest.approx(first[1])


@pytest.mark.slow
def test_the_claim_is_supported_at_the_quick_scale():
    assert {v.outcome for v in study("li-2020-exponential-rate").verdicts} == {"supported"}

"""Steps to a loss, on courses that are known; and verdicts that come out both ways."""

import numpy as np
import pytest

from sounding.result import Series
from sounding.studies import study
from sounding.studies.claims import ioffe_2015_speed as speed
from sounding.studies.deep_nets import NONE, NORMAL
from sounding.studies.lab import Lab
from sounding.train import Trial

SEEDS = (0, 1, 2)


def _trial(rate, steps=400, seed=0):
    values = np.exp(-rate * (1 + 1e-3 * seed) * np.arange(steps))
    loss = Series(quantity="loss", unit="", steps=np.arange(steps), values=values)
    return Trial(seed=seed, loss=loss, metrics={}, diverged=False, seconds=0.0)


def _fewer(plain, normal):
    arms = [[_trial(rate, seed=seed) for seed in SEEDS] for rate in (plain, normal)]
    best = {NONE: 0.01, NORMAL: 0.01}
    return speed._fewer(*arms, best, (1e-3, 0.01, 0.1), SEEDS)


def test_a_course_twice_as_fast_takes_half_of_the_steps():
    """Twice as fast is e^(-2rt): its window reaches e^(-r 399) at half the time."""
    target = speed.smoothed(_trial(0.02))[-1]
    assert speed.steps_to(_trial(0.04), target) == pytest.approx(205, abs=6)
    assert speed.steps_to(_trial(0.001), target) == 400


def test_three_times_as_fast_is_supported_and_half_again_as_fast_refuted():
    assert _fewer(0.01, 0.03).outcome == "supported"
    assert _fewer(0.01, 0.015).outcome == "refuted"
    never = _fewer(0.01, 0.001)
    assert never.outcome == "refuted"
    assert "3 of 3 never reach it" in never.statement


def test_rates_ten_times_as_large_are_supported_and_three_times_refuted():
    for times, outcome in ((10, "supported"), (3, "refuted")):
        largest = {NONE: np.full(3, 0.1), NORMAL: np.full(3, 0.1 * times)}
        assert speed._larger(largest, (0.1, 0.3, 1.0), SEEDS).outcome == outcome


def test_too_few_steps_show_no_advantage():
    verdicts, charts = speed.quick(
        Lab(), steps=4, trial_steps=3, seeds=(0, 1), lrs=(1e-2,), stable_lrs=(1e-2, 1.0), width=8
    )
    assert verdicts[0].outcome in ("refuted", "inconclusive")
    assert "at the edge of the grid" in verdicts[1].statement
    assert len(charts) == 1


def test_the_full_scales_code_runs_on_a_few_images(sixteen_images):
    from sounding.studies import deep_nets

    sixteen_images(speed, deep_nets, size=32)
    verdicts, _ = speed.full(
        Lab(), device="cpu", steps=2, trial_steps=2, channels=1, seeds=(0, 1), lrs=(1e-2,),
        stable_lrs=(1e-2,),
    )  # fmt: skip
    assert len(verdicts) == 3


@pytest.mark.slow
def test_at_the_quick_scale_rates_are_larger_and_steps_are_not_fewer():
    """Refuted on digits, against a plain net that is well initialised."""
    outcomes = [v.outcome for v in study("ioffe-2015-speed").verdicts]
    assert outcomes == ["refuted", "refuted", "supported", "supported"]

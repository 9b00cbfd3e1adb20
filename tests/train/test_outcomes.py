"""Outcomes of two arms: decades, their floor, negative losses, divergence, missing metrics."""

import math

import numpy as np
import pytest

from sounding.result import Series
from sounding.train import Trial, final_loss
from sounding.train.outcomes import DECADES, RESOLUTION, paired_losses, paired_metrics


def trial(*losses, seed=0, **metrics):
    values = np.array(losses, float)
    series = Series(quantity="training loss", unit="", steps=np.arange(len(values)), values=values)
    diverged = not math.isfinite(values[-1])
    return Trial(seed=seed, loss=series, metrics=metrics, diverged=diverged, seconds=0.0)


def test_a_tenth_of_the_loss_is_one_decade():
    before, after, start, unit = paired_losses([trial(2.0, 2.0)], [trial(3.0, 0.2)])
    assert before - after == pytest.approx(1.0)
    assert 10**start == pytest.approx(2.0)  # the lower of the two first losses
    assert unit == DECADES


def test_what_is_below_float32_of_the_first_loss_counts_as_that():
    before, after, _, _ = paired_losses([trial(2.0, 1e-30)], [trial(2.0, 0.0)])
    assert before == after == pytest.approx(math.log10(2 * RESOLUTION))


def test_diverged_runs_are_infinite_and_a_first_loss_that_is_nan_does_not_count():
    arms = [trial(math.nan)], [trial(2.0, 1.0)]
    before, after, start, _ = paired_losses(*arms)
    assert before == math.inf
    assert np.isfinite(after)
    assert 10**start == pytest.approx(2.0)
    assert final_loss(arms[0][0]) == math.inf


def test_negative_losses_are_compared_as_they_are():
    before, after, start, unit = paired_losses([trial(2.0, -1.0)], [trial(2.0, -3.5)])
    assert (before - after, start, unit) == (2.5, 2.0, "of loss")


def test_metrics_are_paired_by_name_with_accuracy_first():
    arms = paired_metrics([trial(1.0, f1=0.1, accuracy=0.2)], [trial(1.0, accuracy=0.9)])
    assert list(arms) == ["accuracy", "f1"]
    assert np.isnan(arms["f1"][1]).all()
    np.testing.assert_array_equal(arms["accuracy"], ([0.2], [0.9]))


def test_a_trial_survives_saving():
    first = trial(2.0, math.nan, accuracy=math.nan)
    again = Trial.from_dict(first.to_dict())
    assert again.to_dict() == first.to_dict()
    assert again.diverged is True
    assert str(first).startswith("seed 0: diverged after 2 steps")

"""Equivalent rates, against the two recurrences run side by side on a scale-invariant loss.

The loss is w.a / |w|, whose gradient is computed here by hand; nothing is shared with the code.
"""

import numpy as np
import pytest

from sounding.theory.exponential_rate import equivalent_rates, first_velocity, shrinkage

A = np.array([1.0, -2.0, 0.5])


def gradient(w):
    size = np.linalg.norm(w)
    return A / size - w * (w @ A) / size**3


def descend(w, rates, decay, momentum, velocity=0.0):
    path, v = [w], velocity * w
    for rate in rates:
        v = momentum * v + gradient(w) + decay * w
        w = w - rate * v
        path.append(w)
    return np.array(path)


@pytest.mark.parametrize(("decay", "momentum"), [(0.05, 0.0), (0.02, 0.9), (0.005, 0.5)])
def test_a_growing_rate_makes_the_same_directions_alpha_to_the_minus_t_times_as_long(
    decay, momentum
):
    w, steps, rate = np.array([0.3, 1.0, 2.0]), 60, 0.1
    alpha = shrinkage(rate, decay, momentum)
    times = alpha ** -np.arange(steps + 1.0)
    rates = rate * alpha ** (-2.0 * np.arange(steps) - 1)
    decayed = descend(w, [rate] * steps, decay, momentum)
    start = first_velocity(rate, alpha) if momentum else 0.0
    grown = descend(w, rates, 0.0, momentum, start)
    np.testing.assert_allclose(grown, times[:, None] * decayed, rtol=1e-11)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_any_schedule_has_an_equivalent_without_a_first_velocity(momentum):
    w = np.array([0.3, 1.0, 2.0])
    rates = 0.1 * np.where(np.arange(80) < 40, 1.0, 0.1) * (1 + 0.3 * np.sin(np.arange(80)))
    equivalent = equivalent_rates(rates, 0.02, momentum)
    decayed = descend(w, rates, 0.02, momentum)
    grown = descend(w, equivalent.rates, 0.0, momentum)
    np.testing.assert_allclose(grown, equivalent.factors[:, None] * decayed, rtol=1e-11)


def test_the_growth_of_a_constant_rate_settles_at_alpha():
    factors = equivalent_rates(np.full(400, 0.1), 0.02, 0.9).factors
    assert factors[-2] / factors[-1] == pytest.approx(shrinkage(0.1, 0.02, 0.9), rel=1e-8)
    assert shrinkage(0.1, 0.02, 0.0) == pytest.approx(1 - 0.002)


def test_too_strong_a_decay_is_named():
    with pytest.raises(ValueError, match=r"up to 0\.00263"):
        shrinkage(0.1, 0.03, 0.9)
    with pytest.raises(ValueError, match="at step 0"):
        equivalent_rates([0.1], 20.0)

"""The dead-at-birth formula against the reference table and against nets that are drawn."""

import math

import numpy as np
import pytest

from sounding.theory import born_dead


@pytest.mark.parametrize(
    ("width", "depth", "probability"),
    [(2, 5, 0.7627), (2, 10, 0.9437), (3, 10, 0.7369), (4, 20, 0.7249), (5, 50, 0.7956)],
)
def test_reference_table(width, depth, probability):
    assert born_dead([width] * depth) == pytest.approx(probability, abs=5e-5)


def test_drawn_nets():
    nets, widths = 20_000, (2, 4, 3)
    rng = np.random.default_rng(0)
    h = np.ones((nets, 1))
    for width in widths:
        weight = rng.standard_normal((nets, width, h.shape[1]))
        h = np.maximum((weight @ h[:, :, None])[:, :, 0], 0)
    p = born_dead(widths)
    assert (h.sum(1) == 0).mean() == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / nets))


def test_wide_nets_keep_their_digits():
    assert born_dead([60]) == pytest.approx(2.0**-60, rel=1e-12)
    assert born_dead([]) == 0.0

"""The chart of a spectrum as data: a share on the wrong side of zero shows only here.

Oracle: the examples' matrix is diagonal, so how many eigenvalues lie where is known.
"""

import dataclasses
import math

import numpy as np
import pytest

from sounding.curvature.density import Density
from sounding.view.spectrum import Scale, shares, spectrum_chart


def _quadrature(nodes, weights):
    return Density(
        grid=np.linspace(-1, 1, 5), values=np.ones(5), error=np.zeros(5), width=0.1,
        nodes=np.array([nodes], dtype=float), weights=np.array([weights], dtype=float),
        size=10, degree=len(nodes), products=3, seconds=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("nodes", "weights", "below", "above"),
    [
        ([-1, -0.1, 2], [0.2, 0.3, 0.5], 0.2, 0.0),
        ([-1, 0.0, 2], [0.2, 0.3, 0.5], 0.2, 0.5),
        ([-1, 1e-9, 2], [0.2, 0.3, 0.5], 0.2, 0.5),
        ([0.0, 1.0, 2.0], [0.6, 0.3, 0.1], 0.0, 0.4),
        ([2, -1, 0.1, -3, math.nan], [0.1, 0.2, 0.3, 0.4, math.nan], 0.4, 0.1),
    ],
)
def test_the_node_next_to_zero_counts_on_neither_side(nodes, weights, below, above):
    found = shares(_quadrature(nodes, weights))
    assert found["below"][0] == pytest.approx(below)
    assert found["above"][0] == pytest.approx(above)
    assert math.isnan(found["below"][1])


@pytest.mark.parametrize("degree", [10, 30, 60, 120])
def test_shares_are_lower_bounds_of_the_true_ones(examples, degree):
    """Six starts of 4,000 numbers: the sampling error of a share is 0.3 %, three of it allowed."""
    values = examples.curvature.eigenvalues()
    found = shares(examples.curvature.quadrature(values, degree=degree))
    assert found["below"][0] <= np.mean(values < 0) + 0.01
    assert found["above"][0] <= np.mean(values > 0) + 0.01
    if degree == 120:
        assert found["below"][0] == pytest.approx(0.12, abs=0.03)
        assert found["above"][0] == pytest.approx(0.28, abs=0.05)


def test_of_a_positive_semidefinite_matrix_no_share_is_below_zero(examples):
    assert shares(examples.curvature.one_sided().density)["below"] == (0.0, 0.0)


@pytest.mark.parametrize("scale", [Scale(-3.0, 40.0), Scale(-3.0, 4e6, 0.01)])
def test_a_scale_and_its_inverse_agree_and_ticks_stand_at_their_numbers(scale):
    values = np.array([-3.0, -0.5, 0.0, 1e-3, 20.0, 40.0])
    assert scale.values(scale(values)) == pytest.approx(values, abs=1e-9)
    assert np.all(np.diff(scale(values)) > 0)
    for place, label in scale.ticks(8, ascii_only=True):
        assert float(scale(float(label))) == pytest.approx(place, abs=1e-9)
    assert "0" in [label for _, label in scale.ticks(8)]


def test_many_decades_are_bent_and_few_are_not(examples):
    assert spectrum_chart(examples.curvature.huge()).scale.bend > 0
    assert spectrum_chart(examples.curvature.one_sided()).scale.bend == 0
    assert spectrum_chart(examples.curvature.no_density()).scale.bend == 0


def test_a_stick_is_as_high_as_one_eigenvalue_in_the_density(examples):
    """Oracle: a spike of mass 1/n, smoothed."""
    n, width = 500, 0.2
    grid = np.linspace(-5, 15, 2001)
    nodes, weights = np.array([[0.0, 10.0]]), np.array([[1 - 1 / n, 1 / n]])
    density = examples.curvature.smoothed(
        np.repeat(nodes, 2, 0), np.repeat(weights, 2, 0), grid, width, n
    )
    chart = spectrum_chart(density)
    assert chart.one == pytest.approx(density.values[grid.searchsorted(10.0)], rel=1e-3)
    assert chart.bulk[0] == 0.0
    assert 0.2 < chart.bulk[1] < 1.2


def test_outliers_lie_beyond_the_bulk(examples):
    chart = spectrum_chart(examples.curvature.spectrum())
    low, high = chart.bulk
    assert low == pytest.approx(examples.curvature.LOWEST)
    assert 1.0 < high < examples.curvature.OUTLIERS[-1]
    assert [stick.outlier for stick in chart.sticks()] == [True] * 5 + [False] * 3


def test_columns_keep_peaks_that_are_narrower_than_they(examples):
    density = examples.curvature.density()
    chart = spectrum_chart(density)
    columns = chart.columns(60)
    assert columns.values.max() == density.values.max()
    beyond = columns.values[columns.at > 3]
    peaks = [v for v in examples.curvature.OUTLIERS if v > 3]
    assert beyond.max() == density.values[density.grid > 3].max()
    assert np.sum(beyond > chart.floor) <= 3 * len(peaks)


def test_the_axis_holds_what_was_found_and_zero(examples):
    for name in ("spectrum", "no_density", "huge", "one_sided", "all_negative", "zero_matrix"):
        chart = spectrum_chart(getattr(examples.curvature, name)())
        for value in [0.0, *(stick.value for stick in chart.sticks())]:
            assert chart.scale.low < value < chart.scale.high, name


def test_a_bound_far_away_does_not_squeeze_the_axis(examples):
    pairs = dataclasses.replace(examples.curvature.eigenpairs(), bound=1e9)
    assert spectrum_chart(pairs).scale.high < 60


def test_below_zero_is_only_what_is_known_to_be_there(examples):
    """The smoothing leaks across zero; the lowest eigenvalue does not."""
    assert spectrum_chart(examples.curvature.spectrum()).below_zero()
    chart = spectrum_chart(examples.curvature.one_sided())
    leaked = chart.density.values[chart.density.grid < -0.02]
    assert leaked.max() > chart.floor
    assert not chart.below_zero()

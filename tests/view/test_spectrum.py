"""The chart of a spectrum as data: a wrong place on the axis shows only here."""

import dataclasses

import numpy as np
import pytest

from sounding.view.spectrum import Scale, spectrum_chart


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
    assert spectrum_chart(examples.curvature.no_density()).scale.bend == 0
    even = examples.curvature.quadrature(np.linspace(-1, 2, 800), degree=20)
    assert spectrum_chart(even).scale.bend == 0


def test_a_stick_is_as_high_as_one_eigenvalue_in_the_density(examples):
    """Oracle: a spike of mass 1/n, smoothed."""
    n, width = 500, 0.2
    grid = np.linspace(-5, 15, 2001)
    places, masses = np.array([0.0, 10.0]), np.array([[1 - 1 / n, 1 / n]] * 2)
    density = examples.curvature.smoothed(places, masses, grid, width)
    density = dataclasses.replace(density, size=n)
    chart = spectrum_chart(density)
    assert chart.one == pytest.approx(density.values[grid.searchsorted(10.0)], rel=1e-3)


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
    leaked = chart.density.values[chart.density.grid < -chart.density.width]
    assert leaked.max() > chart.floor
    assert not chart.below_zero()

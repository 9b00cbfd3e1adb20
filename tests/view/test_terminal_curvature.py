"""Curvature in a terminal: rows of the right height, marks in the right columns, words as said."""

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from sounding.view.spectrum import spectrum_chart
from sounding.view.terminal import show
from sounding.view.terminal_spectrum import GUTTER, spectrum_lines


def _shown(result, *, terminal=False, width=100):
    console = Console(
        file=io.StringIO(), force_terminal=terminal, width=width, highlight=False, no_color=True
    )
    show(console, result)
    return console.file.getvalue()


def test_a_pipe_gets_a_chart_of_ascii_and_a_terminal_one_of_blocks(examples):
    result = examples.curvature.density()
    chart = [line for line in _shown(result).splitlines() if "|" in line or "+--" in line]
    assert len(chart) == 8
    assert all(line.isascii() for line in chart)
    assert "▃" in _shown(result, terminal=True)


@pytest.mark.parametrize("width", [60, 80, 110])
def test_the_chart_puts_outliers_in_their_columns(examples, width):
    """Oracle: the axis runs evenly from low to high in the scale's own places."""
    chart = spectrum_chart(examples.curvature.even())
    axis = spectrum_lines(chart, width, ascii_only=True)[-3].plain[GUTTER:]
    columns = min(width - GUTTER, 84)
    for value in (4.0, 3.1):
        assert (
            axis[int((value - chart.scale.low) / (chart.scale.high - chart.scale.low) * columns)]
            == "+"
        )
    assert axis.count("+") + axis.count("[") >= 3


def test_a_column_is_as_high_as_its_density_on_the_logarithmic_axis(examples):
    """Oracle: in a row labelled 1eP, only columns of at least 10^P over half a row are filled."""
    chart = spectrum_chart(examples.curvature.density())
    lines = spectrum_lines(chart, 80, ascii_only=True)
    values = chart.columns(72).values
    row = next(i for i, line in enumerate(lines) if line.plain.startswith("  1e-2"))
    filled = np.array([c in "#=" for c in lines[row].plain[GUTTER:].ljust(72)])
    decades = np.log10(chart.top / chart.floor) / 7
    middle = np.log10(chart.floor) + (7 - row - 0.5) * decades
    assert np.array_equal(filled, np.log10(np.maximum(values, 1e-9)) >= middle)
    assert abs(middle + 2) <= decades / 2


def test_what_is_below_zero_has_a_mark_of_its_own(examples):
    text = _shown(examples.curvature.spectrum())
    assert "= below zero" in text
    assert "= below zero" not in _shown(examples.curvature.one_sided())


def test_eigenvalues_are_listed_from_the_largest_to_the_smallest(examples):
    lines = _shown(examples.curvature.spectrum()).splitlines()
    rows = [line.split() for line in lines if line.startswith(("  largest", "  smallest"))]
    values = [float(row[2]) for row in rows]
    assert values == sorted(values, reverse=True)
    assert rows[0][:4] == ["largest", "1", "34.47", "0.021"]
    assert rows[-2][-1] == "bulk"


def test_not_converged_is_coloured_and_says_what_to_do(examples, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    console = Console(file=io.StringIO(), force_terminal=True, width=90, color_system="256")
    show(console, examples.curvature.not_converged())
    assert "\x1b[1;33mNOT CONVERGED" in console.file.getvalue()
    assert "raise most=" in console.file.getvalue()


def test_sharpness_has_a_bar_that_passes_the_line_only_above_the_limit(examples):
    series = examples.curvature.sharpness(3, k=1)
    values = np.array([[20.0], [39.9], [60.0]])
    series = dataclasses.replace(series, values=values, lr=np.full(3, 0.05))
    rows = [line for line in _shown(series).splitlines() if "|" in line]
    assert [row.split("|")[0].count("#") for row in rows] == [8, 15, 16]
    assert [row.split("|")[1].count("#") for row in rows] == [0, 0, 8]


def test_long_series_are_thinned_but_keep_their_last_step(examples):
    lines = [line for line in _shown(examples.curvature.sharpness(400)).splitlines() if "|" in line]
    assert len(lines) <= 17
    assert lines[-1].startswith("  19,950")

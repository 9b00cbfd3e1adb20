"""A chart's geometry, checked against the places of its own ticks."""

import re

import numpy as np
import pytest

from sounding.studies.chart import Chart, Line
from sounding.view.svg_chart import chart_svg, colours_of


def _chart(*lines, **options):
    return Chart(title="t", x_label="depth", y_label="loss", lines=lines, **options)


def _wide(chart):
    return str(chart_svg(chart, "k")).split("</svg>")[0]


def _numbers(d):
    return [float(v) for v in re.findall(r"-?\d+\.?\d*", d)]


def _path(svg, class_):
    return re.findall(rf'<path d="([^"]+)" class="{class_}"/>', svg)


def _ticks(svg):
    """Pixel by number, of the vertical axis."""
    found = re.findall(r'y="([\d.]+)" class="tick end">([^<]+)<', svg)
    return {said: float(y) - 4 for y, said in found if said != "depth"}


def test_a_value_stands_at_its_tick_and_its_bar_is_four_standard_errors_long():
    x = np.array([1.0, 2.0, 3.0])
    line = Line(label="a", x=x, y=np.array([0.0, 1.0, 2.0]), error=np.array([0.25, 0.25, 0.25]))
    svg = _wide(_chart(line))
    ticks = _ticks(svg)
    unit = ticks["0"] - ticks["1"]
    points = _numbers(_path(svg, "line s0")[-1])
    assert points[1::2] == pytest.approx([ticks["0"], ticks["1"], ticks["2"]], abs=0.11)
    bar = _numbers(_path(svg, "line bar s0")[0])
    assert abs(bar[1] - bar[3]) == pytest.approx(4 * 0.25 * unit, abs=0.3)


def test_decades_are_equally_long_on_a_logarithmic_axis_and_what_is_not_positive_is_a_gap():
    y = np.array([1.0, 1e-2, 0.0, 1e-4])
    svg = _wide(_chart(Line(label="a", x=np.arange(4.0), y=y), log_y=True))
    d = _path(svg, "line s0")[-1]
    assert d.count("M") == 2
    heights = _numbers(d)[1::2]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.3)
    assert "loss, log scale" in svg


def test_an_error_that_reaches_below_zero_ends_at_the_floor_of_a_logarithmic_axis():
    line = Line(label="a", x=np.array([0.0, 1.0]), y=np.array([1.0, 10.0]), error=np.ones(2))
    svg = _wide(_chart(line, log_y=True))
    assert "nan" not in svg
    bar = _numbers(_path(svg, "line bar s0")[0])
    assert abs(bar[1] - bar[3]) > 100


def test_a_prediction_has_the_colour_of_what_it_predicts():
    point = {"x": np.zeros(1), "y": np.zeros(1)}
    lines = [
        Line(label="He", **point),
        Line(label="He, normal", **point),
        Line(label="He, theory", theory=True, **point),
        Line(label="He, normal, theory", theory=True, **point),
        Line(label="bound", theory=True, **point),
    ]
    assert colours_of(lines) == [0, 1, 0, 1, 2]


@pytest.mark.parametrize(
    ("labels", "said"),
    [(("a, published", "b, published"), "published"), (("a, theory", "b, bound"), "theory")],
)
def test_the_legend_says_once_what_the_dashes_are(labels, said):
    x = np.array([0.0, 1.0])
    lines = [Line(label=label, x=x, y=x) for label in "ab"]
    lines += [Line(label=label, x=x, y=x, theory=True) for label in labels]
    entries = re.findall(r'class="label">([^<]+)<', _wide(_chart(*lines)))
    assert entries == ["a", "b", said]


def test_many_points_have_a_band_instead_of_bars():
    x = np.linspace(0, 1, 40)
    svg = _wide(_chart(Line(label="a", x=x, y=x, error=np.full(40, 0.1))))
    assert len(_path(svg, "band s0")) == 1
    assert not _path(svg, "line bar s0")
    assert not _path(svg, "mark s0")

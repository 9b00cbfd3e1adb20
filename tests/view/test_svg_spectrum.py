"""The chart of a spectrum as SVG: a mark at the wrong pixel shows only here."""

import re

import numpy as np
import pytest

from sounding.view.spectrum import spectrum_chart
from sounding.view.svg_sharpness import sharpness_svg
from sounding.view.svg_spectrum import NARROW, WIDE, spectrum_svg


def _variant(markup, name):
    return next(part for part in markup.split("<svg")[1:] if f'"chart {name}"' in part)


def _ticks(markup):
    """Pixels and numbers of the axis of eigenvalues."""
    found = re.findall(r'<text x="([\d.]+)" y="[\d.]+" class="tick middle">([^<]+)<', markup)
    return [(float(x), float(label.replace("−", "-"))) for x, label in found]


@pytest.mark.parametrize("sheet", [WIDE, NARROW])
def test_sticks_stand_at_their_eigenvalues(examples, sheet):
    """Oracle: on a linear axis the ticks' pixels and numbers give the scale."""
    result = examples.curvature.even()
    markup = _variant(str(spectrum_svg(spectrum_chart(result), "k")), sheet.name)
    (x1, v1), *_, (x2, v2) = _ticks(markup)
    sticks = {float(x) for x in re.findall(r'<line x1="([\d.]+)"[^>]*class="stick"', markup)}
    for value in (*result.largest.values, *result.smallest.values):
        expected = x1 + (value - v1) * (x2 - x1) / (v2 - v1)
        assert min(abs(x - expected) for x in sticks) < 0.2


def test_the_hatched_part_ends_at_zero(examples):
    markup = _variant(
        str(spectrum_svg(spectrum_chart(examples.curvature.all_negative()), "k")), "wide"
    )
    zero = next(x for x, value in _ticks(markup) if value == 0)
    d = re.search(r'<path d="([^"]+)" fill="url\(#k-wide-below\)"', markup)[1]
    across = [float(point.split()[0]) for point in re.split("[MLZ]", d) if point]
    assert max(across) <= zero + 0.1
    assert min(across) < zero - 300


def test_the_density_has_no_line_along_the_floor(examples):
    markup = _variant(str(spectrum_svg(spectrum_chart(examples.curvature.spectrum()), "k")), "wide")
    d = re.findall(r'<path d="([^"]+)" class="line rms"', markup)[-1]
    assert d.count("M") >= 5


def test_sharpness_and_its_limit_share_one_axis(examples):
    """Oracle: a limit of 40, then 80, and a linear axis through the first and last eigenvalue."""
    series = examples.curvature.sharpness()
    markup = _variant(str(sharpness_svg(series, "k")), "wide")
    d = {name: re.search(rf'<path d="(M[^"H]+)" class="line {name}"', markup)[1]
         for name in ("rms", "expected")}  # fmt: skip
    line, limit = (
        np.array([[float(v) for v in p.split()] for p in re.split("[ML]", d[name])[1:]])
        for name in ("rms", "expected")
    )
    values = series.values[:, 0]
    slope = (values[-1] - values[0]) / (line[-1, 1] - line[0, 1])
    read = values[0] + (limit[:, 1] - line[0, 1]) * slope
    assert read[0] == pytest.approx(40, abs=0.3)
    assert read[-1] == pytest.approx(80, abs=0.3)
    assert values[0] + (line[:, 1] - line[0, 1]) * slope == pytest.approx(values, abs=0.3)

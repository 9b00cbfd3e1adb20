"""The figures of curvature hold the numbers of the results, and say what is uncertain."""

import dataclasses
import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from sounding.view import html, plot
from sounding.view.terminal import show

ODD = ["single", "no_density", "not_converged", "not_a_number", "zero_matrix", "one_sided",
       "all_negative", "huge", "hostile", "empty_series", "broken_series"]  # fmt: skip
KINDS = [
    "spectrum",
    "eigenpairs",
    "smallest",
    "density",
    "trace",
    "sharpness",
    "layers",
    "point",
    "adam",
    *ODD,
]


def _result(examples, kind):
    return getattr(examples.curvature, kind)()


def _vertical(ax, style):
    """Where the vertical lines of a style stand."""
    lines = [line for line in ax.lines if line.get_linestyle() == style]
    return sorted(
        float(line.get_xdata()[0])
        for line in lines
        if len(line.get_xdata()) == 2 and line.get_xdata()[0] == line.get_xdata()[1]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws(examples, kind, tmp_path):
    plot(_result(examples, kind)).figure.savefig(tmp_path / "figure.png", dpi=40)
    assert (tmp_path / "figure.png").stat().st_size > 1000


def _odd_ones(c):
    """Results that no sound measurement makes, but a saved or cut file may hold."""
    nan, density = np.nan, c.density()
    yield c.trace(value=nan, error=nan, converged=False)
    yield c.trace(value=0.0, error=nan)
    yield c.spectrum(largest=c.eigenpairs(values=()), smallest=c.eigenpairs("smallest", ()))
    yield dataclasses.replace(c.eigenpairs(values=(2.0, 1.0)), values=np.array([np.inf, 1.0]))
    yield c.eigenpairs(bound=np.inf)
    yield dataclasses.replace(density, error=np.full(len(density.grid), nan))
    yield dataclasses.replace(density, values=np.zeros(len(density.grid)))
    yield dataclasses.replace(density, width=0.0)
    yield dataclasses.replace(density, width=nan)
    yield c.sharpness(1)
    yield dataclasses.replace(c.sharpness(3), values=np.full((3, 3), nan))
    yield dataclasses.replace(c.sharpness(3), values=-np.ones((3, 3)))


def test_odd_results_are_shown_not_raised(examples):
    for result in _odd_ones(examples.curvature):
        assert plot(result).get_title(loc="left")
        assert "</svg>" in html(result) or "<dl" in html(result)
        console = Console(file=io.StringIO(), width=80)
        show(console, result)
        assert console.file.getvalue().strip()


def test_a_given_axis_is_drawn_on_and_returned(examples):
    ax = Figure().subplots()
    assert examples.curvature.spectrum().plot(ax) is ax


def test_the_density_is_drawn_on_a_logarithmic_axis_that_says_so(examples):
    density = examples.curvature.density()
    ax = plot(density)
    assert ax.get_yscale() == "log"
    assert "log scale" in ax.get_ylabel()
    line = next(line for line in ax.lines if len(line.get_xdata()) == len(density.grid))
    seen = density.values > ax.get_ylim()[0]
    assert np.array_equal(line.get_ydata()[seen], density.values[seen])
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx((density.values + 2 * density.error).max())


def test_a_bent_axis_says_so(examples):
    ax = plot(examples.curvature.huge())
    assert ax.get_xscale() == "asinh"
    assert "logarithmic beyond" in ax.get_xlabel()


def test_eigenvalues_stand_where_they_are_with_their_residuals(examples):
    result = examples.curvature.spectrum()
    ax = plot(result)
    bars = {}
    for container in ax.containers:
        (point,), ends = container.lines[0].get_xdata(), container.lines[2][0].get_segments()[0]
        bars[float(point)] = ends[:, 0]
    for pairs in (result.largest, result.smallest):
        for value, residual in zip(pairs.values, pairs.residuals, strict=True):
            assert bars[value] == pytest.approx([value - residual, value + residual])


def test_bounds_are_dotted_with_their_probability_and_the_bulk_is_dashed(examples):
    result = examples.curvature.spectrum()
    ax = plot(result)
    assert _vertical(ax, ":") == [result.smallest.bound, result.largest.bound]
    assert len(_vertical(ax, "--")) == 2
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert any("nothing above 34.50 (99.9 %)" in said for said in words)
    assert 0.0 in _vertical(ax, "-")


def test_what_is_below_zero_is_hatched(examples):
    hatched = [c for c in plot(examples.curvature.spectrum()).collections if c.get_hatch()]
    (below,) = hatched
    across = below.get_paths()[0].vertices[:, 0]
    assert across.max() <= 0
    assert across.min() >= examples.curvature.LOWEST
    assert not [c for c in plot(examples.curvature.one_sided()).collections if c.get_hatch()]


def test_not_converged_is_loud(examples):
    calm = plot(examples.curvature.spectrum())
    ax = plot(examples.curvature.not_converged())
    assert "NOT CONVERGED" in ax.get_title(loc="left")
    assert "NOT CONVERGED" not in calm.get_title(loc="left")


def test_sharpness_is_drawn_with_the_limit_and_its_certified_points(examples):
    series = examples.curvature.sharpness(momentum=0.9)
    ax = plot(series)
    lines = {line.get_label(): line for line in ax.lines}
    assert lines["stable limit 2 (1 + momentum) / lr"].get_ydata() == pytest.approx(
        2 * 1.9 / series.lr
    )
    marks = lines["largest eigenvalue, certified"], lines["largest eigenvalue, followed only"]
    for line, chosen in zip(marks, (series.certified, ~series.certified), strict=True):
        assert np.array_equal(line.get_xdata(), series.steps[chosen])
        assert np.array_equal(line.get_ydata(), series.values[chosen, 0])
    assert marks[0].get_marker() != marks[1].get_marker()
    unknown = dataclasses.replace(series, lr=np.full(len(series.lr), np.nan))
    assert not [line for line in plot(unknown).lines if "limit" in line.get_label()]


def test_an_estimate_shows_one_and_two_standard_errors(examples):
    estimate = examples.curvature.trace()
    bars = [c.lines[2][0].get_segments()[0][:, 0] for c in plot(estimate).containers]
    for bar, errors in zip(bars, (2, 1), strict=True):
        reach = errors * estimate.error
        assert bar == pytest.approx([estimate.value - reach, estimate.value + reach])


def test_a_profile_with_long_names_is_bars_with_their_names(examples):
    profile = examples.curvature.layers()
    ax = plot(profile)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(profile.layers)
    assert [bar.get_width() for bar in ax.patches] == pytest.approx(list(profile.values))

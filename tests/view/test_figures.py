"""Every kind of result draws itself with matplotlib, with its own numbers, and without pyplot."""

import subprocess
import sys

import numpy as np
import pytest

from sounding.view import plot

KINDS = ["sick", "healthy", "readings", "repair", "proof", "accuracy", "loss", "inconclusive",
         "study", "profile", "comparison", "hostile_comparison"]  # fmt: skip


def _lines(ax):
    return [np.asarray(line.get_ydata(), dtype=float) for line in ax.lines]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws(examples, kind, tmp_path):
    ax = plot(getattr(examples, kind)())
    ax.figure.savefig(tmp_path / "figure.png", dpi=40)
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_depth_chart_holds_measured_and_predicted_values(examples):
    readings = examples.readings()
    at = list(readings.path)
    lines = _lines(plot(readings))
    for values in (readings.signal.rms[at], readings.signal.spread[at], readings.gradients.rms[at],
                   readings.expectation.spread, readings.expectation.gradient):  # fmt: skip
        assert any(np.array_equal(values, line) for line in lines)


def test_attribution_bars_add_up_to_the_total(examples):
    attribution = examples.readings().forward
    bars = plot(attribution).patches
    heights = np.array([bar.get_height() for bar in bars]).reshape(-1, len(attribution.total))
    assert heights.sum(0) == pytest.approx(attribution.total)


def test_series_and_profile_hold_their_values(examples):
    series = examples.curves(1, 50, 0.1, 1)[0]
    assert np.array_equal(_lines(plot(series))[0], series.values)
    profile = examples.profile()
    assert any(np.array_equal(line, profile.values) for line in _lines(plot(profile)))


def test_proof_draws_every_run_of_both_arms(examples):
    proof = examples.proof()
    lines = _lines(plot(proof))
    assert len(lines) == len(proof.before) + len(proof.after)
    assert np.array_equal(lines[-1], proof.after[-1].values)


def test_verdict_shows_pairs_as_recorded_and_the_interval(examples):
    verdict = examples.loss()
    ax = plot(verdict)
    shown = [np.asarray(line.get_xdata(), dtype=float) for line in ax.lines]
    assert any(line == pytest.approx(10**verdict.before) for line in shown)
    (below,) = ax.child_axes
    assert list(below.lines[0].get_xdata()) == list(verdict.interval)


def test_a_given_axis_is_drawn_on_and_returned(examples):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert plot(examples.profile(), ax) is ax
    assert examples.profile().plot(ax) is ax


def test_unknown_kinds_are_refused_by_name(examples):
    with pytest.raises(TypeError, match=r"no figure for a Remedy; .*Checkup.*Verdict"):
        plot(examples.REINITIALISE)
    with pytest.raises(TypeError, match="no figure for a dict"):
        plot({})


def test_looking_imports_matplotlib_only_when_it_draws_and_never_pyplot():
    code = (
        "import sys; from sounding.view import plot; assert 'matplotlib' not in sys.modules\n"
        "assert 'jinja2' not in sys.modules and 'rich' not in sys.modules\n"
        "from sounding.result import Series; import numpy as np\n"
        "plot(Series(quantity='loss', unit='', steps=np.arange(3), values=np.arange(3.0)))\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

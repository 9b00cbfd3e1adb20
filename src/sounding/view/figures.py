"""Results as matplotlib figures: one function a kind; each takes an axis and returns it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from sounding.compare import Comparison
from sounding.curvature.density import Density
from sounding.curvature.eigenpairs import Eigenpairs
from sounding.curvature.estimate import Estimate
from sounding.curvature.monitor import SharpnessSeries
from sounding.curvature.sharpness import Sharpness
from sounding.curvature.spectrum import Spectrum
from sounding.exam import Checkup
from sounding.landscape.atlas import Atlas
from sounding.landscape.escape import Escape
from sounding.landscape.paths import Path
from sounding.landscape.surface import Surface
from sounding.measure.readings import Attribution, Readings
from sounding.measure.widths import CoordinateCheck
from sounding.prove import Proof, Repair
from sounding.result import Profile, Result, Series
from sounding.run import Run
from sounding.studies.chart import Chart
from sounding.studies.claim import Study
from sounding.verdict import Verdict
from sounding.view import palette, wording
from sounding.view.depth import Curve, depth, finding
from sounding.view.figures_compare import draw_comparison
from sounding.view.figures_curvature import (
    draw_estimate,
    draw_point,
    draw_sharpness,
    draw_spectrum,
)
from sounding.view.figures_landscape import draw_path, draw_surface
from sounding.view.figures_study import draw_chart
from sounding.view.figures_watched import draw_training
from sounding.view.figures_widths import draw_widths
from sounding.view.numbers import number, percent
from sounding.view.spectrum import spectrum_chart
from sounding.view.svg_bars import FITTING, as_bars
from sounding.view.wording_points import escape_chart
from sounding.watch import Training, Watched

# Each colour with a mark or a hatch of its own.
CURVES = {
    "rms": (palette.BLUE, "o"),
    "spread": (palette.GREEN, "s"),
    "gradient": (palette.VERMILLION, "^"),
}
PARTS = {
    "weight": (palette.PURPLE, ""),
    "activation": (palette.ORANGE, "///"),
    "normalisation": (palette.SKY, "---"),
    "skip": (palette.YELLOW, "|||"),
    "other": (palette.GREY, "xxx"),
}
UNTREATED, TREATED = palette.VERMILLION, palette.BLUE


@functools.singledispatch
def plot(result: Result, ax: Any = None) -> Any:
    """Draw `result` on the matplotlib axis `ax`, a new figure's without one; return the axis.

    Raises:
        TypeError: If there is no figure for this kind of result.
    """
    kinds = sorted(k.__name__ for k in plot.registry if k is not object and k is not Result)
    raise TypeError(f"no figure for a {type(result).__name__}; there is one for {', '.join(kinds)}")


@plot.register
def _(result: Checkup, ax: Any = None) -> Any:
    ax = plot(result.readings, ax)
    ax.set_title(wording.headline(result), loc="left")
    return ax


@plot.register
def _(result: Run, ax: Any = None) -> Any:
    if result.checkup is None:
        raise TypeError(f"no figure for this Run: {result.note or 'no training was seen'}")
    return plot(result.checkup, ax)


@plot.register
def _(result: Readings, ax: Any = None) -> Any:
    chart = depth(result)
    ax = _axis(ax)
    for curve in chart.curves:
        _curve(curve, ax)
    ax.set_yscale("log", nonpositive="mask")
    ax.set_title(finding(chart), loc="left", wrap=True, fontsize="medium")
    _name_layers(ax, chart.layers)
    ax.set_ylabel("root mean square")
    if chart.source:
        ax.plot([], [], "k--", lw=1, label=f"predicted ({chart.source})")
    ax.legend(frameon=False)
    return ax


@plot.register
def _(result: CoordinateCheck, ax: Any = None) -> Any:
    return draw_widths(result, _axis(ax))


@plot.register
def _(result: Attribution, ax: Any = None) -> Any:
    ax = _axis(ax)
    at = np.arange(len(result.total)) + 1.5
    above, below = np.zeros(len(at)), np.zeros(len(at))
    for name, values in result.parts().items():
        values = np.nan_to_num(values, posinf=0, neginf=0)
        if np.any(values):
            colour, hatch = PARTS[name]
            start = np.where(values > 0, above, below)
            label = f"{name} {values.sum():+.3g}"
            ax.bar(at, values, 0.72, start, color=colour, hatch=hatch, label=label)
            above, below = above + np.maximum(values, 0), below + np.minimum(values, 0)
    ax.plot(at, result.total, "k_", ms=9, label=f"total {np.nansum(result.total):+.3g}")
    ax.axhline(0, color="grey", lw=0.8)
    _name_layers(ax, result.layers)
    ax.set_ylabel("natural log of the gain")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return ax


@plot.register
def _(result: Profile, ax: Any = None) -> Any:
    ax = _axis(ax)
    if as_bars(result):
        return _bars(result, ax)
    at = np.arange(len(result.layers)) + 1
    if result.expected is not None:
        label = f"expected ({result.source})" if result.source else "expected"
        ax.hlines(result.expected, at - 0.3, at + 0.3, "k", "--", lw=1, label=label)
    error = 2 * np.nan_to_num(result.error)
    colour, mark = CURVES["rms"]
    ax.errorbar(at, result.values, error, fmt=mark, color=colour, label="measured, ± 2 errors")
    _name_layers(ax, result.layers)
    ax.set_ylabel(_with_unit(result.quantity, result.unit))
    ax.legend(frameon=False)
    return ax


@plot.register
def _(result: Series, ax: Any = None) -> Any:
    ax = _axis(ax)
    ax.plot(result.steps, result.values, color=TREATED)
    ax.set_xlabel("step")
    ax.set_ylabel(_with_unit(result.quantity, result.unit))
    return ax


@plot.register
def _(result: Training, ax: Any = None) -> Any:
    return draw_training(result, _axis(ax))


@plot.register
def _(result: Watched, ax: Any = None) -> Any:
    """The first training; the others are drawn by their own `plot`."""
    ax = _axis(ax)
    if result.trainings:
        draw_training(result.trainings[0], ax)
    ax.set_title(wording.headline(result), loc="left", wrap=True, fontsize="medium")
    return ax


@plot.register
def _(result: Verdict, ax: Any = None) -> Any:
    ax = _axis(ax)
    before, after = wording.outcomes(result)
    rows = np.arange(min(len(before), len(after)))
    before, after = before[: len(rows)], after[: len(rows)]
    ax.hlines(rows, before, after, color="grey", lw=0.8)
    ax.plot(before, rows, "o", mfc="white", color=UNTREATED, label="untreated")
    ax.plot(after, rows, "o", color=TREATED, label="treated")
    ax.set_yticks(rows, [f"seed {seed}" for seed in result.seeds[: len(rows)]])
    ax.invert_yaxis()
    ax.set_xlabel(wording.quantity(result))
    if result.unit.startswith(wording.DECADES):
        ax.set_xscale("log")
    if np.isfinite(result.effect):
        _interval(result, ax)
    ax.set_title(wording.judged(result, "→"), loc="left", wrap=True, fontsize="medium")
    ax.legend(loc="center")
    return ax


@plot.register
def _(result: Proof, ax: Any = None) -> Any:
    ax = _axis(ax)
    for runs, colour, style, label in (
        (result.before, UNTREATED, "--", "untreated"),
        (result.after, TREATED, "-", "treated"),
    ):
        for i, run in enumerate(runs):
            name = label if i == 0 else None
            ax.plot(run.steps, run.values, style, color=colour, alpha=0.6, lw=1, label=name)
    ax.set_yscale("log", nonpositive="mask")
    ax.set_xlabel("step")
    ax.set_ylabel("training loss")
    ax.set_title(
        wording.judged(wording.best_verdict(result), "→"), loc="left", wrap=True, fontsize="medium"
    )
    ax.legend(frameon=False)
    return ax


@plot.register
def _(result: Repair, ax: Any = None) -> Any:
    kept = wording.kept_proofs(result)
    ax = plot(kept[0], ax) if kept else plot(result.checkup, ax)
    ax.set_title(wording.headline(result), loc="left")
    return ax


@plot.register
def _(result: Chart, ax: Any = None) -> Any:
    return draw_chart(result, _axis(ax))


@plot.register
def _(result: Study, ax: Any = None) -> Any:
    ax = _axis(ax)
    if result.charts:
        draw_chart(result.charts[0], ax)
    ax.set_title(wording.headline(result), loc="left", wrap=True, fontsize="medium")
    return ax


@plot.register
def _(result: Comparison, ax: Any = None) -> Any:
    return draw_comparison(result, wording.headline(result), _axis(ax))


@plot.register(Spectrum | Eigenpairs | Density)
def _(result: Spectrum | Eigenpairs | Density, ax: Any = None) -> Any:
    return draw_spectrum(spectrum_chart(result), wording.headline(result), _axis(ax))


@plot.register
def _(result: Estimate, ax: Any = None) -> Any:
    return draw_estimate(result, wording.headline(result), _axis(ax))


@plot.register
def _(result: Sharpness, ax: Any = None) -> Any:
    return draw_point(result, wording.headline(result), _axis(ax))


@plot.register
def _(result: SharpnessSeries, ax: Any = None) -> Any:
    return draw_sharpness(result, wording.headline(result), _axis(ax))


@plot.register
def _(result: Atlas, ax: Any = None) -> Any:
    """The surface; the other parts are drawn by their own `plot`."""
    return plot(result.surface, ax)


@plot.register
def _(result: Escape, ax: Any = None) -> Any:
    chart = escape_chart(result)
    ax = _axis(ax) if chart is None else draw_chart(chart, _axis(ax))
    ax.set_title(wording.headline(result), loc="left", wrap=True, fontsize="medium")
    return ax


@plot.register
def _(result: Surface, ax: Any = None) -> Any:
    return draw_surface(result, wording.headline(result), _axis(ax))


@plot.register
def _(result: Path, ax: Any = None) -> Any:
    return draw_path(result, wording.headline(result), _axis(ax))


def _bars(profile: Profile, ax: Any) -> Any:
    """A bar a layer, the first on top, where the names are too long to stand side by side."""
    rows = np.arange(len(profile.layers))
    error = 2 * np.nan_to_num(profile.error)
    ax.barh(rows, np.nan_to_num(profile.values), xerr=error, color=TREATED, capsize=3)
    ax.set_yticks(rows, profile.layers, fontsize="medium" if len(rows) <= 16 else "xx-small")
    ax.invert_yaxis()
    ax.axvline(0, color="grey", lw=0.8)
    ax.set_xlabel(f"{_with_unit(profile.quantity, profile.unit)}, ± 2 errors")
    return ax


def _interval(verdict: Verdict, ax: Any) -> None:
    """The mean difference with its interval, on an axis of its own below the pairs."""
    below = ax.inset_axes((0, -0.5, 1, 0.1))
    low, high = verdict.interval
    below.plot([low, high], [0, 0], "k-", lw=2)
    below.plot([verdict.effect], [0], "ko")
    below.axvline(0, color="grey", lw=0.8)
    below.set_yticks([])
    said = f"mean difference, {verdict.unit}, {percent(verdict.level)} interval"
    below.set_title(said, loc="left", fontsize="small")


def _axis(ax: Any) -> Any:
    """`ax`, or the axis of a new figure that pyplot knows nothing of."""
    if ax is not None:
        return ax
    from matplotlib.figure import Figure

    return Figure(figsize=(8, 4.5), layout="constrained").subplots()


def _curve(curve: Curve, ax: Any) -> None:
    colour, mark = CURVES.get(curve.label, ("grey", "o"))
    at = np.arange(len(curve.values)) + 1
    error = 2 * np.nan_to_num(curve.error)
    label = f"{curve.label}, ×{number(curve.factor())} per layer"
    every = max(1, len(at) // 40)
    ax.plot(at, curve.values, color=colour, marker=mark, ms=4, markevery=every, label=label)
    lower = np.maximum(curve.values - error, curve.values * 1e-3)
    ax.fill_between(at, lower, curve.values + error, color=colour, alpha=0.2, lw=0)
    if curve.expected is not None:
        ax.plot(at, curve.expected, "k--", lw=1)


def _name_layers(ax: Any, layers: Sequence[str]) -> None:
    """Names where they fit, numbers where they do not."""
    if sum(len(name) for name in layers) <= FITTING:
        ax.set_xticks(np.arange(len(layers)) + 1, layers)
    else:
        ax.set_xlabel(f"layer, 1: {layers[0]} … {len(layers)}: {layers[-1]}")


def _with_unit(quantity: str, unit: str) -> str:
    return f"{quantity}, {unit}" if unit else quantity

"""Curvature on a matplotlib axis: a spectrum, one estimate, sharpness over steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from sounding.curvature.eigenpairs import Eigenpairs
from sounding.curvature.estimate import Estimate
from sounding.curvature.monitor import SharpnessSeries
from sounding.curvature.sharpness import Sharpness
from sounding.view import wording_curvature as wording
from sounding.view.palette import BLUE, GREY, VERMILLION
from sounding.view.spectrum import Chart, Stick, spectrum_chart
from sounding.view.stability import largest, limit, logarithmic, ranked
from sounding.view.wording_sharpness import deciding

END_MARKS = {"largest": "o", "smallest": "s"}


def draw_spectrum(chart: Chart, title: str, ax: Any) -> Any:
    """The density with the eigenvalues found as sticks; without a density these as dots."""
    if chart.density is None:
        _ranks(chart, ax)
    else:
        _density(chart, ax)
        _sticks(chart, ax)
    _eigenvalue_axis(chart, ax)
    for pairs in chart.ends:
        _bound(chart, pairs, ax)
    _title(title, ax)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(framealpha=0.9, edgecolor="none", fontsize="small", loc=_free_corner(chart))
    return ax


def draw_estimate(result: Estimate, title: str, ax: Any) -> Any:
    """A dot with one and two standard errors."""
    spread = np.nan_to_num(result.error)
    ax.errorbar([result.value], [0], xerr=[2 * spread], color=BLUE, lw=1, capsize=6)
    ax.errorbar([result.value], [0], xerr=[spread], color=BLUE, lw=4, fmt="o")
    ax.set_yticks([])
    ax.set_ylim(-1, 1)
    ax.set_xlabel(f"{result.quantity}; thick: one standard error, thin: two")
    _title(title, ax)
    return ax


def draw_point(result: Sharpness, title: str, ax: Any) -> Any:
    """The eigenvalue that decides over stability, beside the stable limit."""
    pairs = deciding(result)
    chart = spectrum_chart(pairs)
    draw_spectrum(chart, title, ax)
    if np.isfinite(result.threshold):
        ax.axvline(result.threshold, color="black", lw=1.2, ls="--", label="stable limit")
        ax.set_xlim(chart.scale.low, max(chart.scale.high, 1.05 * result.threshold))
        ax.legend(framealpha=0.9, edgecolor="none", fontsize="small", loc="lower center")
    return ax


def draw_sharpness(result: SharpnessSeries, title: str, ax: Any) -> Any:
    """The largest eigenvalue with its residual, the others thinner, the stable limit dashed."""
    values, limits = ranked(result), limit(result)
    steps = np.asarray(result.steps, dtype=float)
    for i in range(1, values.shape[1]):
        label = "next largest" if i == 1 else None
        ax.plot(steps, values[:, i], color=GREY, lw=1, label=label)
    if values.shape[1]:
        _sharpest(result, steps, ax)
    if np.isfinite(limits).any():
        said = "2 (1 + momentum) / lr" if result.momentum else "2 / lr"
        label = f"stable limit {said}"
        ax.plot(steps, limits, "--", color="black", lw=1.2, drawstyle="steps-post", label=label)
    log = logarithmic(result)
    ax.set_yscale("log" if log else "linear")
    ax.set_xlabel("step")
    ax.set_ylabel("eigenvalue of the Hessian" + (", log scale" if log else ""))
    _title(title, ax)
    if len(steps):
        ax.legend(frameon=False, fontsize="small")
    else:
        _nothing("no measurement", ax)
    return ax


def _sharpest(result: SharpnessSeries, steps: np.ndarray, ax: Any) -> None:
    """A line through all measurements; those that were certified are filled."""
    values = largest(result)
    residuals = np.nan_to_num(np.reshape(result.residuals, (len(steps), -1))[:, 0])
    certified = np.asarray(result.certified, dtype=bool)
    ax.errorbar(steps, values, residuals, color=BLUE, lw=1.6, elinewidth=1, capsize=2)
    for chosen, mark, face, label in (
        (certified, "o", BLUE, "largest eigenvalue, certified"),
        (~certified, "s", "white", "largest eigenvalue, followed only"),
    ):
        if chosen.any():
            ax.plot(steps[chosen], values[chosen], mark, color=BLUE, mfc=face, ms=5, label=label)


def _density(chart: Chart, ax: Any) -> None:
    density = chart.density
    assert density is not None
    grid, values = density.grid, np.nan_to_num(density.values, posinf=0.0)
    error = 2 * np.nan_to_num(density.error)
    upper, lower = values + error, np.maximum(values - error, chart.floor / 10)
    ax.fill_between(grid, lower, upper, color=BLUE, alpha=0.25, lw=0)
    label = "density, ± 2 standard errors"
    ax.plot(grid, np.maximum(values, chart.floor / 10), color=BLUE, lw=1.6, label=label)
    if chart.below_zero():
        below = (grid <= 0) & (grid >= chart.lowest)
        part = {"facecolor": "none", "edgecolor": VERMILLION, "hatch": "////", "linewidth": 0.0}
        ax.fill_between(grid, chart.floor / 10, values, where=below, label="below zero", **part)
    for i, edge in enumerate(chart.bulk or ()):
        name = "edges of the bulk" if i == 0 else None
        ax.axvline(edge, color="grey", lw=1, ls="--", label=name)
    ax.set_yscale("log")
    ax.set_ylim(chart.floor, chart.top)
    ax.set_ylabel("share of the eigenvalues\nper unit of eigenvalue, log scale")


def _sticks(chart: Chart, ax: Any) -> None:
    """As high as one eigenvalue stands in the smoothed density."""
    for stick in chart.sticks():
        if np.isfinite(stick.value):
            ax.vlines(stick.value, chart.floor, chart.one, color="black", lw=1.2)
            _mark(stick, chart.one, ax)


def _ranks(chart: Chart, ax: Any) -> None:
    """Without a density: the eigenvalues by rank, with room for a legend below."""
    sticks = [stick for stick in chart.sticks() if np.isfinite(stick.value)]
    for stick in sticks:
        _mark(stick, stick.rank, ax)
    most = max((stick.rank for stick in sticks), default=1)
    ax.set_ylim(1.5 * most + 0.7, 0.3)
    ax.set_yticks(range(1, most + 1, max(1, most // 8)))
    ax.set_ylabel("rank, 1 is the outermost")
    if not sticks:
        _nothing("no eigenvalue is a number", ax)


def _mark(stick: Stick, height: float, ax: Any) -> None:
    ax.errorbar(
        [stick.value],
        [height],
        xerr=[np.nan_to_num(stick.residual)],
        fmt=END_MARKS.get(stick.end, "o"),
        color="black",
        ms=5,
        elinewidth=1,
        capsize=3,
        label=f"{stick.end} eigenvalues, ± residual" if stick.rank == 1 else None,
    )


def _bound(chart: Chart, pairs: Eigenpairs, ax: Any) -> None:
    """A thin line beyond which nothing lies, with its probability."""
    if wording.bounded(pairs) and chart.scale.low <= pairs.bound <= chart.scale.high:
        ax.axvline(pairs.bound, color="black", lw=0.8, ls=":", label=wording.beyond(pairs))


def _eigenvalue_axis(chart: Chart, ax: Any) -> None:
    if chart.scale.bend:
        ax.set_xscale("asinh", linear_width=chart.scale.bend)
    ax.set_xlim(chart.scale.low, chart.scale.high)
    if chart.scale.bend:
        places, labels = zip(*chart.scale.ticks(9), strict=True)
        ax.set_xticks(chart.scale.values(np.array(places)), labels)
        ax.set_xticks([], minor=True)
    ax.axvline(0, color="grey", lw=0.8)
    how = wording.scale(chart)
    ax.set_xlabel("eigenvalue" + (f" ({how})" if how else ""))


def _free_corner(chart: Chart) -> str:
    """The upper corner that is farther from the density's peak."""
    if chart.density is None:
        return "lower center"
    peak = float(chart.density.grid[int(np.argmax(np.nan_to_num(chart.density.values)))])
    return "upper right" if float(chart.scale(peak)) < 0.5 else "upper left"


def _nothing(said: str, ax: Any) -> None:
    ax.text(0.5, 0.5, said, transform=ax.transAxes, ha="center")


def _title(title: str, ax: Any) -> None:
    loud = title.startswith(wording.LOUD)
    weight, colour = ("bold", "#b3261e") if loud else ("normal", "black")
    ax.set_title(title, loc="left", wrap=True, fontsize="medium", fontweight=weight, color=colour)

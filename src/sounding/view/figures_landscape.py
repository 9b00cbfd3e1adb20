"""Landscapes on a matplotlib axis: filled contours, a surface where the axis is 3-D, a profile."""

from __future__ import annotations

from typing import Any

import numpy as np

from sounding.landscape.paths import Path
from sounding.landscape.surface import Surface
from sounding.view.numbers import printable
from sounding.view.palette import BLUE
from sounding.view.relief import BANDS, COLOURS, Relief, interpolated, relief


def draw_surface(surface: Surface, title: str, ax: Any) -> Any:
    """Contours with the trajectory; a line in one dimension; in 3-D on an axis that is."""
    drawn = relief(surface)
    if drawn is None:
        ax.text(0.5, 0.5, "no finite loss", transform=ax.transAxes, ha="center")
    elif surface.dims == 1:
        _line(drawn, ax)
    elif getattr(ax, "name", "") == "3d":
        _solid(drawn, ax)
    else:
        _contours(drawn, ax)
    if getattr(ax, "name", "") == "3d":
        ax.set_title(title, fontsize="medium")
        return ax
    ax.set_title(title, loc="left", wrap=True, fontsize="medium")
    ax.set_xlabel(printable(surface.names[0]))
    if surface.dims == 2:
        ax.set_ylabel(printable(surface.names[1]))
    return ax


def draw_path(result: Path, title: str, ax: Any) -> Any:
    """The loss with two standard errors, and the line between the ends."""
    error = 2 * np.nan_to_num(result.errors)
    ax.fill_between(result.at, result.losses - error, result.losses + error, color=BLUE, alpha=0.2,
                    lw=0)  # fmt: skip
    ax.plot(result.at, result.losses, color=BLUE, marker="o", ms=4, label="loss, ± 2 errors")
    ends = [result.losses[0], result.losses[-1]]
    ax.plot([0, 1], ends, "k--", lw=1, label="between the ends")
    if np.isfinite(result.barrier) and result.barrier > 0:
        base = float(np.interp(result.peak, [0, 1], ends))
        ax.vlines(result.peak, base, base + result.barrier, color="black", lw=2, label="barrier")
    ax.set_xlabel("place along the path, from one solution to the other")
    ax.set_ylabel("loss")
    ax.set_title(title, loc="left", wrap=True, fontsize="medium")
    ax.legend(frameon=False)
    return ax


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("losses", list(COLOURS))


def _contours(drawn: Relief, ax: Any) -> None:
    surface, colours = drawn.surface, _colours()
    x, y = surface.axes
    places = np.ma.masked_invalid(drawn.places().T)
    ax.set_facecolor("0.85")
    ax.patch.set_hatch("////")
    ax.patch.set_edgecolor("0.6")
    edges = np.linspace(0, 1, BANDS + 1)
    filled = ax.contourf(x, y, places, levels=edges, cmap=colours, extend="neither")
    ticks = drawn.ticks()
    inner = [p for p, _ in ticks if 0.01 < p < 0.99]
    if inner:
        ax.contour(x, y, places, levels=inner, colors="white", linewidths=0.6, alpha=0.5)
    bar = ax.figure.colorbar(filled, ax=ax, ticks=[p for p, _ in ticks])
    bar.ax.set_yticklabels([label for _, label in ticks])
    bar.set_label(f"loss, {drawn.said()}")
    if len(surface.trajectory):
        line = "-" if surface.along == "trajectory" else ""
        a, b = surface.trajectory.T
        ax.plot(a, b, color="black", lw=3, ls=line)
        ax.plot(a, b, color="white", lw=1.4, ls=line, marker="o", ms=4, mec="black", mew=0.7)
    ax.plot(0, 0, "*", ms=13, mfc="white", mec="black")


def _solid(drawn: Relief, ax: Any) -> None:
    surface = drawn.surface
    x, y = np.meshgrid(*surface.axes, indexing="ij")
    places = drawn.places()
    faces = _colours()(np.nan_to_num(places))
    ax.plot_surface(x, y, places, facecolors=faces, rcount=60, ccount=60, lw=0.2, shade=True)
    if surface.along == "trajectory":
        heights = [interpolated(surface, places, point) + 0.02 for point in surface.trajectory]
        ax.plot(*surface.trajectory.T, heights, color="black", lw=2, zorder=10)
    ticks = drawn.ticks()
    ax.set_zticks([p for p, _ in ticks], [label for _, label in ticks])
    ax.set_zlabel(f"loss, {drawn.said()}")
    for name, put in zip(surface.names, (ax.set_xlabel, ax.set_ylabel), strict=True):
        put(printable(name.split(",")[0]))


def _line(drawn: Relief, ax: Any) -> None:
    surface = drawn.surface
    x = surface.axes[0]
    ax.plot(x, np.where(np.isfinite(surface.values), surface.values, np.nan), color=BLUE,
            marker="o", ms=3)  # fmt: skip
    for hole in x[surface.measured & ~np.isfinite(surface.values)]:
        ax.axvline(hole, color="0.6", ls=":", lw=1)
    ax.plot(0, surface.loss, "*", ms=12, mfc="white", mec="black", zorder=5)
    if drawn.kind == "logarithmic":
        ax.set_yscale("log")
    elif drawn.kind == "bent":
        ax.set_yscale("asinh", linear_width=drawn.bend)
    ax.set_ylabel(f"loss, {drawn.said()}")

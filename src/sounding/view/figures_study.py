"""A study's charts as a matplotlib figure."""

from __future__ import annotations

from typing import Any

import numpy as np

from sounding.studies.chart import Chart
from sounding.view import palette
from sounding.view.svg_chart import DENSE, colours_of

COLOURS = (palette.BLUE, palette.VERMILLION, palette.GREEN, palette.PURPLE, palette.ORANGE,
           palette.SKY, palette.GREY, "black")  # fmt: skip
MARKS = "os^x"


def draw_chart(chart: Chart, ax: Any) -> Any:
    """Measured lines with two standard errors either way; predictions dashed."""
    for line, colour in zip(chart.lines, colours_of(chart.lines), strict=True):
        shade = COLOURS[colour]
        if line.theory:
            ax.plot(line.x, line.y, "--", color=shade, lw=1.2, label=line.label)
            continue
        mark = MARKS[colour % 4] if len(line.x) < DENSE else ""
        reach = None if line.error is None else 2 * np.nan_to_num(line.error)
        ax.errorbar(line.x, line.y, reach, marker=mark, ms=5, color=shade, label=line.label)
    if chart.log_x:
        ax.set_xscale("log")
    if chart.log_y:
        ax.set_yscale("log", nonpositive="mask")
    ax.set_xlabel(chart.x_label)
    ax.set_ylabel(chart.y_label)
    ax.legend(frameon=False, fontsize="small")
    return ax

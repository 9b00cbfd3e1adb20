"""A coordinate check as a matplotlib figure."""

from __future__ import annotations

from typing import Any

import numpy as np

from sounding.measure.widths import CoordinateCheck
from sounding.view import palette

COLOURS = (
    palette.BLUE,
    palette.VERMILLION,
    palette.GREEN,
    palette.PURPLE,
    palette.ORANGE,
    palette.SKY,
)
MARKS = "os^Dvx"
MOST = 8  # layers that are drawn; of deeper nets evenly spaced ones


def draw_widths(result: CoordinateCheck, ax: Any) -> Any:
    """A line a layer: how far the last step's output is from the first one's, over the width."""
    count = len(result.layers)
    for at, layer in enumerate(np.unique(np.linspace(0, count - 1, min(MOST, count)).round())):
        index = int(layer)
        with np.errstate(divide="ignore"):
            logs = np.log(result.change[index, :, -1])  # (W, S)
        middle = np.exp(logs.mean(1))
        spread = logs.std(1, ddof=1) / np.sqrt(logs.shape[1]) if logs.shape[1] > 1 else 0 * middle
        estimate = result.slopes[index]
        ax.errorbar(
            result.widths,
            middle,
            yerr=middle * spread,
            color=COLOURS[at % len(COLOURS)],
            marker=MARKS[at % len(MARKS)],
            mfc="white",
            capsize=2,
            label=f"{result.layers[index]}: {estimate.value:+.2f} ({result.outcomes[index]})",
        )
    ax.set_xscale("log", base=2)
    ax.set_xticks(result.widths, [str(width) for width in result.widths])
    ax.set_yscale("log")
    ax.set_xlabel("width")
    ax.set_ylabel("rms change of the output")
    ax.set_title(_finding(result), loc="left", wrap=True, fontsize="medium")
    ax.legend(frameon=False, title="layer: exponent of width")
    return ax


def _finding(result: CoordinateCheck) -> str:
    steps = f"After {result.steps} steps"
    if result.steady:
        return f"{steps} every layer has changed as much at every width"
    grown = [x for x, o in zip(result.layers, result.outcomes, strict=True) if o == "grows"]
    if grown:
        return f"{steps} {len(grown)} of {len(result.layers)} layers change more the wider the net"
    return f"{steps} not every layer has changed as much at every width"

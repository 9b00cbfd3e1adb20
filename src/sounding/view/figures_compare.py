"""A comparison as a matplotlib figure."""

from __future__ import annotations

from typing import Any

import numpy as np

from sounding.compare import Comparison
from sounding.pairs import LOSS
from sounding.train import final_loss
from sounding.view import palette


def draw_comparison(result: Comparison, title: str, ax: Any) -> Any:
    """A row an arm: a dot a fresh seed, and the mean with its interval beside them."""
    for row, arm in enumerate(result.arms):
        values = [
            final_loss(trial) if result.quantity == LOSS else trial.metrics.get(result.quantity)
            for trial in arm.final
        ]
        shown = np.array([v for v in values if v is not None and np.isfinite(v)], dtype=float)
        ax.plot(shown, np.full(len(shown), row), "o", mfc="white", color=palette.BLUE)
        found = arm.outcomes[result.quantity]
        ax.plot(found.interval, (row + 0.2,) * 2, "k-", lw=2)
        ax.plot([found.value], [row + 0.2], "ko")
    ax.set_yticks(range(len(result.arms)), [arm.name for arm in result.arms])
    ax.set_ylim(len(result.arms) - 0.4, -0.6)
    ax.set_xlabel(f"{result.quantity} on fresh seeds; mean with its 95 % interval")
    if result.quantity == LOSS and (ax.dataLim.x0 > 0):
        ax.set_xscale("log")
    ax.set_title(title, loc="left", wrap=True, fontsize="medium")
    return ax

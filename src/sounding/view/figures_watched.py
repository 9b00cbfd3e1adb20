"""A watched training with matplotlib: the loss above, and the gradient in every layer over time."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from sounding.view import palette
from sounding.watch import Training

EVALUATIONS = (palette.VERMILLION, palette.PURPLE, palette.GREEN, palette.ORANGE)


def draw_training(training: Training, ax: Any) -> Any:
    """The loss on `ax`, which gives its lower half to the map of layers and steps."""
    loss = training.loss
    ax.plot(training.steps, loss, color=palette.BLUE, lw=1, label="training loss")
    if np.any(training.low < training.high):
        ax.fill_between(training.steps, training.low, training.high, color=palette.BLUE, alpha=0.2)
    for at, one in enumerate(training.beside):
        label = None if at else "other processes"
        ax.plot(one.steps, one.values, color=palette.GREY, lw=0.6, zorder=1, label=label)
    for one, colour in zip(training.held_out, itertools.cycle(EVALUATIONS)):
        name = f"evaluation, {one.quantity}"
        ax.plot(one.steps, one.values, color=colour, ls="--", marker=".", lw=1, label=name)
    if training.beside or training.held_out:
        ax.legend()
    if np.all(loss[np.isfinite(loss)] > 0):
        ax.set_yscale("log")
    ax.set_ylabel("loss" if training.held_out else "training loss")
    ax.set_xlabel("step")
    if len(training.examined) > 1 and training.layers:
        _map(training, ax)
    return ax


def _map(training: Training, ax: Any) -> None:
    below = ax.inset_axes((0, -1.35, 1, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = np.log10(training.gradient.T)
    sizes[~np.isfinite(sizes)] = np.nan
    last = max(training.steps[-1] if len(training.steps) else 0, training.examined[-1]) + 1
    edges = np.append(training.examined, last)
    rows = np.arange(len(training.layers) + 1) + 0.5
    drawn = below.pcolormesh(edges, rows, sizes, cmap="cividis", rasterized=True)
    below.invert_yaxis()
    below.set_xlim(*ax.get_xlim())
    below.set_xlabel("step")
    below.set_ylabel("layer, first on top")
    bar = ax.figure.colorbar(drawn, ax=below)
    bar.set_label("log10 of the gradient's rms")

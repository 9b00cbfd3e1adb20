"""The figure behind a verdict, as numbers: lines over one axis, measured and predicted."""

from __future__ import annotations

import dataclasses

import numpy as np

from sounding.result import Result


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Line(Result):
    """One line of a chart."""

    label: str
    x: np.ndarray  # (N,)
    y: np.ndarray  # (N,)
    error: np.ndarray | None = None  # (N,) one standard error of y; None where there is none
    theory: bool = False  # predicted, not measured: drawn dashed, without marks


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Chart(Result):
    """A figure that a reader would put into a lecture: it says what was measured beside what."""

    title: str  # what is shown, as a phrase
    x_label: str  # with its unit
    y_label: str
    lines: tuple[Line, ...]
    log_x: bool = False
    log_y: bool = False

"""Lines of a chart out of runs: the mean over seeds with its standard error, and theory's."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from sounding.studies.chart import Line


def measured(label: str, x: ArrayLike, runs: ArrayLike) -> Line:
    """The mean of `runs`, one row a seed (S, N), over `x` (N,); one seed has no error."""
    values = np.asarray(runs, float)
    error = values.std(0, ddof=1) / math.sqrt(len(values)) if len(values) > 1 else None
    return Line(label=label, x=np.asarray(x, float), y=values.mean(0), error=error)


def predicted(label: str, x: ArrayLike, y: ArrayLike) -> Line:
    """A line of theory."""
    return Line(label=label, x=np.asarray(x, float), y=np.asarray(y, float), theory=True)

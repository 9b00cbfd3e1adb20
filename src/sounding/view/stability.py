"""Sharpness beside the largest that gradient descent is stable at."""

from __future__ import annotations

import numpy as np

from sounding.curvature.monitor import SharpnessSeries

FAR = 100.0


def limit(series: SharpnessSeries) -> np.ndarray:
    """(T,) 2 (1 + momentum) / lr; nan where the learning rate is not known or zero."""
    lr = np.where(series.lr > 0, series.lr, np.nan)
    return 2 * (1 + series.momentum) / lr


def largest(series: SharpnessSeries) -> np.ndarray:
    """(T,) the largest eigenvalue of each step; nan where none was found."""
    values = ranked(series)
    return values[:, 0] if values.shape[1] else np.full(len(series.steps), np.nan)


def ranked(series: SharpnessSeries) -> np.ndarray:
    """(T, k) eigenvalues, also where a saved empty series has lost its shape."""
    return (
        np.reshape(series.values, (len(series.steps), -1))
        if len(series.steps)
        else np.zeros((0, 0))
    )


def logarithmic(series: SharpnessSeries) -> bool:
    """Whether a linear axis would hide the small ones: all positive, over a factor of 100."""
    shown = np.concatenate([np.ravel(ranked(series)), limit(series)])
    shown = shown[np.isfinite(shown)]
    return bool(len(shown) and shown.min() > 0 and shown.max() > FAR * shown.min())

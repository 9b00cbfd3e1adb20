"""The backward pass: how large the gradient is at each call and each parameter."""

from __future__ import annotations

import numpy as np

from sounding.capture.passes import Recording
from sounding.measure.blocks import sizes
from sounding.measure.readings import Gradients


def gradients(recording: Recording) -> Gradients:
    """The gradient's rms at every call's output, and its norm for every trainable parameter."""
    found = sizes([node.gradient for node in recording.nodes])
    names = tuple(recording.gradients)
    weights = np.array([recording.sizes[name] for name in names])
    lengths = np.array([np.nan if g is None else g for g in recording.gradients.values()])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = lengths / weights
    return Gradients(
        rms=found.rms,
        rms_error=found.error,
        parameters=names,
        norm=lengths,
        weight_norm=weights,
        ratio=ratio,
        nonfinite=tuple(int(i) for i in np.flatnonzero(~found.finite)[::-1]),
    )

"""The backward pass: how large the gradient is at each call and each parameter."""

from __future__ import annotations

import numpy as np
from torch import nn

from sounding.capture.passes import Recording
from sounding.capture.sample import norms
from sounding.measure.blocks import squares
from sounding.measure.readings import Gradients


def gradients(recording: Recording, model: nn.Module) -> Gradients:
    """The gradient's rms at every call's output, and its norm for every trainable parameter."""
    found = squares([node.gradient for node in recording.nodes])
    names = tuple(recording.gradients)
    parameters = dict(model.named_parameters())
    sizes = np.array(norms([parameters[name] for name in names]))
    lengths = np.array([np.nan if g is None else g for g in recording.gradients.values()])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = lengths / sizes
    return Gradients(
        rms=found.rms,
        rms_error=found.error,
        parameters=names,
        norm=lengths,
        weight_norm=sizes,
        ratio=ratio,
        nonfinite=tuple(int(i) for i in np.flatnonzero(~found.finite)[::-1]),
    )

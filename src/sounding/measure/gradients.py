"""The backward pass: how large the gradient is at each call and each parameter."""

from __future__ import annotations

import numpy as np
from torch import nn

from sounding.capture.passes import Recording
from sounding.capture.sample import norm
from sounding.measure.readings import Gradients
from sounding.measure.signal import blocks, relative_error, rms


def gradients(recording: Recording, model: nn.Module) -> Gradients:
    """The gradient's rms at every call's output, and its norm for every trainable parameter."""
    reduced = [node.gradient for node in recording.nodes]
    values = rms(reduced)
    errors = np.full(len(values), np.nan)
    for indices, block in blocks(reduced):
        rows = np.array([reduced[i].rows for i in indices])  # type: ignore[union-attr]
        errors[indices] = values[indices] * relative_error(block, rows)
    names = tuple(recording.gradients)
    parameters = dict(model.named_parameters())
    sizes = np.array([float(norm(parameters[n].detach())) for n in names])
    norms = np.array([np.nan if g is None else g for g in recording.gradients.values()])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = norms / sizes
    broken = [i for i, r in enumerate(reduced) if r is not None and not np.isfinite(values[i])]
    return Gradients(
        rms=values,
        rms_error=errors,
        parameters=names,
        norm=norms,
        weight_norm=sizes,
        ratio=ratio,
        nonfinite=tuple(reversed(broken)),
    )

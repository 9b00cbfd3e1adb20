"""The sizes of signal and gradient in every layer: little of an examination, for little time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sounding.capture.layers import Layers
from sounding.capture.recorder import Recorder
from sounding.measure.blocks import sizes


class Glance(NamedTuple):
    """One number a weighted call, in the order in which they ran; errors are one standard error."""

    layers: tuple[str, ...]  # (L,)
    signal: np.ndarray  # (L,) rms of the output; inf where an entry is infinite or NaN
    signal_error: np.ndarray
    gradient: np.ndarray  # (L,) rms of the loss's gradient at the output, likewise
    gradient_error: np.ndarray


def glance(seen: Recorder | Layers) -> Glance:
    """What a pass left behind; of several calls before one backward only the signal is known."""
    if isinstance(seen, Layers):
        seen.read()
    calls = seen.weighted
    gradients = [None if seen.cut else call.gradient for call in calls]
    both = sizes([*(call.output for call in calls), *gradients])
    # "There is NaN in it" and "it was not measured" must not look alike.
    both.rms[~both.finite] = np.inf
    rms, error = (v.astype(np.float32).reshape(2, -1) for v in (both.rms, both.error))
    return Glance(tuple(c.name for c in calls), rms[0], error[0], rms[1], error[1])

"""The sizes of signal and gradient in every layer: little of an examination, for little time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sounding.capture.recorder import Recorder
from sounding.measure.blocks import sizes


class Glance(NamedTuple):
    """One number a weighted call, in the order in which they ran; errors are one standard error."""

    layers: tuple[str, ...]  # (L,)
    signal: np.ndarray  # (L,) rms of the output; inf where an entry is infinite or NaN
    signal_error: np.ndarray
    gradient: np.ndarray  # (L,) rms of the loss's gradient at the output, likewise
    gradient_error: np.ndarray


def glance(recorder: Recorder) -> Glance:
    """What a pass left behind; of several calls before one backward only the signal is known."""
    nodes = [node for node in recorder.nodes if node.role == "weight"]
    signal = sizes([node.output for node in nodes])
    gradient = sizes([None if recorder.cut else node.gradient for node in nodes])
    # "There is NaN in it" and "it was not measured" must not look alike.
    signal.rms[~signal.finite] = np.inf
    gradient.rms[~gradient.finite] = np.inf
    numbers = (signal.rms, signal.error, gradient.rms, gradient.error)
    return Glance(tuple(n.name for n in nodes), *(v.astype(np.float32) for v in numbers))
